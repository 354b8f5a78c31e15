//! Charsets: what the octets of a leaf mean, seen only as closely as finding links needs.
//!
//! Markup is ASCII in every charset that mail uses, so the scanners work on a *view* of the leaf: one octet a
//! code unit, where whatever is not ASCII (halves of UTF-16, the shifted stretches of ISO-2022) is 0x80. The
//! trail octets of Shift_JIS, GBK, GB 18030 and Big5 never fall on `<`, `>`, quotes, `&`, `=` or white space, so
//! their view is the leaf itself. Only the octets of a link are ever decoded; everything else is never touched,
//! which is how stateful charsets survive.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::borrow::Cow;

/// How far a `<meta charset>` is looked for (HTML standard, prescan).
const SNIFF: usize = 1_024;

/// The charset of a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letters {
    pub(super) encoding: &'static Encoding,
    shifted: bool,
}

impl Letters {
    /// Chooses by byte order mark, label of the Content-Type field, `<meta>` (for HTML), and looks.
    pub(super) fn choose(label: Option<&str>, octets: &[u8], html: bool) -> Letters {
        if let Some((encoding, _)) = Encoding::for_bom(octets) {
            return Letters { encoding, shifted: false };
        }
        let label = label.unwrap_or_default().trim_matches(['"', '\'', ' ']);
        // ISO-2022-KR and its like have no decoder, but their shifts have to be seen.
        let shifted = label.starts_with("iso-2022-");
        let named = Encoding::for_label(label.as_bytes()).map(|e| wide_order(e, label, octets));
        let sniffed = || if html { sniff(octets) } else { None };
        let encoding = named.or_else(sniffed).unwrap_or_else(|| guess(octets));
        Letters { encoding, shifted: shifted || encoding == encoding_rs::ISO_2022_JP }
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
        self.encoding.decode_without_bom_handling(octets).0
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
fn wide_order(encoding: &'static Encoding, label: &str, octets: &[u8]) -> &'static Encoding {
    if encoding != UTF_16LE && encoding != UTF_16BE {
        return encoding;
    }
    let start = &octets[..octets.len().min(SNIFF)];
    let zeros = |skip: usize| start.iter().skip(skip).step_by(2).filter(|b| **b == 0).count();
    match (zeros(0), zeros(1)) {
        (0, 0) => guess(octets),
        (high_first, low_first) if label == "utf-16" => {
            if high_first > low_first {
                UTF_16BE
            } else {
                UTF_16LE
            }
        }
        _ => encoding,
    }
}

fn guess(octets: &[u8]) -> &'static Encoding {
    if std::str::from_utf8(octets).is_ok() { UTF_8 } else { WINDOWS_1252 }
}

fn sniff(octets: &[u8]) -> Option<&'static Encoding> {
    let start = octets[..octets.len().min(SNIFF)].to_ascii_lowercase();
    for at in memchr::memmem::find_iter(&start, b"charset") {
        let rest = start[at + 7..].trim_ascii_start();
        let Some(rest) = rest.strip_prefix(b"=") else { continue };
        let rest = rest.trim_ascii_start();
        let rest = rest.strip_prefix(b"\"").or_else(|| rest.strip_prefix(b"'")).unwrap_or(rest);
        let end = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || b"-_:.".contains(b)));
        let Some(encoding) = Encoding::for_label(&rest[..end.unwrap_or(rest.len())]) else { continue };
        // Octets in which an ASCII label can be read are not UTF-16.
        return Some(if encoding == UTF_16LE || encoding == UTF_16BE { UTF_8 } else { encoding });
    }
    None
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
        let letters = Letters::choose(Some("iso-2022-jp"), octets, true);
        assert_eq!(letters.view(octets).as_ref(), b"\x80\x80\x80\x80\x80\x80\x80\x80<b>");
    }

    #[test]
    fn utf_16_without_a_mark_is_told_by_its_zeros() {
        let big: Vec<u8> = "<a>".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let letters = Letters::choose(Some("utf-16"), &big, true);
        assert_eq!(letters.encoding, UTF_16BE);
        assert_eq!(letters.view(&big).as_ref(), b"<a>");
        assert_eq!(Letters::choose(Some("utf-16"), b"<a>", true).width(), 1);
    }

    #[test]
    fn a_missing_label_is_taken_from_the_page_and_else_guessed() {
        let page = b"<meta http-equiv=content-type content='text/html; charset=shift_jis'>";
        assert_eq!(Letters::choose(None, page, true).encoding, encoding_rs::SHIFT_JIS);
        assert_eq!(Letters::choose(None, b"caf\xe9", true).encoding, WINDOWS_1252);
        assert_eq!(Letters::choose(Some("no-such"), b"caf\xc3\xa9", true).encoding, UTF_8);
    }
}
