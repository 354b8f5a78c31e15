//! Charsets: what the octets of a leaf mean, seen only as closely as finding links needs.
//!
//! Markup is ASCII in every charset that mail uses, so the scanners work on a *view* of the leaf: one octet a
//! code unit, where whatever is not ASCII (halves of UTF-16, the shifted stretches of ISO-2022) is 0x80. The
//! trail octets of Shift_JIS, GBK, GB 18030 and Big5 never fall on `<`, `>`, quotes, `&`, `=` or white space, so
//! their view is the leaf itself. Only the octets of a link are ever decoded; everything else is never touched,
//! which is how stateful charsets survive.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::borrow::Cow;

/// Octets in which the byte order of UTF-16 is looked for.
const SNIFF: usize = 1_024;

/// The charset of a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letters {
    pub(super) encoding: &'static Encoding,
    shifted: bool,
    /// Nothing names the charset: each value is UTF-8 where it can be, else windows-1252. Told by each value
    /// alone, it is the same before and after other values are replaced.
    guessed: bool,
}

impl Letters {
    fn of(encoding: &'static Encoding) -> Letters {
        Letters { encoding, shifted: encoding == encoding_rs::ISO_2022_JP, guessed: false }
    }

    /// Chooses by byte order mark and by the label of the Content-Type field.
    pub(super) fn choose(label: Option<&str>, octets: &[u8]) -> Letters {
        if let Some((encoding, _)) = Encoding::for_bom(octets) {
            return Letters::of(encoding);
        }
        let label = label.unwrap_or_default().trim_matches(['"', '\'', ' ']);
        // ISO-2022-KR and its like have no decoder, but their shifts have to be seen.
        let shifted = label.starts_with("iso-2022-");
        match Encoding::for_label(label.as_bytes()).and_then(|e| wide_order(e, label, octets)) {
            Some(encoding) => Letters { shifted, ..Letters::of(encoding) },
            None => Letters { encoding: UTF_8, shifted, guessed: true },
        }
    }

    /// The charset that a page names itself, in the value of `<meta charset>` or of its older form; only where
    /// nothing else does.
    pub(super) fn named_inside(self, value: &[u8]) -> Option<Letters> {
        if !self.guessed {
            return None;
        }
        let value = value.to_ascii_lowercase();
        let label = match memchr::memmem::find(&value, b"charset") {
            Some(at) => value[at + 7..].trim_ascii_start().strip_prefix(b"=")?,
            None => value.as_slice(),
        };
        let label = label.split(|b| *b == b';').next()?;
        let encoding = Encoding::for_label(label)?;
        // Octets in which an ASCII label can be read are not UTF-16.
        let wide = encoding == UTF_16LE || encoding == UTF_16BE;
        Some(Letters::of(if wide { UTF_8 } else { encoding }))
    }

    /// Whether parts of the view are hidden.
    pub(super) fn is_shifted(self) -> bool {
        self.shifted
    }

    /// Octets a code unit.
    pub(super) fn width(self) -> usize {
        if self.encoding == UTF_16LE || self.encoding == UTF_16BE { 2 } else { 1 }
    }

    /// The view; offset `n` of it is octet `n * width()`.
    pub(super) fn view(self, octets: &[u8]) -> Cow<'_, [u8]> {
        if self.width() == 2 {
            let big = self.encoding == UTF_16BE;
            let unit = |pair: &[u8]| match (pair[0], pair[1]) {
                (0, low @ 0..=0x7f) if big => low,
                (low @ 0..=0x7f, 0) if !big => low,
                _ => 0x80,
            };
            return Cow::Owned(octets.chunks_exact(2).map(unit).collect());
        }
        if self.shifted && octets.iter().any(|b| matches!(b, 0x1b | 0x0e)) {
            return Cow::Owned(masked(octets));
        }
        Cow::Borrowed(octets)
    }

    /// Octets as text; what cannot be read is U+FFFD.
    pub(super) fn decode(self, octets: &[u8]) -> Cow<'_, str> {
        let (text, broken) = self.encoding.decode_without_bom_handling(octets);
        if broken && self.guessed {
            return WINDOWS_1252.decode_without_bom_handling(octets).0;
        }
        text
    }

    /// Text as octets; what the charset lacks becomes a numeric character reference.
    pub(super) fn encode(self, text: &str) -> Vec<u8> {
        if self.width() == 2 {
            let big = self.encoding == UTF_16BE;
            let pair = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
            return text.encode_utf16().flat_map(pair).collect();
        }
        if text.is_ascii() && !self.shifted {
            return text.as_bytes().to_vec();
        }
        self.encoding.encode(text).0.into_owned()
    }
}

