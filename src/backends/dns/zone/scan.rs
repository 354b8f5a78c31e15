//! Master-file text cut into entries and words (RFC 1035 section 5.1).
//!
//! An entry is a line, or several where parentheses hold them together. Escapes (`\.`, `\034`) stay in the
//! words as written, since they mean different things in a name and in a string.

use super::ZoneMistake;
use std::iter::Peekable;
use std::str::Chars;

/// One word of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// As written, without the quotes.
    pub(super) text: String,
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
}

/// One entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Line on which it begins, from 1.
    pub(super) line: usize,
    /// Whether its first line begins with a blank: it goes on about the owner before.
    pub(super) indented: bool,
    /// Its words; never empty.
    pub(super) words: Vec<Word>,
}

struct Scanner<'t> {
    chars: Peekable<Chars<'t>>,
    line: usize,
    depth: usize,
    opened: usize,
    entry: Entry,
    entries: Vec<Entry>,
    mistakes: Vec<ZoneMistake>,
}

/// All entries that have words, and what is wrong with quotes and parentheses.
pub(super) fn entries(text: &str) -> (Vec<Entry>, Vec<ZoneMistake>) {
    let mut scanner = Scanner {
        chars: text.chars().peekable(),
        line: 1,
        depth: 0,
        opened: 0,
        entry: Entry { line: 1, ..Entry::default() },
        entries: Vec::new(),
        mistakes: Vec::new(),
    };
    scanner.run();
    (scanner.entries, scanner.mistakes)
}

impl Scanner<'_> {
    fn run(&mut self) {
        let mut at_start = true;
        while let Some(c) = self.chars.next() {
            let was_start = std::mem::replace(&mut at_start, false);
            match c {
                '\n' => {
                    self.line += 1;
                    if self.depth == 0 {
                        self.finish();
                        at_start = true;
                    }
                }
                ';' => while self.chars.next_if(|c| *c != '\n').is_some() {},
                '(' => {
                    self.depth += 1;
                    self.opened = self.line;
                }
                ')' if self.depth == 0 => self.mistake("`)` without `(`"),
                ')' => self.depth -= 1,
                '"' => self.quoted(),
                c if c.is_whitespace() => self.entry.indented |= was_start,
                c => self.word(c),
            }
        }
        if self.depth > 0 {
            self.line = self.opened;
            self.mistake("`(` is never closed");
        }
        self.finish();
    }

    fn mistake(&mut self, what: &str) {
        self.mistakes.push(ZoneMistake { line: self.line, what: what.to_owned() });
    }

    fn finish(&mut self) {
        let next = Entry { line: self.line, ..Entry::default() };
        let entry = std::mem::replace(&mut self.entry, next);
        if !entry.words.is_empty() {
            self.entries.push(entry);
        }
    }

    fn push(&mut self, text: String, quoted: bool) {
        if self.entry.words.is_empty() {
            self.entry.line = self.line;
        }
        self.entry.words.push(Word { text, quoted });
    }

    fn quoted(&mut self) {
        let mut text = String::new();
        loop {
            match self.chars.next_if(|c| *c != '\n') {
                None => {
                    self.mistake("a quoted string is not closed on its line");
                    break;
                }
                Some('"') => break,
                Some(c) => {
                    text.push(c);
                    if c == '\\' {
                        text.extend(self.chars.next_if(|c| *c != '\n'));
                    }
                }
            }
        }
        self.push(text, true);
    }

    fn word(&mut self, first: char) {
        let mut text = String::from(first);
        let mut escaped = first == '\\';
        while let Some(c) = self.chars.next_if(|c| {
            *c != '\n' && (escaped || !(c.is_whitespace() || matches!(c, ';' | '(' | ')' | '"')))
        }) {
            text.push(c);
            escaped = !escaped && c == '\\';
        }
        self.push(text, false);
    }
}
