//! Macro strings of SPF (RFC 7208 section 7): parsed once, expanded without I/O.
//!
//! `%{p}` needs DNS; the caller looks the name up before expanding when [`MacroString::asks_name`] says so.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Octets a name may have (RFC 7208 section 7.3 cuts labels from the left above that).
const NAME_OCTETS: usize = 253;

/// A parsed macro string.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct MacroString {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Macro(Macro),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Macro {
    letter: char,
    escaped: bool,
    /// Right-hand parts kept; 0 = all.
    keep: usize,
    reversed: bool,
    delimiters: String,
}

/// What macros stand for.
pub(super) struct Facts<'a> {
    pub(super) ip: IpAddr,
    pub(super) local: &'a str,
    pub(super) sender_domain: &'a str,
    pub(super) domain: &'a str,
    pub(super) helo: &'a str,
    pub(super) receiver: &'a str,
    /// Validated name of the client, `unknown` without one.
    pub(super) name: &'a str,
}

impl MacroString {
    /// Parses `text`; `explains` allows the letters that only explanations may use. `None` = syntax error.
    pub(super) fn parse(text: &str, explains: bool) -> Option<MacroString> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if c != '%' {
                let visible = ('\x21'..='\x7e').contains(&c) || (explains && c == ' ');
                if !visible {
                    return None;
                }
                plain.push(c);
                rest = rest.get(1..)?;
                continue;
            }
            match rest.as_bytes().get(1)? {
                b'%' => plain.push('%'),
                b'_' => plain.push(' '),
                b'-' => plain.push_str("%20"),
                b'{' => {
                    let end = rest.find('}')?;
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Macro(Macro::parse(rest.get(2..end)?, explains)?));
                    rest = rest.get(end + 1..)?;
                    continue;
                }
                _ => return None,
            }
            rest = rest.get(2..)?;
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Some(MacroString { pieces })
    }

    /// A domain-spec: a macro string that ends in a macro or in `.toplabel`.
    pub(super) fn domain(text: &str) -> Option<MacroString> {
        let parsed = MacroString::parse(text, false)?;
        match parsed.pieces.last()? {
            Piece::Macro(_) => Some(parsed),
            // `%%`, `%_` and `%-` are macro-expands too (domain-end), and leave their mark in the text.
            Piece::Text(_) if ["%%", "%_", "%-"].iter().any(|end| text.ends_with(end)) => Some(parsed),
            Piece::Text(tail) => ends_in_toplabel(tail).then_some(parsed),
        }
    }

    /// Whether `%{p}` occurs.
    pub(super) fn asks_name(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Macro(m) if m.letter == 'p'))
    }

    /// The text with every macro replaced.
    pub(super) fn expand(&self, facts: &Facts<'_>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Macro(found) => found.expand(facts, &mut text),
            }
        }
        text
    }

    /// The text as a name to ask for: final dot off, labels cut from the left until it fits.
    pub(super) fn expand_name(&self, facts: &Facts<'_>) -> String {
        let text = self.expand(facts);
        let mut name = text.strip_suffix('.').unwrap_or(&text);
        while name.len() > NAME_OCTETS {
            let Some((_, shorter)) = name.split_once('.') else { break };
            name = shorter;
        }
        name.to_owned()
    }
}

fn ends_in_toplabel(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let Some((_, label)) = text.rsplit_once('.') else { return false };
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(label.bytes().next())
        && edge(label.bytes().last())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.bytes().all(|b| b.is_ascii_digit())
}

impl Macro {
    /// Parses what stands between the braces.
    fn parse(text: &str, explains: bool) -> Option<Macro> {
        let first = text.chars().next()?;
        let letter = first.to_ascii_lowercase();
        let known = "slodiphv".contains(letter) || (explains && "crt".contains(letter));
        if !known {
            return None;
        }
        let rest = text.get(1..)?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = rest.split_at_checked(digits)?;
        let keep = if number.is_empty() { 0 } else { number.parse().unwrap_or(usize::MAX) };
        if !number.is_empty() && keep == 0 {
            return None;
        }
        let reversed = rest.starts_with(['r', 'R']);
        let delimiters = if reversed { rest.get(1..)? } else { rest };
        if !delimiters.chars().all(|c| ".-+,/_=".contains(c)) {
            return None;
        }
        let delimiters = if delimiters.is_empty() { "." } else { delimiters };
        Some(Macro {
            letter,
            escaped: first.is_ascii_uppercase(),
            keep,
            reversed,
            delimiters: delimiters.to_owned(),
        })
    }

    fn expand(&self, facts: &Facts<'_>, text: &mut String) {
        let value = self.value(facts);
        let mut parts: Vec<&str> = value.split(|c| self.delimiters.contains(c)).collect();
        if self.reversed {
            parts.reverse();
        }
        let first = if self.keep == 0 { 0 } else { parts.len().saturating_sub(self.keep) };
        let kept = parts.get(first..).unwrap_or_default().join(".");
        if self.escaped {
            escape(&kept, text);
        } else {
            text.push_str(&kept);
        }
    }

    fn value(&self, facts: &Facts<'_>) -> String {
        match self.letter {
            's' => format!("{}@{}", facts.local, facts.sender_domain),
            'l' => facts.local.to_owned(),
            'o' => facts.sender_domain.to_owned(),
            'd' => facts.domain.to_owned(),
            'h' => facts.helo.to_owned(),
            'p' => facts.name.to_owned(),
            'r' => facts.receiver.to_owned(),
            'i' => dotted(facts.ip),
            'c' => facts.ip.to_string(),
            'v' => (if facts.ip.is_ipv4() { "in-addr" } else { "ip6" }).to_owned(),
            't' => (tidegate_schemas::now_ms() / 1_000).to_string(),
            _ => String::new(),
        }
    }
}

/// IPv4 as usual, IPv6 as 32 nibbles with dots, in capitals as the RFC prints them.
fn dotted(ip: IpAddr) -> String {
    let IpAddr::V6(ip) = ip else { return ip.to_string() };
    let mut text = String::with_capacity(64);
    for octet in ip.octets() {
        let _ = write!(text, "{:X}.{:X}.", octet >> 4, octet & 15);
    }
    text.pop();
    text
}

/// URL escapes of everything but RFC 3986's unreserved characters.
fn escape(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}
