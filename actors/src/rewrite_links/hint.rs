//! The way back: how a link of ours leads to the very octets it replaced.
//!
//! The token holds the address as it was meant (character references decoded, wrappers off, base resolved), since
//! that is what the site needs. How it was *written* travels behind the token, where every reader of tokens
//! ignores it: `https://HOST/u/TOKEN/shown.host/~HINT`.
//!
//! | hint | the value was |
//! |---|---|
//! | none | the address as it is (only what would end the value is escaped) |
//! | `~a` | the address with every `&` as `&amp;` |
//! | `~r.OCTETS` | these octets, base64url |
//! | `~q.TEXT` | this quoted-printable text, base64url: escapes that are not the usual ones |
//!
//! A hint is not secret and proves nothing. It is followed only when the octets it gives, read as the value
//! in this very place, mean the address that the token vouches for, and cannot end the value or the line. A
//! hint that was forged, cut or moved is thrown away, and the address is written plainly.

use super::address::{self, Reading};
use super::charset::Letters;
use super::html::Quote;
use super::{entities, quoted_printable, text};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use encoding_rs::UTF_8;
use std::borrow::Cow;
use tidegate_schemas::link::token_of;
use url::Url;

const MARK: &str = "/~";

/// Where a value stands, as far as its meaning depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) letters: Letters,
    pub(super) quote: Quote,
    pub(super) base: Option<&'a Url>,
    pub(super) delsp: bool,
    /// Line end of the part where a line end in the value is one of the message too; `None` in base64.
    pub(super) newline: Option<&'static [u8]>,
}

/// Octets of a value, and how they are written in quoted-printable where not in the usual way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Original {
    pub(super) octets: Vec<u8>,
    pub(super) quoted: Option<Vec<u8>>,
}

/// Whether an address has the form of a link of ours.
pub(super) fn is_own(address: &str) -> bool {
    address.contains("/u/") && token_of(address).is_some()
}

/// A link without its hint, and the hint with its mark (empty when there is none).
pub(super) fn split(link: &str) -> (&str, &str) {
    link.rfind(MARK).map_or((link, ""), |at| link.split_at(at))
}

/// A text without white space and control characters.
pub(super) fn without_blanks(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b > b' ') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|c| *c > ' ').collect())
}

