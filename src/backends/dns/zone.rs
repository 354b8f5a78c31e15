//! DNS answered from master-file text (RFC 1035 section 5) and from nothing else: for tests, for measuring,
//! and for judging mail offline.
//!
//! One text may hold any number of domains: there are no zone cuts, every name is answered from what stands
//! in it. Understood are `$ORIGIN`, `$TTL`, parentheses, comments, quoted strings, escapes, relative names
//! (to the root until an `$ORIGIN`), `@`, an omitted owner, TTL and class in either order, wildcards with
//! empty non-terminals (RFC 4592) and CNAME chains of up to 16 links. Read are A, AAAA, MX, TXT, PTR, CNAME,
//! NS and SOA; types that no part of Tidegate asks for (SRV, CAA, DNSSEC ...) are passed over. A string over
//! 255 octets is taken as if it had been cut, since DKIM keys are often pasted whole. Octets above 127, by
//! `\DDD`, stand in a TXT answer as the character of that number.
//!
//! Beyond the RFC, two types say that questions fail, so that lookup failures can be rehearsed:
//! ```text
//! slow.example.   TIMEOUT            ; every question for this name times out
//! half.example.   SERVFAIL TXT MX    ; these types only (A stands for A and AAAA)
//! ```

mod scan;

use super::{canonical, reverse_name};
use async_trait::async_trait;
use scan::{Entry, Word};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tidegate_actors::ports::{Dns, DnsError};

/// CNAMEs followed before the chain counts as endless.
const CHAIN: usize = 16;
/// Types that are allowed in the text and never asked for.
const PASSED_OVER: &str = "SRV CAA TLSA SSHFP HINFO NAPTR LOC URI RP HTTPS SVCB DS DNSKEY CDS CDNSKEY RRSIG NSEC \
                           NSEC3 NSEC3PARAM SPF OPENPGPKEY SMIMEA CERT";

/// Something in the text that is not master-file text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ZoneMistake {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

/// Kinds of question, as bits of [`Node::failing`].
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Address = 1,
    Mx = 2,
    Txt = 4,
    Ptr = 8,
}

/// What stands at one name; empty for a name that only has names below it.
#[derive(Debug, Default)]
struct Node {
    addresses: Vec<IpAddr>,
    mx: Vec<(u16, String)>,
    txt: Vec<String>,
    ptr: Vec<String>,
    cname: Option<String>,
    /// Records that no question reaches (NS, SOA ...), which still forbid a CNAME beside them.
    others: bool,
    failing: u8,
    how: &'static str,
}

impl Node {
    fn has_data(&self) -> bool {
        self.others
            || !(self.addresses.is_empty()
                && self.mx.is_empty()
                && self.txt.is_empty()
                && self.ptr.is_empty())
    }
}

/// All names of one text. Immutable once read.
#[derive(Debug, Default)]
pub struct Zone {
    nodes: HashMap<String, Node>,
}

impl Zone {
    /// Reads master-file text; all mistakes at once, in the order of their lines.
    pub fn parse(text: &str) -> Result<Zone, Vec<ZoneMistake>> {
        let (entries, mut mistakes) = scan::entries(text);
        let mut reader = Reader { zone: Zone::default(), origin: String::new(), owner: None };
        reader.zone.nodes.insert(String::new(), Node::default());
        for entry in &entries {
            if let Err(what) = reader.entry(entry) {
                mistakes.push(ZoneMistake { line: entry.line, what });
            }
        }
        if mistakes.is_empty() {
            return Ok(reader.zone);
        }
        mistakes.sort_by_key(|m| m.line);
        Err(mistakes)
    }

    /// The node that answers for a name: its own, or the wildcard of its closest encloser.
    fn node(&self, name: &str) -> Option<&Node> {
        if let Some(node) = self.nodes.get(name) {
            return Some(node);
        }
        let mut encloser = name;
        loop {
            encloser = encloser.split_once('.').map_or("", |(_, above)| above);
            if self.nodes.contains_key(encloser) {
                let dot = if encloser.is_empty() { "" } else { "." };
                return self.nodes.get(&format!("*{dot}{encloser}"));
            }
        }
    }

