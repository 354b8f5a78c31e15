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

use super::base64_text::{self, Segment};
use super::mime::Coding;
use super::quoted_printable;
use memchr::memchr;

/// Longest line of a message, RFC 5322, 2.1.1.
pub(super) const LONGEST_LINE: usize = 998;

/// A place where an encoded line begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) raw: usize,
    pub(super) plain: usize,
}

/// A decoded body.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// Octets; `None` where they are the body itself.
    pub(super) octets: Option<Vec<u8>>,
    /// Line starts, ascending; for base64 only those at a whole group.
    pub(super) marks: Vec<Mark>,
    /// Stretches of base64 text, in order.
    pub(super) segments: Vec<Segment>,
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

    /// The last line that begins at or before a decoded offset.
    pub(super) fn mark_at(&self, plain: usize) -> Mark {
        let after = self.marks.partition_point(|m| m.plain <= plain);
        after.checked_sub(1).and_then(|at| self.marks.get(at)).copied().unwrap_or(Mark { raw: 0, plain: 0 })
    }

    /// The base64 segment in which a decoded offset lies or ends.
    pub(super) fn segment_of(&self, plain: usize, length: usize) -> Segment {
        let at = self.segments.partition_point(|s| s.plain < plain);
        self.segments.get(at).copied().unwrap_or(Segment { raw: length, plain })
    }
}

/// Decodes a body; nothing for an unknown coding.
pub(super) fn decode(coding: Coding, body: &[u8]) -> Option<Decoded> {
    match coding {
        Coding::Identity => Some(Decoded::default()),
        Coding::Quoted => Some(quoted_printable::decode(body)),
        Coding::Base64 => Some(base64_text::decode(body)),
        Coding::Unknown => None,
    }
}

/// Writes a body with changes (ascending, not empty, apart from each other) in its own coding.
pub(super) fn write(coding: Coding, body: &[u8], decoded: &Decoded, changes: &[Change], out: &mut Vec<u8>) {
    match coding {
        Coding::Quoted => quoted_printable::write(body, decoded, changes, out),
        Coding::Base64 => base64_text::write(body, decoded, changes, out),
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

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
