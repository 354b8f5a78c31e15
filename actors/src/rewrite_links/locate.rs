//! Finds every link of a message once, so that only tokens have to be made for each recipient.

use super::address::Reading;
use super::charset::Letters;
use super::hint::{self, Setting};
use super::html::{self, Quote, Span};
use super::mime::{self, Coding, Kind, Leaf};
use super::quoted_printable::Written;
use super::transfer::{self, Decoded};
use super::{Found, Options, entities, text};
use memchr::memmem;
use std::collections::BTreeMap;
use url::Url;

/// Octets of an address that is put into a token; the site takes no longer request line.
const MAX_ADDRESS: usize = 16 * 1_024;
/// Octets by which rewriting may make a message grow.
const MAX_GROWTH: usize = 16 * 1_024 * 1_024;
/// What a token weighs beside its address, roughly.
const TOKEN: usize = 300;
/// Octets of a link's text that are shown.
const MAX_TEXT: usize = 200;

/// One link to be replaced: a stretch of its leaf's decoded octets.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Where it leads.
    pub(super) address: String,
    /// The hint that goes behind the token.
    pub(super) hint: String,
}

/// A leaf with its links.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) leaf: Leaf,
    pub(super) decoded: Decoded,
    pub(super) letters: Letters,
    pub(super) sites: Vec<Site>,
}

/// All links of a message.
#[derive(Debug, Default)]
pub(super) struct Located {
    /// Leaves with at least one link to replace.
    pub(super) pages: Vec<Page>,
    /// Every live link, also those that stay.
    pub(super) found: Vec<Found>,
    pub(super) oddities: Vec<(&'static str, String)>,
}

/// How [`locate`] works.
pub(super) struct Search<'a> {
    pub(super) options: Options,
    /// Whether [`Found`] is wanted, and with what texts.
    pub(super) found: bool,
    /// Opens links of ours: the address inside.
    pub(super) own: &'a mut dyn FnMut(&str) -> Option<String>,
}

/// A leaf, decoded and scanned.
pub(super) struct Opened {
    pub(super) decoded: Decoded,
    pub(super) letters: Letters,
    pub(super) base: Option<Url>,
    pub(super) spans: Vec<Span>,
}

/// Decodes a leaf and finds the spans of its links; nothing for a leaf that is opaque to us.
pub(super) fn open(raw: &[u8], leaf: &Leaf) -> Option<Opened> {
    let body = raw.get(leaf.body.clone())?;
    let decoded = transfer::decode(leaf.coding, body)?;
    let octets = decoded.octets(body);
    let mut letters = Letters::choose(leaf.charset.as_deref(), octets);
    let mut page = scan(leaf, letters, octets);
    let named = page.charset.and_then(|(start, end)| letters.named_inside(octets.get(start..end)?));
    if let Some(named) = named {
        letters = named;
        if letters.is_shifted() {
            page = scan(leaf, letters, octets);
        }
    }
    let width = letters.width();
    let wide = |(start, end): (usize, usize)| (start * width, end * width);
    for span in &mut page.spans {
        (span.start, span.end) = wide((span.start, span.end));
        span.inner = span.inner.map(wide);
    }
    // The two addresses of an SVG link are found in the order of their names.
    page.spans.sort_by_key(|span| span.start);
    let base = page.base.map(wide).and_then(|(start, end)| base_of(letters, &octets[start..end]));
    Some(Opened { decoded, letters, base, spans: page.spans })
}

fn scan(leaf: &Leaf, letters: Letters, octets: &[u8]) -> html::Page {
    let view = letters.view(octets);
    if leaf.kind == Kind::Html {
        return html::scan(&view);
    }
    let spans = text::scan(&view, letters.encoding == encoding_rs::UTF_8, leaf.delsp);
    html::Page { spans, ..html::Page::default() }
}

/// The value of `<base href>` as a base: only an absolute web address can be one here.
fn base_of(letters: Letters, octets: &[u8]) -> Option<Url> {
    let value = letters.decode(octets);
    let base = Url::parse(entities::decode(&value).trim()).ok()?;
    matches!(base.scheme(), "http" | "https").then_some(base)
}

/// The setting of a value in a leaf.
pub(super) fn setting<'a>(
    leaf: &Leaf,
    letters: Letters,
    base: Option<&'a Url>,
    raw: &[u8],
    quote: Quote,
) -> Setting<'a> {
    let newline = (leaf.coding != Coding::Base64).then(|| transfer::line_end(&raw[leaf.body.clone()]));
    Setting { letters, quote, base, delsp: leaf.delsp, newline }
}

/// Finds the links of a message.
pub(super) fn locate(raw: &[u8], search: &mut Search<'_>) -> Located {
    let tree = mime::walk(raw);
    let mut round = Round { raw, located: Located::default(), counts: BTreeMap::new(), growth: 0 };
    for leaf in tree.leaves {
        if leaf.kind == Kind::Sealed {
            round.count("SMIME_OPAQUE");
            continue;
        }
        if leaf.kind == Kind::Text && !search.options.rewrite_text && !search.found {
            continue;
        }
        let signed = leaf.signed.and_then(|group| tree.signed.get(group)).is_some_and(mime::Signed::holds);
        round.leaf(leaf, signed && !search.options.rewrite_signed, search);
    }
    if tree.too_deep || tree.too_many {
        round.count("MIME_EXCESS");
    }
    let Round { mut located, counts, .. } = round;
    located.oddities.extend(counts.into_iter().map(|(code, count)| (code, why(code, count))));
    located
}

