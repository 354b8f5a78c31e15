//! Quoted-printable (RFC 2045, 6.7): only lines that hold a replaced stretch are broken anew, and every encoded
//! character outside the stretch is kept as it was written.

use super::fields::hex_digit;
use super::transfer::{Change, Decoded, Mark, line_end};
use memchr::memchr;

/// Columns of a line before the `=` of a soft break.
const COLUMNS: usize = 75;

/// The encoded text of decoded stretches, without soft breaks. Asked for in ascending order it passes over the
/// body once, however long its lines are.
pub(super) struct Written<'a> {
    body: &'a [u8],
    decoded: &'a Decoded,
    at: Mark,
}

impl<'a> Written<'a> {
    /// At the start of a body.
    pub(super) fn new(body: &'a [u8], decoded: &'a Decoded) -> Written<'a> {
        Written { body, decoded, at: Mark { raw: 0, plain: 0 } }
    }

    /// The encoded text of a stretch.
    pub(super) fn stretch(&mut self, start: usize, end: usize) -> Vec<u8> {
        let line = self.decoded.mark_at(start);
        if line.raw > self.at.raw || self.at.plain > start {
            self.at = line;
        }
        self.pass(start, None);
        let mut text = Vec::with_capacity(end - start + 16);
        self.pass(end, Some(&mut text));
        text
    }

    fn pass(&mut self, end: usize, mut text: Option<&mut Vec<u8>>) {
        while self.at.raw < self.body.len() && self.at.plain < end {
            let here = self.at.raw;
            let next = self.body.len().min(here + end - self.at.plain);
            let literal = literal_length(&self.body[here..next]);
            let (raw, plain) = if literal > 0 {
                (literal, literal)
            } else {
                let unit = unit(self.body, here);
                (unit.raw, unit.plain)
            };
            if let Some(text) = text.as_mut().filter(|_| plain > 0) {
                text.extend_from_slice(&self.body[here..here + raw]);
            }
            self.at = Mark { raw: here + raw, plain: self.at.plain + plain };
        }
    }
}

/// One encoded character of quoted-printable text, a line end, or a soft break (`plain` is 0).
struct Unit {
    raw: usize,
    plain: usize,
    ends_line: bool,
}

fn unit(body: &[u8], at: usize) -> Unit {
    let rest = &body[at..];
    match rest {
        [b'=', high, low, ..] if hex_digit(*high).is_some() && hex_digit(*low).is_some() => {
            Unit { raw: 3, plain: 1, ends_line: false }
        }
        [b'=', ..] => soft_break(rest).map_or(Unit { raw: 1, plain: 1, ends_line: false }, |raw| Unit {
            raw,
            plain: 0,
            ends_line: true,
        }),
        [b'\n', ..] => Unit { raw: 1, plain: 1, ends_line: true },
        _ => Unit { raw: 1, plain: 1, ends_line: false },
    }
}

/// Length of a soft break: `=`, white space that transport added, the line end.
fn soft_break(rest: &[u8]) -> Option<usize> {
    let padding = rest[1..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    match &rest[1 + padding..] {
        [] => Some(1 + padding),
        [b'\n', ..] => Some(2 + padding),
        [b'\r', b'\n', ..] => Some(3 + padding),
        _ => None,
    }
}

pub(super) fn decode(body: &[u8]) -> Decoded {
    let mut octets = Vec::with_capacity(body.len());
    let mut marks = Vec::with_capacity(body.len() / 64 + 1);
    let mut at = 0;
    while at < body.len() {
        marks.push(Mark { raw: at, plain: octets.len() });
        let end = memchr(b'\n', &body[at..]).map_or(body.len(), |n| at + n + 1);
        while let Some(hit) = memchr(b'=', &body[at..end]) {
            octets.extend_from_slice(&body[at..at + hit]);
            at += hit;
            let unit = unit(body, at);
            match (unit.raw, unit.plain) {
                (3, 1) => {
                    let digit = |n: usize| hex_digit(body[at + n]).unwrap_or(0);
                    octets.push(digit(1) << 4 | digit(2));
                }
                (_, 0) => {}
                _ => octets.push(b'='),
            }
            at += unit.raw;
        }
        octets.extend_from_slice(&body[at..end.max(at)]);
        at = end.max(at);
    }
    Decoded { octets: Some(octets), marks, segments: Vec::new() }
}

/// Folds quoted-printable text.
struct Fold<'a> {
    newline: &'a [u8],
    column: usize,
}

impl Fold<'_> {
    /// Puts one encoded character. A break that would put a hyphen in front of a line comes one character
    /// earlier, so that no line of ours can be taken for a boundary.
    fn put(&mut self, out: &mut Vec<u8>, unit: &[u8]) {
        if unit == b"\r" {
            // Half of a line end: it stands behind the line, not in it.
            out.push(b'\r');
            return;
        }
        if self.column + unit.len() > COLUMNS {
            let moved = match (unit, out.last()) {
                (b"-", Some(last)) if last.is_ascii_alphanumeric() && !ends_in_escape(out) => out.pop(),
                _ => None,
            };
            self.break_line(out);
            out.extend(moved);
            self.column = usize::from(moved.is_some());
        }
        out.extend_from_slice(unit);
        self.column += unit.len();
    }

    /// Puts characters that stand for themselves, a line's worth at a time.
    fn put_literal(&mut self, out: &mut Vec<u8>, mut text: &[u8]) {
        while let Some(first) = text.first() {
            let mut fitting = COLUMNS.saturating_sub(self.column).min(text.len());
            if text.get(fitting) == Some(&b'-') && fitting > 1 && text[fitting - 1].is_ascii_alphanumeric() {
                fitting -= 1;
            }
            if fitting == 0 {
                self.put(out, &[*first]);
                fitting = 1;
            } else {
                out.extend_from_slice(&text[..fitting]);
                self.column += fitting;
            }
            text = &text[fitting..];
            if !text.is_empty() && self.column > 1 {
                self.break_line(out);
            }
        }
    }

    fn break_line(&mut self, out: &mut Vec<u8>) {
        out.push(b'=');
        out.extend_from_slice(self.newline);
        self.column = 0;
    }

    /// Puts encoded text.
    fn put_all(&mut self, out: &mut Vec<u8>, text: &[u8]) {
        let mut at = 0;
        while at < text.len() {
            let literal = literal_length(&text[at..]);
            if literal > 0 {
                self.put_literal(out, &text[at..at + literal]);
                at += literal;
                continue;
            }
            let unit = unit(text, at);
            let raw = &text[at..at + unit.raw];
            if unit.ends_line {
                out.extend_from_slice(raw);
                self.column = 0;
            } else {
                self.put(out, raw);
            }
            at += unit.raw;
        }
    }
}

