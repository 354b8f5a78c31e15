//! Finds live link attributes in HTML by their exact octets, reading broken markup as browsers do.
//!
//! A small tokenizer of our own after the HTML standard (section 13.2.5), because the spans of attribute
//! *values* are wanted, and one pass without a tree is enough for them. Held to the standard: values without
//! quotes, the first of duplicate attributes wins, bogus comments, `--!>`, raw text (script with its escaped
//! states, style, title, textarea, xmp, iframe, noembed, noframes, plaintext), CDATA only inside SVG and MathML,
//! tags cut off by the end of the page are no tags. `noscript` is markup: mail clients run no scripts.
//!
//! Which attributes are live: what a click or the client itself navigates to. `a`, `area`: href; SVG `a`:
//! xlink:href; `form`: action; `button`, `input`: formaction; `meta` refresh; `iframe`, `frame`: src, a page of
//! its own inside the mail; `v:*`: href, the clickable VML shapes that Outlook draws. Images, style sheets and
//! `link` are loaded, not gone to.
//!
//! Conditional comments `<!--[if mso]> ... <![endif]-->` are comments to all but Outlook, which renders what is
//! inside and opens its links; so they are scanned as markup of their own. Any other comment stays shut.
//!
//! Every offset is one into the view (see `charset`). The scan is linear: each octet is passed a fixed number
//! of times, whatever is left open.

use super::entities;
use memchr::{memchr, memmem};

/// Elements inside each other that are followed through SVG and MathML.
const MAX_FRAMES: usize = 256;

/// How a value is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    /// `"value"`.
    Double,
    /// `'value'`.
    Single,
    /// Without quotes.
    Bare,
    /// Not an attribute: plain text.
    Text,
}

/// One live link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First octet of the value.
    pub(super) start: usize,
    /// After its last octet.
    pub(super) end: usize,
    pub(super) quote: Quote,
    /// Contents of an `a`, for the text a reader sees.
    pub(super) inner: Option<(usize, usize)>,
}

/// What a page has.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) spans: Vec<Span>,
    /// Value of the first `<base href>`.
    pub(super) base: Option<(usize, usize)>,
}

/// Scans a page.
pub(super) fn scan(view: &[u8]) -> Page {
    let mut scanner =
        Scanner { view, page: Page::default(), frames: Vec::new(), anchor: None, conditional: false };
    scanner.run(0, view.len());
    scanner.close_anchor(view.len());
    scanner.page
}

/// The attributes that can matter; the order is that of [`Tag::values`].
const NAMES: [&[u8]; 7] =
    [b"href", b"xlink:href", b"action", b"formaction", b"content", b"src", b"http-equiv"];
const HREF: usize = 0;
const XLINK: usize = 1;
const ACTION: usize = 2;
const FORMACTION: usize = 3;
const CONTENT: usize = 4;
const SRC: usize = 5;
const HTTP_EQUIV: usize = 6;

type Value = (usize, usize, Quote);

#[derive(Default)]
struct Tag {
    values: [Option<Value>; NAMES.len()],
    self_closing: bool,
    /// After `>`; `None` when the page ended first.
    end: Option<usize>,
}

/// A tag or attribute name in lower case, NULs left out (some clients do), cut at 16 octets.
struct Name([u8; 16], usize);