    fn answer<T: Clone>(&self, name: &str, kind: Kind, pick: fn(&Node) -> &[T]) -> Result<Vec<T>, DnsError> {
        let Some(mut at) = canonical(name) else { return Ok(Vec::new()) };
        for _ in 0..=CHAIN {
            let Some(node) = self.node(&at) else { return Ok(Vec::new()) };
            if node.failing & kind as u8 != 0 {
                return Err(DnsError::Temporary(format!("{} for {at}", node.how)));
            }
            match &node.cname {
                Some(target) => at.clone_from(target),
                None => return Ok(pick(node).to_vec()),
            }
        }
        Err(DnsError::Temporary(format!("the CNAME chain of {name} does not end")))
    }
}

#[async_trait]
impl Dns for Zone {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        self.answer(name, Kind::Address, |node| &node.addresses)
    }

    async fn mx(&self, name: &str) -> Result<Vec<(u16, String)>, DnsError> {
        let mut hosts = self.answer(name, Kind::Mx, |node| &node.mx)?;
        hosts.sort_by_key(|(preference, _)| *preference);
        Ok(hosts)
    }

    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        self.answer(name, Kind::Txt, |node| &node.txt)
    }

    async fn ptr(&self, ip: IpAddr) -> Result<Vec<String>, DnsError> {
        self.answer(&reverse_name(ip), Kind::Ptr, |node| &node.ptr)
    }
}

struct Reader {
    zone: Zone,
    origin: String,
    owner: Option<String>,
}

impl Reader {
    fn entry(&mut self, entry: &Entry) -> Result<(), String> {
        let mut words = entry.words.as_slice();
        if !entry.indented {
            let Some((first, rest)) = words.split_first() else { return Ok(()) };
            words = rest;
            if first.text.starts_with('$') && !first.quoted {
                return self.directive(&first.text, words);
            }
            // A broken owner must not lend its records to the owner before it.
            self.owner = None;
            self.owner = Some(name(first, &self.origin)?);
        }
        let owner = self.owner.clone().ok_or("no owner: no name stands here or above")?;
        while let Some((word, rest)) = words.split_first() {
            let class = word.text.eq_ignore_ascii_case("IN");
            if !class && !is_ttl(&word.text) {
                break;
            }
            words = rest;
        }
        let (kind, data) = words.split_first().ok_or("no record type")?;
        self.record(owner, &kind.text.to_ascii_uppercase(), data)
    }

    fn directive(&mut self, directive: &str, words: &[Word]) -> Result<(), String> {
        match (directive.to_ascii_uppercase().as_str(), words) {
            ("$ORIGIN", [origin]) => self.origin = name(origin, &self.origin)?,
            ("$TTL", [ttl]) if is_ttl(&ttl.text) => {}
            ("$ORIGIN" | "$TTL", _) => return Err(format!("{directive} takes one value")),
            _ => return Err(format!("{directive} is not supported; write the records out")),
        }
        Ok(())
    }

    fn record(&mut self, owner: String, kind: &str, data: &[Word]) -> Result<(), String> {
        let origin = self.origin.clone();
        let node = self.zone.at(owner);
        let data_kind = !matches!(kind, "CNAME" | "TIMEOUT" | "SERVFAIL");
        if data_kind && node.cname.is_some() {
            return Err(format!("{kind} beside a CNAME of the same name"));
        }
        match (kind, data) {
            ("A", [ip]) => node.addresses.push(IpAddr::V4(parsed::<Ipv4Addr>(&ip.text, "IPv4 address")?)),
            ("AAAA", [ip]) => node.addresses.push(IpAddr::V6(parsed::<Ipv6Addr>(&ip.text, "IPv6 address")?)),
            ("MX", [preference, host]) => {
                let preference = parsed::<u16>(&preference.text, "preference (0 to 65535)")?;
                node.mx.push((preference, name(host, &origin)?));
            }
            ("TXT", [_, ..]) => node.txt.push(joined(data)?),
            ("PTR", [host]) => node.ptr.push(name(host, &origin)?),
            ("CNAME", [_]) if node.has_data() => {
                return Err("CNAME beside other records of the same name".into());
            }
            ("CNAME", [_]) if node.cname.is_some() => return Err("a second CNAME of the same name".into()),
            ("CNAME", [target]) => node.cname = Some(name(target, &origin)?),
            ("NS", [host]) => {
                name(host, &origin)?;
                node.others = true;
            }
            ("SOA", [primary, contact, numbers @ ..]) => {
                name(primary, &origin)?;
                name(contact, &origin)?;
                if numbers.len() != 5 || !numbers.iter().all(|n| is_ttl(&n.text)) {
                    return Err("SOA takes two names and five numbers".into());
                }
                node.others = true;
            }
            ("TIMEOUT", types) => node.fail("time-out", types)?,
            ("SERVFAIL", types) => node.fail("SERVFAIL", types)?,
            (kind, [_, ..])
                if PASSED_OVER.split_ascii_whitespace().any(|t| t == kind) || is_unknown_type(kind) =>
            {
                node.others = true;
            }
            ("A" | "AAAA" | "MX" | "TXT" | "PTR" | "CNAME" | "NS" | "SOA", _) => {
                return Err(format!("{kind} with {} values", data.len()));
            }
            _ => return Err(format!("`{kind}` is no record type that is known here")),
        }
        Ok(())
    }
}

