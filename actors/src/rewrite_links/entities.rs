//! Character references in attribute values (HTML standard, 13.2.5.72 and on).
//!
//! Names are looked up in the table of mail-parser, which has them all with their semicolon; those few that
//! browsers also take without one are listed here. In an attribute such a name counts only where neither `=`
//! nor a letter or digit follows, so that `?a=1&copy=2` stays what it is.

use std::borrow::Cow;

/// Names that need no semicolon.
const LEGACY: &str = " AElig AMP Aacute Acirc Agrave Aring Atilde Auml COPY Ccedil ETH Eacute Ecirc Egrave Euml GT \
     Iacute Icirc Igrave Iuml LT Ntilde Oacute Ocirc Ograve Oslash Otilde Ouml QUOT REG THORN Uacute Ucirc Ugrave \
     Uuml Yacute aacute acirc acute aelig agrave amp aring atilde auml brvbar ccedil cedil cent copy curren deg \
     divide eacute ecirc egrave eth euml frac12 frac14 frac34 gt iacute icirc iexcl igrave iquest iuml laquo lt \
     macr micro middot nbsp not ntilde oacute ocirc ograve ordf ordm oslash otilde ouml para plusmn pound quot \
     raquo reg sect shy sup1 sup2 sup3 szlig thorn times uacute ucirc ugrave uml uuml yacute yen yuml ";
/// Longest name of the standard is 31 letters.
const MAX_NAME: usize = 32;

/// Decodes the references of an attribute value; borrowed when there are none.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'&', text.as_bytes()) else { return Cow::Borrowed(text) };
    let mut plain = String::with_capacity(text.len());
    plain.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        match reference(rest.as_bytes()) {
            Some((length, meaning)) => {
                plain.push_str(&meaning);
                rest = &rest[length..];
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// Where each octet of a decoded value came from.
pub(super) struct Map(Option<Vec<usize>>);

impl Map {
    /// Offset in the raw value of an offset in the decoded one.
    pub(super) fn raw(&self, at: usize) -> usize {
        self.0.as_ref().map_or(at, |map| map.get(at).or(map.last()).copied().unwrap_or(at))
    }
}

/// A view's value with its references decoded to one octet each (0x80 where that is not ASCII), for finding
/// structure in it.
pub(super) fn ascii(value: &[u8]) -> (Cow<'_, [u8]>, Map) {
    if memchr::memchr(b'&', value).is_none() {
        return (Cow::Borrowed(value), Map(None));
    }
    let (mut plain, mut map) = (Vec::with_capacity(value.len()), Vec::with_capacity(value.len() + 1));
    let mut at = 0;
    while let Some(&octet) = value.get(at) {
        map.push(at);
        let found = if octet == b'&' { reference(&value[at..]) } else { None };
        let (length, meaning) = found.map_or((1, octet), |(length, meaning)| {
            let octet = meaning.bytes().next().filter(u8::is_ascii).unwrap_or(0x80);
            (length, octet)
        });
        plain.push(meaning);
        at += length;
    }
    map.push(value.len());
    (Cow::Owned(plain), Map(Some(map)))
}

/// The reference at the start of `text` (an ampersand): its length and meaning.
fn reference(text: &[u8]) -> Option<(usize, Cow<'static, str>)> {
    if text.get(1) == Some(&b'#') {
        return numeric(text);
    }
    let name = &text[1..];
    let length = name.iter().take(MAX_NAME).take_while(|b| b.is_ascii_alphanumeric()).count();
    let name = &name[..length];
    if length == 0 {
        return None;
    }
    let closed = text.get(length + 1) == Some(&b';');
    let name = std::str::from_utf8(name).ok()?;
    if !closed {
        let spaced = format!(" {name} ");
        let apart = text.get(length + 1) != Some(&b'=');
        return (apart && LEGACY.contains(&spaced)).then(|| lookup(name)).flatten().map(|m| (length + 1, m));
    }
    lookup(name).map(|meaning| (length + 2, meaning))
}

fn lookup(name: &str) -> Option<Cow<'static, str>> {
    let short = match name {
        "amp" | "AMP" => "&",
        "quot" | "QUOT" => "\"",
        "apos" => "'",
        "lt" | "LT" => "<",
        "gt" | "GT" => ">",
        _ => "",
    };
    if !short.is_empty() {
        return Some(Cow::Borrowed(short));
    }
    let token = format!("&{name};");
    let mut meaning = String::new();
    mail_parser::decoders::html::add_html_token(&mut meaning, token.as_bytes(), false);
    (meaning != token).then_some(Cow::Owned(meaning))
}

fn numeric(text: &[u8]) -> Option<(usize, Cow<'static, str>)> {
    let hex = matches!(text.get(2), Some(b'x' | b'X'));
    let (start, radix) = if hex { (3, 16) } else { (2, 10) };
    let mut code = 0_u32;
    let mut at = start;
    while let Some(digit) = text.get(at).and_then(|b| char::from(*b).to_digit(radix)) {
        code = code.saturating_mul(radix).saturating_add(digit);
        at += 1;
    }
    if at == start {
        return None;
    }
    if text.get(at) == Some(&b';') {
        at += 1;
    }
    Some((at, Cow::Owned(meaning_of(code).to_string())))
}

/// A numeric reference's character; 0x80 to 0x9F mean Windows-1252, for history's sake.
fn meaning_of(code: u32) -> char {
    match code {
        0 => '\u{fffd}',
        0x80..=0x9f => {
            let octet = [code as u8];
            let text = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&octet).0;
            text.chars().next().unwrap_or('\u{fffd}')
        }
        _ => char::from_u32(code).unwrap_or('\u{fffd}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_browsers_read_them_in_attributes() {
        let cases = [
            ("a&amp;b", "a&b"),
            ("a&ampb", "a&ampb"),
            ("a&amp=b", "a&amp=b"),
            ("a&amp", "a&"),
            ("a&copy=1&copy&b", "a&copy=1\u{a9}&b"),
            ("https&colon;&sol;&sol;x&period;test", "https://x.test"),
            ("java&Tab;script&#58alert", "java\tscript:alert"),
            ("&#x68;&#X74&#0;&#x110000;&#128;", "ht\u{fffd}\u{fffd}\u{20ac}"),
            ("&nosuch;&;&#;&#x;&", "&nosuch;&;&#;&#x;&"),
            ("&eacute;\u{e9}", "\u{e9}\u{e9}"),
        ];
        for (raw, plain) in cases {
            assert_eq!(decode(raw), plain, "{raw}");
        }
    }

    #[test]
    fn a_decoded_offset_leads_back_to_the_raw_one() {
        let (plain, map) = ascii(b"0&#59;url=&quot;x&quot;");
        assert_eq!(plain.as_ref(), b"0;url=\"x\"");
        assert_eq!((map.raw(7), map.raw(8), map.raw(9)), (16, 17, 23));
    }
}