/// One message being searched.
struct Round<'a> {
    raw: &'a [u8],
    located: Located,
    /// What was met and stays, by its code.
    counts: BTreeMap<&'static str, usize>,
    growth: usize,
}

impl Round<'_> {
    fn count(&mut self, code: &'static str) {
        *self.counts.entry(code).or_default() += 1;
    }

    /// Takes the links of one leaf; `kept` ones stay.
    fn leaf(&mut self, leaf: Leaf, kept: bool, search: &mut Search<'_>) {
        let Some(opened) = open(self.raw, &leaf) else { return self.count("CODING_UNKNOWN") };
        let Opened { decoded, letters, base, spans } = opened;
        let body = &self.raw[leaf.body.clone()];
        let octets = decoded.octets(body);
        let text = leaf.kind == Kind::Text;
        let asked = !text || (search.options.rewrite_text && !is_pgp(octets, search.options));
        let mut sites: Vec<Site> = Vec::new();
        let mut written = Written::new(body, &decoded);
        let mut setting = setting(&leaf, letters, base.as_ref(), self.raw, Quote::Text);
        for span in spans {
            setting.quote = span.quote;
            let value = &octets[span.start..span.end];
            let Some(address) = self.address(&setting, value) else { continue };
            if search.found {
                let text = span.inner.map(|(start, end)| visible(letters, &octets[start..end]));
                self.located.found.push(Found { url: address.clone(), text });
            }
            if kept {
                self.count("LINK_SIGNED");
            }
            if kept || !asked || !self.has_room(&address) {
                continue;
            }
            let quoted = (leaf.coding == Coding::Quoted).then(|| written.stretch(span.start, span.end));
            let (address, hint) = wrapped_once(&setting, value, address, quoted.as_deref(), search.own);
            self.growth += hint.len();
            sites.push(Site { start: span.start, end: span.end, address, hint });
        }
        if !sites.is_empty() {
            self.located.pages.push(Page { leaf, decoded, letters, sites });
        }
    }

    fn address(&mut self, setting: &Setting<'_>, value: &[u8]) -> Option<String> {
        match setting.read(value) {
            Reading::Web(address) => return Some(address),
            Reading::Odd(code) => self.count(code),
            Reading::Other => {}
        }
        None
    }

    fn has_room(&mut self, address: &str) -> bool {
        if address.len() > MAX_ADDRESS {
            self.count("LINK_TOO_LONG");
            return false;
        }
        self.growth += TOKEN + address.len() * 4 / 3;
        if self.growth > MAX_GROWTH {
            self.count("LINKS_TOO_MANY");
            return false;
        }
        true
    }
}

/// Address and hint of a link: those inside, when it is one of ours already.
fn wrapped_once(
    setting: &Setting<'_>,
    value: &[u8],
    address: String,
    quoted: Option<&[u8]>,
    own: &mut dyn FnMut(&str) -> Option<String>,
) -> (String, String) {
    if hint::is_own(&address)
        && let Some(inner) = own(&address)
    {
        // A link of ours inside another's wrapper leads back to that wrapper, a bare one to what it replaced.
        let written = setting.letters.decode(value);
        let carried = if written == address {
            hint::split(&address).1.to_owned()
        } else {
            setting.hint(value, &inner, quoted)
        };
        return (inner, carried);
    }
    let hint = setting.hint(value, &address, quoted);
    (address, hint)
}

/// Clear-signed text (RFC 9580, section 7) is signed too.
fn is_pgp(octets: &[u8], options: Options) -> bool {
    !options.rewrite_signed && memmem::find(octets, b"-----BEGIN PGP SIGNED MESSAGE-----").is_some()
}

/// The text of a link as a reader sees it: tags out, references decoded, white space drawn together.
fn visible(letters: Letters, octets: &[u8]) -> String {
    let text = letters.decode(&octets[..octets.len().min(16 * MAX_TEXT) / letters.width() * letters.width()]);
    let mut shown = String::new();
    let mut rest = text.as_ref();
    while let Some((before, after)) = rest.split_once('<') {
        shown.push_str(before);
        rest = after.split_once('>').map_or("", |(_, after)| after);
    }
    shown.push_str(rest);
    let decoded = entities::decode(&shown);
    let joined = decoded.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.chars().take(MAX_TEXT).collect()
}

fn why(code: &str, count: usize) -> String {
    match code {
        "SMIME_OPAQUE" => format!("{count} sealed S/MIME parts: links in them were not rewritten"),
        "CODING_UNKNOWN" => format!("{count} text parts in an unknown transfer encoding were left alone"),
        "MIME_EXCESS" => "more parts or nesting than is followed: not every link was rewritten".to_owned(),
        "LINK_SIGNED" => format!("{count} links in signed parts were left as they are"),
        "LINK_TOO_LONG" => format!("{count} links too long for a token were left as they are"),
        "LINKS_TOO_MANY" => format!("{count} links beyond the limit were left as they are"),
        "LINK_JAVASCRIPT" => format!("{count} links run a script (javascript:)"),
        "LINK_VBSCRIPT" => format!("{count} links run a script (vbscript:)"),
        "LINK_DATA" => format!("{count} links carry their page in themselves (data:)"),
        "LINK_FILE" => format!("{count} links open a file (file:)"),
        _ => format!("{count} times"),
    }
}
