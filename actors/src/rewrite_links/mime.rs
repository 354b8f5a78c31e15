//! The MIME tree of a message, walked over the raw octets: where each text leaf's header and body lie.
//!
//! One pass over the octets, whatever the nesting: open boundaries are a stack, and a line that begins with
//! `--` is compared with all of them, innermost first, so that an outer boundary closes what its sender
//! forgot to close. `message/rfc822` simply begins a header block again. Preambles and epilogues are no parts.
//!
//! What is signed: a `multipart/signed` counts as signed only when it looks it (a protocol of S/MIME or PGP, and
//! a second and last part of that type); with any other content the label alone would be a way round the
//! rewriting. The signature itself is not verified here. `multipart/encrypted` needs no rule: a true one has no
//! text leaf, and a false one is no secret.

use super::fields::{ContentType, first_word};
use memchr::{memchr, memmem};
use std::ops::Range;

/// Nesting of multiparts that is followed.
const MAX_DEPTH: usize = 64;
/// Parts that are looked at.
const MAX_PARTS: usize = 10_000;

/// Transfer encodings (RFC 2045, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// 7bit, 8bit, binary.
    Identity,
    /// quoted-printable.
    Quoted,
    /// base64.
    Base64,
    /// Any other: such a part is opaque (RFC 2045, 6.4).
    Unknown,
}

/// What a leaf is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// HTML: `text/html`, XHTML, AMP.
    Html,
    /// `text/plain`.
    Text,
    /// S/MIME: its contents cannot be changed, or not be seen.
    Sealed,
}

/// One leaf.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// HTML or text.
    pub(super) kind: Kind,
    /// Header block without the blank line.
    pub(super) header: Range<usize>,
    /// Body without the line end that belongs to the next boundary.
    pub(super) body: Range<usize>,
    /// Transfer encoding.
    pub(super) coding: Coding,
    /// The whole Content-Transfer-Encoding field with its line end.
    pub(super) coding_field: Option<Range<usize>>,
    /// The whole `X-Tidegate-Encoding` field with its line end; see `assemble`.
    pub(super) kept_field: Option<Range<usize>>,
    /// Charset label as given, lower case.
    pub(super) charset: Option<String>,
    /// `format=flowed; delsp=yes` (RFC 3676).
    pub(super) delsp: bool,
    /// Inside a `multipart/signed`: index into [`Tree::signed`].
    pub(super) signed: Option<usize>,
}

/// A `multipart/signed` while it is walked.
#[derive(Debug, Default)]
pub(super) struct Signed {
    protocol: String,
    parts: usize,
    signature_last: bool,
}

impl Signed {
    /// Whether it has the shape of RFC 1847; see the module.
    pub(super) fn holds(&self) -> bool {
        let known =
            ["application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"];
        known.contains(&self.protocol.as_str()) && self.parts == 2 && self.signature_last
    }
}

/// All leaves in order, and what could not be followed.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) leaves: Vec<Leaf>,
    pub(super) signed: Vec<Signed>,
    pub(super) too_deep: bool,
    pub(super) too_many: bool,
}

struct Open {
    boundary: Vec<u8>,
    /// Index of the signed group this multipart is, to count its children.
    group: Option<usize>,
    /// Signed group that leaves inside belong to.
    signed: Option<usize>,
}

/// Fields of one header block.
#[derive(Default)]
struct Head {
    content: Option<ContentType>,
    /// Any Content-Type field says HTML: clients differ on which of two counts.
    html: bool,
    coding: Option<Range<usize>>,
    coding_word: Option<String>,
    kept: Option<Range<usize>>,
    end: usize,
    body: usize,
}

struct Delimiter {
    level: usize,
    closes: bool,
    after: usize,
}

struct Walk<'a> {
    raw: &'a [u8],
    open: Vec<Open>,
    tree: Tree,
    dashes: memmem::Finder<'static>,
}

