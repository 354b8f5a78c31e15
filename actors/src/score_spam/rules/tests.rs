//! Each rule by a message made for it, and its honest neighbour that must not hit.

use super::*;
use crate::score_spam::parsed::{message, parts};
use proptest::prelude::*;
use tidegate_schemas::{Auth, Recipient};

/// Received at 2026-11-27 12:00:00 UTC.
const NOW_MS: u64 = 1_795_780_800_000;

const CLEAN: &str = "Received: from a.test by b.test; Fri, 27 Nov 2026 11:59:00 +0000\r\n\
    From: Ann <ann@corp.test>\r\nTo: bob@example.test\r\nSubject: Minutes of Monday\r\n\
    Date: Fri, 27 Nov 2026 11:58:00 +0000\r\nMessage-ID: <1@corp.test>\r\nMIME-Version: 1.0\r\n";

fn mail() -> Mail {
    let recipient = Recipient { address: "bob@example.test".into(), ..Recipient::default() };
    Mail {
        received_ms: NOW_MS,
        recipients: vec![recipient],
        mail_from: "ann@corp.test".into(),
        ..Mail::default()
    }
}

fn hits_of(mail: &Mail, raw: &str) -> Vec<Evidence> {
    let message = message(raw.as_bytes());
    let parts = message.as_ref().map(parts).unwrap_or_default();
    let parsed = Parsed::new(raw.as_bytes(), message.as_ref(), &parts);
    run(&View::new(mail, &parsed, &parts))
}

fn codes(raw: &str) -> Vec<String> {
    hits_of(&mail(), raw).into_iter().map(|e| e.code).collect()
}

/// The clean header with a field replaced (or, with an empty new line, removed), and a short body.
fn with_field(name: &str, line: &str) -> String {
    let kept = CLEAN.split_inclusive("\r\n").filter(|l| !l.starts_with(name)).collect::<String>();
    let line = if line.is_empty() { String::new() } else { format!("{line}\r\n") };
    format!("{kept}{line}\r\nHello, see you on Monday.\r\n")
}

fn with_html(html: &str) -> String {
    format!("{CLEAN}Content-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n")
}

fn with_text(text: &str) -> String {
    format!("{CLEAN}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n")
}

#[test]
fn an_ordinary_mail_hits_no_rule() {
    assert_eq!(codes(&format!("{CLEAN}\r\nHello, see https://corp.test/x\r\n")), [""; 0]);
}

