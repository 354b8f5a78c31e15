//! A plan as text, DOT (Graphviz) or Mermaid. The same plan always gives the same octets.

use crate::plan::{LanePlan, Plan};
use std::fmt::Write;

impl Plan {
    /// One line a lane, then one line for each stage that has other ways out.
    pub fn text(&self) -> String {
        let width = self.lanes.iter().map(|l| source(l).len()).max().unwrap_or(0);
        let mut out = String::new();
        for lane in &self.lanes {
            let chain = lane.stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" -> ");
            let _infallible = write!(out, "{:width$} => {chain}", source(lane));
            if let Some(topic) = &lane.writes {
                let _infallible = write!(out, " => {topic}");
            }
            out.push('\n');
            for stage in lane.stages.iter().filter(|s| !s.diverts.is_empty()) {
                let ways = stage.diverts.iter().map(|(port, topic)| way(port, topic)).collect::<Vec<_>>();
                let _infallible =
                    writeln!(out, "{:width$}    {} may go to {}", "", stage.name, ways.join(", "));
            }
        }
        out
    }

    /// For Graphviz: topics are cylinders, dashed edges are diversions.
    pub fn dot(&self) -> String {
        let mut out = "digraph tidegate {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
        for topic in &self.topics {
            let (name, partitions) = (&topic.name, topic.partitions);
            let _infallible =
                writeln!(out, "  \"log:{name}\" [shape=cylinder, label=\"{name} x{partitions}\"];");
        }
        for edge in self.edges() {
            let (from, to) = (dot_id(&edge.from), dot_id(&edge.to));
            let style = match &edge.port {
                Some(port) => format!(" [style=dashed, label=\"{port}\"]"),
                None => String::new(),
            };
            let _infallible = writeln!(out, "  {from} -> {to}{style};");
        }
        out.push_str("}\n");
        out
    }

    /// For Mermaid: topics are cylinders, dotted edges are diversions.
    pub fn mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        for topic in &self.topics {
            let node = Node::Topic(topic.name.clone());
            let (name, partitions) = (&topic.name, topic.partitions);
            let _infallible = writeln!(out, "  {}[(\"{name} x{partitions}\")]", mermaid_id(&node));
        }
        for edge in self.edges() {
            let (from, to) = (mermaid_id(&edge.from), mermaid_id(&edge.to));
            let arrow = match &edge.port {
                Some(port) => format!("-. {port} .->"),
                None => "-->".to_owned(),
            };
            let _infallible = writeln!(out, "  {from} {arrow} {to}");
        }
        out
    }

    /// All edges once, in the order of the lanes: a stage on several topics is one node.
    fn edges(&self) -> Vec<Edge> {
        let mut edges: Vec<Edge> = Vec::new();
        let mut add = |from: Node, to: Node, port: Option<String>| {
            let edge = Edge { from, to, port };
            if !edges.contains(&edge) {
                edges.push(edge);
            }
        };
        for lane in &self.lanes {
            let mut before = Node::Topic(lane.topic.clone());
            for stage in &lane.stages {
                let here = Node::Stage(stage.name.clone());
                add(before, here.clone(), None);
                before = here;
            }
            if let Some(topic) = &lane.writes {
                add(before, Node::Topic(topic.clone()), None);
            }
            for stage in &lane.stages {
                for (port, topic) in &stage.diverts {
                    add(Node::Stage(stage.name.clone()), Node::Topic(topic.clone()), Some(port.clone()));
                }
            }
        }
        edges
    }
}

#[derive(Clone, PartialEq)]
enum Node {
    Topic(String),
    Stage(String),
}

#[derive(PartialEq)]
struct Edge {
    from: Node,
    to: Node,
    port: Option<String>,
}

fn source(lane: &LanePlan) -> String {
    format!("{} x{}", lane.topic, lane.partitions)
}

/// A way out, with its topic where that is named otherwise.
fn way(port: &str, topic: &str) -> String {
    if port == topic { topic.to_owned() } else { format!("{topic} as {port}") }
}

fn dot_id(node: &Node) -> String {
    match node {
        Node::Topic(name) => format!("\"log:{name}\""),
        Node::Stage(name) => format!("\"{name}\""),
    }
}

/// Mermaid takes a dash in an id for the beginning of an arrow.
fn mermaid_id(node: &Node) -> String {
    match node {
        Node::Topic(name) => format!("log_{}", name.replace('-', "_")),
        Node::Stage(name) => name.replace('-', "_"),
    }
}