/// Walks a message.
pub(super) fn walk(raw: &[u8]) -> Tree {
    let mut walk =
        Walk { raw, open: Vec::new(), tree: Tree::default(), dashes: memmem::Finder::new(b"\n--") };
    walk.run();
    walk.tree
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut at = 0;
        for _ in 0..MAX_PARTS {
            let head = self.head(at);
            if let Some(inner) = self.entered(&head) {
                at = inner;
                continue;
            }
            let (end, delimiter) = self.next_delimiter(head.body);
            self.leaf(at, &head, end);
            match self.follow(delimiter) {
                Some(next) => at = next,
                None => return,
            }
        }
        self.tree.too_many = true;
    }

    /// Opens a multipart (its preamble is skipped by the caller, as the body of no leaf) or steps into an
    /// attached message, whose start is returned.
    fn entered(&mut self, head: &Head) -> Option<usize> {
        let content = head.content.as_ref()?;
        let signed = self.open.last().and_then(|o| o.signed);
        if matches!(content.kind.as_str(), "message/rfc822" | "message/global" | "message/news") {
            let plain = coding_of(head.coding_word.as_deref()) == Coding::Identity;
            return plain.then_some(head.body);
        }
        if !content.kind.starts_with("multipart/") {
            return None;
        }
        let boundary = content.parameter("boundary")?;
        let boundary = boundary.trim_ascii_end().to_vec();
        if boundary.is_empty() {
            return None;
        }
        if self.open.len() >= MAX_DEPTH {
            self.tree.too_deep = true;
            return None;
        }
        let group = (content.kind == "multipart/signed").then(|| {
            let protocol = content.word("protocol").unwrap_or_default();
            self.tree.signed.push(Signed { protocol, ..Signed::default() });
            self.tree.signed.len() - 1
        });
        self.open.push(Open { boundary, group, signed: signed.or(group) });
        None
    }

    fn leaf(&mut self, start: usize, head: &Head, end: usize) {
        let kind = head.content.as_ref().map_or("text/plain", |c| c.kind.as_str());
        let kind = match kind {
            _ if head.html => Kind::Html,
            "text/plain" | "text" | "" => Kind::Text,
            "application/pkcs7-mime" | "application/x-pkcs7-mime" => Kind::Sealed,
            _ => return,
        };
        let content = head.content.as_ref();
        let charset = content.and_then(|c| c.word("charset")).filter(|c| !c.is_empty());
        let delsp = content.is_some_and(|c| c.word("delsp").is_some_and(|d| d == "yes"));
        self.tree.leaves.push(Leaf {
            kind,
            header: start..head.end,
            body: head.body..end.max(head.body),
            coding: coding_of(head.coding_word.as_deref()),
            coding_field: head.coding.clone(),
            kept_field: head.kept.clone(),
            charset,
            delsp,
            signed: self.open.last().and_then(|o| o.signed),
        });
    }

    /// Takes delimiters until one begins a part; its start.
    fn follow(&mut self, mut delimiter: Option<Delimiter>) -> Option<usize> {
        loop {
            let found = delimiter?;
            self.open.truncate(found.level + 1);
            if !found.closes {
                self.count_part(found.after);
                return Some(found.after);
            }
            self.open.truncate(found.level);
            if self.open.is_empty() {
                return None;
            }
            delimiter = self.next_delimiter(found.after).1;
        }
    }

    fn count_part(&mut self, start: usize) {
        let Some(group) = self.open.last().and_then(|o| o.group) else { return };
        let head = self.head(start);
        let kind = head.content.map(|c| c.kind).unwrap_or_default();
        if let Some(signed) = self.tree.signed.get_mut(group) {
            signed.parts += 1;
            signed.signature_last = !kind.is_empty() && kind == signed.protocol;
        }
    }

    /// The next boundary line of any open multipart at or after `from` (a line's start), and where the body
    /// before it ends.
    fn next_delimiter(&self, from: usize) -> (usize, Option<Delimiter>) {
        if self.open.is_empty() {
            return (self.raw.len(), None);
        }
        if let Some(found) = self.delimiter_at(from) {
            return (from, Some(found));
        }
        let mut at = from;
        while let Some(hit) = self.dashes.find(&self.raw[at.min(self.raw.len())..]) {
            let newline = at + hit;
            if let Some(found) = self.delimiter_at(newline + 1) {
                let folded = newline > from && self.raw[newline - 1] == b'\r';
                return (if folded { newline - 1 } else { newline }, Some(found));
            }
            at = newline + 1;
        }
        (self.raw.len(), None)
    }

    fn delimiter_at(&self, line: usize) -> Option<Delimiter> {
        let text = self.raw.get(line..)?.strip_prefix(b"--")?;
        for (level, open) in self.open.iter().enumerate().rev() {
            let Some(rest) = text.strip_prefix(open.boundary.as_slice()) else { continue };
            let closes = rest.starts_with(b"--");
            let ends = rest.first().is_none_or(u8::is_ascii_whitespace);
            if !closes && !ends {
                continue;
            }
            let skipped = self.raw.len() - rest.len();
            let after = memchr(b'\n', rest).map_or(self.raw.len(), |n| skipped + n + 1);
            return Some(Delimiter { level, closes, after });
        }
        None
    }

    /// Reads a header block. It ends at a blank line, at a boundary, or, where the blank line was forgotten,
    /// at a line that begins with `<`.
    fn head(&self, start: usize) -> Head {
        let mut head = Head { end: start, body: start, ..Head::default() };
        let mut at = start;
        while at < self.raw.len() {
            let next = memchr(b'\n', &self.raw[at..]).map_or(self.raw.len(), |n| at + n + 1);
            let line = &self.raw[at..next];
            if matches!(line, b"\n" | b"\r\n") {
                (head.end, head.body) = (at, next);
                return head;
            }
            let markup = line.starts_with(b"<") && head.coding_word.as_deref() != Some("base64");
            if markup || (line.starts_with(b"--") && self.delimiter_at(at).is_some()) {
                (head.end, head.body) = (at, at);
                return head;
            }
            let field_end = self.folded_end(next);
            self.field(&mut head, at..field_end);
            at = field_end;
        }
        (head.end, head.body) = (at, at);
        head
    }

    fn folded_end(&self, mut next: usize) -> usize {
        while matches!(self.raw.get(next), Some(b' ' | b'\t')) {
            next = memchr(b'\n', &self.raw[next..]).map_or(self.raw.len(), |n| next + n + 1);
        }
        next
    }

    fn field(&self, head: &mut Head, range: Range<usize>) {
        let text = &self.raw[range.clone()];
        if !matches!(text.first(), Some(b'c' | b'C' | b'x' | b'X')) {
            return;
        }
        let Some(colon) = memchr(b':', text) else { return };
        let (name, value) = (text[..colon].trim_ascii_end(), &text[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-type") {
            let content = ContentType::read(value);
            head.html |=
                matches!(content.kind.as_str(), "text/html" | "application/xhtml+xml" | "text/x-amp-html");
            head.content.get_or_insert(content);
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            if head.coding.is_none() {
                head.coding = Some(range);
                head.coding_word = Some(first_word(value));
            }
        } else if name.eq_ignore_ascii_case(b"x-tidegate-encoding") {
            head.kept.get_or_insert(range);
        }
    }
}

/// The coding a word names. `8-bit` and the like are common slips of the pen that every client bears.
pub(super) fn coding_of(word: Option<&str>) -> Coding {
    match word {
        None | Some("" | "binary") => Coding::Identity,
        Some("quoted-printable") => Coding::Quoted,
        Some("base64") => Coding::Base64,
        Some(word) if word.starts_with(['7', '8']) => Coding::Identity,
        Some(_) => Coding::Unknown,
    }
}

#[cfg(test)]
#[path = "mime_tests.rs"]
mod tests;
