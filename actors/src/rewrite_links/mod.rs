//! The stage `rewrite_links`: every live link of a mail leads through the redirect site, and back again.
//!
//! A message is never parsed and printed anew: links are found as spans of octets, the spans are replaced, and
//! every other octet stays what it was. The pieces, in the order a message meets them:
//!
//! * `mime`: where the text leaves lie; `fields`: what their headers say.
//! * `transfer` (`quoted_printable`, `base64_text`): transfer encodings; `charset`: what octets mean.
//! * `html` (`tag`, `raw_text`), `text`: the spans of links; `entities`, `address`: where they lead; `wrappers`:
//!   other vendors' links are taken apart first, so that a link is wrapped once.
//! * `locate` ties these together, once a message. Tokens are made for each recipient; `hint` carries what
//!   the way back needs; `assemble` writes the message.
//! * `stage`: policy, recipients, evidence.
//!
//! Invariants: octets outside spans do not change, save that a line beyond 998 octets makes its part
//! quoted-printable. `restore(rewrite(m)) == restore(m)` in every header and every decoded leaf, octet for octet,
//! and in the raw octets save soft breaks of quoted-printable lines that held a link and the folding of base64
//! parts of uneven width from the first link on. So a mail without links of ours comes back as it was; only stray
//! CR or LF inside a value, which SMTP does not let in, are never put back. No input makes this panic, and time and
//! space are linear in the message.
//!
//! Left alone on purpose: images, style sheets and other things that are loaded and not gone to; text/calendar
//! (a client shows its `DESCRIPTION` as text, and any change of an event makes some clients ask again);
//! HTML in encodings that RFC 2045 has clients treat as opaque. HTML attachments are rewritten like bodies: opened
//! from disk they are the commonest lure. Signed parts: see `mime`.

mod address;
mod assemble;
mod base64_text;
mod charset;
mod entities;
mod fields;
mod hint;
mod html;
mod locate;
mod mime;
mod quoted_printable;
mod raw_text;
mod stage;
mod tag;
mod text;
mod transfer;
mod wrappers;

pub use stage::{RewriteLinks, wrap};

use assemble::Edit;
use bytes::Bytes;
use locate::{Located, Opened, Search};
use mime::Kind;
use transfer::Change;

/// What is rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Also addresses in text/plain parts.
    pub rewrite_text: bool,
    /// Also links in multipart/signed and clear-signed parts, which breaks the signature.
    pub rewrite_signed: bool,
}

/// One live link of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Absolute `http` or `https` address, character references decoded, known wrappers taken off.
    pub url: String,
    /// What a reader sees of an `a` element, at most 200 characters; `None` for other links.
    pub text: Option<String>,
}

/// A rewritten message.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The message; the very same octets when nothing was rewritten.
    pub raw: Bytes,
    /// Links rewritten.
    pub rewritten: u32,
    /// Live links found, in order, also those that were not rewritten.
    pub found: Vec<Found>,
    /// What was met on the way and not rewritten: code of the evidence, and one line for people.
    pub oddities: Vec<(&'static str, String)>,
}

/// Rewrites live links. `encode` gives the link for an address, or `None` to leave it as it is; a link must be
/// of printable ASCII without quotes, `<`, `>`, `&` and white space, else it is not used.
///
/// Links of ours are wrapped again like any other, since only their keys tell them apart; [`rewrite_again`]
/// takes those apart first.
pub fn rewrite(raw: &Bytes, options: &Options, encode: &mut dyn FnMut(&str) -> Option<String>) -> Outcome {
    rewrite_again(raw, options, encode, &mut |_| None)
}

/// As [`rewrite`], for mail that may have links of ours already: `decode` gives the address inside one, which
/// then gets a fresh link, and leads back to what the old one replaced.
pub fn rewrite_again(
    raw: &Bytes,
    options: &Options,
    encode: &mut dyn FnMut(&str) -> Option<String>,
    decode: &mut dyn FnMut(&str) -> Option<String>,
) -> Outcome {
    let mut search = Search { options: *options, found: true, own: decode };
    let mut located = locate::locate(raw, &mut search);
    let (octets, rewritten) = render(raw, &located, encode);
    let found = std::mem::take(&mut located.found);
    Outcome { raw: octets, rewritten, found, oddities: located.oddities }
}