#[test]
fn header_rules_hit_what_they_are_for_and_not_their_honest_neighbours() {
    for (field, line, code, honest) in [
        ("From", "", "MISSING_FROM", "From: a@b.test"),
        ("From", "From: a@b.test\r\nFrom: c@d.test", "MULTIPLE_FROM", "From: a@b.test"),
        (
            "From",
            "From: \"service@bank.test\" <x@evil.test>",
            "DISPLAY_NAME_ADDRESS",
            "From: \"x@evil.test\" <y@evil.test>",
        ),
        ("From", "From: bob@example.test", "FROM_IS_RECIPIENT", "From: rob@example.test"),
        (
            "From",
            "From: =?utf-8?b?UNCweVBhbA==?= <a@b.test>",
            "HEADER_MIXED_SCRIPT",
            "From: =?utf-8?b?0J/QsNGI0LA=?= <a@b.test>",
        ),
        ("From", "From: PayPal <service@evil.test>", "BRAND_CLAIMED", "From: PayPal <service@paypal.com>"),
        ("From", "From: <a@b7x9k2q4.test>", "FROM_RANDOM", "From: <a@web2.test>"),
        ("From", "From: X <a@x.onmicrosoft.com>", "FROM_PROJECT_DOMAIN", "From: X <a@microsoft.com>"),
        ("From", "From: X <a@localhost>", "FROM_ODD", "From: X <a@local.test>"),
        ("From", "From: X <a@b.top>", "FROM_CHEAP_TLD", "From: X <a@top.test>"),
        (
            "Subject",
            "Subject: =?utf-8?q?=F0=9D=90=80=F0=9D=90=81=F0=9D=90=82?=",
            "HEADER_FANCY_LETTERS",
            "Subject: ABC",
        ),
        ("Subject", "Subject: bob@example.test won", "SUBJECT_NAMES_RECIPIENT", "Subject: example.test won"),
        ("Subject", "Subject: Re: order", "SUBJECT_FAKE_REPLY", "Subject: Re: order\r\nIn-Reply-To: <a@b>"),
        (
            "Subject",
            "Subject: =?utf-8?q?=F0=9F=9A=A8?= pay",
            "SUBJECT_ALARM",
            "Subject: =?utf-8?q?=F0=9F=90=B6?= dog",
        ),
        ("Reply-To", "Reply-To: x@gmail.com", "REPLY_TO_FREEMAIL", "Reply-To: x@corp.test"),
        (
            "Date",
            "Date: Mon, 30 Nov 2026 12:00:00 +0000",
            "DATE_FUTURE",
            "Date: Fri, 27 Nov 2026 20:00:00 +0000",
        ),
        (
            "Date",
            "Date: Fri, 30 Oct 2026 12:00:00 +0000",
            "DATE_PAST",
            "Date: Mon, 23 Nov 2026 12:00:00 +0000",
        ),
        ("Date", "Date: yesterday", "DATE_UNREADABLE", "Date: Fri, 27 Nov 2026 12:00 +0000"),
        ("Date", "", "MISSING_DATE", "Date: Fri, 27 Nov 2026 12:00:00 +0000"),
        ("Message-ID", "", "MISSING_MESSAGE_ID", "Message-ID: <a@b>"),
        ("Message-ID", "Message-ID: 12345", "MESSAGE_ID_ODD", "Message-ID: <12345@host>"),
        ("Subject", "Subject: CHEAP MEDS TODAY", "SUBJECT_CAPS", "Subject: ISO 9001 audit"),
        ("Subject", "Subject: Win now!!!", "SUBJECT_EXCITED", "Subject: Win now!"),
        ("Subject", "Subject: Cheap meds          xk29f", "SUBJECT_TAIL", "Subject: Cheap meds today"),
        ("Subject", "Subject:", "MISSING_SUBJECT", "Subject: x"),
        ("To", "", "MISSING_TO", "Cc: bob@example.test"),
        ("Subject", "Subject: gr\u{fc}n", "HEADER_8BIT", "Subject: =?utf-8?q?gr=C3=BCn?="),
        ("Received", "", "SINGLE_HOP", "Received: from a.test by b.test; Fri, 27 Nov 2026 11:59:00 +0000"),
        ("X", "X-Tidegate-Verdict: deliver", "FORGED_TIDEGATE", "X-Other-Verdict: deliver"),
    ] {
        assert!(codes(&with_field(field, line)).contains(&code.to_owned()), "{code} not hit by {line:?}");
        assert!(!codes(&with_field(field, honest)).contains(&code.to_owned()), "{code} hit by {honest:?}");
    }
}

#[test]
fn body_rules_hit_what_they_are_for_and_not_their_honest_neighbours() {
    let hidden = format!("<p>short</p><div style='display:none'>{}</div>", "words and words ".repeat(60));
    let preheader = format!("<div style='display:none'>a line</div><p>{}</p>", "words and words ".repeat(60));
    let tiny = format!("<span style='font-size:1px'>{}</span>", "garbage ".repeat(40));
    for (raw, code, honest) in [
        (with_html(&hidden), "HTML_HIDDEN_TEXT", with_html(&preheader)),
        (with_html(&tiny), "HTML_TINY_TEXT", with_html(&tiny.replace("1px", "12px"))),
        (with_html("<form>x</form>"), "HTML_FORM", with_html("<p>form</p>")),
        (with_html("<input type=password>"), "HTML_PASSWORD", with_html("<input type=text>")),
        (with_html("<script>x()</script>"), "HTML_SCRIPT", with_html("<p>script</p>")),
        (with_html("<iframe src=https://corp.test/></iframe>"), "HTML_FRAME", with_html("<p>x</p>")),
        (with_html("<meta http-equiv=refresh content=0>"), "HTML_REFRESH", with_html("<meta charset=utf-8>")),
        (
            with_html("<a href=https://corp.test/><img src=https://corp.test/a.png></a>"),
            "HTML_ONLY_PICTURE",
            with_html(&format!("<a href=https://corp.test/><img src=x></a>{}", "long text ".repeat(40))),
        ),
        (
            with_html("v<!-- -->ia<!-- -->gr<!-- -->a"),
            "HTML_BROKEN_WORDS",
            with_html("<!-- --> one <!-- --> two <!-- --> three"),
        ),
        (
            with_text("v\u{200b}i\u{200b}a\u{200b}gra"),
            "MIME_INVISIBLE",
            with_text("\u{200b} a \u{200b} b \u{200b}"),
        ),
        (
            with_text("").replace("; charset=utf-8", "; charset=x-none-such"),
            "MIME_CHARSET_UNKNOWN",
            with_text("x"),
        ),
        (with_text(""), "MIME_EMPTY", with_text("x")),
        (with_html("x"), "MIME_HTML_ONLY", with_text("x")),
        (with_html("x").replace("MIME-Version: 1.0\r\n", ""), "MIME_NO_VERSION", with_html("x")),
        (
            with_text("VGhpcyBpcyBwbGFpbiBBU0NJSSB0ZXh0IHRoYXQgaGlkZXMgaW4gYmFzZTY0Lg==")
                .replace("MIME-Version", "Content-Transfer-Encoding: base64\r\nMIME-Version"),
            "MIME_BASE64_TEXT",
            with_text("plain"),
        ),
        (
            with_text("The late barrister left ten million dollars; you are next of kin."),
            "TEXT_ADVANCE_FEE",
            with_text("The barrister called."),
        ),
        (
            with_text("Congratulations! You have won: https://corp.test/"),
            "TEXT_PRIZE",
            with_text("You have won the vote: https://corp.test/"),
        ),
        (
            with_text("Unusual activity: verify your account at https://corp.test/ within 24 hours"),
            "TEXT_ACCOUNT_THREAT",
            with_text("Please verify your account at https://corp.test/"),
        ),
        (
            with_text("I recorded you by your webcam. Pay bitcoin to 1BoatSLRHtKNngkdXEeobR76b53LETtpyT"),
            "TEXT_EXTORTION",
            with_text("My webcam is broken, I recorded nothing, and bitcoin is at 90000"),
        ),
        (
            with_text("XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"),
            "GTUBE",
            with_text("GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL"),
        ),
    ] {
        assert!(codes(&raw).contains(&code.to_owned()), "{code} not hit by {raw}");
        assert!(!codes(&honest).contains(&code.to_owned()), "{code} hit by {honest}");
    }
}

