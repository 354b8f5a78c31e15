//! Where text that only looks like markup ends: comments, scripts and other raw text (HTML standard, 13.2.5).

use super::tag::ends_name;
use memchr::{memchr, memmem};

/// The end tag of an element whose contents are text, or the end of the page.
pub(super) fn raw_text_end(view: &[u8], name: &[u8], from: usize, to: usize) -> usize {
    let mut at = from;
    while let Some(hit) = memchr(b'<', &view[at..to]) {
        at += hit;
        if closes(view, name, at, to) {
            return at;
        }
        at += 1;
    }
    to
}

/// Whether `</name` and an end of the name stand at `at`.
fn closes(view: &[u8], name: &[u8], at: usize, to: usize) -> bool {
    let rest = &view[at..to];
    rest.strip_prefix(b"</").is_some_and(|rest| begins_word(rest, name))
}

/// Script data with its escaped and double-escaped states: in `<!-- <script>` an end tag closes only the
/// inner script.
pub(super) fn script_end(view: &[u8], from: usize, to: usize) -> usize {
    let (mut escaped, mut double) = (false, false);
    let mut at = from;
    while at < to {
        let rest = &view[at..to];
        let Some(hit) = memchr::memchr2(b'<', b'-', rest) else { return to };
        at += hit;
        let rest = &view[at..to];
        if escaped && rest.starts_with(b"-->") {
            (escaped, double) = (false, false);
            at += 3;
        } else if !escaped && rest.starts_with(b"<!--") {
            escaped = true;
            // The dashes count for the end too: `<!-->` opens and shuts.
            at += 2;
        } else if closes(view, b"script", at, to) {
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

fn begins_word(text: &[u8], name: &[u8]) -> bool {
    text.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name))
        && text.get(name.len()).is_some_and(|b| ends_name(*b))
}

/// Length of a comment's text, and how far its end mark reaches.
pub(super) fn comment_end(text: &[u8]) -> Option<(usize, usize)> {
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