impl Zone {
    /// The node of a name, made together with the names above it.
    fn at(&mut self, name: String) -> &mut Node {
        if !self.nodes.contains_key(&name) {
            let mut above = name.as_str();
            while let Some((_, parent)) = above.split_once('.') {
                if self.nodes.contains_key(parent) {
                    break;
                }
                self.nodes.insert(parent.to_owned(), Node::default());
                above = parent;
            }
        }
        self.nodes.entry(name).or_default()
    }
}

impl Node {
    fn fail(&mut self, how: &'static str, types: &[Word]) -> Result<(), String> {
        self.how = how;
        if types.is_empty() {
            self.failing = u8::MAX;
        }
        for word in types {
            let kind = match word.text.to_ascii_uppercase().as_str() {
                "A" | "AAAA" => Kind::Address,
                "MX" => Kind::Mx,
                "TXT" => Kind::Txt,
                "PTR" => Kind::Ptr,
                other => return Err(format!("{how} of `{other}`: only A, MX, TXT and PTR are ever asked")),
            };
            self.failing |= kind as u8;
        }
        Ok(())
    }
}

/// `TYPE65280` of RFC 3597.
fn is_unknown_type(kind: &str) -> bool {
    kind.strip_prefix("TYPE").is_some_and(|n| n.parse::<u16>().is_ok())
}

/// A number of seconds, or the common form with units (`1h30m`).
fn is_ttl(text: &str) -> bool {
    let right = |b: u8| b.is_ascii_digit() || b"smhdwSMHDW".contains(&b);
    text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(right)
}

fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no {what}"))
}

/// A name in canonical form, made absolute.
fn name(word: &Word, origin: &str) -> Result<String, String> {
    let text = &word.text;
    if text == "@" {
        return Ok(origin.to_owned());
    }
    if text.contains("\\.") || text.contains("\\046") {
        return Err(format!("`{text}`: a dot inside a label is not supported"));
    }
    let plain = unescaped(text)?;
    let absolute = match plain.strip_suffix('.') {
        Some(bare) => bare.to_owned(),
        None if origin.is_empty() => plain,
        None => format!("{plain}.{origin}"),
    };
    canonical(&absolute)
        .filter(|_| !text.is_empty() && !absolute.ends_with('.'))
        .ok_or_else(|| format!("`{text}` is no domain name: labels have 1 to 63 octets, names up to 253"))
}

/// The strings of one TXT record, as one.
fn joined(words: &[Word]) -> Result<String, String> {
    let mut text = String::new();
    for word in words {
        text.push_str(&unescaped(&word.text)?);
    }
    Ok(text)
}

fn unescaped(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        let escaped = chars.next().ok_or("a backslash with nothing after it")?;
        if !escaped.is_ascii_digit() {
            plain.push(escaped);
            continue;
        }
        let digits: String = std::iter::once(escaped).chain(chars.by_ref().take(2)).collect();
        let octet: u8 = if digits.len() == 3 {
            parsed(&digits, "octet (\\000 to \\255)")?
        } else {
            return Err(format!("`\\{digits}`: three digits are wanted"));
        };
        plain.push(char::from(octet));
    }
    Ok(plain)
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
