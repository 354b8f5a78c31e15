//! Both encodings in both directions, on text that is not well formed either.

use super::super::quoted_printable::{Written, write_as_quoted};
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

fn plain(coding: Coding, body: &[u8]) -> Vec<u8> {
    decode(coding, body).unwrap().octets(body).to_vec()
}

#[test]
fn what_is_no_escape_stands_for_itself() {
    assert_eq!(plain(Coding::Quoted, b"a=3Db=3d =zz =\r\nc= \t\nd=E9=\r\n"), b"a=b= =zz cd\xe9");
    assert_eq!(plain(Coding::Quoted, b"a=="), b"a=");
}

#[test]
fn base64_bears_junk_odd_lines_and_padding_in_the_middle() {
    assert_eq!(plain(Coding::Base64, b"aGVs\r\nb G8s\r\n!IHd\nvcmxk\r\n"), b"hello, world");
    assert_eq!(plain(Coding::Base64, b"aGk=\r\naGk=\r\n"), b"hihi");
    assert_eq!(plain(Coding::Base64, b"aGk"), b"hi");
    assert_eq!(plain(Coding::Base64, b"a"), b"");
}

#[test]
fn a_footer_behind_the_padding_is_kept_as_it_is() {
    let body = b"aGVsbG8=\r\n\r\n__\r\nA list, see b\r\n";
    let decoded = decode(Coding::Base64, body).unwrap();
    let change = Change { start: 0, end: 5, octets: b"bye".to_vec(), quoted: None };
    let mut after = Vec::new();
    write(Coding::Base64, body, &decoded, &[change], &mut after);
    assert_eq!(after, b"Ynll\r\n\r\n__\r\nA list, see b\r\n");
}

#[test]
fn a_line_is_measured_with_all_its_changes() {
    let body = [b"x".repeat(400), b"\n".to_vec(), b"y".repeat(400)].concat();
    let change = |start, size| Change { start, end: start + 10, octets: vec![b'z'; size], quoted: None };
    assert!(!is_too_long(&body, &[change(0, 600), change(500, 600)]));
    assert!(is_too_long(&body, &[change(0, 300), change(20, 350)]));
    assert!(is_too_long(&body, &[change(395, 300)]));
}

fn coded(coding: Coding, octets: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match coding {
        Coding::Base64 => {
            for line in STANDARD.encode(octets).as_bytes().chunks(64) {
                text.extend_from_slice(line);
                text.extend_from_slice(b"\r\n");
            }
        }
        Coding::Quoted => write_as_quoted(octets, b"\r\n", true, &mut text),
        _ => text.extend_from_slice(octets),
    }
    text
}

/// Octets to the start of a change, how many it replaces, and by what.
type Cut = (usize, usize, Vec<u8>);

/// Octets, and changes of some stretches of them.
fn case() -> impl Strategy<Value = (Vec<u8>, Vec<Cut>)> {
    let octet = prop_oneof![6 => any::<u8>(), 3 => 32..127_u8, 1 => Just(b'\n'), 1 => Just(b'-')];
    let text = prop::collection::vec(octet, 1..600);
    let cuts =
        prop::collection::vec((0..60_usize, 1..60_usize, prop::collection::vec(33..127_u8, 0..200)), 1..6);
    (text, cuts)
}

fn changes_of(length: usize, cuts: &[Cut]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let mut at = 0;
    for (gap, size, octets) in cuts {
        let (start, end) = (at + gap, at + gap + size);
        if end > length {
            break;
        }
        changes.push(Change { start, end, octets: octets.clone(), quoted: None });
        at = end;
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_changed_body_decodes_to_the_changed_octets((octets, cuts) in case()) {
        let mut expected = Vec::new();
        let changes = changes_of(octets.len(), &cuts);
        prop_assume!(!changes.is_empty());
        patch(&octets, 0, &changes, &mut expected);
        for coding in [Coding::Identity, Coding::Quoted, Coding::Base64] {
            let body = coded(coding, &octets);
            let decoded = decode(coding, &body).unwrap();
            prop_assert_eq!(decoded.octets(&body), octets.as_slice());
            let mut after = Vec::new();
            write(coding, &body, &decoded, &changes, &mut after);
            prop_assert_eq!(&plain(coding, &after), &expected, "{:?} {:?} {:?}", coding, String::from_utf8_lossy(&body), String::from_utf8_lossy(&after));
            if coding != Coding::Identity {
                prop_assert!(after.split(|b| *b == b'\n').all(|l| l.len() <= 77));
            }
        }
    }

    #[test]
    fn octets_written_as_quoted_printable_come_back(octets in prop::collection::vec(any::<u8>(), 0..600), lines: bool) {
        let mut text = Vec::new();
        write_as_quoted(&octets, b"\r\n", lines, &mut text);
        prop_assert_eq!(plain(Coding::Quoted, &text), octets);
    }

    #[test]
    fn any_text_decodes_and_is_changed_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..400), start in 0..100_usize) {
        for coding in [Coding::Quoted, Coding::Base64] {
            let decoded = decode(coding, &body).unwrap();
            let length = decoded.octets(&body).len();
            if start < length {
                let change = Change { start, end: length.min(start + 9), octets: b"x".to_vec(), quoted: None };
                write(coding, &body, &decoded, &[change], &mut Vec::new());
                Written::new(&body, &decoded).stretch(start, length);
            }
        }
    }
}
