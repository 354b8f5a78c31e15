//! The address behind a link: how it is opened, what lists are asked about it, and how people see it.
//!
//! Invariants: a target is `http` or `https`; its `Location` octets are visible ASCII only; and whoever reads
//! those octets (browser or strict RFC 3986 reader) finds the same host that was judged. An address whose
//! plain reading would differ (backslashes, white space, letters beyond ASCII, numbers in odd bases) is given
//! out in the canonical form that browsers compute from it; any other exactly as it stood in the mail.

use super::look_alike;
use tidegate_schemas::link::is_web;
use url::{Host, Url};
use warp::http::HeaderValue;

/// Characters of path and query that a page shows at most.
const SHOWN: usize = 600;

/// A target, judged by its host.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// What `Location` says.
    pub(super) location: HeaderValue,
    /// Host in lower case A-label form, without a trailing dot; IPv6 in brackets.
    pub(super) host: String,
    /// Registered domain, or the host where there is none (addresses, single labels).
    pub(super) domain: String,
    url: Url,
}

impl Target {
    /// Reads an address from a token; `None` for anything that a browser would not open as http or https.
    pub(super) fn read(text: &str) -> Option<Target> {
        if !is_web(text) {
            return None;
        }
        let url = Url::parse(text).ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() {
            return None;
        }
        let exact = is_plain(text) && plain_host(text).is_some_and(|h| h.eq_ignore_ascii_case(&host));
        let location = HeaderValue::from_str(if exact { text } else { url.as_str() }).ok()?;
        let domain = match url.host() {
            Some(Host::Domain(_)) => psl::domain_str(&host).unwrap_or(&host).to_owned(),
            _ => host.clone(),
        };
        Some(Target { location, host, domain, url })
    }

    /// What lists are asked: the host, and the host and each parent with a dot before it.
    pub(super) fn list_values(&self) -> Vec<String> {
        let mut values = vec![self.host.clone()];
        if self.is_number() {
            return values;
        }
        let mut rest = self.host.as_str();
        loop {
            values.push(format!(".{rest}"));
            match rest.split_once('.') {
                Some((_, parent)) if !parent.is_empty() => rest = parent,
                _ => return values,
            }
        }
    }

    /// Names that feeds are asked about, from the host up to the registered domain.
    pub(super) fn feed_names(&self) -> Vec<&str> {
        let mut names = vec![self.host.as_str()];
        let mut rest = self.host.as_str();
        while rest.len() > self.domain.len() {
            let Some((_, parent)) = rest.split_once('.') else { break };
            names.push(parent);
            rest = parent;
        }
        names
    }

    /// Whether the host is an IP address.
    pub(super) fn is_number(&self) -> bool {
        !matches!(self.url.host(), Some(Host::Domain(_)))
    }

    /// Whether the connection to it is not encrypted.
    pub(super) fn is_plain_http(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// Whether a name stands before an `@`, where people take it for the host.
    pub(super) fn has_login(&self) -> bool {
        !self.url.username().is_empty() || self.url.password().is_some()
    }

    /// How people see it.
    pub(super) fn shown(&self) -> Shown {
        let lead = self.host.strip_suffix(self.domain.as_str()).unwrap_or_default();
        let host = look_alike::read(&self.host);
        let port = self.url.port().map(|p| format!(":{p}")).unwrap_or_default();
        let name = format!("{}{port}", look_alike::read(&self.domain).unicode);
        let after = &self.url[url::Position::BeforePath..];
        Shown {
            lead: short(&look_alike::read(lead).unicode),
            button: if host.warning.is_some() { format!("{}{port}", self.domain) } else { name.clone() },
            name,
            plain: (host.unicode != self.host).then(|| self.host.clone()),
            warning: host.warning,
            path: if after == "/" { String::new() } else { readable(after) },
            exact: self.location.to_str().unwrap_or_default().to_owned(),
        }
    }
}

/// The parts of an address as a page shows them; nothing in them is escaped for HTML yet.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Shown {
    /// Host before the registered domain, with its dot; shortened in the middle when it is long.
    pub(super) lead: String,
    /// Registered domain and port.
    pub(super) name: String,
    /// What the button calls it: the name, or its plain form where the name may deceive.
    pub(super) button: String,
    /// The host's A-label form, where that differs.
    pub(super) plain: Option<String>,
    /// Why the name may be taken for another.
    pub(super) warning: Option<String>,
    /// Path, query and fragment; empty for the site's start page.
    pub(super) path: String,
    /// The address to the octet, as it would be opened.
    pub(super) exact: String,
}

/// Only characters that RFC 3986 knows.
fn is_plain(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    text.bytes().all(known)
}

/// The host as a strict reader of RFC 3986 finds it.
fn plain_host(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    Some(host.get(..end)?.trim_end_matches('.'))
}

/// Path and query with letters beyond ASCII decoded; everything that could deceive the eye stays encoded.
fn readable(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let decoded = (first == b'%').then(|| after.get(..2)).flatten().and_then(high_octet);
        match decoded {
            Some(octet) => {
                octets.push(octet);
                rest = after.get(2..).unwrap_or_default();
            }
            None => octets.push(first),
        }
    }
    let mut out = String::new();
    for chunk in octets.utf8_chunks() {
        for c in chunk.valid().chars() {
            if look_alike::is_invisible(c) {
                let mut buffer = [0; 4];
                c.encode_utf8(&mut buffer).bytes().for_each(|b| out.push_str(&format!("%{b:02X}")));
            } else {
                out.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("%{b:02X}")));
    }
    match out.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", &out[..end]),
        None => out,
    }
}

/// What stands before the registered domain must not push that off a phone's screen.
fn short(lead: &str) -> String {
    let letters: Vec<char> = lead.chars().collect();
    if letters.len() <= 40 {
        return lead.to_owned();
    }
    let (front, back) = (letters.iter().take(16), letters.iter().skip(letters.len() - 16));
    front.chain(&['…']).chain(back).collect()
}

/// Two hex digits that stand for an octet above ASCII.
fn high_octet(digits: &[u8]) -> Option<u8> {
    let octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (octet >= 0x80).then_some(octet)
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
