//! Paths of MAIL and RCPT (RFC 5321, 4.1.2; RFC 6531).

/// A mailbox as it was written, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    /// Local part as written; quotes taken away where they are not needed.
    pub local: String,
    /// Domain in lower case, A-labels; `[...]` for an address literal.
    pub domain: String,
}

impl Mailbox {
    /// `local@domain`.
    pub(super) fn address(&self) -> String {
        format!("{}@{}", self.local, self.domain)
    }

    /// Whether a server further on could read another destination into the local part: percent hack, bang
    /// path, or a second `@`. Such recipients are refused: whoever accepts them becomes somebody's relay.
    pub(super) fn hides_a_route(&self) -> bool {
        self.local.contains(['%', '!', '@'])
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathError {
    /// Not of the grammar: 501 5.1.3 (recipient) or 5.1.7 (sender).
    Syntax,
    /// Octets above 127 without SMTPUTF8: 550 5.6.7.
    NeedsUtf8,
}

/// The path at the start of `text`, and what follows it. `None` is the null path `<>`.
pub(super) fn path(text: &str, utf8: bool) -> Result<(Option<Mailbox>, &str), PathError> {
    let inner = text.strip_prefix('<').ok_or(PathError::Syntax)?;
    if let Some(rest) = inner.strip_prefix('>') {
        return Ok((None, rest));
    }
    let end = closing(inner).ok_or(PathError::Syntax)?;
    let (path, rest) = (&inner[..end], &inner[end + 1..]);
    if path.len() > 256 {
        return Err(PathError::Syntax);
    }
    if !utf8 && !path.is_ascii() {
        return Err(PathError::NeedsUtf8);
    }
    // A source route is accepted and stripped (RFC 5321, appendix C).
    let bare = match path.strip_prefix('@') {
        Some(route) => route.split_once(':').ok_or(PathError::Syntax)?.1,
        None => path,
    };
    if bare.eq_ignore_ascii_case("postmaster") {
        return Ok((Some(Mailbox { local: "postmaster".into(), domain: String::new() }), rest));
    }
    Ok((Some(mailbox(bare)?), rest))
}

/// The `>` that ends a path; quotes hide others.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn mailbox(text: &str) -> Result<Mailbox, PathError> {
    let (local, domain) = if let Some(quoted) = text.strip_prefix('"') {
        let (local, rest) = unquoted(quoted).ok_or(PathError::Syntax)?;
        (local, rest.strip_prefix('@').ok_or(PathError::Syntax)?)
    } else {
        let (local, domain) = text.split_once('@').ok_or(PathError::Syntax)?;
        if !is_dot_string(local) {
            return Err(PathError::Syntax);
        }
        (local.to_owned(), domain)
    };
    if local.is_empty() || local.len() > 64 {
        return Err(PathError::Syntax);
    }
    Ok(Mailbox { local: spelled(local), domain: domain_of(domain)? })
}

/// Contents of a quoted string and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => out.push(chars.next().map(|(_, c)| c).filter(|c| !c.is_control())?),
            c if c.is_control() => return None,
            c => out.push(c),
        }
    }
    None
}

/// The local part with quotes only where the grammar needs them.
fn spelled(local: String) -> String {
    if is_dot_string(&local) {
        return local;
    }
    format!("\"{}\"", local.replace('\\', "\\\\").replace('"', "\\\""))
}

fn is_dot_string(text: &str) -> bool {
    let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    !text.is_empty() && text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext))
}

fn domain_of(text: &str) -> Result<String, PathError> {
    if let Some(literal) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let six = literal.get(..5).filter(|p| p.eq_ignore_ascii_case("IPv6:")).map(|_| &literal[5..]);
        let fine = match six {
            Some(six) => six.parse::<std::net::Ipv6Addr>().is_ok(),
            None => literal.parse::<std::net::Ipv4Addr>().is_ok(),
        };
        return if fine { Ok(text.to_ascii_lowercase()) } else { Err(PathError::Syntax) };
    }
    let ascii = idna::domain_to_ascii(text).map_err(|_| PathError::Syntax)?;
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-');
    let octets = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let fine = ascii.len() <= 253 && ascii.bytes().all(octets) && ascii.split('.').all(label);
    if fine { Ok(ascii) } else { Err(PathError::Syntax) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, PathError> {
        path(text, false).map(|(mailbox, _)| mailbox.map_or(String::new(), |m| m.address()))
    }

    #[test]
    fn paths_of_the_grammar_are_read_and_normalised() {
        assert_eq!(read("<>").unwrap(), "");
        assert_eq!(read("<a.b+c@Example.TEST> SIZE=1").unwrap(), "a.b+c@example.test");
        assert_eq!(read("<@relay.test,@x.test:a@b.test>").unwrap(), "a@b.test");
        assert_eq!(read("<\"a b\"@x.test>").unwrap(), "\"a b\"@x.test");
        assert_eq!(read("<\"plain\"@x.test>").unwrap(), "plain@x.test");
        assert_eq!(read("<a@[192.0.2.1]>").unwrap(), "a@[192.0.2.1]");
        assert_eq!(read("<a@[IPv6:2001:db8::1]>").unwrap(), "a@[ipv6:2001:db8::1]");
        assert_eq!(path("<ü@bücher.test>", true).unwrap().0.unwrap().domain, "xn--bcher-kva.test");
        assert_eq!(path("<\"a>b\"@x.test> BODY=7BIT", false).unwrap().1, " BODY=7BIT");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "a@b.test",
            "<a@b.test",
            "<@b.test>",
            "<a@>",
            "<a b@c.test>",
            "<a..b@c.test>",
            "<a@b..test>",
            "<a@b@c.test>",
            "<a@-b.test>",
            "<a@[300.1.1.1]>",
            "<\"a@b.test>",
            "<a@b.test.>",
            "<a@b c>",
            "<.a@b.test>",
        ] {
            assert_eq!(read(text), Err(PathError::Syntax), "{text}");
        }
        assert_eq!(read("<ü@b.test>"), Err(PathError::NeedsUtf8));
    }

    #[test]
    fn hidden_routes_are_seen() {
        for text in ["<a%c.test@b.test>", "<c.test!a@b.test>", "<\"a@c.test\"@b.test>"] {
            assert!(path(text, false).unwrap().0.unwrap().hides_a_route(), "{text}");
        }
    }
}
