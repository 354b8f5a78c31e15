//! Values of the MIME header fields: Content-Type with its parameters (RFC 2045, RFC 2231) and
//! Content-Transfer-Encoding, read as forgivingly as mail clients do.
//!
//! Invariant: nothing here fails; what cannot be read is absent. Boundaries are compared as octets, so
//! parameter values stay octets.

/// Parameters read of one field; more are padding of an attack.
const MAX_PARAMETERS: usize = 64;

/// A Content-Type field.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ContentType {
    /// `type/subtype` in lower case, empty when there is none.
    pub(super) kind: String,
    parameters: Vec<(String, Vec<u8>)>,
}

impl ContentType {
    /// Reads a field's value, folded or not.
    pub(super) fn read(value: &[u8]) -> ContentType {
        let value = without_comments(value);
        let (kind, rest) = kind_of(&value);
        ContentType { kind, parameters: parameters_of(rest) }
    }

    /// A parameter by its lower-case name: plain, or put together from the pieces of RFC 2231.
    pub(super) fn parameter(&self, name: &str) -> Option<Vec<u8>> {
        if let Some((_, value)) = self.parameters.iter().find(|(n, _)| n == name) {
            return Some(value.clone());
        }
        let mut pieces: Vec<(u32, bool, &[u8])> = Vec::new();
        for (full, value) in &self.parameters {
            let Some(tail) = full.strip_prefix(name).and_then(|t| t.strip_prefix('*')) else { continue };
            let (number, coded) = match tail.strip_suffix('*') {
                Some(number) => (number, true),
                None => (tail, tail.is_empty()),
            };
            pieces.push((number.parse().unwrap_or(0), coded, value));
        }
        pieces.sort_by_key(|(number, ..)| *number);
        let mut whole = Vec::new();
        for (index, (_, coded, value)) in pieces.iter().enumerate() {
            match (coded, index) {
                (true, 0) => whole.extend(percent(after_language(value))),
                (true, _) => whole.extend(percent(value)),
                (false, _) => whole.extend_from_slice(value),
            }
        }
        (!pieces.is_empty()).then_some(whole)
    }

    /// A parameter as lower-case text.
    pub(super) fn word(&self, name: &str) -> Option<String> {
        let value = self.parameter(name)?;
        Some(String::from_utf8_lossy(&value).trim().to_ascii_lowercase())
    }
}

/// The first word of a field's value in lower case, comments skipped: `quoted-printable` and the like.
pub(super) fn first_word(value: &[u8]) -> String {
    let value = without_comments(value);
    let text = String::from_utf8_lossy(&value).to_ascii_lowercase();
    let word = text.split(|c: char| c.is_whitespace() || c == ';').find(|w| !w.is_empty());
    word.unwrap_or_default().trim_matches('"').to_owned()
}

