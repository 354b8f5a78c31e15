//! The token: round trips, damage, foreign and old keys, and the published test vector.

use super::*;
use proptest::prelude::*;

fn keys() -> LinkKeys {
    let text = format!("a1 {}\npseudonym {}\n", "11".repeat(32), "22".repeat(32));
    LinkKeys::parse(&text).unwrap()
}

fn link(url: &str) -> Link {
    Link { url: url.into(), tenant: "isp/msp/example.test".into(), user: "u".into(), mail: "m".into() }
}

#[test]
fn the_published_vector_still_reads() {
    let token = include_str!("../golden/link-v1.txt").trim();
    assert_eq!(keys().decode(token), Ok(link("https://www.example.com/a?b=c#d")));
    assert_eq!(keys().encode("https://links.test", &link("https://www.example.com/a?b=c#d")).unwrap(), token);
}

#[test]
fn every_flipped_character_of_the_payload_is_noticed() {
    let token = keys().encode("https://links.test", &link("https://a.test/")).unwrap();
    let bare = token_of(&token).unwrap().to_owned();
    for at in bare.rfind('.').unwrap() + 1..bare.len() - 1 {
        let mut changed = bare.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(keys().decode(std::str::from_utf8(&changed).unwrap()), Err(LinkError::Damaged));
    }
}

#[test]
fn only_web_addresses_go_in() {
    for url in ["javascript:alert(1)", "ftp://a.test", "//a.test", "mailto:a@b"] {
        assert_eq!(keys().encode("https://links.test", &link(url)), Err(LinkError::NotWeb));
    }
}

#[test]
fn old_links_read_after_a_rotation_and_foreign_ones_do_not() {
    let old = keys().encode("https://links.test", &link("https://a.test/")).unwrap();
    let rotated = keys().rotated().unwrap();
    assert!(rotated.decode(&old).is_ok());
    let new = rotated.encode("https://links.test", &link("https://a.test/")).unwrap();
    assert_eq!(keys().decode(&new), Err(LinkError::UnknownKey("a2".into())));
    assert_eq!(keys().decode("https://elsewhere.test/index.html"), Err(LinkError::Foreign));
    let again = LinkKeys::parse(&rotated.to_text()).unwrap();
    assert_eq!(again.decode(&new), rotated.decode(&new));
}

#[test]
fn a_key_file_without_keys_or_with_a_bad_line_says_so() {
    assert!(matches!(LinkKeys::parse("a1 zz"), Err(KeysError::Line(1))));
    assert!(matches!(LinkKeys::parse(""), Err(KeysError::Missing(_))));
}

#[test]
fn a_pseudonym_differs_between_tenants_and_not_by_case() {
    let keys = keys();
    assert_eq!(keys.pseudonym("t", "A@b.test"), keys.pseudonym("t", "a@b.test"));
    assert_ne!(keys.pseudonym("t", "a@b.test"), keys.pseudonym("t2", "a@b.test"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]
    #[test]
    fn every_web_address_comes_back(rest in ".{0,200}", tenant in "[a-z/.]{0,60}", user in "[0-9a-f]{0,16}") {
        let link = Link { url: format!("https://{rest}"), tenant, user, mail: "01ARZ".into() };
        let token = keys().encode("https://links.test/", &link).unwrap();
        prop_assert!(token.bytes().all(|b| b.is_ascii_graphic()));
        prop_assert_eq!(keys().decode(&token).unwrap(), link);
    }

    #[test]
    fn no_text_makes_the_decoder_panic(text in ".{0,300}") {
        let _ = keys().decode(&text);
    }
}
