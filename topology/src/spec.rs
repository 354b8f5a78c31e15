//! The topology as it is written: a table of topics and stages, read from TOML.
//!
//! Reading never stops at a mistake: everything that is wrong in a text is reported at once, each with its
//! line. What a spec says is well formed but not yet sensible; [`mod@crate::plan`] checks that.

use std::collections::BTreeMap;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// The shipped pipeline.
pub const MAIL_TOML: &str = include_str!("../mail.toml");

/// Records of a batch when a lane does not say.
pub const BATCH: usize = 128;
/// Octets of a batch when a lane does not say.
pub const BATCH_BYTES: usize = 16 << 20;
/// How long a stage may take for one record when it does not say.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// One mistake of a topology.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Line, from 1; 0 = the topology as a whole.
    pub line: usize,
    /// What is wrong and what would be right.
    pub what: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

/// A name with the line where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Line, from 1.
    pub line: usize,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub topic: Named,
    /// Partitions, at least one; each is a lane of its own for every reader.
    pub partitions: u32,
}

/// What a stage reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A topic: the stage starts a lane.
    Log(Named),
    /// Another stage: a direct hop in that stage's lane.
    Stage(Named),
}

/// A stage's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSpec {
    /// Its name.
    pub stage: Named,
    /// What it reads; several only where all are topics.
    pub reads: Vec<Read>,
    /// Topic for what goes on.
    pub writes: Option<Named>,
    /// Topic by the name of the way out.
    pub divert: BTreeMap<String, Named>,
    /// Records of a batch.
    pub batch: Option<usize>,
    /// Octets of a batch.
    pub batch_bytes: Option<usize>,
    /// How long one record may take here.
    pub deadline: Option<Duration>,
}

/// A topology as written, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Topics.
    pub topics: Vec<TopicSpec>,
    /// Stages.
    pub stages: Vec<StageSpec>,
}

/// Reads a spec. What could be read comes back even with mistakes, so that a plan can find more of them; a
/// text that is no TOML gives none, as its halves would mislead.
pub fn parse(text: &str) -> (Option<Spec>, Vec<Mistake>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { lines: Lines::of(text), mistakes: Vec::new() };
    for error in errors {
        let line = error.span().map_or(0, |span| reader.lines.at(span.start));
        reader.mistakes.push(Mistake { line, what: error.message().to_owned() });
    }
    if !reader.mistakes.is_empty() {
        return (None, reader.mistakes);
    }
    let mut spec = Spec::default();
    for (key, value) in in_order(root.get_ref()) {
        let line = reader.lines.at(key.1);
        match key.0 {
            "topics" => spec.topics = reader.topics(line, value),
            "stages" => spec.stages = reader.stages(line, value),
            other => reader.unknown(line, "section", other, &["topics", "stages"]),
        }
    }
    reader.mistakes.sort();
    reader.mistakes.dedup();
    (Some(spec), reader.mistakes)
}

/// `; did you mean ...?` when a known word is near, else nothing.
pub(crate) fn suggestion<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let best = known.into_iter().map(|k| (strsim::damerau_levenshtein(word, k), k)).min();
    match best {
        // Half of the word wrong is no slip of a finger.
        Some((distance, name)) if distance <= 3 && distance * 2 <= name.chars().count() => {
            format!("; did you mean `{name}`?")
        }
        _ => String::new(),
    }
}

/// A key with the octet where it begins, and its value.
type Pair<'t> = ((&'t str, usize), &'t serde_spanned::Spanned<DeValue<'t>>);

/// The parser sorts keys by name; people expect the order they wrote.
fn in_order<'t>(table: &'t DeTable<'t>) -> Vec<Pair<'t>> {
    let mut pairs: Vec<Pair<'t>> =
        table.iter().map(|(k, v)| ((k.get_ref().as_ref(), k.span().start), v)).collect();
    pairs.sort_by_key(|(key, _)| key.1);
    pairs
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines(newlines.map(|(at, _)| at).collect())
    }

    fn at(&self, octet: usize) -> usize {
        1 + self.0.partition_point(|newline| *newline < octet)
    }
}

struct Reader {
    lines: Lines,
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn wrong(&mut self, line: usize, what: impl Into<String>) {
        self.mistakes.push(Mistake { line, what: what.into() });
    }

    fn unknown(&mut self, line: usize, kind: &str, name: &str, known: &[&str]) {
        let hint = suggestion(name, known.iter().copied());
        self.wrong(line, format!("unknown {kind} `{name}`{hint}"));
    }

