//! One tag: its name and the attributes that can hold a link, by their octets (HTML standard, 13.2.5.32 to 40).

use super::entities;
use super::html::Quote;
use memchr::memchr;

/// The attributes that can matter; the order is that of [`Tag::values`].
const NAMES: [&[u8]; 8] =
    [b"href", b"xlink:href", b"action", b"formaction", b"content", b"src", b"http-equiv", b"charset"];
pub(super) const HREF: usize = 0;
pub(super) const XLINK: usize = 1;
pub(super) const ACTION: usize = 2;
pub(super) const FORMACTION: usize = 3;
pub(super) const CONTENT: usize = 4;
pub(super) const SRC: usize = 5;
pub(super) const HTTP_EQUIV: usize = 6;
pub(super) const CHARSET: usize = 7;

pub(super) type Value = (usize, usize, Quote);

#[derive(Default)]
pub(super) struct Tag {
    pub(super) values: [Option<Value>; NAMES.len()],
    pub(super) self_closing: bool,
    /// After `>`; `None` when the page ended first.
    pub(super) end: Option<usize>,
}

/// A tag or attribute name in lower case, NULs left out (some clients do), cut at 16 octets.
pub(super) struct Name([u8; 16], usize);

impl Name {
    pub(super) fn of(text: &[u8]) -> Name {
        let mut name = Name([0; 16], 0);
        for octet in text.iter().filter(|b| **b != 0) {
            if name.1 == name.0.len() {
                return Name([0; 16], 0);
            }
            name.0[name.1] = octet.to_ascii_lowercase();
            name.1 += 1;
        }
        name
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

/// White space of HTML.
pub(super) fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

/// Whether an octet ends a tag's name.
pub(super) fn ends_name(octet: u8) -> bool {
    is_space(octet) || matches!(octet, b'/' | b'>')
}

/// Reads attributes from after the tag's name up to `>`.
pub(super) fn attributes(view: &[u8], from: usize, to: usize) -> Tag {
    let mut tag = Tag::default();
    let view = &view[..to];
    let mut at = from;
    loop {
        while at < to && (is_space(view[at]) || view[at] == b'/') {
            tag.self_closing = view[at] == b'/';
            at += 1;
        }
        if at >= to {
            return tag;
        }
        if view[at] == b'>' {
            tag.end = Some(at + 1);
            return tag;
        }
        tag.self_closing = false;
        // An equals sign in front belongs to the name.
        let name_start = at;
        at += 1;
        while at < to && !ends_name(view[at]) && view[at] != b'=' {
            at += 1;
        }
        let name = name_start..at;
        while at < to && is_space(view[at]) {
            at += 1;
        }
        if view.get(at) != Some(&b'=') {
            continue;
        }
        let Some((value, after)) = value(view, at + 1) else { return tag };
        at = after;
        if let Some(value) = value {
            keep_value(&mut tag, &view[name], value);
        }
    }
}

/// A value from after the equals sign: what it is and where to go on. `None` at the end of the page.
fn value(view: &[u8], from: usize) -> Option<(Option<Value>, usize)> {
    let at = from + view.get(from..)?.iter().position(|b| !is_space(*b))?;
    match view[at] {
        b'>' => Some((None, at)),
        quote @ (b'"' | b'\'') => {
            let end = at + 1 + memchr(quote, &view[at + 1..])?;
            let kind = if quote == b'"' { Quote::Double } else { Quote::Single };
            Some((Some((at + 1, end, kind)), end + 1))
        }
        _ => {
            let end = at + view[at..].iter().position(|b| is_space(*b) || *b == b'>')?;
            Some((Some((at, end, Quote::Bare)), end))
        }
    }
}

fn keep_value(tag: &mut Tag, name: &[u8], value: Value) {
    let name = Name::of(name);
    if let Some(at) = NAMES.iter().position(|n| *n == name.text()) {
        tag.values[at].get_or_insert(value);
    }
}

/// The address in the content of a refresh, by the rules of the HTML standard: where it stands in the value.
pub(super) fn refresh_address(value: &[u8]) -> Option<(usize, usize)> {
    let (text, map) = entities::ascii(value);
    let mut at = text.iter().position(|b| !is_space(*b))?;
    let skip = |at: usize, wanted: fn(u8) -> bool| {
        at + text[at..].iter().position(|b| !wanted(*b)).unwrap_or(text.len() - at)
    };
    let digits = skip(at, |b| b.is_ascii_digit() || b == b'.');
    if digits == at {
        return None;
    }
    let after_digits = skip(digits, is_space);
    at = after_digits;
    if matches!(text.get(at), Some(b';' | b',')) {
        at = skip(at + 1, is_space);
    } else if after_digits == digits {
        return None;
    }
    if text.get(at..at + 3).is_some_and(|t| t.eq_ignore_ascii_case(b"url")) {
        let equals = skip(at + 3, is_space);
        if text.get(equals) == Some(&b'=') {
            at = skip(equals + 1, is_space);
        }
    }
    let mut end = text.len();
    if let Some(quote @ (b'"' | b'\'')) = text.get(at) {
        at += 1;
        end = memchr(*quote, &text[at..]).map_or(end, |n| at + n);
    }
    (at < end).then(|| (map.raw(at), map.raw(end)))
}
