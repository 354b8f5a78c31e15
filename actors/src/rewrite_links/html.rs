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
use super::raw_text::{comment_end, raw_text_end, script_end};
use super::tag::{self, Name, Tag, Value, ends_name, refresh_address};
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
    /// The first value that names a charset: of `<meta charset>`, or the content of its older form. Looked for in
    /// the whole page, so that longer links in front of it do not push it out of sight.
    pub(super) charset: Option<(usize, usize)>,
}

/// Scans a page.
pub(super) fn scan(view: &[u8]) -> Page {
    let mut scanner =
        Scanner { view, page: Page::default(), frames: Vec::new(), anchor: None, conditional: false };
    scanner.run(0, view.len());
    scanner.close_anchor(view.len());
    scanner.page
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
        let tag = tag::attributes(self.view, start + length, to);
        let Some(end) = tag.end else { return to };
        self.keep_links(name.text(), &tag, end, start - 1);
        self.frame_opened(name.text(), &tag);
        if self.is_foreign() {
            return end;
        }
        match name.text() {
            b"plaintext" => to,
            b"script" => script_end(self.view, end, to),
            b"style" | b"title" | b"textarea" | b"xmp" | b"iframe" | b"noembed" | b"noframes" => {
                raw_text_end(self.view, name.text(), end, to)
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
        let tag = tag::attributes(self.view, start + length, to);
        if tag.end.is_some() {
            if name.text() == b"a" {
                self.close_anchor(start - 2);
            }
            self.frame_closed(name.text());
        }
        tag.end.unwrap_or(to)
    }

    fn keep_links(&mut self, name: &[u8], tag: &Tag, end: usize, start: usize) {
        match name {
            b"a" => {
                self.close_anchor(start);
                let first = self.page.spans.len();
                self.keep(tag.values[tag::HREF], Some(end));
                self.keep(tag.values[tag::XLINK], Some(end));
                self.anchor = (self.page.spans.len() > first).then_some(first);
            }
            b"area" => self.keep(tag.values[tag::HREF], None),
            b"form" => self.keep(tag.values[tag::ACTION], None),
            b"button" | b"input" => self.keep(tag.values[tag::FORMACTION], None),
            b"iframe" | b"frame" => self.keep(tag.values[tag::SRC], None),
            b"base" if self.page.base.is_none() => {
                self.page.base = tag.values[tag::HREF].map(|(start, end, _)| (start, end));
            }
            b"meta" => self.keep_meta(tag),
            _ if name.starts_with(b"v:") => self.keep(tag.values[tag::HREF], None),
            _ => {}
        }
    }

    fn keep(&mut self, value: Option<Value>, inner: Option<usize>) {
        let Some((start, end, quote)) = value else { return };
        if start < end {
            self.page.spans.push(Span { start, end, quote, inner: inner.map(|at| (at, at)) });
        }
    }

    fn keep_meta(&mut self, tag: &Tag) {
        let mut charset = tag.values[tag::CHARSET].map(|(start, end, _)| (start, end));
        if let (Some((from, to, _)), Some((start, end, quote))) =
            (tag.values[tag::HTTP_EQUIV], tag.values[tag::CONTENT])
        {
            let (kind, _) = entities::ascii(&self.view[from..to]);
            let kind = kind.trim_ascii();
            if kind.eq_ignore_ascii_case(b"content-type") {
                charset = charset.or(Some((start, end)));
            } else if kind.eq_ignore_ascii_case(b"refresh")
                && let Some((first, last)) = refresh_address(&self.view[start..end])
            {
                self.keep(Some((start + first, start + last, quote)), None);
            }
        }
        self.page.charset = self.page.charset.or(charset);
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

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