/// Gives back what [`rewrite`] replaced, in HTML and plain text. `decode` gets each whole link of ours as it
/// stands in the mail, and gives the address inside, or `None` to leave it. Signed parts are left as they are;
/// `raw` is returned as it is when it has no link of ours.
pub fn restore(raw: &Bytes, decode: &mut dyn FnMut(&str) -> Option<String>) -> Bytes {
    restore_with(raw, &Options::default(), decode)
}

/// As [`restore`]; with `rewrite_signed` also in signed parts, for mail that was rewritten so.
pub fn restore_with(raw: &Bytes, options: &Options, decode: &mut dyn FnMut(&str) -> Option<String>) -> Bytes {
    // Every link of ours has this in it, but a transfer encoding may hide it.
    let tree = mime::walk(raw);
    let mut opened = Vec::new();
    for leaf in tree.leaves {
        let signed = leaf.signed.and_then(|group| tree.signed.get(group)).is_some_and(mime::Signed::holds);
        if leaf.kind == Kind::Sealed || (signed && !options.rewrite_signed) {
            continue;
        }
        let Some(page) = locate::open(raw, &leaf) else { continue };
        let changes = restoring(raw, &leaf, &page, decode);
        opened.push((leaf, page, changes));
    }
    let edits: Vec<Edit<'_>> = opened
        .iter_mut()
        .map(|(leaf, page, changes)| Edit {
            leaf,
            decoded: &page.decoded,
            width: page.letters.width(),
            changes: std::mem::take(changes),
            restores: true,
        })
        .collect();
    assemble::assemble(raw, &edits)
}

fn restoring(
    raw: &[u8],
    leaf: &mime::Leaf,
    page: &Opened,
    decode: &mut dyn FnMut(&str) -> Option<String>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let octets = page.decoded.octets(&raw[leaf.body.clone()]);
    let mut setting = locate::setting(leaf, page.letters, page.base.as_ref(), raw, html::Quote::Text);
    for span in &page.spans {
        setting.quote = span.quote;
        let written = page.letters.decode(&octets[span.start..span.end]);
        // Clients put white space around, and delsp text puts it inside.
        let link = hint::without_blanks(&written);
        if !hint::is_own(&link) {
            continue;
        }
        let Some(address) = decode(&link) else { continue };
        let original = setting.original(hint::split(&link).1, &address, decode);
        changes.push(Change {
            start: span.start,
            end: span.end,
            octets: original.octets,
            quoted: original.quoted,
        });
    }
    changes
}

/// The message with a link for each site that `encode` gives one for, and how many.
fn render(raw: &Bytes, located: &Located, encode: &mut dyn FnMut(&str) -> Option<String>) -> (Bytes, u32) {
    let mut rewritten = 0;
    let mut edits = Vec::with_capacity(located.pages.len());
    for page in &located.pages {
        let mut edit = Edit::of(page, false);
        for site in &page.sites {
            let Some(mut link) = encode(&site.address).filter(|l| is_plain(l)) else { continue };
            link.push_str(&site.hint);
            let octets =
                if page.letters.width() == 1 { link.into_bytes() } else { page.letters.encode(&link) };
            edit.changes.push(Change { start: site.start, end: site.end, octets, quoted: None });
            rewritten += 1;
        }
        edits.push(edit);
    }
    (assemble::assemble(raw, &edits), rewritten)
}

/// Whether a link can stand in any value as it is.
fn is_plain(link: &str) -> bool {
    let plain = |b: u8| {
        (b > b' ')
            & (b < 0x7f)
            & (b != b'"')
            & (b != b'\'')
            & (b != b'<')
            & (b != b'>')
            & (b != b'&')
            & (b != b'`')
    };
    link.bytes().fold(true, |all, octet| all & plain(octet))
}

/// All live links of a message, in HTML and plain text, signed or not; other vendors' wrappers taken off.
pub fn links_of(raw: &[u8]) -> Vec<Found> {
    let mut search = Search { options: Options::default(), found: true, own: &mut |_| None };
    locate::locate(raw, &mut search).found
}

#[cfg(test)]
mod corpora_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
