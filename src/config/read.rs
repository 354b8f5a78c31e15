//! A TOML reader that goes on after a mistake.
//!
//! Every section is a struct whose `Default` names all its keys; each key is read by itself into that struct,
//! so that one wrong value hides no other. Lines come from the parser's spans.

use serde::{Serialize, de::DeserializeOwned};
use serde_spanned::Spanned;
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// One mistake of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1; 0 = the file as a whole.
    pub line: usize,
    /// What is wrong and what would be right.
    pub what: String,
}

/// All mistakes of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes {
    /// The file as named on the command line.
    pub file: String,
    /// Sorted by line.
    pub mistakes: Vec<Mistake>,
}

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{}: {}", self.file, mistake.line, mistake.what)?;
        }
        Ok(())
    }
}

/// Reads sections of one text and gathers mistakes.
pub(super) struct Reader<'t> {
    text: &'t str,
    root: DeTable<'t>,
    lines: BTreeMap<String, usize>,
    known: Vec<&'static str>,
    mistakes: Vec<Mistake>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Reader<'t> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader {
            text,
            root: root.into_inner(),
            lines: BTreeMap::new(),
            known: Vec::new(),
            mistakes: Vec::new(),
        };
        for error in errors {
            let line = error.span().map_or(0, |span| reader.line(span.start));
            reader.mistakes.push(Mistake { line, what: error.message().to_owned() });
        }
        reader
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
    }

    /// Reads one section; keys that are wrong keep their default.
    pub(super) fn section<T: Default + Serialize + DeserializeOwned>(&mut self, name: &'static str) -> T {
        self.known.push(name);
        let Some(value) = self.root.get(name) else { return T::default() };
        let at = self.line(value.span().start);
        let Some(table) = value.get_ref().as_table().cloned() else {
            self.mistakes.push(Mistake { line: at, what: format!("`{name}` must be a table, `[{name}]`") });
            return T::default();
        };
        let defaults = serde_json::to_value(T::default()).unwrap_or_default();
        let keys: Vec<String> = defaults.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default();
        let mut good = DeTable::new();
        for (key, value) in table {
            let line = self.line(key.span().start);
            let key_name = key.get_ref().to_string();
            self.lines.insert(format!("{name}.{key_name}"), line);
            if !keys.contains(&key_name) {
                let hint = suggestion(&key_name, keys.iter().map(String::as_str));
                self.mistakes
                    .push(Mistake { line, what: format!("unknown key `{key_name}` in [{name}]{hint}") });
                continue;
            }
            match self.alone::<T>(&key, &value) {
                Ok(()) => {
                    good.insert(key, value);
                }
                Err((line, why)) => {
                    self.mistakes.push(Mistake { line, what: format!("`{name}.{key_name}`: {why}") });
                }
            }
        }
        from_table(good).unwrap_or_default()
    }

    /// Tries one key by itself.
    fn alone<T: DeserializeOwned>(
        &self,
        key: &Spanned<std::borrow::Cow<'t, str>>,
        value: &Spanned<DeValue<'t>>,
    ) -> Result<(), (usize, String)> {
        let mut one = DeTable::new();
        one.insert(key.clone(), value.clone());
        let failed = |e: toml::de::Error| {
            let at = e.span().map_or(value.span().start, |span| span.start);
            (self.line(at), e.message().to_owned())
        };
        from_table::<T>(one).map(|_| ()).map_err(failed)
    }

    /// Notes a mistake of a value, at its key's line.
    pub(super) fn mistake(&mut self, path: &str, what: impl Into<String>) {
        let line = self.lines.get(path).copied().unwrap_or(0);
        self.mistakes.push(Mistake { line, what: format!("`{path}`: {}", what.into()) });
    }

    /// All mistakes, with unknown sections, sorted by line.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        let unknown: Vec<_> =
            self.root.iter().filter(|(k, _)| !self.known.contains(&k.get_ref().as_ref())).collect();
        let mut found = Vec::new();
        for (key, _) in unknown {
            let hint = suggestion(key.get_ref(), self.known.iter().copied());
            let what = format!("unknown section `{}`{hint}", key.get_ref());
            found.push(Mistake { line: self.line(key.span().start), what });
        }
        self.mistakes.extend(found);
        self.mistakes.sort_by_key(|m| m.line);
        self.mistakes
    }
}

fn from_table<T: DeserializeOwned>(table: DeTable<'_>) -> Result<T, toml::de::Error> {
    T::deserialize(toml::de::Deserializer::from(Spanned::new(0..0, table)))
}

fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.map(|k| (strsim::damerau_levenshtein(word, k), k)).min();
    match best {
        Some((distance, name)) if distance <= 3 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}
