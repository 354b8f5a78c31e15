//! Attachments by crafted files: false names, archives, bombs, macros, pages.

use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use proptest::prelude::*;
use std::io::Write as _;

fn part<'p>(name: &str, kind: &str, content: &'p [u8]) -> Part<'p> {
    Part {
        kind: kind.into(),
        charset: String::new(),
        encoding: "base64".into(),
        name: name.into(),
        attached: true,
        content,
        defective: false,
    }
}

fn found(name: &str, content: &[u8]) -> Vec<String> {
    let forbidden = tidegate_schemas::Policy::default().forbidden_extensions;
    let evidence = examine(&[part(name, "application/octet-stream", content)], &forbidden);
    evidence.into_iter().map(|e| e.code).collect()
}

struct File<'f> {
    name: &'f str,
    content: &'f [u8],
    encrypted: bool,
}

fn file<'f>(name: &'f str, content: &'f [u8]) -> File<'f> {
    File { name, content, encrypted: false }
}

/// A deflated zip, its directory in order.
fn zip(files: &[File<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for f in files {
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
        deflate.write_all(f.content).unwrap();
        let packed = deflate.finish().unwrap();
        let mut common = vec![20, 0, u8::from(f.encrypted), 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend((f.content.len() as u32).to_le_bytes());
        common.extend((f.name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        let at = out.len() as u32;
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(f.name.as_bytes());
        out.extend(packed);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(f.name.as_bytes());
    }
    let (start, length, count) = (out.len() as u32, directory.len() as u32, files.len() as u16);
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend([length.to_le_bytes(), start.to_le_bytes()].concat());
    out.extend([0, 0]);
    out
}

#[test]
fn a_forbidden_extension_holds_and_an_ordinary_one_is_nothing() {
    assert_eq!(found("setup.EXE. ", b"text"), ["ATTACHMENT_FORBIDDEN"]);
    assert_eq!(found("minutes.txt", b"text"), [""; 0]);
    assert_eq!(found("scan.pdf", b"%PDF-1.7 text"), [""; 0]);
}

#[test]
fn a_program_under_a_false_name_is_known_by_its_content() {
    let codes = found("photo.jpg", b"MZ\x90\0\x03");
    assert_eq!(codes, ["ATTACHMENT_FORBIDDEN", "ATTACHMENT_EXECUTABLE", "ATTACHMENT_TYPE_MISMATCH"]);
}

#[test]
fn double_extensions_and_hidden_ones_are_seen() {
    assert!(found("invoice.pdf.exe", b"x").contains(&"ATTACHMENT_DOUBLE_EXTENSION".to_owned()));
    assert!(found("invoice.pdf.html", b"x").contains(&"ATTACHMENT_DOUBLE_EXTENSION".to_owned()));
    assert!(!found("report.v1.pdf", b"%PDF-").contains(&"ATTACHMENT_DOUBLE_EXTENSION".to_owned()));
    assert!(found("photo\u{202e}gpj.exe", b"x").contains(&"ATTACHMENT_NAME_TRICK".to_owned()));
}

#[test]
fn what_an_archive_hides_is_found_by_name_and_by_content() {
    assert!(found("a.zip", &zip(&[file("x/run.scr", b"1")])).contains(&"ATTACHMENT_FORBIDDEN".to_owned()));
    assert!(
        found("a.zip", &zip(&[file("x/readme.txt", b"MZ\x90\0")]))
            .contains(&"ATTACHMENT_FORBIDDEN".to_owned())
    );
    assert_eq!(found("a.zip", &zip(&[file("x/readme.txt", b"hello")])), [""; 0]);
}

#[test]
fn an_archive_in_an_archive_is_opened_and_a_third_is_noted() {
    let inner = zip(&[file("run.js", b"x")]);
    let middle = zip(&[file("inner.zip", &inner)]);
    assert!(found("a.zip", &middle).contains(&"ATTACHMENT_FORBIDDEN".to_owned()));
    let outer = zip(&[file("middle.zip", &middle)]);
    assert_eq!(found("a.zip", &outer), ["ARCHIVE_NESTED"]);
}

#[test]
fn encrypted_and_broken_archives_are_noted() {
    let secret = File { name: "secret.doc", content: b"x", encrypted: true };
    assert_eq!(found("a.zip", &zip(&[secret])), ["ARCHIVE_ENCRYPTED"]);
    let whole = zip(&[file("run.exe", b"x")]);
    let cut = &whole[..whole.len() - 40];
    let codes = found("a.zip", cut);
    assert!(
        codes.contains(&"ARCHIVE_BROKEN".to_owned()) && codes.contains(&"ATTACHMENT_FORBIDDEN".to_owned())
    );
}

#[test]
fn a_bomb_is_named_and_not_unpacked() {
    let zeros = vec![0; 70 * 1024 * 1024];
    let bomb = zip(&[file("zeros.txt", &zeros)]);
    let mut budget = Budget::default();
    let before = budget.octets;
    assert!(look_into_zip(&bomb, &mut budget).bomb);
    assert!(before - budget.octets <= 1_024, "{} octets inflated", before - budget.octets);
    assert_eq!(found("a.zip", &bomb), ["ARCHIVE_BOMB"]);
}

#[test]
fn nested_bombs_that_lie_about_their_size_stop_at_the_budget() {
    // The outer entry says it is small; only inflating it would tell.
    let zeros = vec![0; 40 * 1024 * 1024];
    let mut inner = b"PK\x03\x04".to_vec();
    inner.extend(&zeros);
    let mut outer = zip(&[file("a.zip", &inner), file("b.zip", &inner), file("c.zip", &inner)]);
    let lie = (inner.len() as u32).to_le_bytes();
    while let Some(at) = memmem::find(&outer, &lie) {
        outer[at..at + 4].copy_from_slice(&100_u32.to_le_bytes());
    }
    let mut budget = Budget::default();
    assert!(look_into_zip(&outer, &mut budget).bomb);
    assert_eq!(budget.octets, 0);
}

#[test]
fn an_archive_of_very_many_entries_is_a_bomb() {
    let files: Vec<File<'_>> = (0..5_100).map(|_| file("a", b"")).collect();
    assert_eq!(found("a.zip", &zip(&files)), ["ARCHIVE_BOMB"]);
}

#[test]
fn macros_are_noted_in_old_and_new_documents() {
    let new = zip(&[file("[Content_Types].xml", b"<x/>"), file("word/vbaProject.bin", b"x")]);
    assert_eq!(found("a.docx", &new), ["ATTACHMENT_MACRO"]);
    let mut old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    assert_eq!(found("a.doc", &old), [""; 0]);
    old.extend("_VBA_PROJECT".encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(found("a.doc", &old), ["ATTACHMENT_MACRO"]);
}

#[test]
fn pages_are_weighed_by_what_they_do() {
    assert_eq!(found("a.html", b"<html><p>x"), ["ATTACHMENT_HTML"]);
    assert_eq!(found("a.html", b"<html><script>x()</script>"), ["ATTACHMENT_HTML_SCRIPT"]);
    assert_eq!(found("a.bin", b"<html><input type=password>"), ["ATTACHMENT_HTML_LOGIN"]);
    assert_eq!(found("a.svg", b"<svg onload=x()>"), ["ATTACHMENT_HTML_SCRIPT"]);
}

#[test]
fn gzip_is_opened_far_enough_to_see_a_program() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"MZ\x90\0 program").unwrap();
    assert!(found("a.gz", &gzip.finish().unwrap()).contains(&"ATTACHMENT_FORBIDDEN".to_owned()));
}

#[test]
fn all_points_of_attachments_stay_under_their_cap() {
    let kinds: [(&str, &[u8]); 5] = [
        ("a.rtf", b"{\\rtf1 \\objdata"),
        ("b.pdf", b"%PDF-1 /JavaScript"),
        ("c.html", b"<html><input type=password>"),
        ("d.jpg", b"\x7fELF"),
        ("e.pdf.html", b"<html>"),
    ];
    let parts: Vec<Part<'_>> = kinds.iter().map(|(n, c)| part(n, "application/octet-stream", c)).collect();
    let sum: f32 = examine(&parts, &[]).iter().map(|e| e.weight).sum();
    assert!((sum - CAP).abs() < 1e-3, "{sum}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_damaged_archive_never_stops_the_looking(
        at in 0_usize..400, octet in any::<u8>(), cut in 0_usize..400, name in "[ -~\u{202e}]{0,20}",
    ) {
        let inner = zip(&[file("run.js", b"x")]);
        let mut whole = zip(&[file("inner.zip", &inner), file("b.txt", b"text")]);
        let (length, at) = (whole.len(), at % whole.len());
        whole[at] = octet;
        found(&name, &whole[..length - cut % length]);
        found(&name, &whole);
    }
}
