//! What one HTML part shows and hides: its visible text, its links, and counts of things that mail has no
//! honest need of.
//!
//! A piece of text is hidden when an element around it is not displayed, transparent, or drawn in its own
//! background's colour; it is tiny when the nearest font size is below three pixels. Spacer cells set a font
//! size of zero and set it back inside, so the nearest size counts, not any.

use super::classifier::hash;
use super::html::{Attribute, Token, attribute, push_decoded, scan};
use super::links::{Kind, Link, MAX_LINKS, cut, split_text};
use url::Url;

/// Open elements followed; deeper ones inherit from the last.
const MAX_DEPTH: usize = 256;
/// Octets kept of a link's text.
const MAX_LINK_TEXT: usize = 200;
/// Hashes of tags and attributes kept for the classifier.
const MAX_MARKS: usize = 2_000;
/// Stands in the text where an address stood.
pub(crate) const ADDRESS_MARK: &str = " _url_ ";

/// Counts over all HTML parts of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// HTML parts seen.
    pub(crate) parts: usize,
    /// Visible letters and digits.
    pub(crate) visible: usize,
    /// Hidden letters and digits.
    pub(crate) hidden: usize,
    /// Letters and digits in a font nobody can read.
    pub(crate) tiny: usize,
    /// `form` elements.
    pub(crate) forms: usize,
    /// Password fields.
    pub(crate) passwords: usize,
    /// `script` elements and `on...` attributes.
    pub(crate) scripts: usize,
    /// `iframe`, `object`, `embed`, `applet`.
    pub(crate) frames: usize,
    /// `meta http-equiv=refresh`.
    pub(crate) refreshes: usize,
    /// Pictures of at least 100 pixels or unknown size.
    pub(crate) pictures: usize,
    /// Pictures inside links.
    pub(crate) linked_pictures: usize,
    /// Comments or empty tags between two letters of one word.
    pub(crate) broken_words: usize,
    /// All opening tags.
    pub(crate) tags: usize,
    /// Hashes for the classifier: tags, attributes with their values' beginnings.
    pub(crate) marks: Vec<u64>,
}

#[derive(Clone, Copy, Default)]
struct Open {
    name: u64,
    hidden: bool,
    tiny: bool,
}