impl Setting<'_> {
    /// What octets in this place mean.
    pub(super) fn read(&self, octets: &[u8]) -> Reading {
        let value = self.letters.decode(octets);
        if self.quote == Quote::Text {
            return self.read_text(&value);
        }
        let value = entities::decode(&value);
        if value.contains('\0') {
            return address::read(&value.replace('\0', "\u{fffd}"), self.base);
        }
        address::read(&value, self.base)
    }

    fn read_text(&self, value: &str) -> Reading {
        let value = without_blanks(value);
        if value.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www.")) {
            return address::read(&format!("http://{value}"), None);
        }
        address::read(&value, None)
    }

    /// Octets that would end the value.
    fn ends(&self) -> [u8; 4] {
        match self.quote {
            Quote::Double => [b'"'; 4],
            Quote::Single => [b'\''; 4],
            Quote::Bare => [b' ', b'>', b' ', b'>'],
            Quote::Text => [b' ', b'<', b'>', b'"'],
        }
    }

    /// An address as a value in this place.
    fn write(&self, address: &str, all_ampersands: bool) -> Vec<u8> {
        let ampersands = all_ampersands && self.quote != Quote::Text;
        let [a, b, c, d] = self.ends();
        let breaks = |o: u8| (o < 0x20) | (o == 0x7f) | (o == a) | (o == b) | (o == c) | (o == d);
        // Without a way out of the loop the compiler looks at many octets at once; so also in `is_plain`.
        if !address.bytes().fold(false, |found, octet| found | breaks(octet)) {
            let joined = if ampersands { address.replace('&', "&amp;") } else { String::new() };
            return self.letters.encode(if ampersands { &joined } else { address });
        }
        let mut value = String::with_capacity(address.len() + 64);
        for letter in address.chars() {
            match letter {
                '&' if ampersands => value.push_str("&amp;"),
                _ if !(letter.is_ascii() && breaks(letter as u8)) => value.push(letter),
                '"' if self.quote != Quote::Text => value.push_str("&quot;"),
                _ if self.quote == Quote::Text => value.push_str(&format!("%{:02X}", u32::from(letter))),
                _ => value.push_str(&format!("&#{};", u32::from(letter))),
            }
        }
        self.letters.encode(&value)
    }

    /// Whether octets can stand here without ending the value, the line or the charset's shift.
    fn fits(&self, octets: &[u8]) -> bool {
        let mut closed = octets.to_vec();
        closed.extend(self.letters.encode("x"));
        let view = self.letters.view(&closed);
        let Some((b'x', view)) = view.split_last() else { return false };
        let holds = match self.quote {
            Quote::Double => !view.contains(&b'"'),
            Quote::Single => !view.contains(&b'\''),
            Quote::Bare => {
                !view.iter().any(|b| b.is_ascii_whitespace() || *b == b'>')
                    && !matches!(view.first(), None | Some(b'"' | b'\''))
            }
            Quote::Text => {
                let spans = text::scan(view, self.letters.encoding == UTF_8, self.delsp);
                matches!(spans.as_slice(), [one] if one.start == 0 && one.end == view.len())
            }
        };
        holds && self.newline.is_none_or(|newline| keeps_lines(octets, newline))
    }

    /// The hint for octets that mean an address; `quoted` is how a quoted-printable part wrote them.
    pub(super) fn hint(&self, octets: &[u8], address: &str, quoted: Option<&[u8]>) -> String {
        if let Some(text) = quoted
            && text != quoted_printable::quote(octets)
        {
            return format!("{MARK}q.{}", URL_SAFE_NO_PAD.encode(text));
        }
        if self.write(address, false) == octets {
            return String::new();
        }
        if self.write(address, true) == octets {
            return format!("{MARK}a");
        }
        format!("{MARK}r.{}", URL_SAFE_NO_PAD.encode(octets))
    }

    /// The octets that a link with this hint replaced; `own` opens links of ours.
    pub(super) fn original(
        &self,
        hint: &str,
        address: &str,
        own: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Original {
        let hint = hint.strip_prefix(MARK).unwrap_or_default();
        let mut means = |octets: &[u8]| match self.read(octets) {
            Reading::Web(read) if read == address => true,
            Reading::Web(read) => is_own(&read) && own(&read).as_deref() == Some(address),
            _ => false,
        };
        let carried = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        if let Some(octets) = hint.strip_prefix("r.").and_then(carried)
            && self.fits(&octets)
            && means(&octets)
        {
            return Original { octets, quoted: None };
        }
        if let Some(text) = hint.strip_prefix("q.").and_then(carried)
            && let Some(octets) = quoted_printable::unquote(&text)
            && self.newline.is_none_or(|newline| keeps_lines(&text, newline))
            && (Setting { newline: None, ..*self }).fits(&octets)
            && means(&octets)
        {
            return Original { octets, quoted: Some(text) };
        }
        let plain = self.write(address, false);
        let octets = if hint != "a" && means(&plain) { plain } else { self.write(address, true) };
        Original { octets, quoted: None }
    }
}

/// Whether every line end is one of the message's kind, and no line could be taken for a boundary.
fn keeps_lines(octets: &[u8], newline: &[u8]) -> bool {
    let mut at = 0;
    while let Some(hit) = memchr::memchr2(b'\r', b'\n', &octets[at..]) {
        let rest = &octets[at + hit..];
        let Some(after) = rest.strip_prefix(newline) else { return false };
        if after.starts_with(b"--") {
            return false;
        }
        at = octets.len() - after.len();
    }
    true
}

#[cfg(test)]
#[path = "hint_tests.rs"]
mod tests;