/// Unfolds, and takes out `(comments)` that stand outside quoted strings.
fn without_comments(value: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(value.len());
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for &octet in value {
        if matches!(octet, b'\r' | b'\n') {
            continue;
        }
        let literal = std::mem::replace(&mut escaped, false);
        match octet {
            b'\\' if !literal && (quoted || depth > 0) => escaped = true,
            b'"' if !literal && depth == 0 => quoted = !quoted,
            b'(' if !literal && !quoted => {
                depth += 1;
                continue;
            }
            b')' if !literal && depth > 0 => {
                depth -= 1;
                clean.push(b' ');
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            clean.push(octet);
        }
    }
    clean
}

fn kind_of(value: &[u8]) -> (String, &[u8]) {
    let value = value.trim_ascii_start();
    let end = value.iter().position(|b| matches!(b, b';' | b'"')).unwrap_or(value.len());
    let (head, rest) = value.split_at(end);
    let Some(slash) = head.iter().position(|b| *b == b'/') else {
        return (String::from_utf8_lossy(head.trim_ascii()).to_ascii_lowercase(), rest);
    };
    let major = head[..slash].trim_ascii();
    let after = &head[slash + 1..];
    let padding = after.len() - after.trim_ascii_start().len();
    let minor = after[padding..].iter().position(u8::is_ascii_whitespace).unwrap_or(after.len() - padding);
    let kind = format!(
        "{}/{}",
        String::from_utf8_lossy(major),
        String::from_utf8_lossy(&after[padding..padding + minor])
    );
    (kind.to_ascii_lowercase(), &value[slash + 1 + padding + minor..])
}

fn parameters_of(mut rest: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    while found.len() < MAX_PARAMETERS {
        let start = rest.iter().position(|b| !b.is_ascii_whitespace() && *b != b';');
        let Some(start) = start else { break };
        rest = &rest[start..];
        let stop = rest.iter().position(|b| matches!(b, b'=' | b';')).unwrap_or(rest.len());
        let name = rest[..stop].trim_ascii();
        if rest.get(stop) != Some(&b'=') {
            rest = &rest[stop..];
            continue;
        }
        // Where a semicolon is missing, the words before are junk and the last one is the name.
        let name = name.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let (value, after) = value_of(rest[stop + 1..].trim_ascii_start());
        found.push((name, value));
        rest = after;
    }
    found
}

fn value_of(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(inside) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|b| b.is_ascii_whitespace() || *b == b';').unwrap_or(text.len());
        return (text[..end].to_vec(), &text[end..]);
    };
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(&octet) = inside.get(at) {
        at += 1;
        match octet {
            b'"' => break,
            b'\\' if at < inside.len() => {
                value.push(inside[at]);
                at += 1;
            }
            _ => value.push(octet),
        }
    }
    (value, &inside[at..])
}

/// What follows `charset'language'` in the first coded piece (RFC 2231, section 4).
fn after_language(value: &[u8]) -> &[u8] {
    let mut quotes = value.iter().enumerate().filter(|(_, b)| **b == b'\'').map(|(at, _)| at);
    match (quotes.next(), quotes.next()) {
        (Some(_), Some(second)) => &value[second + 1..],
        _ => value,
    }
}

/// Undoes percent-encoding; a `%` without two hex digits stands for itself.
pub(super) fn percent(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&octet) = text.get(at) {
        let pair =
            (text.get(at + 1).and_then(|b| hex_digit(*b)), text.get(at + 2).and_then(|b| hex_digit(*b)));
        if let (b'%', (Some(high), Some(low))) = (octet, pair) {
            plain.push(high << 4 | low);
            at += 3;
        } else {
            plain.push(octet);
            at += 1;
        }
    }
    plain
}

/// The value of a hexadecimal digit, either case.
pub(super) fn hex_digit(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> ContentType {
        ContentType::read(value.as_bytes())
    }

    #[test]
    fn a_boundary_is_read_quoted_bare_folded_and_in_pieces() {
        assert_eq!(read("multipart/mixed; boundary=\"a b=\"").parameter("boundary").unwrap(), b"a b=");
        assert_eq!(read("multipart/mixed;\r\n\tboundary=abc=").parameter("boundary").unwrap(), b"abc=");
        let pieces = read("multipart/mixed; boundary*1*=%3D; boundary*0=\"x;y\"");
        assert_eq!(pieces.parameter("boundary").unwrap(), b"x;y=");
        assert_eq!(read("multipart/mixed; boundary=\"open").parameter("boundary").unwrap(), b"open");
    }

    #[test]
    fn comments_and_case_and_missing_semicolons_are_borne() {
        let value = read("Text / HTML (made by (x)) charset=\"UTF-8\" format=flowed");
        assert_eq!(value.kind, "text/html");
        assert_eq!(value.word("charset").unwrap(), "utf-8");
        assert_eq!(value.word("format").unwrap(), "flowed");
        assert_eq!(read("text/html; charset*=us-ascii'en'utf%2D8").word("charset").unwrap(), "utf-8");
    }

    #[test]
    fn a_parenthesis_in_a_quoted_boundary_is_no_comment() {
        assert_eq!(read("multipart/mixed; boundary=\"(a)\"").parameter("boundary").unwrap(), b"(a)");
        assert_eq!(first_word(b" (x) Quoted-Printable (y)"), "quoted-printable");
    }
}
