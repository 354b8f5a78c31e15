//! Transfer encodings (RFC 2045, section 6) in both directions, with as little of the encoded text changed as
//! a replacement needs.
//!
//! * Quoted-printable: only lines that hold a replaced stretch are broken anew (76 characters, RFC 2045, 6.7);
//!   on them every encoded character outside the stretch is kept as it was written.
//! * Base64: lines before the first replaced stretch are kept; from there on the part is folded anew, at its
//!   own width.
//! * Identity: in place.
//!
//! Decoding is forgiving and loses nothing: what is no valid escape stands for itself.

use super::fields::hex_digit;
use super::mime::Coding;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use memchr::memchr;

/// Columns of a line before the `=` of a soft break.
const COLUMNS: usize = 75;
/// Base64 characters a line where the part itself gives no width.
const WIDTH: usize = 76;
/// Longest line of a message, RFC 5322, 2.1.1.
pub(super) const LONGEST_LINE: usize = 998;

/// A place where an encoded line begins.
#[derive(Clone, Copy, Debug)]
struct Mark {
    raw: usize,
    plain: usize,
}

/// A decoded body.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// Octets; `None` where they are the body itself.
    octets: Option<Vec<u8>>,
    /// Line starts, ascending; for base64 only those at a whole group.
    marks: Vec<Mark>,
    /// Stretches of base64 text, in order.
    segments: Vec<Segment>,
}

/// A stretch of decoded octets and what replaces it.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) octets: Vec<u8>,
    /// How it is written in a quoted-printable part, where that is not the usual way.
    pub(super) quoted: Option<Vec<u8>>,
}

impl Decoded {
    /// The octets; `body` is what was decoded.
    pub(super) fn octets<'a>(&'a self, body: &'a [u8]) -> &'a [u8] {
        self.octets.as_deref().unwrap_or(body)
    }

    fn mark_at(&self, plain: usize) -> Mark {
        let after = self.marks.partition_point(|m| m.plain <= plain);
        after.checked_sub(1).and_then(|at| self.marks.get(at)).copied().unwrap_or(Mark { raw: 0, plain: 0 })
    }

    /// The base64 segment in which a decoded offset lies or ends.
    fn segment_of(&self, plain: usize, length: usize) -> Segment {
        let at = self.segments.partition_point(|s| s.plain < plain);
        self.segments.get(at).copied().unwrap_or(Segment { raw: length, plain })
    }

    /// The encoded text of a decoded stretch without soft breaks, in a quoted-printable part.
    pub(super) fn quoted(&self, body: &[u8], start: usize, end: usize) -> Vec<u8> {
        let Mark { raw: mut at, plain: mut place } = self.mark_at(start);
        let mut text = Vec::new();
        while at < body.len() && place < end {
            let unit = unit(body, at);
            if place >= start && unit.plain > 0 {
                text.extend_from_slice(&body[at..at + unit.raw]);
            }
            at += unit.raw;
            place += unit.plain;
        }
        text
    }
}

/// Decodes a body; nothing for an unknown coding.
pub(super) fn decode(coding: Coding, body: &[u8]) -> Option<Decoded> {
    match coding {
        Coding::Identity => Some(Decoded::default()),
        Coding::Quoted => Some(decode_quoted(body)),
        Coding::Base64 => Some(decode_base64(body)),
        Coding::Unknown => None,
    }
}

/// Writes a body with changes (ascending, not empty, apart from each other) in its own coding.
pub(super) fn write(coding: Coding, body: &[u8], decoded: &Decoded, changes: &[Change], out: &mut Vec<u8>) {
    match coding {
        Coding::Quoted => write_quoted(body, decoded, changes, out),
        Coding::Base64 => write_base64(body, decoded, changes, out),
        Coding::Identity | Coding::Unknown => patch(body, 0, changes, out),
    }
}

/// Copies `octets[from..]` with the changes made.
pub(super) fn patch(octets: &[u8], from: usize, changes: &[Change], out: &mut Vec<u8>) {
    let mut at = from;
    for change in changes {
        out.extend_from_slice(&octets[at..change.start]);
        out.extend_from_slice(&change.octets);
        at = change.end;
    }
    out.extend_from_slice(&octets[at..]);
}

/// Whether a line with a change would be too long, written in place.
pub(super) fn is_too_long(body: &[u8], changes: &[Change]) -> bool {
    let (mut line_end, mut length) = (0, 0);
    for change in changes {
        if change.start >= line_end {
            let start =
                memchr::memrchr(b'\n', &body[line_end..change.start]).map_or(line_end, |n| line_end + n + 1);
            line_end = memchr(b'\n', &body[change.end..]).map_or(body.len(), |n| change.end + n + 1);
            length = line_end - start;
        } else if change.end > line_end {
            let longer = memchr(b'\n', &body[change.end..]).map_or(body.len(), |n| change.end + n + 1);
            length += longer - line_end;
            line_end = longer;
        }
        length = (length + change.octets.len()).saturating_sub(change.end - change.start);
        if length > LONGEST_LINE + 2 {
            return true;
        }
    }
    false
}

