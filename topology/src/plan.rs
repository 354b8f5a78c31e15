//! The topology as it will run: a pure function of what is written and of the stages there are.
//!
//! Every mistake is reported at once, with its line. A plan that came out without one is sound: every lane
//! starts at a topic, every record a stage lets go has somewhere to go, every topic has a reader, no stage
//! stands in two lanes of one topic. Cycles over topics are fine (deferred mail comes back to its queue);
//! cycles of direct hops are not.

use crate::spec::{self, BATCH, BATCH_BYTES, DEADLINE, Mistake, Named, Read, Spec, StageSpec, suggestion};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a program knows of a stage it can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its one name.
    pub name: &'static str,
    /// Whether it ever lets a record go on (`Port::Next`).
    pub next: bool,
    /// The other ways out that it uses (`Port::Divert`).
    pub diverts: &'static [&'static str],
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// Partitions, at least one.
    pub partitions: u32,
}

/// A stage in its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagePlan {
    /// Its name.
    pub name: String,
    /// How long one record may take here.
    pub deadline: Duration,
    /// Topic by way out.
    pub diverts: BTreeMap<String, String>,
}

/// The stages between one topic and what they write; runs once on each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanePlan {
    /// Name of the first stage, which is also the consumer's name.
    pub name: String,
    /// Topic it reads.
    pub topic: String,
    /// Partitions of that topic.
    pub partitions: u32,
    /// At least one stage, in the order of work.
    pub stages: Vec<StagePlan>,
    /// Topic for what the last stage lets go on.
    pub writes: Option<String>,
    /// Records of a batch.
    pub batch: usize,
    /// Octets of a batch.
    pub batch_bytes: usize,
}

/// A checked topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Lanes, in the order of the text.
    pub lanes: Vec<LanePlan>,
    /// All topics, in the order of the text.
    pub topics: Vec<TopicPlan>,
}

/// Reads and checks a topology, or reports every mistake at once, sorted by line.
pub fn plan(text: &str, known: &[Known]) -> Result<Plan, Vec<Mistake>> {
    let (spec, mut mistakes) = spec::parse(text);
    let Some(spec) = spec else { return Err(mistakes) };
    let mut checker = Checker::new(&spec, known);
    checker.rows();
    if mistakes.is_empty() {
        // Only of a whole spec: a row that did not read may be the reader that is missed here.
        checker.unread_topics();
    }
    mistakes.append(&mut checker.mistakes);
    if !mistakes.is_empty() {
        mistakes.sort();
        mistakes.dedup();
        return Err(mistakes);
    }
    Ok(checker.build())
}

impl Plan {
    /// The lanes that have any of these stages, for a process that runs a part. A name that no lane has is a
    /// mistake.
    pub fn only(&self, names: &[&str]) -> Result<Plan, Vec<Mistake>> {
        let all: BTreeSet<&str> =
            self.lanes.iter().flat_map(|l| l.stages.iter().map(|s| s.name.as_str())).collect();
        let strange = names.iter().filter(|n| !all.contains(*n));
        let mistakes: Vec<Mistake> = strange
            .map(|n| Mistake {
                line: 0,
                what: format!("no lane has a stage `{n}`{}", suggestion(n, all.iter().copied())),
            })
            .collect();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let wanted = |lane: &&LanePlan| lane.stages.iter().any(|s| names.contains(&s.name.as_str()));
        Ok(Plan { lanes: self.lanes.iter().filter(wanted).cloned().collect(), topics: self.topics.clone() })
    }
}

struct Checker<'s> {
    spec: &'s Spec,
    known: BTreeMap<&'s str, &'s Known>,
    topics: BTreeMap<&'s str, u32>,
    rows: BTreeMap<&'s str, &'s StageSpec>,
    /// Direct hops: stage -> the stages that read it, in the order of the text.
    followers: BTreeMap<&'s str, Vec<&'s Named>>,
    mistakes: Vec<Mistake>,
}