/// What the scan of one part fills.
pub(crate) struct Reader<'t> {
    pub(crate) page: &'t mut Page,
    pub(crate) text: &'t mut String,
    pub(crate) links: &'t mut Vec<Link>,
    /// No more text than this is kept, octets.
    pub(crate) text_limit: usize,
    base: Option<Url>,
    open: Vec<Open>,
    /// Index of the link whose text is being read.
    anchor: Option<usize>,
    piece: String,
    style: String,
    comment_after_letter: bool,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(
        page: &'t mut Page,
        text: &'t mut String,
        links: &'t mut Vec<Link>,
        text_limit: usize,
    ) -> Reader<'t> {
        Reader {
            page,
            text,
            links,
            text_limit,
            base: None,
            open: Vec::new(),
            anchor: None,
            piece: String::new(),
            style: String::new(),
            comment_after_letter: false,
        }
    }

    /// Reads one part.
    pub(crate) fn read(&mut self, html: &str) {
        self.page.parts += 1;
        scan(html, |token| match token {
            Token::Open(name, attributes) => self.opened(name, attributes),
            Token::Close(name) => self.closed(name),
            Token::Text(text) => self.written(text),
            Token::Raw(_) => {}
            Token::Comment(_) => {
                self.comment_after_letter = self.text.ends_with(|c: char| c.is_alphabetic());
            }
        });
        self.text.push('\n');
    }

    fn opened(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        self.page.tags += 1;
        self.mark(name, attributes);
        self.count(name, attributes);
        self.link(name, attributes);
        if is_block(name) {
            self.text.push('\n');
        }
        if is_void(name) || self.open.len() >= MAX_DEPTH {
            return;
        }
        let around = self.open.last().copied().unwrap_or_default();
        let mut open = Open { name: hash::of(name.as_bytes(), 0), ..around };
        open.hidden |= name == "template" || name == "title" || attribute(attributes, "hidden").is_some();
        if let Some(style) = attribute(attributes, "style") {
            self.style.clear();
            self.style.extend(style.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()));
            open.hidden |= hides(&self.style);
            open.tiny = font_pixels(&self.style).map_or(open.tiny, |pixels| pixels < 3.0);
        }
        self.open.push(open);
    }

    fn closed(&mut self, name: &str) {
        if is_block(name) {
            self.text.push('\n');
        }
        if name == "a" {
            self.anchor = None;
        }
        let hashed = hash::of(name.as_bytes(), 0);
        if let Some(at) = self.open.iter().rposition(|open| open.name == hashed) {
            self.open.truncate(at);
        }
    }

    fn written(&mut self, text: &str) {
        self.piece.clear();
        push_decoded(&mut self.piece, text);
        if let Some(link) = self.anchor.and_then(|at| self.links.get_mut(at)) {
            let room = MAX_LINK_TEXT.saturating_sub(link.text.len());
            link.text.push_str(cut(&self.piece, room));
        }
        let state = self.open.last().copied().unwrap_or_default();
        let weight = letters(&self.piece);
        match state {
            Open { hidden: true, .. } => self.page.hidden += weight,
            Open { tiny: true, .. } => self.page.tiny += weight,
            _ => self.page.visible += weight,
        }
        if self.comment_after_letter && self.piece.starts_with(|c: char| c.is_alphabetic()) {
            self.page.broken_words += 1;
        }
        self.comment_after_letter = false;
        if self.text.len() < self.text_limit {
            push_text(self.text, &self.piece);
        }
    }

    fn count(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        let page = &mut *self.page;
        match name {
            "form" => page.forms += 1,
            "script" => page.scripts += 1,
            "iframe" | "object" | "embed" | "applet" => page.frames += 1,
            "input" if attribute(attributes, "type").is_some_and(|t| t.eq_ignore_ascii_case("password")) => {
                page.passwords += 1;
            }
            "meta"
                if attribute(attributes, "http-equiv").is_some_and(|v| v.eq_ignore_ascii_case("refresh")) =>
            {
                page.refreshes += 1;
            }
            "img" => {
                let side = |key| {
                    attribute(attributes, key).and_then(|v| v.trim_end_matches("px").parse::<u32>().ok())
                };
                let small = [side("width"), side("height")].into_iter().flatten().any(|pixels| pixels < 100);
                page.pictures += usize::from(!small);
                page.linked_pictures += usize::from(self.anchor.is_some());
            }
            _ => {}
        }
        let handler = |a: &&Attribute<'_>| a.name.get(..2).is_some_and(|two| two.eq_ignore_ascii_case("on"));
        page.scripts += attributes.iter().filter(handler).filter(|a| a.value.contains('(')).count();
    }

    fn link(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        let (kind, key) = match name {
            "a" | "area" => (Kind::Anchor, "href"),
            "form" => (Kind::Form, "action"),
            "img" => (Kind::Image, "src"),
            "iframe" | "embed" => (Kind::Frame, "src"),
            "object" => (Kind::Frame, "data"),
            "base" => {
                self.base = attribute(attributes, "href").and_then(|href| Url::parse(href.trim()).ok());
                return;
            }
            "meta" => (Kind::Frame, "content"),
            _ => return,
        };
        let Some(raw) = attribute(attributes, key) else { return };
        self.piece.clear();
        push_decoded(&mut self.piece, raw);
        let address = if name == "meta" { refresh_target(&self.piece) } else { Some(self.piece.trim()) };
        let Some(address) = address.filter(|a| !a.is_empty() && !a.starts_with('#')) else { return };
        if self.links.len() >= MAX_LINKS || (kind == Kind::Image && address.starts_with("cid:")) {
            return;
        }
        self.links.push(Link::new(kind, address, self.base.as_ref()));
        if name == "a" {
            self.anchor = Some(self.links.len() - 1);
        }
    }

    fn mark(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        if self.page.marks.len() >= MAX_MARKS {
            return;
        }
        let tag = hash::of(name.as_bytes(), 1);
        self.page.marks.push(tag);
        for a in attributes {
            let value = if a.name.eq_ignore_ascii_case("href") {
                a.value.split(':').next().unwrap_or_default()
            } else {
                a.value
            };
            let named = hash::of(cut(a.name, 24).as_bytes(), tag);
            self.page.marks.push(hash::of(cut(value, 24).as_bytes(), named));
        }
    }
}

/// Letters and digits of a text.
fn letters(text: &str) -> usize {
    if text.is_ascii() {
        return text.bytes().filter(u8::is_ascii_alphanumeric).count();
    }
    text.chars().filter(|c| c.is_alphanumeric()).count()
}

/// Appends text for the classifier: addresses become a mark, invisible characters go.
pub(crate) fn push_text(out: &mut String, text: &str) {
    split_text(text, |between, address| {
        if between.is_ascii() {
            out.push_str(between);
        } else {
            out.extend(between.chars().filter(|&c| !is_invisible(c)));
        }
        if address.is_some() {
            out.push_str(ADDRESS_MARK);
        }
    });
}

/// Characters without width, used to break words in two for a filter and not for a reader.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// The address of `5; url=https://...`.
fn refresh_target(content: &str) -> Option<&str> {
    let at = content.to_ascii_lowercase().find("url=")?;
    content.get(at + 4..).map(|rest| rest.trim_matches(['\'', '"', ' ']))
}