/// The line end a text uses, by its first one.
pub(super) fn line_end(text: &[u8]) -> &'static [u8] {
    match memchr(b'\n', text) {
        Some(at) if at == 0 || text[at - 1] != b'\r' => b"\n",
        _ => b"\r\n",
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

fn decode_quoted(body: &[u8]) -> Decoded {
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

fn write_quoted(body: &[u8], decoded: &Decoded, changes: &[Change], out: &mut Vec<u8>) {
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
    decode_quoted(text).octets
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

/// A stretch of base64 text up to its padding, or to a line that has other signs too. Mailing lists add footers behind it, and some
/// senders put several in a row; each is written anew by itself.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// After its last character.
    raw: usize,
    /// After its last octet.
    plain: usize,
}

/// Groups of base64 on their way to octets.
#[derive(Default)]
struct Groups {
    octets: Vec<u8>,
    marks: Vec<Mark>,
    segments: Vec<Segment>,
    bits: u32,
    count: u32,
    /// After the last character that counted.
    last: usize,
}

impl Groups {
    fn take(&mut self, sign: u8, at: usize) {
        if let Some(value) = base64_value(sign) {
            (self.bits, self.count, self.last) = (self.bits << 6 | value, self.count + 1, at + 1);
            if self.count == 4 {
                self.octets.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                (self.bits, self.count) = (0, 0);
            }
        } else if sign == b'=' && self.count > 0 {
            self.last = at + 1;
            self.close();
        } else if sign == b'='
            && let Some(segment) = self.segments.last_mut().filter(|s| s.raw == at)
        {
            segment.raw = at + 1;
            self.mark(at + 1);
        }
    }

    fn mark(&mut self, raw: usize) {
        self.marks.push(Mark { raw, plain: self.octets.len() });
    }

    /// Ends a segment: two or three characters left over are one or two octets, one alone is none.
    fn close(&mut self) {
        match self.count {
            2 => self.octets.push((self.bits >> 4) as u8),
            3 => self.octets.extend_from_slice(&[(self.bits >> 10) as u8, (self.bits >> 2) as u8]),
            _ => {}
        }
        (self.bits, self.count) = (0, 0);
        self.segments.push(Segment { raw: self.last, plain: self.octets.len() });
        self.mark(self.last);
    }
}

fn decode_base64(body: &[u8]) -> Decoded {
    let mut groups = Groups { octets: Vec::with_capacity(body.len() / 4 * 3 + 3), ..Groups::default() };
    let mut at = 0;
    while at < body.len() {
        let end = memchr(b'\n', &body[at..]).map_or(body.len(), |n| at + n + 1);
        let line = body[at..end].trim_ascii_end();
        if groups.count == 0 {
            groups.mark(at);
        }
        if groups.count == 0 && decode_line(line, &mut groups.octets) {
            groups.last = if line.is_empty() { groups.last } else { at + line.len() };
        } else {
            if groups.count == 0 && line.iter().any(|b| base64_value(*b).is_none() && *b != b'=') {
                groups.close();
                groups.mark(at);
            }
            for (place, &sign) in line.iter().enumerate() {
                groups.take(sign, at + place);
            }
        }
        at = end;
    }
    groups.close();
    Decoded { octets: Some(groups.octets), marks: groups.marks, segments: groups.segments }
}

/// Decodes a line of whole groups without padding at full speed; `false` leaves `octets` as they were.
fn decode_line(line: &[u8], octets: &mut Vec<u8>) -> bool {
    let before = octets.len();
    let whole = line.len().is_multiple_of(4) && STANDARD_NO_PAD.decode_vec(line, octets).is_ok();
    if !whole {
        octets.truncate(before);
    }
    whole
}

fn base64_value(sign: u8) -> Option<u32> {
    let value = match sign {
        b'A'..=b'Z' => sign - b'A',
        b'a'..=b'z' => sign - b'a' + 26,
        b'0'..=b'9' => sign - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

fn write_base64(body: &[u8], decoded: &Decoded, changes: &[Change], out: &mut Vec<u8>) {
    let octets = decoded.octets(body);
    let newline = line_end(body);
    let width = width_of(body);
    let (mut copied, mut rest) = (0, changes);
    while let Some(first) = rest.first() {
        let mark = decoded.mark_at(first.start);
        let mut end = decoded.segment_of(first.end, body.len());
        let mut count = 1;
        while let Some(next) = rest.get(count).filter(|next| next.start < end.plain) {
            end = decoded.segment_of(next.end, body.len());
            count += 1;
        }
        let (here, later) = rest.split_at(count);
        out.extend_from_slice(&body[copied..mark.raw]);
        let mut patched = Vec::with_capacity(end.plain - mark.plain + count * 256);
        patch(&octets[..end.plain], mark.plain, here, &mut patched);
        let text = STANDARD.encode(&patched);
        for (index, line) in text.as_bytes().chunks(width).enumerate() {
            if index > 0 {
                out.extend_from_slice(newline);
            }
            out.extend_from_slice(line);
        }
        (copied, rest) = (end.raw, later);
    }
    out.extend_from_slice(&body[copied..]);
}

/// Characters a line: those of the first line, where there are two or more.
fn width_of(text: &[u8]) -> usize {
    let text = text.trim_ascii_start();
    let first = memchr(b'\n', text).map_or(0, |n| text[..n].trim_ascii().len());
    if (4..=LONGEST_LINE).contains(&first) { first } else { WIDTH }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
