//! A scanner of HTML as mail carries it: tags, attributes and text, in one pass, without building a tree.
//!
//! It takes whatever bytes come and never fails: what is no markup is text, what is not closed ends with the
//! input. Comments, declarations, scripts and style sheets are told apart from text, since text is what a
//! reader sees. All slices are of the input, so nothing is copied but tag names.

use memchr::{memchr, memmem};

/// Attributes kept of one tag; more are skipped.
const MAX_ATTRIBUTES: usize = 64;

/// One attribute: the name as written, the value without its quotes, entities not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
}

/// A piece of HTML.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Token<'a, 'b> {
    /// An opening tag; the name is in lower case.
    Open(&'b str, &'b [Attribute<'a>]),
    /// A closing tag; the name is in lower case.
    Close(&'b str),
    /// Text between tags, entities not decoded.
    Text(&'a str),
    /// Content of `script` or `style`, which follows its opening tag.
    Raw(&'a str),
    /// The inside of a comment.
    Comment(&'a str),
}

/// The value of an attribute by name, case ignored.
pub(crate) fn attribute<'a>(attributes: &[Attribute<'a>], name: &str) -> Option<&'a str> {
    attributes.iter().find(|a| a.name.eq_ignore_ascii_case(name)).map(|a| a.value)
}

/// Gives each piece to `sink`, in order.
pub(crate) fn scan<'a>(html: &'a str, mut sink: impl FnMut(Token<'a, '_>)) {
    let bytes = html.as_bytes();
    let mut name = String::new();
    let mut attributes = Vec::new();
    let mut at = 0;
    let mut text_from = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr(b'<', rest)) {
        let open = at + found;
        let Some(&next) = bytes.get(open + 1) else { break };
        if !(next.is_ascii_alphabetic() || matches!(next, b'/' | b'!' | b'?')) {
            at = open + 1;
            continue;
        }
        if text_from < open {
            sink(Token::Text(slice(html, text_from, open)));
        }
        at = match next {
            b'!' | b'?' => markup(html, open, &mut sink),
            b'/' => {
                let end = tag(html, open + 2, &mut name, &mut attributes);
                sink(Token::Close(&name));
                end
            }
            _ => {
                let end = tag(html, open + 1, &mut name, &mut attributes);
                sink(Token::Open(&name, &attributes));
                raw_text(html, end, &name, &mut sink)
            }
        };
        text_from = at;
    }
    if text_from < html.len() {
        sink(Token::Text(slice(html, text_from, html.len())));
    }
}

/// All cuts are beside ASCII delimiters, so `get` never fails; were it to, the piece would be empty.
fn slice(html: &str, from: usize, to: usize) -> &str {
    html.get(from..to).unwrap_or_default()
}

/// A comment, declaration or processing instruction; the position after it.
fn markup<'a>(html: &'a str, open: usize, sink: &mut impl FnMut(Token<'a, '_>)) -> usize {
    let rest = slice(html, open, html.len());
    if let Some(inside) = rest.strip_prefix("<!--") {
        let length = memmem::find(inside.as_bytes(), b"-->");
        sink(Token::Comment(slice(inside, 0, length.unwrap_or(inside.len()))));
        return length.map_or(html.len(), |length| open + 4 + length + 3);
    }
    memchr(b'>', rest.as_bytes()).map_or(html.len(), |length| open + length + 1)
}

/// The content of an element that has no markup inside; the position where its closing tag begins.
fn raw_text<'a>(html: &'a str, from: usize, name: &str, sink: &mut impl FnMut(Token<'a, '_>)) -> usize {
    if !matches!(name, "script" | "style") {
        return from;
    }
    let mut at = from;
    while let Some(found) = html.as_bytes().get(at..).and_then(|rest| memchr(b'<', rest)) {
        let close = at + found;
        let tail = slice(html, close, html.len()).as_bytes();
        let closing = tail.get(1) == Some(&b'/')
            && tail.get(2..2 + name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()));
        if closing {
            sink(Token::Raw(slice(html, from, close)));
            return close;
        }
        at = close + 1;
    }
    sink(Token::Raw(slice(html, from, html.len())));
    html.len()
}

