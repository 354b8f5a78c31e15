//! Puts a message together again from the old octets and the changes of its leaves, in one copy.
//!
//! A leaf without transfer encoding whose line would pass 998 octets (RFC 5322, 2.1.1) becomes
//! quoted-printable. Its old Content-Transfer-Encoding field is then kept in `X-Tidegate-Encoding` (base64url of
//! the field's octets, `-` when there was none), so that the way back gives the old field and the old body. That
//! field is believed only in a part in which a link of ours was opened, and only where it gives a field for a
//! plain body with sound lines. A body without sound lines (stray CR or LF, which SMTP does not let in) is not
//! converted, since it could not be put back.

use super::fields::first_word;
use super::locate::Page;
use super::mime::{Coding, Leaf, coding_of};
use super::quoted_printable;
use super::transfer::{self, Change, Decoded};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use std::ops::Range;

/// Octets of an old field that are kept; longer ones are full of comments.
const MAX_FIELD: usize = 512;

/// A leaf and its changes.
pub(super) struct Edit<'a> {
    pub(super) leaf: &'a Leaf,
    pub(super) decoded: &'a Decoded,
    /// Octets a code unit.
    pub(super) width: usize,
    pub(super) changes: Vec<Change>,
    /// On the way back.
    pub(super) restores: bool,
}

impl<'a> Edit<'a> {
    /// No changes yet.
    pub(super) fn of(page: &'a Page, restores: bool) -> Edit<'a> {
        let changes = Vec::with_capacity(page.sites.len());
        Edit { leaf: &page.leaf, decoded: &page.decoded, width: page.letters.width(), changes, restores }
    }

    fn grown(&self) -> usize {
        self.changes.iter().map(|c| c.octets.len() + c.octets.len() / 3).sum()
    }
}

/// The message with the edits made (in order of their leaves); the same octets when there are none.
pub(super) fn assemble(raw: &Bytes, edits: &[Edit<'_>]) -> Bytes {
    let room: usize = edits.iter().map(Edit::grown).sum();
    if edits.iter().all(|e| e.changes.is_empty()) {
        return raw.clone();
    }
    let mut out = Vec::with_capacity(raw.len() + room + room / 16 + 256);
    let mut copied = 0;
    for edit in edits.iter().filter(|e| !e.changes.is_empty()) {
        copied = one(raw, copied, edit, &mut out);
    }
    out.extend_from_slice(&raw[copied..]);
    out.into()
}

/// Writes from `copied` to the end of the edit's leaf, which is returned.
fn one(raw: &[u8], copied: usize, edit: &Edit<'_>, out: &mut Vec<u8>) -> usize {
    let leaf = edit.leaf;
    let body = &raw[leaf.body.clone()];
    let sound = || has_sound_lines(body, transfer::line_end(&raw[leaf.header.clone()]));
    if leaf.coding == Coding::Identity && transfer::is_too_long(body, &edit.changes) && sound() {
        let at = fields(raw, copied, &converting(raw, leaf), out);
        out.extend_from_slice(&raw[at..leaf.body.start]);
        let mut octets = Vec::with_capacity(body.len() + edit.grown());
        transfer::patch(body, 0, &edit.changes, &mut octets);
        quoted_printable::write_as_quoted(&octets, transfer::line_end(body), edit.width == 1, out);
        return leaf.body.end;
    }
    if edit.restores
        && let Some((replaced, octets)) = converting_back(raw, edit)
    {
        let at = fields(raw, copied, &replaced, out);
        out.extend_from_slice(&raw[at..leaf.body.start]);
        out.extend_from_slice(&octets);
        return leaf.body.end;
    }
    out.extend_from_slice(&raw[copied..leaf.body.start]);
    transfer::write(leaf.coding, body, edit.decoded, &edit.changes, out);
    leaf.body.end
}

type Replaced = Vec<(Range<usize>, Vec<u8>)>;

/// Writes from `copied` through the header fields that are replaced, to the end of the last one.
fn fields(raw: &[u8], mut copied: usize, replaced: &Replaced, out: &mut Vec<u8>) -> usize {
    for (range, field) in replaced {
        out.extend_from_slice(&raw[copied..range.start]);
        out.extend_from_slice(field);
        copied = range.end;
    }
    copied
}

fn converting(raw: &[u8], leaf: &Leaf) -> Replaced {
    let header = &raw[leaf.header.clone()];
    let newline = transfer::line_end(header);
    let old = leaf.coding_field.clone();
    let kept = match &old {
        Some(range) if range.len() > MAX_FIELD => None,
        Some(range) => Some(URL_SAFE_NO_PAD.encode(&raw[range.clone()])),
        None => Some("-".to_owned()),
    };
    let mut field = b"Content-Transfer-Encoding: quoted-printable".to_vec();
    field.extend_from_slice(newline);
    if let Some(kept) = kept {
        field.extend_from_slice(b"X-Tidegate-Encoding: ");
        field.extend_from_slice(kept.as_bytes());
        field.extend_from_slice(newline);
    }
    vec![(old.unwrap_or(leaf.header.end..leaf.header.end), field)]
}

/// The header changes and the body of a part that was converted on its way in.
fn converting_back(raw: &[u8], edit: &Edit<'_>) -> Option<(Replaced, Vec<u8>)> {
    let leaf = edit.leaf;
    if leaf.coding != Coding::Quoted {
        return None;
    }
    let kept = leaf.kept_field.clone()?;
    let coding = leaf.coding_field.clone()?;
    let old = old_field(&raw[kept.clone()])?;
    let body = &raw[leaf.body.clone()];
    let mut octets = Vec::with_capacity(body.len());
    transfer::patch(edit.decoded.octets(body), 0, &edit.changes, &mut octets);
    if !has_sound_lines(&octets, transfer::line_end(&raw[leaf.header.clone()])) {
        return None;
    }
    let mut replaced = vec![(coding, old), (kept, Vec::new())];
    replaced.sort_by_key(|(range, _)| range.start);
    Some((replaced, octets))
}

fn old_field(kept: &[u8]) -> Option<Vec<u8>> {
    let value = kept.splitn(2, |b| *b == b':').nth(1)?.trim_ascii();
    if value == b"-" {
        return Some(Vec::new());
    }
    let field = URL_SAFE_NO_PAD.decode(value).ok()?;
    let (name, value) = field.split_at_checked(field.iter().position(|b| *b == b':')?)?;
    let named = name.trim_ascii_end().eq_ignore_ascii_case(b"content-transfer-encoding");
    let plain = coding_of(Some(&first_word(value.get(1..)?))) == Coding::Identity;
    (named && plain && is_one_field(&field)).then_some(field)
}

/// Whether octets are one header field with its line end: each line end but the last is followed by a fold.
fn is_one_field(field: &[u8]) -> bool {
    let Some(inside) = field.strip_suffix(b"\n") else { return false };
    let folds = memchr::memchr_iter(b'\n', inside).all(|n| matches!(inside.get(n + 1), Some(b' ' | b'\t')));
    let returns = memchr::memchr_iter(b'\r', field).all(|r| field.get(r + 1) == Some(&b'\n'));
    folds && returns && !field.contains(&0)
}

/// Whether line ends are all of the message's kind, so that none of them means more to the next hop than here.
fn has_sound_lines(octets: &[u8], newline: &[u8]) -> bool {
    let mut at = 0;
    while let Some(hit) = memchr::memchr2(b'\r', b'\n', &octets[at..]) {
        if !octets[at + hit..].starts_with(newline) {
            return false;
        }
        at += hit + newline.len();
    }
    true
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