impl<'s> Checker<'s> {
    fn new(spec: &'s Spec, known: &'s [Known]) -> Checker<'s> {
        let mut followers: BTreeMap<&str, Vec<&Named>> = BTreeMap::new();
        for row in &spec.stages {
            for read in &row.reads {
                if let Read::Stage(before) = read {
                    followers.entry(&before.name).or_default().push(&row.stage);
                }
            }
        }
        Checker {
            spec,
            known: known.iter().map(|k| (k.name, k)).collect(),
            topics: spec.topics.iter().map(|t| (t.topic.name.as_str(), t.partitions)).collect(),
            rows: spec.stages.iter().map(|s| (s.stage.name.as_str(), s)).collect(),
            followers,
            mistakes: Vec::new(),
        }
    }

    fn wrong(&mut self, line: usize, what: impl Into<String>) {
        self.mistakes.push(Mistake { line, what: what.into() });
    }

    fn rows(&mut self) {
        for row in &self.spec.stages {
            self.stage(row);
        }
        self.cycles();
        if self.spec.stages.is_empty() {
            self.wrong(0, "there is no stage: name at least one under `[stages]`");
        }
    }

    fn stage(&mut self, row: &'s StageSpec) {
        let name = row.stage.name.as_str();
        self.reads(row);
        if let Some(topic) = &row.writes {
            self.topic(topic);
        }
        for topic in row.divert.values() {
            self.topic(topic);
        }
        let followers = self.followers.get(name).cloned().unwrap_or_default();
        for more in followers.iter().skip(1) {
            let what = format!(
                "stage `{name}` is read directly by `{}` already; let it write to a topic and read that twice",
                followers[0].name
            );
            self.wrong(more.line, what);
        }
        match self.known.get(name).copied() {
            Some(known) => {
                self.way_on(row, known, followers.first().copied());
                self.ways_out(row, known);
            }
            None => {
                let hint = suggestion(name, self.known.keys().copied());
                self.wrong(row.stage.line, format!("unknown stage `{name}`{hint}"));
            }
        }
    }

    fn reads(&mut self, row: &'s StageSpec) {
        let name = row.stage.name.as_str();
        let mut seen = BTreeSet::new();
        let mut direct = 0;
        for read in &row.reads {
            match read {
                Read::Log(topic) => {
                    self.topic(topic);
                    if !seen.insert(topic.name.as_str()) {
                        let what = format!("stage `{name}` reads topic `{}` twice", topic.name);
                        self.wrong(topic.line, what);
                    }
                }
                Read::Stage(before) => {
                    direct += 1;
                    self.before(name, before);
                }
            }
        }
        if direct > 1 || (direct == 1 && row.reads.len() > 1) {
            let what = "reads one stage, or one or more topics; join other ways through a topic";
            self.wrong(row.stage.line, format!("stage `{name}` {what}"));
        }
        if direct > 0 && (row.batch.is_some() || row.batch_bytes.is_some()) {
            let what =
                "stage does not start a lane: `batch` and `batch_bytes` stand with the stage that does";
            self.wrong(row.stage.line, format!("`{name}`: {what}"));
        }
    }

    fn before(&mut self, name: &str, before: &Named) {
        if self.rows.contains_key(before.name.as_str()) {
            return;
        }
        // Most who get this wrong left out the `log:`.
        let hint = if self.topics.contains_key(before.name.as_str()) {
            format!("; the topic is `log:{}`", before.name)
        } else {
            suggestion(&before.name, self.rows.keys().copied())
        };
        self.wrong(before.line, format!("`{name}` reads an unknown stage `{}`{hint}", before.name));
    }

    fn topic(&mut self, topic: &Named) {
        if !self.topics.contains_key(topic.name.as_str()) {
            let hint = suggestion(&topic.name, self.topics.keys().copied());
            self.wrong(topic.line, format!("unknown topic `{}`{hint}", topic.name));
        }
    }

    fn way_on(&mut self, row: &StageSpec, known: &Known, follower: Option<&Named>) {
        let name = &row.stage.name;
        match (&row.writes, follower) {
            (Some(topic), Some(follower)) => {
                let what = format!("`{name}` is read directly by `{}`, so it cannot write", follower.name);
                self.wrong(topic.line, what);
            }
            (Some(topic), None) if !known.next => {
                self.wrong(topic.line, format!("`{name}` lets nothing go on, so it cannot write"));
            }
            (None, Some(follower)) if !known.next => {
                let what = format!("`{name}` lets nothing go on, so `{}` would wait for ever", follower.name);
                self.wrong(follower.line, what);
            }
            (None, None) if known.next => {
                let what = format!("what `{name}` lets go on has nowhere to go: name a topic with `writes`");
                self.wrong(row.stage.line, what);
            }
            _ => {}
        }
    }

    fn ways_out(&mut self, row: &StageSpec, known: &Known) {
        let name = &row.stage.name;
        for (port, topic) in &row.divert {
            if !known.diverts.contains(&port.as_str()) {
                let hint = suggestion(port, known.diverts.iter().copied());
                self.wrong(topic.line, format!("`{name}` has no way out named `{port}`{hint}"));
            }
        }
        for port in known.diverts {
            if !row.divert.contains_key(*port) {
                let what = format!("`{name}` may divert to `{port}`: name its topic in `divert`");
                self.wrong(row.stage.line, what);
            }
        }
    }

    /// Stages whose chain of direct hops never comes to a topic.
    fn cycles(&mut self) {
        let mut reported: BTreeSet<&str> = BTreeSet::new();
        for row in &self.spec.stages {
            let mut path: Vec<&str> = Vec::new();
            let mut at = row;
            while let Some(Read::Stage(before)) = at.reads.first() {
                let name = at.stage.name.as_str();
                if let Some(begin) = path.iter().position(|p| *p == name) {
                    let ring = path.get(begin..).unwrap_or_default();
                    if ring.iter().all(|n| !reported.contains(n)) {
                        reported.extend(ring);
                        let shown = ring.iter().rev().copied().collect::<Vec<_>>().join(" -> ");
                        let line = at.stage.line;
                        let what =
                            format!("stages read each other in a circle and no topic starts it: {shown}");
                        self.mistakes.push(Mistake { line, what });
                    }
                    break;
                }
                path.push(name);
                match self.rows.get(before.name.as_str()) {
                    Some(next) => at = next,
                    None => break,
                }
            }
        }
    }

    fn unread_topics(&mut self) {
        let reads = self.spec.stages.iter().flat_map(|s| &s.reads);
        let read: BTreeSet<&str> = reads
            .filter_map(|r| match r {
                Read::Log(topic) => Some(topic.name.as_str()),
                Read::Stage(_) => None,
            })
            .collect();
        for topic in self.spec.topics.iter().map(|t| &t.topic) {
            if !read.contains(topic.name.as_str()) {
                self.wrong(topic.line, format!("topic `{}` has no reader: it would only grow", topic.name));
            }
        }
    }

    fn build(&self) -> Plan {
        let mut lanes = Vec::new();
        for first in &self.spec.stages {
            let mut chain = vec![first];
            while let Some(next) = self.next(chain.last().map_or("", |s| s.stage.name.as_str())) {
                chain.push(next);
            }
            let last = chain.last().copied().unwrap_or(first);
            for read in &first.reads {
                let Read::Log(topic) = read else { continue };
                lanes.push(LanePlan {
                    name: first.stage.name.clone(),
                    topic: topic.name.clone(),
                    partitions: self.topics.get(topic.name.as_str()).copied().unwrap_or(1),
                    stages: chain.iter().map(|s| stage_plan(s)).collect(),
                    writes: last.writes.as_ref().map(|t| t.name.clone()),
                    batch: first.batch.unwrap_or(BATCH),
                    batch_bytes: first.batch_bytes.unwrap_or(BATCH_BYTES),
                });
            }
        }
        let topic = |t: &spec::TopicSpec| TopicPlan { name: t.topic.name.clone(), partitions: t.partitions };
        Plan { lanes, topics: self.spec.topics.iter().map(topic).collect() }
    }

    fn next(&self, name: &str) -> Option<&'s StageSpec> {
        let follower = self.followers.get(name)?.first()?;
        self.rows.get(follower.name.as_str()).copied()
    }
}

fn stage_plan(row: &StageSpec) -> StagePlan {
    StagePlan {
        name: row.stage.name.clone(),
        deadline: row.deadline.unwrap_or(DEADLINE),
        diverts: row.divert.iter().map(|(port, topic)| (port.clone(), topic.name.clone())).collect(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
