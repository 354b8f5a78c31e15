//! A message as sets of slots: what the classifier learns from and scores.
//!
//! Four groups, each weighing the same whatever its size: header words and pairs; body words, HTML, addresses
//! and structure; pairs of near body words; 5-octet sequences of the message's beginning. A feature is present
//! or not. Every group has a cap, so that a huge mail costs no more than a large one.

use super::super::links::{Kind, Link};
use super::super::page::ADDRESS_MARK;
use super::super::parsed::{Parsed, Part};
use super::hash;
use std::fmt::Write as _;

/// Number of slots, as a power of two.
pub(crate) const SLOT_BITS: u32 = 20;
/// Number of slots.
pub(crate) const SLOTS: usize = 1 << SLOT_BITS;
/// Groups of features.
pub(crate) const GROUPS: usize = 4;

const HEADER: usize = 0;
const BODY: usize = 1;
const PAIRS: usize = 2;
const OCTETS: usize = 3;

const MAX_HEADER_WORDS: usize = 1_500;
const MAX_BODY_WORDS: usize = 2_000;
const MAX_PAIRED_WORDS: usize = 1_500;
const MAX_OCTETS: usize = 3_500;
const MAX_ADDRESSES: usize = 60;

/// The sets of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Slots by group, each without doubles.
    pub(crate) groups: [Vec<u32>; GROUPS],
    /// Slots of header words for the Fisher part, without doubles.
    pub(crate) words: Vec<u32>,
}

/// A slot with the word it stands for: what can be told to people.
pub(crate) type Named<'t> = (u32, &'t [u8]);

struct Builder<'t> {
    features: Features,
    named: Vec<Named<'t>>,
    seen: Vec<u64>,
    scratch: String,
}

/// Features of a message, and the words among them.
pub(crate) fn extract<'t>(parsed: &'t Parsed<'_>, parts: &[Part<'_>]) -> (Features, Vec<Named<'t>>) {
    let mut builder = Builder {
        features: Features::default(),
        named: Vec::with_capacity(1_024),
        seen: vec![0; SLOTS / 64],
        scratch: String::new(),
    };
    builder.header(parsed);
    builder.body(parsed);
    for mark in &parsed.page.marks {
        builder.add(BODY, *mark);
    }
    for link in parsed.links.iter().filter(|l| l.kind != Kind::Image).take(MAX_ADDRESSES) {
        builder.address(link);
    }
    builder.structure(parsed, parts);
    builder.octets(parsed.raw);
    builder.features.words.sort_unstable();
    builder.features.words.dedup();
    (builder.features, builder.named)
}

impl<'t> Builder<'t> {
    /// Adds a feature; the slot when it is new.
    fn add(&mut self, group: usize, hash: u64) -> Option<u32> {
        let slot = (hash >> (64 - SLOT_BITS)) as u32;
        let word = self.seen.get_mut(slot as usize / 64)?;
        let bit = 1_u64 << (slot % 64);
        if *word & bit != 0 {
            return None;
        }
        *word |= bit;
        self.features.groups.get_mut(group)?.push(slot);
        Some(slot)
    }

    fn header(&mut self, parsed: &'t Parsed<'_>) {
        let mut left = MAX_HEADER_WORDS;
        for field in &parsed.fields {
            if is_others_verdict(field.name) {
                continue;
            }
            self.scratch.clear();
            self.scratch.extend(field.name.chars().take(20).map(|c| c.to_ascii_lowercase()));
            let name = hash::of(self.scratch.as_bytes(), 10);
            self.add(HEADER, name);
            let mut last = None;
            words(field.value, true, 60, |word| {
                if left == 0 {
                    return;
                }
                left -= 1;
                let hashed = hash::of(word, name);
                self.features.words.push((hashed >> (64 - SLOT_BITS)) as u32);
                if let Some(slot) = self.add(HEADER, hashed) {
                    self.named.push((slot, word));
                }
                if let Some(last) = last {
                    self.add(HEADER, hash::pair(last, hashed));
                }
                last = Some(hashed);
            });
        }
    }