#[test]
fn link_rules_hit_what_they_are_for_and_not_their_honest_neighbours() {
    let link = |url: &str, text: &str| with_html(&format!("<a href=\"{url}\">{text}</a>"));
    let many = "<a href='https://corp.test/x'>x</a>".repeat(130);
    for (raw, code, honest) in [
        (
            link("http://evil.test/", "https://bank.example.com/"),
            "LINK_TEXT_DIFFERS",
            link("http://www.bank.com/", "bank.com"),
        ),
        (link("http://192.0.2.1/x", "x"), "LINK_IP", link("http://one.test/192.0.2.1", "x")),
        (link("http://a.test:81/x", "x"), "LINK_PORT", link("http://a.test:8080/x", "x")),
        (link("http://bank.com@evil.test/", "x"), "LINK_USERINFO", link("http://evil.test/@bank.com", "x")),
        (link("http://www.bank.com.evil.test/", "x"), "LINK_HOST_POSES", link("http://www.bank.com/", "x")),
        (link("http://xn--pypal-4ve.com/", "x"), "LINK_HOMOGRAPH", link("http://xn--bcher-kva.de/", "x")),
        (link("http://xn--bcher-kva.de/", "x"), "LINK_PUNYCODE", link("http://buecher.de/", "x")),
        (link("https://bit.ly/abc", "x"), "LINK_SHORTENER", link("https://rabbit.ly/abc", "x")),
        (link("java&#115;cript:x()", "x"), "LINK_SCRIPT", link("mailto:a@b.test", "x")),
        (link("https://a.pages.dev/", "x"), "LINK_FREE_HOSTING", link("https://pages.dev.test/", "x")),
        (link("https://a.xyz/", "x"), "LINK_CHEAP_TLD", link("https://xyz.test/", "x")),
        (link("https://a.b.c.d.e.test/", "x"), "LINK_DEEP_HOST", link("https://a.b.test/", "x")),
        (
            link("https://e.test/#bob@example.test", "x"),
            "LINK_CARRIES_ADDRESS",
            link("https://e.test/#bob", "x"),
        ),
        (
            link("https://e.test/Ym9iQGV4YW1wbGUudGVzdA", "x"),
            "LINK_CARRIES_ADDRESS",
            link("https://corp.test/#bob@example.test", "x"),
        ),
        (with_html(&many), "LINK_MANY", with_html("<a href='https://corp.test/x'>x</a>")),
    ] {
        assert!(codes(&raw).contains(&code.to_owned()), "{code} not hit by {raw}");
        assert!(!codes(&honest).contains(&code.to_owned()), "{code} hit by {honest}");
    }
}

#[test]
fn a_site_that_claims_to_be_itself_and_relative_or_mail_links_are_never_called_a_fraud() {
    for (url, text) in [
        ("https://www.corp.test/a", "corp.test"),
        ("https://login.bank.co.uk/", "WWW.Bank.co.uk"),
        ("mailto:a@b.test", "b.test"),
        ("/path", "other.com"),
        ("#top", "other.com"),
        ("https://xn--bcher-kva.de/", "bücher.de"),
    ] {
        let found = codes(&with_html(&format!("<a href=\"{url}\">{text}</a>")));
        assert!(!found.contains(&"LINK_TEXT_DIFFERS".to_owned()), "{url} {text}");
    }
}