    fn topics(&mut self, line: usize, value: &serde_spanned::Spanned<DeValue<'_>>) -> Vec<TopicSpec> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(line, "`topics` must be a table of topics, `[topics]`");
            return Vec::new();
        };
        let mut topics = Vec::new();
        for ((name, at), value) in in_order(table) {
            let topic = Named { name: name.to_owned(), line: self.lines.at(at) };
            self.check_name("topic", &topic);
            topics.push(TopicSpec { partitions: self.partitions(&topic, value), topic });
        }
        topics
    }

    fn partitions(&mut self, topic: &Named, value: &serde_spanned::Spanned<DeValue<'_>>) -> u32 {
        let Some(table) = value.get_ref().as_table() else {
            let what = format!("topic `{0}` must be a table, `{0} = {{ partitions = 2 }}`", topic.name);
            self.wrong(topic.line, what);
            return 1;
        };
        let mut partitions = 1;
        for ((key, at), value) in in_order(table) {
            let line = self.lines.at(at);
            match key {
                "partitions" => partitions = self.number(line, key, value, 1, 1_024).unwrap_or(1) as u32,
                other => self.unknown(line, "key of a topic", other, &["partitions"]),
            }
        }
        partitions
    }

    fn stages(&mut self, line: usize, value: &serde_spanned::Spanned<DeValue<'_>>) -> Vec<StageSpec> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(line, "`stages` must hold one table a stage, `[stages.check_dns]`");
            return Vec::new();
        };
        let mut stages = Vec::new();
        for ((name, at), value) in in_order(table) {
            let stage = Named { name: name.to_owned(), line: self.lines.at(at) };
            self.check_name("stage", &stage);
            match value.get_ref().as_table() {
                Some(row) => stages.push(self.stage(stage, row)),
                None => self.wrong(stage.line, format!("stage `{name}` must be a table, `[stages.{name}]`")),
            }
        }
        stages
    }

    fn stage(&mut self, stage: Named, row: &DeTable<'_>) -> StageSpec {
        const KEYS: &[&str] = &["reads", "writes", "divert", "batch", "batch_bytes", "deadline"];
        let mut spec = StageSpec {
            stage,
            reads: Vec::new(),
            writes: None,
            divert: BTreeMap::new(),
            batch: None,
            batch_bytes: None,
            deadline: None,
        };
        let mut reads_given = false;
        for ((key, at), value) in in_order(row) {
            let line = self.lines.at(at);
            match key {
                "reads" => {
                    reads_given = true;
                    spec.reads = self.reads(line, value);
                }
                "writes" => spec.writes = self.text(line, "writes", value),
                "divert" => spec.divert = self.divert(line, value),
                "batch" => spec.batch = self.number(line, key, value, 1, 10_000).map(|n| n as usize),
                "batch_bytes" => {
                    spec.batch_bytes = self.number(line, key, value, 1, 1 << 30).map(|n| n as usize);
                }
                "deadline" => {
                    spec.deadline = self.number(line, key, value, 1, 86_400).map(Duration::from_secs);
                }
                other => self.unknown(line, "key of a stage", other, KEYS),
            }
        }
        if !reads_given {
            let name = &spec.stage.name;
            let what = format!("stage `{name}` needs `reads`: `log:TOPIC`, or the stage before it");
            self.wrong(spec.stage.line, what);
        }
        spec
    }

    fn reads(&mut self, line: usize, value: &serde_spanned::Spanned<DeValue<'_>>) -> Vec<Read> {
        let Some(list) = value.get_ref().as_array() else {
            return self.text(line, "reads", value).map(read_of).into_iter().collect();
        };
        if list.is_empty() {
            self.wrong(line, "`reads` is empty: name a topic as `log:TOPIC`, or a stage");
        }
        let names: Vec<Named> = list
            .iter()
            .filter_map(|item| {
                let line = self.lines.at(item.span().start);
                self.text(line, "reads", item)
            })
            .collect();
        names.into_iter().map(read_of).collect()
    }

    fn divert(
        &mut self,
        line: usize,
        value: &serde_spanned::Spanned<DeValue<'_>>,
    ) -> BTreeMap<String, Named> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(line, "`divert` must be a table, `divert = { held = \"held\" }`");
            return BTreeMap::new();
        };
        let mut divert = BTreeMap::new();
        for ((port, at), value) in in_order(table) {
            let line = self.lines.at(at);
            if let Some(topic) = self.text(line, port, value) {
                divert.insert(port.to_owned(), topic);
            }
        }
        divert
    }

    fn text(&mut self, line: usize, key: &str, value: &serde_spanned::Spanned<DeValue<'_>>) -> Option<Named> {
        match value.get_ref() {
            DeValue::String(text) if !text.is_empty() => Some(Named { name: text.to_string(), line }),
            DeValue::String(_) => {
                self.wrong(line, format!("`{key}` is empty"));
                None
            }
            other => {
                self.wrong(line, format!("`{key}` must be a text, not {}", other.type_str()));
                None
            }
        }
    }

    fn number(
        &mut self,
        line: usize,
        key: &str,
        value: &serde_spanned::Spanned<DeValue<'_>>,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        let number = match value.get_ref() {
            DeValue::Integer(n) => u64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        };
        let good = number.filter(|n| (least..=most).contains(n));
        if good.is_none() {
            self.wrong(line, format!("`{key}` must be a whole number from {least} to {most}"));
        }
        good
    }

    fn check_name(&mut self, kind: &str, named: &Named) {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let good = !named.name.is_empty() && named.name.len() <= 64 && named.name.chars().all(letters);
        if !good {
            // Names become folders, Kafka topics and metric labels.
            let what = "must be at most 64 of `a-z`, `0-9`, `-` and `_`";
            self.wrong(named.line, format!("name of {kind} `{}` {what}", named.name));
        }
    }
}

fn read_of(named: Named) -> Read {
    match named.name.strip_prefix("log:") {
        Some(topic) => Read::Log(Named { name: topic.to_owned(), line: named.line }),
        None => Read::Stage(named),
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