fn is_void(name: &str) -> bool {
    const VOID: &[&str] = &[
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
        "track", "wbr",
    ];
    VOID.contains(&name)
}

fn is_block(name: &str) -> bool {
    const BLOCK: &[&str] = &[
        "address",
        "blockquote",
        "body",
        "br",
        "center",
        "dd",
        "div",
        "dl",
        "dt",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "html",
        "li",
        "ol",
        "option",
        "p",
        "pre",
        "table",
        "tbody",
        "td",
        "th",
        "title",
        "tr",
        "ul",
    ];
    BLOCK.contains(&name)
}

/// The value of a property in a style without white space, in lower case.
fn property<'a>(style: &'a str, name: &str) -> Option<&'a str> {
    let of = |declaration: &'a str| {
        let (key, value) = declaration.split_once(':')?;
        (key == name).then(|| value.trim_end_matches("!important"))
    };
    style.split(';').filter_map(of).next_back()
}

fn hides(style: &str) -> bool {
    if property(style, "display") == Some("none") || property(style, "visibility") == Some("hidden") {
        return true;
    }
    if property(style, "opacity").and_then(|o| o.parse::<f32>().ok()).is_some_and(|o| o < 0.05) {
        return true;
    }
    let Some(colour) = property(style, "color") else { return false };
    let behind = property(style, "background-color").or_else(|| property(style, "background"));
    colour == "transparent" || behind.is_some_and(|behind| same_colour(colour, behind))
}

fn same_colour(one: &str, other: &str) -> bool {
    fn plain(colour: &str) -> String {
        match colour {
            "white" => "ffffff".to_owned(),
            "black" => "000000".to_owned(),
            _ => match colour.strip_prefix('#') {
                Some(short) if short.len() == 3 => short.chars().flat_map(|c| [c, c]).collect(),
                Some(long) => long.to_owned(),
                None => colour.to_owned(),
            },
        }
    }
    plain(one) == plain(other)
}

/// Font size of a style in pixels, when it is given in pixels or points or is zero.
fn font_pixels(style: &str) -> Option<f32> {
    let size = property(style, "font-size")?;
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    let number: f32 = digits.parse().ok()?;
    match size.get(digits.len()..).unwrap_or_default() {
        "px" | "" => Some(number),
        "pt" => Some(number * 4.0 / 3.0),
        // Relative sizes hang on sizes around them: only zero is sure.
        _ if number == 0.0 => Some(0.0),
        _ => Some(16.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(html: &str) -> (Page, String, Vec<Link>) {
        let (mut page, mut text, mut links) = (Page::default(), String::new(), Vec::new());
        Reader::new(&mut page, &mut text, &mut links, 65_536).read(html);
        (page, text, links)
    }

    #[test]
    fn text_that_is_not_shown_is_counted_as_hidden() {
        for style in ["display: none", "visibility:hidden", "opacity:0", "color:#FFF;background-color: white"]
        {
            let (page, ..) = read(&format!("<p>seen</p><div style='{style}'><b>12345</b></div>seen"));
            assert_eq!((page.hidden, page.visible), (5, 8), "{style}");
        }
    }

    #[test]
    fn a_spacer_that_sets_its_font_size_back_hides_nothing() {
        let (page, ..) = read("<td style='font-size:0'><span style='font-size:14px'>shown</span>x</td>");
        assert_eq!((page.tiny, page.visible), (1, 5));
    }

    #[test]
    fn tags_inside_a_word_do_not_split_it_and_blocks_do() {
        let (page, text, _) = read("Via<!-- x -->gra<b>pills</b><p>end&shy;less");
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["Viagrapills", "endless"]);
        assert_eq!(page.broken_words, 1);
    }

    #[test]
    fn links_carry_their_text_and_base() {
        let (_, text, links) =
            read("<base href='https://a.test/'><a href='x?a&amp;b'>go to <b>https://b.test/</b></a> on");
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].web().unwrap().path, "/x?a&b");
        assert_eq!(links[0].text, "go to https://b.test/");
        assert!(text.contains(ADDRESS_MARK) && !text.contains("b.test"));
    }

    #[test]
    fn forms_scripts_frames_and_refreshes_are_counted() {
        let (page, _, links) = read(
            "<form action=https://a.test/f><input type=PASSWORD></form><script>x()</script><p onclick='go()'>\
             <iframe src=https://b.test/></iframe><meta http-equiv=refresh content='0; url=https://c.test/'>",
        );
        assert_eq!((page.forms, page.passwords, page.scripts, page.frames, page.refreshes), (1, 1, 2, 1, 1));
        let kinds: Vec<Kind> = links.iter().map(|l| l.kind).collect();
        assert_eq!(kinds, [Kind::Form, Kind::Frame, Kind::Frame]);
    }
}