    fn body(&mut self, parsed: &'t Parsed<'_>) {
        self.run(parsed.subject.as_bytes(), 20);
        for (name, address) in parsed.from.iter().take(3) {
            self.run(name.as_bytes(), 21);
            self.run(address.as_bytes(), 22);
        }
        self.run(parsed.text.as_bytes(), 23);
        let domain = parsed.sender_domain();
        self.add(BODY, hash::of(super::super::links::registered(&domain).as_bytes(), 24));
    }

    /// Words of a text and pairs of words at most two apart.
    fn run(&mut self, text: &'t [u8], seed: u64) {
        let mut left = MAX_BODY_WORDS;
        let mut paired = MAX_PAIRED_WORDS;
        let (mut last, mut before) = (None::<u64>, None::<u64>);
        words(text, false, 40, |word| {
            if left == 0 {
                return;
            }
            left -= 1;
            let hashed = hash::of(word, seed);
            if let Some(slot) = self.add(BODY, hashed)
                && word != ADDRESS_MARK.trim().as_bytes()
            {
                self.named.push((slot, word));
            }
            if paired > 0 {
                paired -= 1;
                if let Some(last) = last {
                    self.add(PAIRS, hash::pair(last, hashed));
                }
                if let Some(before) = before {
                    self.add(PAIRS, hash::pair(before ^ 1, hashed));
                }
            }
            before = last;
            last = Some(hashed);
        });
    }

    fn address(&mut self, link: &Link) {
        let Some(target) = &link.target else {
            self.say("u:unreadable");
            return;
        };
        self.add(BODY, hash::of(target.host.as_bytes(), 30));
        self.add(BODY, hash::of(target.domain.as_bytes(), 31));
        let top = target.host.rsplit('.').next().unwrap_or_default();
        self.add(BODY, hash::of(top.as_bytes(), 32));
        let labels = target.host.matches('.').count() + 1;
        let length = bucket(target.path.len());
        let percent = target.path.contains('%');
        let query = target.path.contains('?');
        self.tell(format_args!("u:{}:{labels}", target.scheme));
        self.tell(format_args!("u:path{length}:{query}:{percent}"));
        self.tell(format_args!("u:{}{}{}", target.ip, target.userinfo, target.port.unwrap_or_default()));
        for word in target.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).take(12)
        {
            self.add(BODY, hash::of(word.get(..20).unwrap_or(word).as_bytes(), 33));
        }
    }

    fn say(&mut self, text: &str) {
        self.add(BODY, hash::of(text.as_bytes(), 40));
    }

    fn tell(&mut self, text: std::fmt::Arguments<'_>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        // Writing to a String never fails.
        let _infallible = scratch.write_fmt(text);
        self.say(&scratch);
        self.scratch = scratch;
    }

    fn structure(&mut self, parsed: &Parsed<'_>, parts: &[Part<'_>]) {
        self.tell(format_args!("parts:{}", parts.len().min(12)));
        for part in parts.iter().take(20) {
            self.tell(format_args!("type:{}", part.kind));
            self.tell(format_args!("enc:{}:{}:{}", part.kind, part.encoding, part.charset));
            let extension = part.name.rsplit_once('.').map_or("", |(_, e)| e);
            self.tell(format_args!("att:{}:{}", part.attached, extension));
        }
        let page = &parsed.page;
        let text = parsed.text.as_bytes();
        let count = |wanted: fn(&u8) -> bool| text.iter().filter(|b| wanted(b)).count();
        let letters = count(u8::is_ascii_alphabetic).max(1);
        let upper = count(u8::is_ascii_uppercase) * 16 / letters;
        let foreign = count(|b| *b >= 0x80) * 8 / text.len().max(1);
        self.tell(format_args!("size:{}", bucket(parsed.raw.len())));
        self.tell(format_args!("text:{}", bucket(text.len())));
        self.tell(format_args!("urls:{}", bucket(parsed.links.len())));
        self.tell(format_args!("upper:{upper}"));
        self.tell(format_args!("foreign:{foreign}"));
        self.tell(format_args!("bang:{}", bucket(count(|b| *b == b'!'))));
        self.tell(format_args!("money:{}", bucket(count(|b| *b == b'$'))));
        self.tell(format_args!("hidden:{}:{}", bucket(page.hidden), bucket(page.tiny)));
        self.tell(format_args!("pics:{}:{}", bucket(page.pictures), bucket(page.linked_pictures)));
        self.tell(format_args!("tags:{}", bucket(page.tags)));
        let subject = &parsed.subject;
        let capital = !subject.is_empty() && !subject.chars().any(char::is_lowercase);
        self.tell(format_args!(
            "subject:{capital}:{}:{}",
            subject.contains("   "),
            subject.ends_with(['!', '?'])
        ));
        self.tell(format_args!("fields:{}", parsed.fields.len().min(60) / 3));
    }

    fn octets(&mut self, raw: &[u8]) {
        let head = raw.get(..raw.len().min(MAX_OCTETS)).unwrap_or_default();
        let mut window = 0_u64;
        for (at, byte) in head.iter().enumerate() {
            window = (window << 8 | u64::from(*byte)) & 0xFF_FFFF_FFFF;
            if at >= 4 {
                self.add(OCTETS, hash::pair(window, 50));
            }
        }
    }
}

