//! Hints in places of every kind: what is carried comes back, and nothing else is believed.

use super::*;
use encoding_rs::{ISO_2022_JP, UTF_16BE, WINDOWS_1252};
use proptest::prelude::*;

fn letters(label: &str) -> Letters {
    Letters::choose(Some(label), b"")
}

fn setting(letters: Letters, quote: Quote) -> Setting<'static> {
    Setting { letters, quote, base: None, delsp: false, newline: Some(b"\r\n") }
}

fn original(setting: &Setting<'_>, hint: &str, address: &str) -> Vec<u8> {
    setting.original(hint, address, &mut |_| None).octets
}

#[test]
fn a_link_is_split_from_its_hint_at_the_last_mark() {
    assert_eq!(split("https://l.test/u/1.a.b/c/~a"), ("https://l.test/u/1.a.b/c", "/~a"));
    assert_eq!(split("https://l.test/u/1.a.b/c"), ("https://l.test/u/1.a.b/c", ""));
    assert!(is_own("https://l.test/u/1.a.b/c/~a") && !is_own("1.a.b") && !is_own("https://l.test/u/x"));
}

#[test]
fn octets_that_would_end_the_value_the_line_or_the_shift_are_not_put_back() {
    let carried = |octets: &[u8]| format!("/~r.{}", URL_SAFE_NO_PAD.encode(octets));
    let cases: [(&str, Quote, &[u8]); 6] = [
        ("utf-8", Quote::Single, b"http://a.test/'"),
        ("utf-8", Quote::Bare, b"http://a.test/ x"),
        ("utf-8", Quote::Double, b"http://a.\ntest/"),
        ("utf-8", Quote::Double, b"http://a.\r\n--test/"),
        ("iso-2022-jp", Quote::Double, b"http://a.test/\x1b$B"),
        ("utf-8", Quote::Text, b"http://a.test/x \r\ny"),
    ];
    for (label, quote, octets) in cases {
        let setting = setting(letters(label), quote);
        let Reading::Web(address) = setting.read(octets) else { panic!("{octets:?}") };
        assert_ne!(original(&setting, &carried(octets), &address), octets, "{label} {quote:?}");
    }
    let sound = b"http://a.\r\ntest/";
    let setting = setting(letters("utf-8"), Quote::Double);
    assert_eq!(original(&setting, &carried(sound), "http://a.test/"), sound);
}

#[test]
fn what_a_charset_lacks_is_written_as_a_reference() {
    let setting = setting(letters("windows-1252"), Quote::Double);
    assert_eq!(setting.letters.encoding, WINDOWS_1252);
    assert_eq!(original(&setting, "", "http://a.test/\u{e9}\u{3053}"), b"http://a.test/\xe9&#12371;");
}

#[test]
fn in_text_what_would_end_an_address_is_percent_encoded() {
    let setting = setting(letters("utf-8"), Quote::Text);
    assert_eq!(original(&setting, "", "http://a.test/ <&>\r\n"), b"http://a.test/%20%3C&%3E%0D%0A");
}

/// Pieces of values as people and programs write them.
fn value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9/._~?=-]{0,12}",
        Just("&".to_owned()),
        Just("&amp;".to_owned()),
        Just("&quot;".to_owned()),
        Just("&#58;".to_owned()),
        Just("é".to_owned()),
        Just("こ".to_owned()),
        Just(" ".to_owned()),
        Just("\r\n".to_owned()),
        Just("&copy".to_owned()),
        Just("%20".to_owned()),
    ];
    let start = prop_oneof![
        Just("http://a.test/"),
        Just(" HTTPS://a.test?"),
        Just("//a.test/"),
        Just("&#104;ttp://b")
    ];
    (start, prop::collection::vec(piece, 0..8))
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn whatever_way_a_value_was_written_it_comes_back(text in value(), label in 0..4_usize) {
        let letters = letters(["utf-8", "iso-2022-jp", "utf-8", "shift_jis"][label]);
        let letters = if label == 2 { Letters::choose(None, b"\xfe\xff") } else { letters };
        prop_assert!(label != 1 || letters.encoding == ISO_2022_JP);
        prop_assert!(label != 2 || letters.encoding == UTF_16BE);
        let octets = letters.encode(&text);
        for quote in [Quote::Double, Quote::Single, Quote::Bare] {
            let mut setting = setting(letters, quote);
            if label == 2 {
                setting.newline = None;
            }
            let Reading::Web(address) = setting.read(&octets) else { continue };
            if !setting.fits(&octets) {
                continue;
            }
            let hint = setting.hint(&octets, &address, None);
            prop_assert_eq!(&original(&setting, &hint, &address), &octets, "{} {}", hint, address);
            let quoted = quoted_printable::quote(&octets).to_ascii_lowercase();
            if label == 0 && quoted_printable::unquote(&quoted).is_some_and(|o| o == octets) {
                let hint = setting.hint(&octets, &address, Some(&quoted));
                let back = setting.original(&hint, &address, &mut |_| None);
                prop_assert_eq!(back.octets, octets.clone());
            }
        }
    }

    #[test]
    fn an_address_alone_comes_back_with_its_meaning(rest in "[ -~é\u{3053}\t]{0,40}") {
        let address = format!("http://a.test/{}", rest.trim());
        for quote in [Quote::Double, Quote::Single, Quote::Bare] {
            let setting = setting(letters("windows-1252"), quote);
            let octets = original(&setting, "", &address);
            prop_assert!(setting.fits(&octets));
            let cleaned: String = address.chars().filter(|c| !c.is_ascii_control()).collect();
            prop_assert_eq!(setting.read(&octets), Reading::Web(cleaned));
        }
    }

    #[test]
    fn no_hint_makes_it_panic(hint in "(/~[arq]?[.]?)?[ -~]{0,30}", address in ".{0,30}") {
        let address = format!("https://{address}");
        for quote in [Quote::Double, Quote::Bare, Quote::Text] {
            original(&setting(letters("utf-8"), quote), &hint, &address);
        }
    }
}