/// `utf-16` names no byte order, and is often a plain lie: the octets decide.
fn wide_order(encoding: &'static Encoding, label: &str, octets: &[u8]) -> Option<&'static Encoding> {
    if encoding != UTF_16LE && encoding != UTF_16BE {
        return Some(encoding);
    }
    let start = &octets[..octets.len().min(SNIFF)];
    let zeros = |skip: usize| start.iter().skip(skip).step_by(2).filter(|b| **b == 0).count();
    match (zeros(0), zeros(1)) {
        (0, 0) => None,
        (high_first, low_first) if label == "utf-16" && high_first > low_first => Some(UTF_16BE),
        (_, _) if label == "utf-16" => Some(UTF_16LE),
        _ => Some(encoding),
    }
}

/// ISO-2022: what stands in a two-octet set or shifted out is 0x80; escapes too, so they end no name.
fn masked(octets: &[u8]) -> Vec<u8> {
    let mut view = octets.to_vec();
    let (mut two, mut out) = (false, false);
    let mut at = 0;
    while at < view.len() {
        match octets[at] {
            0x1b => {
                // ESC $ @, ESC $ B, ESC $ ( D, ESC $ ) C and ESC ( B, ESC ( J, ESC ( I.
                let dollar = octets.get(at + 1) == Some(&b'$');
                let long = dollar && matches!(octets.get(at + 2), Some(b'(' | b')'));
                let designates_only = dollar && octets.get(at + 2) == Some(&b')');
                let katakana = octets.get(at + 1) == Some(&b'(') && octets.get(at + 2) == Some(&b'I');
                if !designates_only {
                    two = dollar || katakana;
                }
                let end = (at + if long { 4 } else { 3 }).min(view.len());
                view[at..end].fill(0x80);
                at = end;
                continue;
            }
            0x0e => out = true,
            0x0f => out = false,
            b'\n' => out = false,
            _ if two || out => view[at] = 0x80,
            _ => {}
        }
        at += 1;
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_shifted_stretch_is_not_seen_and_after_it_is() {
        let octets = b"\x1b$B<a\x1b(B<b>";
        let letters = Letters::choose(Some("iso-2022-jp"), octets);
        assert_eq!(letters.view(octets).as_ref(), b"\x80\x80\x80\x80\x80\x80\x80\x80<b>");
    }

    #[test]
    fn utf_16_without_a_mark_is_told_by_its_zeros() {
        let big: Vec<u8> = "<a>".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let letters = Letters::choose(Some("utf-16"), &big);
        assert_eq!(letters.encoding, UTF_16BE);
        assert_eq!(letters.view(&big).as_ref(), b"<a>");
        assert_eq!(Letters::choose(Some("utf-16"), b"<a>").width(), 1);
    }

    #[test]
    fn a_missing_label_is_taken_from_the_page_and_else_guessed_value_by_value() {
        let none = Letters::choose(None, b"<a>");
        let named = |value: &[u8]| none.named_inside(value).map(|l| l.encoding);
        assert_eq!(named(b"text/html; CHARSET = shift_jis ; x"), Some(encoding_rs::SHIFT_JIS));
        assert_eq!((named(b"utf-16"), named(b"no-such"), named(b"")), (Some(UTF_8), None, None));
        assert_eq!((none.decode(b"caf\xe9"), none.decode(b"caf\xc3\xa9")), ("café".into(), "café".into()));
        let known = Letters::choose(Some("iso-8859-1"), b"<a>");
        assert!(known.named_inside(b"utf-8").is_none());
    }
}
