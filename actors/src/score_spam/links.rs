//! Links as a client would open them: address, host, registered domain, and the text a reader sees.
//!
//! Nothing here fetches anything. Addresses are read by the URL standard, as browsers do, so that tricks with
//! case, entities, tabs or backslashes are seen for what they open.

use memchr::memmem;
use std::net::IpAddr;
use url::{Host, Url};

/// Links kept of one message.
pub(crate) const MAX_LINKS: usize = 300;
/// Octets of an address that are looked at.
const MAX_ADDRESS: usize = 4_096;

/// What made the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `a` or `area`: opened by a click.
    Anchor,
    /// Target of a form.
    Form,
    /// `img` or background: loaded by clients.
    Image,
    /// `iframe`, `object`, `embed`, `meta refresh`.
    Frame,
    /// An address written in text.
    Text,
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Target {
    /// Scheme in lower case.
    pub(crate) scheme: String,
    /// Host, lower case A-labels; empty for `mailto:` and the like.
    pub(crate) host: String,
    /// Registered domain by the public suffix list; the host itself when it has none.
    pub(crate) domain: String,
    /// The host is an IP address.
    pub(crate) ip: bool,
    /// A port other than the scheme's own.
    pub(crate) port: Option<u16>,
    /// There is a user name or password before the host.
    pub(crate) userinfo: bool,
    /// Path and query.
    pub(crate) path: String,
}

/// One link of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) kind: Kind,
    /// The address as it stands, entities decoded.
    pub(crate) url: String,
    /// Text of the link as a reader sees it, at most 200 octets or so.
    pub(crate) text: String,
    /// Where it leads; `None` for relative and unreadable ones.
    pub(crate) target: Option<Target>,
}

impl Link {
    pub(crate) fn new(kind: Kind, url: &str, base: Option<&Url>) -> Link {
        let short = cut(url.trim(), MAX_ADDRESS);
        Link { kind, url: short.to_owned(), text: String::new(), target: resolve(short, base) }
    }

    /// Opened by a person: a click or a typed form, on a web address.
    pub(crate) fn is_opened(&self) -> bool {
        self.kind != Kind::Image
    }

    /// Host of an http or https link.
    pub(crate) fn web(&self) -> Option<&Target> {
        self.target.as_ref().filter(|t| matches!(t.scheme.as_str(), "http" | "https"))
    }
}

/// A text cut at a character's end to at most so many octets.
pub(crate) fn cut(text: &str, octets: usize) -> &str {
    let mut end = octets.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn resolve(address: &str, base: Option<&Url>) -> Option<Target> {
    let url = match base {
        Some(base) => base.join(address).ok()?,
        None => Url::parse(address).ok()?,
    };
    let ip = matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let domain = if ip { host.clone() } else { registered(&host).to_owned() };
    let userinfo = !url.username().is_empty() || url.password().is_some();
    let path = if url.host().is_some() {
        cut(&url[url::Position::BeforePath..], 512).to_owned()
    } else {
        String::new()
    };
    Some(Target { scheme: url.scheme().to_owned(), host, domain, ip, port: url.port(), userinfo, path })
}

/// The registered domain of a host (lower case), or the host itself when there is none.
pub(crate) fn registered(host: &str) -> &str {
    psl::domain_str(host).unwrap_or(host)
}

/// The host that a text shows, when the text as a whole reads as a web address: `https://example.org/x`,
/// `www.example.org`, `example.org`. In lower case A-labels.
pub(crate) fn shown_host(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches(['.', ',', ')', '>', '/', '…']).trim_start_matches(['<', '(']);
    if text.is_empty() || text.len() > 512 || text.contains(char::is_whitespace) {
        return None;
    }
    let after = text.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    let rest = match &after {
        Some((scheme, rest)) if scheme == "http" || scheme == "https" => rest,
        Some(_) => return None,
        None if text.contains('@') => return None,
        None => text,
    };
    let host = rest.split(['/', '?', '#', ':', '\\']).next()?.rsplit('@').next()?;
    if host.parse::<IpAddr>().is_ok() {
        return after.is_some().then(|| host.to_owned());
    }
    let ascii = idna::domain_to_ascii(host).ok()?;
    let suffix = psl::suffix(ascii.as_bytes())?;
    let whole = ascii.split('.').all(|label| !label.is_empty());
    let known = whole && suffix.is_known() && psl::domain_str(&ascii).is_some() && ascii.contains('.');
    // "report.zip" and "read.me" are names of files or words at least as often as sites.
    let doubtful = after.is_none() && !rest.contains('/') && is_file_like(&ascii);
    (known && !doubtful).then_some(ascii)
}

fn is_file_like(host: &str) -> bool {
    const BOTH: &[&str] =
        &["zip", "mov", "py", "pl", "sh", "rs", "cc", "md", "ps", "js", "me", "so", "in", "it"];
    let mut labels = host.rsplit('.');
    let last = labels.next().unwrap_or_default();
    labels.count() == 1 && BOTH.contains(&last)
}

/// Finds web addresses written in text: gives the text between them and each address, in order.
pub(crate) fn split_text<'a>(text: &'a str, mut piece: impl FnMut(&'a str, Option<&'a str>)) {
    let mut from = 0;
    let mut at = 0;
    while let Some(found) = text.as_bytes().get(at..).and_then(|rest| memmem::find(rest, b"://")) {
        let colon = at + found;
        at = colon + 3;
        let head = text.get(from..colon).unwrap_or_default();
        let Some(scheme) = ["https", "http", "ftp"].iter().find(|s| ends_with_scheme(head, s)) else {
            continue;
        };
        let start = colon - scheme.len();
        let rest = text.get(start..).unwrap_or_default();
        let stop = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | '`' | '|');
        let whole = rest.get(..rest.find(stop).unwrap_or(rest.len())).unwrap_or_default();
        let address = whole.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', ')', ']', '}', '*']);
        if address.len() <= scheme.len() + 3 {
            continue;
        }
        piece(text.get(from..start).unwrap_or_default(), Some(address));
        from = start + address.len();
        at = from;
    }
    piece(text.get(from..).unwrap_or_default(), None);
}

