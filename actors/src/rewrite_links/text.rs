//! Finds addresses in plain text, as mail clients make them clickable: `http://`, `https://` and `www.`, with
//! or without angle brackets, closing punctuation left outside.
//!
//! With `delsp=yes` (RFC 3676, 4.2) a space and line end inside an address are no part of it.

use super::html::{Quote, Span};
use memchr::{memchr_iter, memchr2_iter};

/// Scans a view. With `utf8` letters of alphabets beyond ASCII belong to an address; ideographs and anything
/// else end it, for they are written without spaces.
pub(super) fn scan(view: &[u8], utf8: bool, delsp: bool) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut done = 0;
    for hit in memchr2_iter(b':', b'.', view) {
        if hit < done {
            continue;
        }
        let Some((start, least)) = begins(view, hit) else { continue };
        if start < done || !stands_free(view, start) {
            continue;
        }
        let far = address_end(view, least, utf8, delsp);
        let end = without_closing(view, least, far, delsp);
        done = far.max(hit + 1);
        if end > least {
            spans.push(Span { start, end, quote: Quote::Text, inner: None });
        }
    }
    spans
}

/// Where an address with its colon or first dot at `hit` begins, and after what it needs at least one letter.
fn begins(view: &[u8], hit: usize) -> Option<(usize, usize)> {
    let before = |name: &[u8]| {
        let start = hit.checked_sub(name.len())?;
        view[start..hit].eq_ignore_ascii_case(name).then_some(start)
    };
    if view[hit] == b'.' {
        return before(b"www").map(|start| (start, hit + 1));
    }
    if !view[hit + 1..].starts_with(b"//") {
        return None;
    }
    before(b"https").or_else(|| before(b"http")).map(|start| (start, hit + 3))
}

fn stands_free(view: &[u8], start: usize) -> bool {
    match start.checked_sub(1).map(|at| view[at]) {
        None => true,
        Some(before) => !(before.is_ascii_alphanumeric() || b"@/.-_%".contains(&before)),
    }
}

fn address_end(view: &[u8], from: usize, utf8: bool, delsp: bool) -> usize {
    let mut at = from;
    while let Some(&octet) = view.get(at) {
        match octet {
            b' ' if delsp => match flowed_break(&view[at..]) {
                Some(length) => at += length,
                None => return at,
            },
            b'<' | b'>' | b'"' | b'`' | b'{' | b'}' | b'|' | b'\\' | b'^' | 0x7f => return at,
            0x21..=0x7e => at += 1,
            0x80.. if utf8 => match letter(&view[at..]) {
                Some(length) => at += length,
                None => return at,
            },
            _ => return at,
        }
    }
    at
}

/// Length of a space and line end that an address goes on after.
fn flowed_break(text: &[u8]) -> Option<usize> {
    let length = if text.starts_with(b" \r\n") {
        3
    } else if text.starts_with(b" \n") {
        2
    } else {
        return None;
    };
    text.get(length).is_some_and(|b| b.is_ascii_graphic() && !matches!(b, b'>' | b'<')).then_some(length)
}

/// Length of a letter below U+0600 (Latin, Greek, Cyrillic, Hebrew: two octets of UTF-8).
fn letter(text: &[u8]) -> Option<usize> {
    let pair = std::str::from_utf8(text.get(..2)?).ok()?;
    let letter = pair.chars().next()?;
    (letter.is_alphabetic() && letter < '\u{600}').then_some(2)
}

/// Takes closing punctuation off the end; brackets only where they close more than the address opens.
fn without_closing(view: &[u8], start: usize, mut end: usize, delsp: bool) -> usize {
    let open = |sign: u8| memchr_iter(sign, &view[start..end]).count();
    let mut round = open(b')').saturating_sub(open(b'('));
    let mut square = open(b']').saturating_sub(open(b'['));
    while end > start {
        match view[end - 1] {
            b'.' | b',' | b';' | b':' | b'!' | b'?' | b'\'' | b'*' => {}
            b')' if round > 0 => round -= 1,
            b']' if square > 0 => square -= 1,
            b' ' | b'\r' | b'\n' if delsp => {}
            _ => break,
        }
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, delsp: bool) -> Vec<&str> {
        scan(text.as_bytes(), true, delsp).into_iter().map(|s| &text[s.start..s.end]).collect()
    }

    #[test]
    fn punctuation_and_brackets_stay_outside() {
        assert_eq!(
            found("See http://a.test/x, or <https://b.test/>.", false),
            ["http://a.test/x", "https://b.test/"]
        );
        assert_eq!(
            found("(http://a.test/x_(y)) [http://b.test]", false),
            ["http://a.test/x_(y)", "http://b.test"]
        );
        assert_eq!(found("www.a.test! WWW.b.test?", false), ["www.a.test", "WWW.b.test"]);
        assert_eq!(found("<URL:http://a.test/>", false), ["http://a.test/"]);
    }

    #[test]
    fn what_only_looks_like_an_address_is_left() {
        for text in
            ["http://", "xhttp://a.test", "a@www.b.test", "www.", "http:/a.test", "mailto:a@b.test", "12:30"]
        {
            assert_eq!(found(text, false), [""; 0], "{text}");
        }
    }

    #[test]
    fn letters_belong_to_an_address_and_ideographs_do_not() {
        assert_eq!(found("http://a.test/sch\u{f6}n weiter", false), ["http://a.test/sch\u{f6}n"]);
        assert_eq!(found("http://a.test/x\u{3092}\u{898b}", false), ["http://a.test/x"]);
    }

    #[test]
    fn an_address_goes_on_after_a_deleted_space() {
        assert_eq!(found("http://a.test/ab \r\ncd e", true), ["http://a.test/ab \r\ncd"]);
        assert_eq!(found("http://a.test/ab \r\ncd e", false), ["http://a.test/ab"]);
        assert_eq!(found("> http://a.test/ab \r\n> cd", true), ["http://a.test/ab"]);
    }
}
