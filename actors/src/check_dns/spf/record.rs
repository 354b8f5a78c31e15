//! The text of an SPF record as terms (RFC 7208 sections 4.6, 5 and 6). A mistake anywhere in the record makes
//! all of it a `permerror`, so everything is parsed before anything is asked.

use super::SpfResult;
use super::macros::MacroString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A whole record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

/// A mechanism with its qualifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) result: SpfResult,
    pub(super) mechanism: Mechanism,
    /// As written, for Received-SPF.
    pub(super) text: String,
}

/// Prefix lengths of `a` and `mx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

/// What a directive tests; `None` as a domain means the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Prefixes),
    Mx(Option<MacroString>, Prefixes),
    Ptr(Option<MacroString>),
    Ip(IpAddr, u8),
    Exists(MacroString),
}

/// Whether a TXT record claims to be SPF version 1.
pub(super) fn is_spf(text: &str) -> bool {
    let head = text.get(..6).is_some_and(|head| head.eq_ignore_ascii_case("v=spf1"));
    head && matches!(text.as_bytes().get(6), None | Some(b' '))
}

impl Record {
    /// Parses a record for which [`is_spf`] holds; the error names the term that is wrong.
    pub(super) fn parse(text: &str) -> Result<Record, String> {
        let mut record = Record::default();
        for term in text.get(6..).unwrap_or_default().split(' ').filter(|term| !term.is_empty()) {
            record.term(term).ok_or_else(|| format!("`{}` is no term of SPF", term.escape_default()))?;
        }
        Ok(record)
    }

    fn term(&mut self, term: &str) -> Option<()> {
        let cut = term.find([':', '/', '=']).unwrap_or(term.len());
        let (name, rest) = term.split_at_checked(cut)?;
        if let Some(value) = rest.strip_prefix('=') {
            return self.modifier(name, value);
        }
        let (result, name) = match name.chars().next()? {
            '+' => (SpfResult::Pass, name.get(1..)?),
            '-' => (SpfResult::Fail, name.get(1..)?),
            '~' => (SpfResult::SoftFail, name.get(1..)?),
            '?' => (SpfResult::Neutral, name.get(1..)?),
            _ => (SpfResult::Pass, name),
        };
        let mechanism = mechanism(&name.to_ascii_lowercase(), rest)?;
        self.directives.push(Directive { result, mechanism, text: term.to_owned() });
        Some(())
    }

    fn modifier(&mut self, name: &str, value: &str) -> Option<()> {
        let right = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.bytes().all(right) {
            return None;
        }
        let place = match name.to_ascii_lowercase().as_str() {
            "redirect" => &mut self.redirect,
            "exp" => &mut self.explanation,
            // Unknown modifiers are passed over, but their value has to be a macro string.
            _ => return MacroString::parse(value, false).map(drop),
        };
        if place.is_some() {
            return None;
        }
        *place = Some(MacroString::domain(value)?);
        Some(())
    }
}

fn mechanism(name: &str, rest: &str) -> Option<Mechanism> {
    let value = rest.strip_prefix(':');
    match name {
        "all" => rest.is_empty().then_some(Mechanism::All),
        "include" => Some(Mechanism::Include(MacroString::domain(value?)?)),
        "exists" => Some(Mechanism::Exists(MacroString::domain(value?)?)),
        "ptr" if rest.is_empty() => Some(Mechanism::Ptr(None)),
        "ptr" => Some(Mechanism::Ptr(Some(MacroString::domain(value?)?))),
        "ip4" => {
            let (ip, prefix) = network(value?, 32)?;
            Some(Mechanism::Ip(IpAddr::V4(ip.parse::<Ipv4Addr>().ok()?), prefix))
        }
        "ip6" => {
            let (ip, prefix) = network(value?, 128)?;
            Some(Mechanism::Ip(IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?), prefix))
        }
        "a" | "mx" => {
            let (domain, prefixes) = domain_and_prefixes(rest)?;
            let domain = match domain.strip_prefix(':') {
                Some(spec) => Some(MacroString::domain(spec)?),
                None if domain.is_empty() => None,
                None => return None,
            };
            Some(if name == "a" { Mechanism::A(domain, prefixes) } else { Mechanism::Mx(domain, prefixes) })
        }
        _ => None,
    }
}

fn network(value: &str, longest: u8) -> Option<(&str, u8)> {
    match value.split_once('/') {
        Some((ip, prefix)) => Some((ip, prefix_length(prefix, longest)?)),
        None => Some((value, longest)),
    }
}

/// Digits without a leading zero, at most `longest`.
fn prefix_length(text: &str, longest: u8) -> Option<u8> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse::<u8>().ok().filter(|length| plain && *length <= longest)
}

/// Cuts `[/v4][//v6]` off the end.
fn domain_and_prefixes(rest: &str) -> Option<(&str, Prefixes)> {
    let mut prefixes = Prefixes { v4: 32, v6: 128 };
    let digits_after = |text: &str, mark: &str| {
        let at = text.rfind(mark)?;
        let tail = text.get(at + mark.len()..)?;
        tail.bytes().all(|b| b.is_ascii_digit()).then_some(at)
    };
    let mut domain = rest;
    if let Some(at) = digits_after(domain, "//") {
        prefixes.v6 = prefix_length(domain.get(at + 2..)?, 128)?;
        domain = domain.get(..at)?;
    }
    if let Some(at) = digits_after(domain, "/") {
        prefixes.v4 = prefix_length(domain.get(at + 1..)?, 32)?;
        domain = domain.get(..at)?;
    }
    Some((domain, prefixes))
}
