//! What the value of a link means: an address of the web, something to report, or nothing of ours.
//!
//! Read as the URL standard has browsers read it: white space and control characters around it and tabs and
//! line ends inside it do not count, schemes have no case, `//host` takes the scheme of the page (here https),
//! and `http:host` or `https:\\host` still go to the host. An address that needs none of this is given on as it
//! stands, octet for octet.

use super::wrappers;
use tidegate_schemas::link::is_web;
use url::Url;

/// Wrappers inside each other that are taken off.
const MAX_WRAPPERS: usize = 8;

/// Meaning of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// An `http` or `https` address, wrappers taken off.
    Web(String),
    /// A scheme that runs or carries content by itself: code of the evidence.
    Odd(&'static str),
    /// Not navigation to the web: `mailto:`, `tel:`, `cid:`, a fragment, a relative link without base.
    Other,
}

/// Reads a value whose character references are decoded.
pub(super) fn read(value: &str, base: Option<&Url>) -> Reading {
    match bare(value, base) {
        Reading::Web(mut address) => {
            for _ in 0..MAX_WRAPPERS {
                match wrappers::unwrap(&address) {
                    Some(inner) => address = inner,
                    None => break,
                }
            }
            Reading::Web(address)
        }
        other => other,
    }
}

/// Reads a value and leaves wrappers on.
fn bare(value: &str, base: Option<&Url>) -> Reading {
    let trimmed = value.trim_matches(|c| c <= ' ');
    if trimmed.bytes().any(|b| matches!(b, b'\t' | b'\r' | b'\n')) {
        let joined: String = trimmed.chars().filter(|c| !matches!(c, '\t' | '\r' | '\n')).collect();
        return by_scheme(&joined, base);
    }
    by_scheme(trimmed, base)
}

fn by_scheme(value: &str, base: Option<&Url>) -> Reading {
    if value.is_empty() || value.starts_with('#') {
        return Reading::Other;
    }
    let Some((scheme, rest)) = split_scheme(value) else { return relative(value, base) };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" if rest.starts_with("//") => Reading::Web(value.to_owned()),
        "http" | "https" => {
            let joined = base.map_or_else(|| Url::parse(value), |base| base.join(value));
            joined.ok().map(String::from).filter(|u| is_web(u)).map_or(Reading::Other, Reading::Web)
        }
        "javascript" => Reading::Odd("LINK_JAVASCRIPT"),
        "vbscript" => Reading::Odd("LINK_VBSCRIPT"),
        "data" => Reading::Odd("LINK_DATA"),
        "file" => Reading::Odd("LINK_FILE"),
        _ => Reading::Other,
    }
}

fn relative(value: &str, base: Option<&Url>) -> Reading {
    let joined = match base {
        Some(base) => base.join(value).ok().map(String::from),
        None => {
            let mut start = value.bytes();
            let slash = |b: Option<u8>| matches!(b, Some(b'/' | b'\\'));
            (slash(start.next()) && slash(start.next())).then(|| format!("https://{}", &value[2..]))
        }
    };
    joined.filter(|u| is_web(u)).map_or(Reading::Other, Reading::Web)
}

/// `scheme` and what follows its colon (RFC 3986, 3.1).
fn split_scheme(value: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = value.split_once(':')?;
    let right = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    right.then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(value: &str) -> String {
        match read(value, None) {
            Reading::Web(address) => address,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_read_as_browsers_read_them() {
        assert_eq!(web(" \u{1}HtTp://a.test/x y\n"), "HtTp://a.test/x y");
        assert_eq!(web("ht\ntps:/\t/a.test/"), "https://a.test/");
        assert_eq!(web("//a.test/x"), "https://a.test/x");
        assert_eq!(web("/\\a.test/x"), "https://a.test/x");
        assert_eq!(web("https:\\\\a.test\\x"), "https://a.test/x");
        assert_eq!(web("http:a.test"), "http://a.test/");
    }

    #[test]
    fn what_is_no_web_address_is_left_or_reported() {
        for other in
            ["", "#top", "mailto:a@b.test", "tel:1", "cid:x@y", "page.html", "/page", "x-app://y", "http:"]
        {
            assert_eq!(read(other, None), Reading::Other, "{other}");
        }
        assert_eq!(read("java\tscript:alert(1)", None), Reading::Odd("LINK_JAVASCRIPT"));
        assert_eq!(read("DATA:text/html,x", None), Reading::Odd("LINK_DATA"));
        assert_eq!(read(" vbscript:x", None), Reading::Odd("LINK_VBSCRIPT"));
    }

    #[test]
    fn a_base_makes_relative_links_whole_but_not_fragments() {
        let base = Url::parse("http://a.test/b/c").unwrap();
        let with = |value: &str| read(value, Some(&base));
        assert_eq!(with("d?e"), Reading::Web("http://a.test/b/d?e".into()));
        assert_eq!(with("//x.test/"), Reading::Web("http://x.test/".into()));
        assert_eq!(with("#top"), Reading::Other);
        assert_eq!(with("mailto:a@b.test"), Reading::Other);
    }
}
