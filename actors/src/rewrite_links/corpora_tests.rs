//! Laws over real and torture messages, where the corpora are at hand: no crash, other octets the same,
//! everything back.

use super::tests::{ALL, HTML, decode, restored, rewritten};
use super::*;
use mail_parser::{Message, MessageParser, PartType};
use std::io::Read as _;
use std::path::PathBuf;

fn corpora() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("TIDEGATE_CORPORA") {
        return Some(folder.into());
    }
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let places = manifest.ancestors().flat_map(|a| [a.join("../shared/corpora"), a.join("shared/corpora")]);
    let found = places.into_iter().find(|p| p.is_dir());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "set TIDEGATE_CORPORA to the corpora");
    if found.is_none() {
        println!("no corpora here: nothing tested");
    }
    found
}

/// Every `step`th file of every archive in a folder.
fn each(folder: &str, step: usize, mut check: impl FnMut(&str, Bytes)) {
    let Some(corpora) = corpora() else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(corpora.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "zst") {
            continue;
        }
        let plain = zstd::Decoder::new(std::fs::File::open(&path).unwrap()).unwrap();
        let mut archive = tar::Archive::new(plain);
        for (index, file) in archive.entries().unwrap().enumerate() {
            let mut file = file.unwrap();
            if index % step != 0 || !file.header().entry_type().is_file() {
                continue;
            }
            let name = format!("{}: {}", path.display(), file.path().unwrap().display());
            let mut octets = Vec::new();
            file.read_to_end(&mut octets).unwrap();
            check(&name, octets.into());
            count += 1;
        }
    }
    assert!(count > 20, "only {count} files in {folder}");
}

/// Decoded contents of all leaves, attached messages too. Leaves whose encoding the reader could not make
/// out are empty here: it shows their encoded text.
fn contents(message: &Message<'_>, found: &mut Vec<Vec<u8>>) {
    for part in &message.parts {
        match &part.body {
            PartType::Message(inner) => contents(inner, found),
            PartType::Multipart(_) => {}
            _ if part.is_encoding_problem => found.push(Vec::new()),
            _ => found.push(part.contents().to_vec()),
        }
    }
}

fn leaves(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    if let Some(message) = MessageParser::default().parse(raw) {
        contents(&message, &mut found);
    }
    found
}

/// What stands between links of ours, in order.
fn between(text: &[u8]) -> Vec<&[u8]> {
    let mark = b"https://links.test/u/1.a1.";
    let mut pieces = Vec::new();
    let mut at = 0;
    for hit in memchr::memmem::find_iter(text, mark) {
        if hit < at {
            continue;
        }
        pieces.push(&text[at..hit]);
        let sign = |b: &u8| b.is_ascii_alphanumeric() || b"-_./~:".contains(b);
        at = hit + text[hit..].iter().take_while(|b| sign(b)).count();
        let link = std::str::from_utf8(&text[hit..at]).unwrap();
        assert!(
            decode(link).is_some(),
            "{link} in {}",
            String::from_utf8_lossy(&text[hit.saturating_sub(200)..text.len().min(at + 200)])
        );
    }
    pieces.push(&text[at..]);
    pieces
}

/// Whether `old` is `new` with each link of ours replaced by something.
fn differs_only_in_links(old: &[u8], new: &[u8]) -> bool {
    let pieces = between(new);
    let [first, middle @ .., last] = pieces.as_slice() else { return old == new };
    let Some(mut rest) = old.strip_prefix(*first) else { return false };
    for piece in middle {
        let Some(at) = memchr::memmem::find(rest, piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// The header block with its fields in order; `None` when it has no end.
fn header(raw: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(raw, b"\n\r\n").or_else(|| memchr::memmem::find(raw, b"\n\n"));
    &raw[..end.unwrap_or(raw.len())]
}

/// Some files beside the messages are pictures and pages: whatever is taken for a header there, nobody agrees.
fn begins_with_fields(raw: &[u8]) -> bool {
    let line = raw.split(|b| *b == b'\n').find(|l| !l.starts_with(b"From ")).unwrap_or_default();
    let name = line.split(|b| *b == b':').next().unwrap_or_default();
    name.len() < line.len() && name.iter().all(u8::is_ascii_graphic)
}

/// Whether two messages are the same but for soft breaks, and for line ends in base64.
fn differs_only_in_folding(old: &[u8], new: &[u8]) -> bool {
    let base64 = String::from_utf8_lossy(old).to_ascii_lowercase().contains("base64");
    let joined = |raw: &[u8]| {
        let text = String::from_utf8_lossy(raw).replace("=\r\n", "").replace("=\n", "");
        if base64 { text.split_whitespace().collect() } else { text }
    };
    joined(old) == joined(new)
}

fn check(name: &str, raw: &Bytes, tally: &mut (u32, u32, u32)) {
    for options in [HTML, ALL] {
        let outcome = rewritten(raw, &options);
        if outcome.rewritten == 0 {
            assert_eq!(outcome.raw.as_ptr(), raw.as_ptr(), "{name}");
            continue;
        }
        let back = restored(&outcome.raw, &options);
        tally.0 += 1;
        tally.1 += u32::from(back == *raw);
        tally.2 += outcome.rewritten;
        assert_eq!(links_of(&back), links_of(raw), "{name}");
        if !begins_with_fields(raw) {
            continue;
        }
        assert_eq!(header(&back), header(raw), "{name}");
        assert!(differs_only_in_folding(raw, &back), "{name}: not the same message after restore");
        let (old, new, after) = (leaves(raw), leaves(&outcome.raw), leaves(&back));
        assert_eq!(old.len(), new.len(), "{name}");
        for ((old, new), after) in old.iter().zip(&new).zip(&after) {
            assert!(differs_only_in_links(old, new), "{name}: more than links changed");
            assert!(after == old, "{name}: not the same octets after restore");
        }
        let again = rewritten(&outcome.raw, &options);
        assert_eq!(again.rewritten, outcome.rewritten, "{name}");
        assert_eq!(restored(&again.raw, &options), back, "{name}");
    }
}

#[test]
fn torture_messages_are_not_damaged_and_come_back() {
    let mut tally = (0, 0, 0);
    each("mime", 1, |name, raw| check(name, &raw, &mut tally));
    println!("{} rewritten, {} back to the very octets, {} links", tally.0, tally.1, tally.2);
}

#[test]
fn real_mail_is_not_damaged_and_comes_back() {
    let mut tally = (0, 0, 0);
    each("mail", 5, |name, raw| check(name, &raw, &mut tally));
    println!("{} rewritten, {} back to the very octets, {} links", tally.0, tally.1, tally.2);
}

#[test]
fn templates_are_not_damaged_in_any_encoding_and_come_back() {
    let mut tally = (0, 0, 0);
    each("html", 1, |name, page| {
        for coding in ["8bit", "quoted-printable", "base64"] {
            let mut raw = format!("Content-Type: text/html\r\nContent-Transfer-Encoding: {coding}\r\n\r\n")
                .into_bytes();
            match coding {
                "8bit" => raw.extend_from_slice(&page),
                "base64" => {
                    use base64::Engine as _;
                    for line in base64::engine::general_purpose::STANDARD.encode(&page).as_bytes().chunks(72)
                    {
                        raw.extend_from_slice(line);
                        raw.extend_from_slice(b"\r\n");
                    }
                }
                _ => quoted_printable::write_as_quoted(&page, b"\r\n", true, &mut raw),
            }
            check(name, &raw.into(), &mut tally);
        }
    });
    println!("{} rewritten, {} back to the very octets, {} links", tally.0, tally.1, tally.2);
}
