//! Targets: what is judged is what is opened, and nothing in it can leave its place.

use super::*;
use proptest::prelude::*;

fn location(text: &str) -> String {
    Target::read(text).unwrap().location.to_str().unwrap().to_owned()
}

#[test]
fn an_honest_address_leaves_to_the_octet_as_it_stood_in_the_mail() {
    let honest = [
        "https://www.example.com/a?b=c#d",
        "HTTP://Example.COM",
        "https://example.com/a%2Fb%zz/../c?u=https://x.test/&v=[1]",
        "https://user:pass@example.com:8443/;p=1",
        "http://[2001:db8::1]:80/x",
        "http://192.0.2.1/",
        "https://example.com./",
        "https://example.com?no-path",
    ];
    for text in honest {
        assert_eq!(location(text), text);
    }
}

#[test]
fn what_http_cannot_carry_is_encoded_without_changing_where_it_leads() {
    assert_eq!(
        location("https://bücher.example/straße?q=ä b"),
        "https://xn--bcher-kva.example/stra%C3%9Fe?q=%C3%A4%20b"
    );
    assert_eq!(location("https://a.test/x y"), "https://a.test/x%20y");
    assert_eq!(location("https://a.test/x\r\nSet-Cookie: a=b"), "https://a.test/xSet-Cookie:%20a=b");
}

#[test]
fn readers_that_disagree_about_an_address_are_given_the_browsers_reading() {
    for (text, host) in [
        ("http://good.test\\@evil.test/", "good.test"),
        ("http://good.test@evil.test/", "evil.test"),
        ("http:///evil.test/", "evil.test"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://ev%69l.test/", "evil.test"),
        ("http://evil.test:80@good.test", "good.test"),
        ("http://ｅvil.test/", "evil.test"),
    ] {
        let target = Target::read(text).unwrap();
        assert_eq!(target.host, host, "{text}");
        let out = location(text);
        assert!(plain_host(&out).unwrap().eq_ignore_ascii_case(host), "{text} -> {out}");
    }
}

#[test]
fn what_no_browser_opens_is_no_target() {
    let wrong = [
        "javascript:alert(1)",
        "http://",
        "https://?",
        "ftp://a.test",
        "http://a b.test/",
        "http://[::1",
        "https://./",
        "data:text/html,x",
    ];
    for text in wrong {
        assert!(Target::read(text).is_none(), "{text}");
    }
}

#[test]
fn lists_are_asked_about_the_host_and_every_parent() {
    let target = Target::read("https://www.shop.example.co.uk/").unwrap();
    assert_eq!(target.domain, "example.co.uk");
    assert_eq!(
        target.list_values(),
        [
            "www.shop.example.co.uk",
            ".www.shop.example.co.uk",
            ".shop.example.co.uk",
            ".example.co.uk",
            ".co.uk",
            ".uk"
        ]
    );
    assert_eq!(target.feed_names(), ["www.shop.example.co.uk", "shop.example.co.uk", "example.co.uk"]);
}

#[test]
fn an_address_is_asked_about_as_it_is() {
    for (text, host) in [("http://192.0.2.1/", "192.0.2.1"), ("http://[2001:db8::1]/", "[2001:db8::1]")] {
        let target = Target::read(text).unwrap();
        assert_eq!((target.list_values(), target.feed_names()), (vec![host.to_owned()], vec![host]));
        assert!(target.is_number());
    }
}

#[test]
fn people_see_the_registered_domain_apart_from_what_stands_before_it() {
    let shown =
        Target::read("https://paypal.com.login.evil.example:8443/a/%C3%BC?x=%2F%E2%80%AE").unwrap().shown();
    assert_eq!((shown.lead.as_str(), shown.name.as_str()), ("paypal.com.login.", "evil.example:8443"));
    assert_eq!(shown.path, "/a/ü?x=%2F%E2%80%AE", "a reversing sign stays encoded");
}

#[test]
fn a_foreign_name_is_shown_in_both_forms() {
    let shown = Target::read("https://www.bücher.example/").unwrap().shown();
    assert_eq!((shown.lead.as_str(), shown.name.as_str()), ("www.", "bücher.example"));
    assert_eq!(shown.plain.as_deref(), Some("www.xn--bcher-kva.example"));
    assert_eq!(shown.warning, None);
}

#[test]
fn many_subdomains_do_not_push_the_registered_domain_away() {
    let target = Target::read(&format!("https://www.bank.example.{}evil.example/", "a.".repeat(60))).unwrap();
    let shown = target.shown();
    assert_eq!(shown.name, "evil.example");
    assert!(
        shown.lead.starts_with("www.bank.example…") && shown.lead.chars().count() == 33,
        "{}",
        shown.lead
    );
    assert!(shown.exact.contains("example.a.a.a."), "the full address has it all");
}

#[test]
fn a_long_path_is_cut_for_the_eye_only() {
    let long = format!("https://a.test/{}", "é".repeat(5_000));
    let target = Target::read(&long).unwrap();
    assert!(target.shown().path.chars().count() < 620);
    assert!(target.location.len() > 30_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_token_says_location_is_visible_ascii_of_a_web_address_with_the_judged_host(
        text in "(https?|HTTP|ftp|javascript):[/\\\\]{0,3}[ -~\r\n\t\u{0}\u{a0}é中\u{202e}ао]{0,60}"
    ) {
        let Some(target) = Target::read(&text) else { return Ok(()) };
        let out = target.location.as_bytes();
        prop_assert!(out.iter().all(|b| (0x21..=0x7e).contains(b)), "{out:?}");
        let out = target.location.to_str().unwrap();
        prop_assert!(is_web(out));
        let judged = Url::parse(out).unwrap();
        prop_assert_eq!(judged.host_str().unwrap().trim_end_matches('.'), &target.host);
        prop_assert!(plain_host(out).unwrap().eq_ignore_ascii_case(&target.host), "{} {}", out, target.host);
        prop_assert!(target.host.ends_with(&target.domain));
    }

    #[test]
    fn what_is_shown_has_nothing_invisible(text in "https://[a-z]{1,9}\\.test/\\PC{0,40}(%[0-9A-F]{2}){0,12}") {
        let Some(target) = Target::read(&text) else { return Ok(()) };
        let shown = target.shown();
        prop_assert!(!shown.path.chars().any(look_alike::is_invisible), "{:?}", shown.path);
        prop_assert!(!shown.name.chars().any(look_alike::is_invisible));
    }
}
