//! Base64 (RFC 2045, 6.8): lines before the first replaced stretch are kept; from there on the text is folded
//! anew, at its own width.

use super::transfer::{Change, Decoded, LONGEST_LINE, Mark, line_end, patch};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use memchr::memchr;

/// Characters a line where the part itself gives no width.
const WIDTH: usize = 76;

/// A stretch of base64 text up to its padding, or to a line that has other signs too. Mailing lists add footers
/// behind it, and some senders put several in a row; each is written anew by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// After its last character.
    pub(super) raw: usize,
    /// After its last octet.
    pub(super) plain: usize,
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

pub(super) fn decode(body: &[u8]) -> Decoded {
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

pub(super) fn write(body: &[u8], decoded: &Decoded, changes: &[Change], out: &mut Vec<u8>) {
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