/// Reads a tag's name and attributes; the position after its `>`.
fn tag<'a>(html: &'a str, from: usize, name: &mut String, attributes: &mut Vec<Attribute<'a>>) -> usize {
    let bytes = html.as_bytes();
    attributes.clear();
    let mut at = until(bytes, from, |b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>'));
    name.clear();
    name.push_str(slice(html, from, at.min(from + 32)));
    name.make_ascii_lowercase();
    loop {
        at = until(bytes, at, |b| !(b.is_ascii_whitespace() || b == b'/'));
        match bytes.get(at) {
            None => return html.len(),
            Some(b'>') => return at + 1,
            Some(_) => {}
        }
        let name_end = until(bytes, at + 1, |b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>' | b'='));
        let attribute = slice(html, at, name_end);
        let (value, end) = value(html, name_end);
        if attributes.len() < MAX_ATTRIBUTES {
            attributes.push(Attribute { name: attribute, value });
        }
        at = end;
    }
}

/// The value that follows an attribute's name, empty when there is none; the position after it.
fn value(html: &str, from: usize) -> (&str, usize) {
    let bytes = html.as_bytes();
    let equals = until(bytes, from, |b| !b.is_ascii_whitespace());
    if bytes.get(equals) != Some(&b'=') {
        return ("", from);
    }
    let start = until(bytes, equals + 1, |b| !b.is_ascii_whitespace());
    match bytes.get(start) {
        Some(&quote @ (b'"' | b'\'')) => {
            let end = until(bytes, start + 1, |b| b == quote);
            (slice(html, start + 1, end), (end + 1).min(html.len()))
        }
        _ => {
            let end = until(bytes, start, |b| b.is_ascii_whitespace() || b == b'>');
            (slice(html, start, end), end)
        }
    }
}

fn until(bytes: &[u8], from: usize, stop: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter().position(|&b| stop(b)).map_or(bytes.len(), |found| from + found)
}

/// Appends text with its entities decoded.
pub(crate) fn push_decoded(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        out.push_str(slice(rest, 0, at));
        rest = slice(rest, at, rest.len());
        let window = rest.as_bytes().get(..rest.len().min(34)).unwrap_or_default();
        match memchr(b';', window) {
            Some(end) if is_entity(slice(rest, 1, end)) => {
                mail_parser::decoders::html::add_html_token(out, slice(rest, 0, end + 1).as_bytes(), false);
                rest = slice(rest, end + 1, rest.len());
            }
            _ => {
                out.push('&');
                rest = slice(rest, 1, rest.len());
            }
        }
    }
    out.push_str(rest);
}

fn is_entity(name: &str) -> bool {
    let digits = name.strip_prefix('#').unwrap_or(name);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(html: &str) -> Vec<String> {
        let mut out = Vec::new();
        scan(html, |token| {
            out.push(match token {
                Token::Open(name, attributes) => {
                    let listed = attributes.iter().map(|a| format!(" {}={}", a.name, a.value));
                    format!("<{name}{}>", listed.collect::<String>())
                }
                Token::Close(name) => format!("</{name}>"),
                Token::Text(text) => text.to_owned(),
                Token::Raw(text) => format!("raw:{text}"),
                Token::Comment(text) => format!("comment:{text}"),
            });
        });
        out
    }

    #[test]
    fn tags_text_comments_and_scripts_are_told_apart() {
        let html = "a<B>b</B><!-- <i> --><SCRIPT>1<2</p></sCript >c";
        let want = ["a", "<b>", "b", "</b>", "comment: <i> ", "<script>", "raw:1<2</p>", "</script>", "c"];
        assert_eq!(pieces(html), want);
    }

    #[test]
    fn attributes_come_in_every_way_of_quoting() {
        let html = "<a HREF = 'x y' b=\"1>2\" c=/d e disabled/>t";
        assert_eq!(pieces(html), ["<a HREF=x y b=1>2 c=/d e= disabled=>", "t"]);
    }

    #[test]
    fn what_is_no_markup_is_text_and_what_is_open_ends_with_the_input() {
        assert_eq!(pieces("1 < 2 <"), ["1 < 2 <"]);
        assert_eq!(pieces("<a href=\"x"), ["<a href=x>"]);
        assert_eq!(pieces("x<!-- y"), ["x", "comment: y"]);
    }

    #[test]
    fn entities_are_decoded_and_a_bare_ampersand_stays() {
        let mut out = String::new();
        push_decoded(&mut out, "a&amp;b &#x41;&#66; &eacute; AT&T & &nope; &");
        assert_eq!(out, "a&b AB é AT&T & &nope; &");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn no_text_outside_tags_is_lost(words in proptest::collection::vec("[a-zé ]{1,8}", 1..20)) {
            let html: String = words.iter().map(|w| format!("<b x='{w}'>{w}</b>")).collect();
            let mut seen = String::new();
            scan(&html, |token| if let Token::Text(text) = token { seen.push_str(text) });
            prop_assert_eq!(seen, words.concat());
        }

        #[test]
        fn any_text_is_scanned_to_its_end(html in "[<>/!a-c='\"\\-&;#é \n]{0,200}") {
            let mut out = String::new();
            scan(&html, |token| if let Token::Text(text) = token { push_decoded(&mut out, text) });
        }
    }
}