/// Fields that other filters, or forgers of them, put their opinion in.
fn is_others_verdict(name: &str) -> bool {
    let starts = |p: &str| name.get(..p.len()).is_some_and(|n| n.eq_ignore_ascii_case(p));
    starts("x-tidegate-") || starts("x-spam-")
}

fn bucket(n: usize) -> u32 {
    usize::BITS - n.leading_zeros()
}

const WORD: u8 = 1;
const RUN: u8 = 2;

const fn classes() -> [u8; 256] {
    let mut table = [0_u8; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let word = byte.is_ascii_alphanumeric()
            || byte >= 0x80
            || matches!(byte, b'$' | b'%' | b'!' | b'\'' | b'_' | b'-');
        let run = matches!(byte, b'?' | b'*' | b'#' | b'=' | b'~' | b'^' | b'|');
        table[at] = if word {
            WORD
        } else if run {
            RUN
        } else {
            0
        };
        at += 1;
    }
    table
}

static CLASSES: [u8; 256] = classes();

/// Words of a text, as octets, at most `longest` of them each; `dots` makes the full stop part of words.
/// A no-break space divides words; ideographs and kana stand alone, since their writing has no spaces.
fn words<'t>(text: &'t [u8], dots: bool, longest: usize, mut word: impl FnMut(&'t [u8])) {
    let class = |byte: u8| match byte {
        b'.' if dots => WORD,
        _ => CLASSES.get(usize::from(byte)).copied().unwrap_or_default(),
    };
    let mut at = 0;
    while let Some(&first) = text.get(at) {
        let kind = class(first);
        if kind == 0 {
            at += 1;
            continue;
        }
        if matches!(first, 0xE3..=0xE9) {
            let end = (at + 3).min(text.len());
            word(text.get(at..end).unwrap_or_default());
            at = end;
            continue;
        }
        if first == 0xC2 && text.get(at + 1) == Some(&0xA0) {
            at += 2;
            continue;
        }
        let limit = text.len().min(at + if kind == RUN { 10 } else { longest });
        let mut end = at + 1;
        while end < limit && text.get(end).is_some_and(|&b| class(b) == kind && !matches!(b, 0xE3..=0xE9)) {
            if text.get(end..end + 2) == Some(&[0xC2, 0xA0]) {
                break;
            }
            end += 1;
        }
        if kind == WORD || end - at > 1 {
            word(text.get(at..end).unwrap_or_default());
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str, dots: bool) -> Vec<String> {
        let mut out = Vec::new();
        words(text.as_bytes(), dots, 40, |w| out.push(String::from_utf8_lossy(w).into_owned()));
        out
    }

    #[test]
    fn words_keep_case_money_and_runs_of_signs() {
        assert_eq!(
            split("Win $1,000 NOW!!! **** a*b", false),
            ["Win", "$1", "000", "NOW!!!", "****", "a", "b"]
        );
        assert_eq!(split("mail.a.test (x)", true), ["mail.a.test", "x"]);
    }

    #[test]
    fn no_break_spaces_divide_and_ideographs_stand_alone() {
        assert_eq!(split("grün\u{a0}weiß 中文字", false), ["grün", "weiß", "中", "文", "字"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn any_octets_give_words_that_stand_in_the_text(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut total = 0;
            words(&text, true, 40, |w| total += w.len());
            prop_assert!(total <= text.len());
        }
    }
}