impl Name {
    fn of(text: &[u8]) -> Name {
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

    fn text(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

struct Scanner<'a> {
    view: &'a [u8],
    page: Page,
    /// SVG or MathML (true) and HTML inside them (false), innermost last.
    frames: Vec<bool>,
    anchor: Option<usize>,
    /// Inside a conditional comment, where no comment can begin.
    conditional: bool,
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

fn ends_name(octet: u8) -> bool {
    is_space(octet) || matches!(octet, b'/' | b'>')
}

impl Scanner<'_> {
    fn run(&mut self, from: usize, to: usize) {
        let mut at = from;
        while at < to {
            let Some(hit) = memchr(b'<', &self.view[at..to]) else { return };
            let next = at + hit + 1;
            if next >= to {
                return;
            }
            at = match self.view[next] {
                b'a'..=b'z' | b'A'..=b'Z' => self.start_tag(next, to),
                b'/' => self.end_tag(next + 1, to),
                b'!' => self.declaration(next + 1, to),
                b'?' => self.after_gt(next, to),
                _ => next,
            };
        }
    }

    fn after_gt(&self, from: usize, to: usize) -> usize {
        memchr(b'>', &self.view[from.min(to)..to]).map_or(to, |n| from + n + 1)
    }

    fn is_foreign(&self) -> bool {
        self.frames.last() == Some(&true)
    }

    fn start_tag(&mut self, start: usize, to: usize) -> usize {
        let length = self.view[start..to].iter().position(|b| ends_name(*b)).unwrap_or(to - start);
        let name = Name::of(&self.view[start..start + length]);
        let tag = self.attributes(start + length, to);
        let Some(end) = tag.end else { return to };
        self.keep_links(name.text(), &tag, end, start - 1);
        self.frame_opened(name.text(), &tag);
        if self.is_foreign() {
            return end;
        }
        match name.text() {
            b"plaintext" => to,
            b"script" => self.script_end(end, to),
            b"style" | b"title" | b"textarea" | b"xmp" | b"iframe" | b"noembed" | b"noframes" => {
                self.raw_text_end(name.text(), end, to)
            }
            _ => end,
        }
    }

    fn end_tag(&mut self, start: usize, to: usize) -> usize {
        match self.view.get(start) {
            Some(b'a'..=b'z' | b'A'..=b'Z') if start < to => {}
            _ => return self.after_gt(start, to),
        }
        let length = self.view[start..to].iter().position(|b| ends_name(*b)).unwrap_or(to - start);
        let name = Name::of(&self.view[start..start + length]);
        let tag = self.attributes(start + length, to);
        if tag.end.is_some() {
            if name.text() == b"a" {
                self.close_anchor(start - 2);
            }
            self.frame_closed(name.text());
        }
        tag.end.unwrap_or(to)
    }

    /// Reads attributes from after the tag's name up to `>`.
    fn attributes(&self, from: usize, to: usize) -> Tag {
        let mut tag = Tag::default();
        let view = &self.view[..to];
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
            let Some((value, after)) = self.value(at + 1, to) else { return tag };
            at = after;
            if let Some(value) = value {
                keep_value(&mut tag, &view[name], value);
            }
        }
    }

    /// A value from after the equals sign: what it is and where to go on. `None` at the end of the page.
    fn value(&self, from: usize, to: usize) -> Option<(Option<Value>, usize)> {
        let view = &self.view[..to];
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

    fn keep_links(&mut self, name: &[u8], tag: &Tag, end: usize, start: usize) {
        match name {
            b"a" => {
                self.close_anchor(start);
                let first = self.page.spans.len();
                self.keep(tag.values[HREF], Some(end));
                self.keep(tag.values[XLINK], Some(end));
                self.anchor = (self.page.spans.len() > first).then_some(first);
            }
            b"area" => self.keep(tag.values[HREF], None),
            b"form" => self.keep(tag.values[ACTION], None),
            b"button" | b"input" => self.keep(tag.values[FORMACTION], None),
            b"iframe" | b"frame" => self.keep(tag.values[SRC], None),
            b"base" if self.page.base.is_none() => {
                self.page.base = tag.values[HREF].map(|(start, end, _)| (start, end));
            }
            b"meta" => self.keep_refresh(tag),
            _ if name.starts_with(b"v:") => self.keep(tag.values[HREF], None),
            _ => {}
        }
    }

    fn keep(&mut self, value: Option<Value>, inner: Option<usize>) {
        let Some((start, end, quote)) = value else { return };
        if start < end {
            self.page.spans.push(Span { start, end, quote, inner: inner.map(|at| (at, at)) });
        }
    }

    fn keep_refresh(&mut self, tag: &Tag) {
        let (Some((from, to, _)), Some((start, end, quote))) = (tag.values[HTTP_EQUIV], tag.values[CONTENT])
        else {
            return;
        };
        let kind = &self.view[from..to];
        if !entities::ascii(kind).0.trim_ascii().eq_ignore_ascii_case(b"refresh") {
            return;
        }
        if let Some((first, last)) = refresh_address(&self.view[start..end]) {
            self.keep(Some((start + first, start + last, quote)), None);
        }
    }

    fn close_anchor(&mut self, at: usize) {
        let Some(first) = self.anchor.take() else { return };
        for span in self.page.spans.iter_mut().skip(first).take(2) {
            if let Some((_, end)) = span.inner.as_mut() {
                *end = at.max(*end);
            }
        }
    }

    fn frame_opened(&mut self, name: &[u8], tag: &Tag) {
        if self.frames.len() >= MAX_FRAMES {
            return;
        }
        if matches!(name, b"svg" | b"math") {
            if !tag.self_closing {
                self.frames.push(true);
            }
        } else if self.is_foreign() {
            match name {
                b"foreignobject" | b"desc" | b"title" | b"mi" | b"mo" | b"mn" | b"ms" | b"mtext"
                    if !tag.self_closing =>
                {
                    self.frames.push(false);
                }
                _ if breaks_out(name) => {
                    while self.is_foreign() {
                        self.frames.pop();
                    }
                }
                _ => {}
            }
        }
    }

    fn frame_closed(&mut self, name: &[u8]) {
        match name {
            b"svg" | b"math" => {
                if let Some(at) = self.frames.iter().rposition(|foreign| *foreign) {
                    self.frames.truncate(at);
                }
            }
            b"foreignobject" | b"desc" | b"title" | b"mi" | b"mo" | b"mn" | b"ms" | b"mtext"
                if self.frames.last() == Some(&false) =>
            {
                self.frames.pop();
            }
            _ => {}
        }
    }

    /// `<!`: a comment, CDATA, a doctype or something bogus.
    fn declaration(&mut self, at: usize, to: usize) -> usize {
        let rest = &self.view[at.min(to)..to];
        if rest.starts_with(b"--") && !self.conditional {
            return self.comment(at + 2, to);
        }
        if self.is_foreign() && rest.starts_with(b"[CDATA[") {
            return memmem::find(rest, b"]]>").map_or(to, |n| at + n + 3);
        }
        self.after_gt(at, to)
    }

    fn comment(&mut self, start: usize, to: usize) -> usize {
        let text = &self.view[start.min(to)..to];
        if text.starts_with(b">") {
            return start + 1;
        }
        if text.starts_with(b"->") {
            return start + 2;
        }
        let (length, end) = comment_end(text).map_or((text.len(), to), |(n, after)| (n, start + after));
        let text = &text[..length];
        let trimmed = text.trim_ascii_start();
        if trimmed.get(..3).is_some_and(|t| t.eq_ignore_ascii_case(b"[if"))
            && let Some(open) = memmem::find(text, b"]>")
        {
            let frames = std::mem::take(&mut self.frames);
            let anchor = self.anchor.take();
            self.conditional = true;
            self.run(start + open + 2, start + length);
            self.conditional = false;
            self.close_anchor(start + length);
            (self.frames, self.anchor) = (frames, anchor);
        }
        end
    }

    fn raw_text_end(&self, name: &[u8], from: usize, to: usize) -> usize {
        let mut at = from;
        while let Some(hit) = memchr(b'<', &self.view[at..to]) {
            at += hit;
            if self.closes(name, at, to) {
                return at;
            }
            at += 1;
        }
        to
    }

    /// Whether `</name` and an end of the name stand at `at`.
    fn closes(&self, name: &[u8], at: usize, to: usize) -> bool {
        let rest = &self.view[at..to];
        rest.strip_prefix(b"</").is_some_and(|rest| begins_word(rest, name))
    }

    /// Script data with its escaped and double-escaped states: in `<!-- <script>` an end tag closes only the
    /// inner script.
    fn script_end(&self, from: usize, to: usize) -> usize {
        let (mut escaped, mut double) = (false, false);
        let mut at = from;
        while at < to {
            let rest = &self.view[at..to];
            let Some(hit) = memchr::memchr2(b'<', b'-', rest) else { return to };
            at += hit;
            let rest = &self.view[at..to];
            if escaped && rest.starts_with(b"-->") {
                (escaped, double) = (false, false);
                at += 3;
            } else if !escaped && rest.starts_with(b"<!--") {
                escaped = true;
                // The dashes count for the end too: `<!-->` opens and shuts.
                at += 2;
            } else if self.closes(b"script", at, to) {
                if !double {
                    return at;
                }
                double = false;
                at += 8;
            } else if escaped && !double && rest.starts_with(b"<") && begins_word(&rest[1..], b"script") {
                double = true;
                at += 7;
            } else {
                at += 1;
            }
        }
        to
    }
}

fn begins_word(text: &[u8], name: &[u8]) -> bool {
    text.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name))
        && text.get(name.len()).is_some_and(|b| ends_name(*b))
}

fn keep_value(tag: &mut Tag, name: &[u8], value: Value) {
    let name = Name::of(name);
    if let Some(at) = NAMES.iter().position(|n| *n == name.text()) {
        tag.values[at].get_or_insert(value);
    }
}

/// Length of a comment's text, and how far its end mark reaches.
fn comment_end(text: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some(hit) = memmem::find(&text[at..], b"--") {
        at += hit;
        match &text[at + 2..] {
            [b'>', ..] => return Some((at, at + 3)),
            [b'!', b'>', ..] => return Some((at, at + 4)),
            _ => at += 1,
        }
    }
    None
}

/// Start tags that end SVG or MathML content (HTML standard, 13.2.6.5).
fn breaks_out(name: &[u8]) -> bool {
    const NAMES: &str = " b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i \
                         img li listing menu meta nobr ol p pre ruby s small span strong strike sub sup table \
                         tt u ul var font ";
    let found = memmem::find_iter(NAMES.as_bytes(), name);
    !name.is_empty()
        && found.into_iter().any(|at| {
            let around = (NAMES.as_bytes().get(at.wrapping_sub(1)), NAMES.as_bytes().get(at + name.len()));
            around == (Some(&b' '), Some(&b' '))
        })
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

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