/// How many characters stand for themselves before an escape or a line end.
fn literal_length(text: &[u8]) -> usize {
    memchr::memchr3(b'=', b'\r', b'\n', text).unwrap_or(text.len())
}

/// How much of `text` is more than white space before a line end, which `after` shows. Readers take such white
/// space off; with a soft break in it they would take off less.
fn solid_length(text: &[u8], after: &[u8]) -> usize {
    let ends = matches!(after, [] | [b'\n', ..] | [b'\r', b'\n', ..]);
    let blank = if ends { text.iter().rev().take_while(|b| matches!(b, b' ' | b'\t')).count() } else { 0 };
    text.len() - blank
}

fn ends_in_escape(out: &[u8]) -> bool {
    out.len() >= 3 && out[out.len() - 3] == b'=' || out.len() >= 2 && out[out.len() - 2] == b'='
}

pub(super) fn write(body: &[u8], decoded: &Decoded, changes: &[Change], out: &mut Vec<u8>) {
    let newline = line_end(body);
    let mut changes = changes.iter().peekable();
    let mut copied = 0;
    while let Some(first) = changes.peek() {
        let Mark { raw: mut at, plain: mut place } = decoded.mark_at(first.start);
        out.extend_from_slice(&body[copied..at]);
        let mut fold = Fold { newline, column: 0 };
        loop {
            if let Some(change) = changes.next_if(|c| c.start <= place) {
                let own = change.quoted.is_none().then(|| quote(&change.octets));
                fold.put_all(out, own.as_deref().or(change.quoted.as_deref()).unwrap_or_default());
                while at < body.len() && place < change.end {
                    let unit = unit(body, at);
                    at += unit.raw;
                    place += unit.plain;
                }
                continue;
            }
            if at >= body.len() {
                break;
            }
            let next = changes.peek().map_or(body.len(), |c| body.len().min(at + c.start - place));
            let literal = literal_length(&body[at..next]);
            if literal > 0 {
                let (text, after) = body[at..].split_at(literal);
                let solid = solid_length(text, after);
                fold.put_literal(out, &text[..solid]);
                out.extend_from_slice(&text[solid..]);
                at += literal;
                place += literal;
                continue;
            }
            let unit = unit(body, at);
            let text = &body[at..at + unit.raw];
            at += unit.raw;
            place += unit.plain;
            if unit.ends_line {
                out.extend_from_slice(text);
                break;
            }
            fold.put(out, text);
        }
        copied = at;
    }
    out.extend_from_slice(&body[copied..]);
}

/// The usual quoted-printable form of a stretch inside a line: printable ASCII, spaces and line ends as they
/// are, everything else escaped.
pub(super) fn quote(octets: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b'=' => text.extend_from_slice(b"=3D"),
            b' '..=b'~' | b'\t' | b'\r' | b'\n' => text.push(octet),
            _ => escape(octet, &mut text),
        }
    }
    text
}

/// The octets of quoted-printable text inside a line; `None` where it has soft breaks, an `=` that could reach
/// past its end, or octets that such text never has.
pub(super) fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    while at < text.len() {
        let unit = unit(text, at);
        let right = match text[at] {
            b'=' => unit.plain == 1 && at + 2 < text.len(),
            octet => matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n'),
        };
        if !right {
            return None;
        }
        at += unit.raw;
    }
    decode(text).octets
}

fn escape(octet: u8, text: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.extend_from_slice(&[b'=', DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
}

/// Writes octets as a whole quoted-printable body from which they come back exactly. With `lines`, line ends
/// stay line ends; without (UTF-16, where an octet 0x0A need not be one), they are escaped.
pub(super) fn write_as_quoted(octets: &[u8], newline: &[u8], lines: bool, out: &mut Vec<u8>) {
    let mut fold = Fold { newline, column: 0 };
    let mut escaped = Vec::with_capacity(3);
    for (at, &octet) in octets.iter().enumerate() {
        let next = octets.get(at + 1);
        let ends = matches!(next, None | Some(b'\r' | b'\n'));
        match octet {
            b'\n' if lines => {
                out.push(octet);
                fold.column = 0;
            }
            b'\r' if lines && next == Some(&b'\n') => fold.put(out, b"\r"),
            b' ' | b'\t' if !ends => fold.put(out, &[octet]),
            b'!'..=b'~' if octet != b'=' => fold.put(out, &[octet]),
            _ => {
                escaped.clear();
                escape(octet, &mut escaped);
                fold.put(out, &escaped);
            }
        }
    }
}