#[test]
fn the_second_link_is_looked_at_like_the_first() {
    let raw =
        with_html("<a href=https://corp.test/>corp.test</a> <a href=https://evil.test/>www.bank.com</a>");
    assert!(codes(&raw).contains(&"LINK_TEXT_DIFFERS".to_owned()));
}

#[test]
fn a_counting_link_of_a_domain_that_signed_the_mail_is_no_fraud() {
    let raw = with_html("<a href=https://click.esp.com/1>www.corp.test.com</a>");
    assert!(codes(&raw).contains(&"LINK_TEXT_DIFFERS".to_owned()));
    let auth = Auth { dkim: "pass".into(), dkim_domains: vec!["esp.com".into()], ..Auth::default() };
    let found = hits_of(&Mail { auth, ..mail() }, &raw);
    assert!(!found.iter().any(|e| e.code == "LINK_TEXT_DIFFERS"));
}

#[test]
fn authentication_results_are_combined() {
    let auth = |spf: &str, dkim: &str, dmarc: &str, iprev: &str| Auth {
        spf: spf.into(),
        dkim: dkim.into(),
        dmarc: dmarc.into(),
        iprev: iprev.into(),
        ..Auth::default()
    };
    let of = |auth: Auth, from: &str| -> Vec<String> {
        let raw = with_field("From", &format!("From: a@{from}"));
        hits_of(&Mail { auth, ..mail() }, &raw).into_iter().map(|e| e.code).collect()
    };
    let none = || Vec::<String>::new();
    assert_eq!(of(auth("none", "none", "none", "fail"), "corp.test"), ["AUTH_NOTHING"]);
    assert_eq!(of(auth("softfail", "none", "fail", "pass"), "gmail.com"), ["AUTH_FREEMAIL_FORGED"]);
    assert_eq!(of(auth("pass", "pass", "pass", "pass"), "gmail.com"), ["AUTH_ALIGNED"]);
    assert_eq!(of(auth("pass", "temperror", "temperror", "pass"), "gmail.com"), none());
    assert_eq!(of(Auth::default(), "gmail.com"), none());
}

#[test]
fn a_group_adds_no_more_than_its_cap() {
    let raw = "Subject: CHEAP MEDS NOW!!!      x1\r\nMessage-ID: 1\r\nDate: never\r\nX-Tidegate-Spam: no\r\n\r\nx\r\n";
    let found = hits_of(&mail(), raw);
    let header = |e: &&Evidence| TABLE.iter().any(|r| r.code == e.code && r.group == Group::Header);
    let sum: f32 = found.iter().filter(header).map(|e| e.weight).sum();
    assert!(found.iter().filter(header).count() >= 8, "{found:?}");
    assert!((sum - Group::Header.cap()).abs() < 1e-3, "{sum}");
}

#[test]
fn what_is_too_much_to_look_at_is_said() {
    let many = |n: usize| {
        let head = format!("{CLEAN}Content-Type: multipart/mixed; boundary=b\r\n\r\n");
        head + &"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(n) + "--b--\r\n"
    };
    assert!(codes(&many(1_100)).contains(&"MIME_MANY_PARTS".to_owned()));
    assert!(!codes(&many(50)).contains(&"MIME_MANY_PARTS".to_owned()));
    let deep = |n: usize| format!("{}\r\nx\r\n", "Content-Type: message/rfc822\r\n\r\n".repeat(n) + CLEAN);
    assert!(codes(&deep(6)).contains(&"MIME_TOO_DEEP".to_owned()));
    assert!(!codes(&deep(2)).contains(&"MIME_TOO_DEEP".to_owned()));
}

#[test]
fn codes_stand_once_in_the_table() {
    let mut codes: Vec<&str> = TABLE.iter().map(|r| r.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), TABLE.len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_message_of_any_shape_stops_the_rules(
        head in "(From|To|Date|Subject|Content-Type|Message-ID): [ -~\u{a0}-\u{2fff}]{0,60}",
        body in "[ -~\u{a0}-\u{2fff}\r\n<>]{0,400}",
        octets in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut raw = format!("{head}\r\nContent-Type: text/html\r\n\r\n{body}").into_bytes();
        raw.extend(octets);
        let message = message(&raw);
        let parts = message.as_ref().map(parts).unwrap_or_default();
        let parsed = Parsed::new(&raw, message.as_ref(), &parts);
        let mail = mail();
        run(&View::new(&mail, &parsed, &parts));
    }
}