fn ends_with_scheme(head: &str, scheme: &str) -> bool {
    let bytes = head.as_bytes();
    let Some(start) = bytes.len().checked_sub(scheme.len()) else { return false };
    bytes.get(start..).is_some_and(|tail| tail.eq_ignore_ascii_case(scheme.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_tells_host_domain_port_and_userinfo() {
        let link = Link::new(Kind::Anchor, " HTTPS://user@WWW.Example.co.uk:8443/a?b ", None);
        let target = link.web().unwrap();
        assert_eq!((target.host.as_str(), target.domain.as_str()), ("www.example.co.uk", "example.co.uk"));
        assert_eq!((target.port, target.userinfo, target.ip), (Some(8443), true, false));
        assert_eq!(target.path, "/a?b");
    }

    #[test]
    fn odd_ways_of_writing_an_ip_address_are_seen() {
        for url in ["http://3232235777/", "http://0xC0.0xA8.1.1/", "http:\\\\192.168.1.1\\x"] {
            let link = Link::new(Kind::Anchor, url, None);
            assert_eq!(link.web().map(|t| (t.host.as_str(), t.ip)), Some(("192.168.1.1", true)), "{url}");
        }
    }

    #[test]
    fn relative_links_follow_the_base() {
        let base = Url::parse("https://a.test/x/").ok();
        assert_eq!(Link::new(Kind::Anchor, "../y", base.as_ref()).web().unwrap().path, "/y");
        assert!(Link::new(Kind::Anchor, "../y", None).target.is_none());
    }

    #[test]
    fn a_text_shows_a_host_only_when_it_is_an_address_as_a_whole() {
        for (text, host) in [
            ("https://Example.org/path", Some("example.org")),
            ("www.example.org", Some("www.example.org")),
            ("example.org", Some("example.org")),
            ("bücher.example.de", Some("xn--bcher-kva.example.de")),
            ("read example.org", None),
            ("me@example.org", None),
            ("report.zip", None),
            ("Node.js", None),
            ("Sale...now", None),
            ("3.14", None),
        ] {
            assert_eq!(shown_host(text).as_deref(), host, "{text}");
        }
    }

    #[test]
    fn addresses_in_text_are_found_without_the_full_stop_after_them() {
        let mut seen = Vec::new();
        split_text("See http://a.test/x. Or (https://b.test/)! x://", |text, url| seen.push((text, url)));
        let want =
            [("See ", Some("http://a.test/x")), (". Or (", Some("https://b.test/")), (")! x://", None)];
        assert_eq!(seen, want);
    }
}
