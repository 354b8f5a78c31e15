//! Each construct by its octets: what is rewritten, what is not, and how it comes back.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// A link that shows its address to whoever can read base64url.
pub(super) fn encode(address: &str) -> Option<String> {
    Some(format!("https://links.test/u/1.a1.{}/shown", URL_SAFE_NO_PAD.encode(address)))
}

/// The address in a link of [`encode`].
pub(super) fn decode(link: &str) -> Option<String> {
    let payload = link.strip_prefix("https://links.test/u/1.a1.")?.split('/').next()?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

pub(super) const ALL: Options = Options { rewrite_text: true, rewrite_signed: true };
pub(super) const HTML: Options = Options { rewrite_text: false, rewrite_signed: false };

pub(super) fn rewritten(raw: &Bytes, options: &Options) -> Outcome {
    rewrite_again(raw, options, &mut encode, &mut decode)
}

pub(super) fn restored(raw: &Bytes, options: &Options) -> Bytes {
    restore_with(raw, options, &mut decode)
}

fn link(address: &str) -> String {
    encode(address).unwrap()
}

fn message(fields: &str, body: impl AsRef<[u8]>) -> Bytes {
    let mut raw = format!("Subject: x\r\n{fields}\r\n\r\n").into_bytes();
    raw.extend_from_slice(body.as_ref());
    raw.into()
}

fn body(raw: &Bytes) -> &[u8] {
    let at = memchr::memmem::find(raw, b"\r\n\r\n").unwrap();
    &raw[at + 4..]
}

fn page(html: &str) -> Bytes {
    message("Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit", html)
}

/// The page after rewriting is `after`, and comes back.
#[track_caller]
fn becomes(html: &str, after: &str) {
    let raw = page(html);
    let outcome = rewritten(&raw, &HTML);
    assert_eq!(String::from_utf8_lossy(body(&outcome.raw)), after);
    assert_eq!(restored(&outcome.raw, &HTML), raw, "not restored: {html}");
}

#[track_caller]
fn stays(html: &str) {
    let raw = page(html);
    let outcome = rewritten(&raw, &HTML);
    assert_eq!((outcome.raw, outcome.rewritten), (raw, 0));
}

#[test]
fn every_kind_of_live_attribute_is_rewritten_and_nothing_else() {
    let a = link("http://a.test/");
    becomes("<p><a href=\"http://a.test/\">x</a>", &format!("<p><a href=\"{a}\">x</a>"));
    becomes("<A\nclass=x HREF='http://a.test/'>", &format!("<A\nclass=x HREF='{a}'>"));
    becomes("<a href=http://a.test/>", &format!("<a href={a}>"));
    becomes("<area href = \"http://a.test/\" />", &format!("<area href = \"{a}\" />"));
    becomes("<form method=post action=\"http://a.test/\">", &format!("<form method=post action=\"{a}\">"));
    becomes("<button formaction='http://a.test/'>", &format!("<button formaction='{a}'>"));
    becomes("<input formaction=http://a.test/ >", &format!("<input formaction={a} >"));
    becomes("<svg><a xlink:href=\"http://a.test/\">", &format!("<svg><a xlink:href=\"{a}\">"));
    becomes("<iframe src=\"http://a.test/\"></iframe>", &format!("<iframe src=\"{a}\"></iframe>"));
    becomes("<v:roundrect href=\"http://a.test/\">", &format!("<v:roundrect href=\"{a}\">"));
    stays(
        "<img src=\"http://a.test/\"><link href=\"http://a.test/\"><p href=\"http://a.test/\">http://a.test/",
    );
    stays("<a name=\"http://a.test/\" data-href=\"http://a.test/\"><form formaction=http://a.test/>");
}

#[test]
fn a_refresh_is_rewritten_inside_its_content() {
    let a = link("http://a.test/");
    becomes(
        "<meta http-equiv=\"Refresh\" content=\"0; URL='http://a.test/'\">",
        &format!("<meta http-equiv=\"Refresh\" content=\"0; URL='{a}'\">"),
    );
    becomes(
        "<meta content=5&#59;http://a.test/ http-equiv=refresh>",
        &format!("<meta content=5&#59;{a} http-equiv=refresh>"),
    );
    stays(
        "<meta http-equiv=refresh content=\"url=http://a.test/\"><meta http-equiv=x content=\"0;http://a.test/\">",
    );
}

#[test]
fn of_duplicate_attributes_the_first_wins() {
    let a = link("http://a.test/");
    becomes("<a href=http://a.test/ href=http://b.test/>", &format!("<a href={a} href=http://b.test/>"));
    stays("<a href=\"#x\" href=\"http://b.test/\">");
}

#[test]
fn the_way_a_value_was_written_comes_back() {
    let a = link("http://a.test/?b=1&c=2");
    becomes("<a href=\"http://a.test/?b=1&amp;c=2\">", &format!("<a href=\"{a}/~a\">"));
    becomes("<a href=\"http://a.test/?b=1&c=2\">", &format!("<a href=\"{a}\">"));
    let odd = "&#104;ttp://a.test/?b=1&amp;c=2";
    let hint = URL_SAFE_NO_PAD.encode(odd);
    becomes(&format!("<a href=\"{odd}\">"), &format!("<a href=\"{a}/~r.{hint}\">"));
    for value in
        [" http://a.test/ ", "ht\ttp://a.test/x y", "http://a.test/'", "http://a.test/&quot;", "//a.test/ü"]
    {
        let raw = page(&format!("<a href=\"{value}\">"));
        let outcome = rewritten(&raw, &HTML);
        assert_eq!(outcome.rewritten, 1, "{value}");
        assert_eq!(restored(&outcome.raw, &HTML), raw, "{value}");
    }
}

#[test]
fn schemes_that_are_not_the_web_stay_and_the_dangerous_ones_are_told() {
    stays("<a href=\"mailto:a@b.test\"><a href=tel:1><a href=cid:x><a href=\"#x\"><a href=\"/x\"><a href>");
    let raw = page(
        "<a href=\"java&#115;cript:x\"><a href=\"data:text/html,x\"><a href=\"VBScript:x\"><form action=javascript:y>",
    );
    let outcome = rewritten(&raw, &HTML);
    let codes: Vec<_> = outcome.oddities.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["LINK_DATA", "LINK_JAVASCRIPT", "LINK_VBSCRIPT"]);
    assert!(outcome.oddities[1].1.starts_with("2 links"), "{:?}", outcome.oddities);
    assert_eq!(outcome.raw, raw);
}

#[test]
fn relative_links_are_made_whole_only_with_a_base() {
    let whole = link("http://a.test/b/c?d");
    let hint = URL_SAFE_NO_PAD.encode("c?d");
    becomes(
        "<base href=\"http://a.test/b/\"><a href=\"c?d\"><a href=\"#e\">",
        &format!("<base href=\"http://a.test/b/\"><a href=\"{whole}/~r.{hint}\"><a href=\"#e\">"),
    );
    stays("<base href=\"ftp://a.test/\"><a href=\"c?d\">");
}

#[test]
fn outlooks_conditional_comments_are_live_and_others_are_not() {
    let a = link("http://a.test/");
    becomes(
        "<!--[if mso]><a href=\"http://a.test/\"><![endif]--><!-- <a href=\"http://a.test/\"> -->",
        &format!("<!--[if mso]><a href=\"{a}\"><![endif]--><!-- <a href=\"http://a.test/\"> -->"),
    );
    becomes(
        "<!--[if !mso]><!--><a href=\"http://a.test/\"><!--<![endif]-->",
        &format!("<!--[if !mso]><!--><a href=\"{a}\"><!--<![endif]-->"),
    );
}

#[test]
fn links_that_other_vendors_wrapped_are_wrapped_once_and_come_back_wrapped() {
    let wrapped = "https://nam02.safelinks.protection.outlook.com/?url=https%3A%2F%2Fwww.google.com%2Furl%3Fq%3Dhttp%3A%2F%2Fa.test%2F&amp;data=x";
    let raw = page(&format!("<a href=\"{wrapped}\">"));
    let outcome = rewritten(&raw, &HTML);
    assert_eq!(outcome.found, [Found { url: "http://a.test/".into(), text: Some(String::new()) }]);
    assert!(outcome.raw.windows(30).any(|w| w == &link("http://a.test/").as_bytes()[..30]));
    assert_eq!(restored(&outcome.raw, &HTML), raw);
}

#[test]
fn a_rewritten_mail_rewritten_again_is_the_same_and_comes_back_to_the_first() {
    let raw = page("<a href=\"http://a.test/?a&amp;b\"><a href=\" http://b.test/\"><a href=http://c.test/>");
    let once = rewritten(&raw, &HTML).raw;
    let twice = rewritten(&once, &HTML);
    assert_eq!((twice.raw.clone(), twice.rewritten), (once, 3));
    assert_eq!(restored(&twice.raw, &HTML), raw);
}

#[test]
fn a_link_of_ours_that_our_keys_do_not_open_is_a_link_like_any_other() {
    let foreign = "https://other.test/u/1.b7.AAAA/shown/~r.AAAA";
    becomes(&format!("<a href=\"{foreign}\">"), &format!("<a href=\"{}\">", link(foreign)));
}

#[test]
fn a_forged_or_damaged_hint_gives_the_address_plainly() {
    let a = link("http://a.test/?b&c");
    let forged = URL_SAFE_NO_PAD.encode("http://evil.test/");
    let breaking = URL_SAFE_NO_PAD.encode("http://a.test/?b&c\" onclick=\"x");
    for hint in [
        format!("r.{forged}"),
        format!("r.{breaking}"),
        "r.!!".into(),
        "z".into(),
        "q.PQ".into(),
        String::new(),
    ] {
        let back = restored(&page(&format!("<a href=\"{a}/~{hint}\">")), &HTML);
        assert_eq!(String::from_utf8_lossy(body(&back)), "<a href=\"http://a.test/?b&c\">", "{hint}");
    }
}

#[test]
fn an_address_that_would_end_its_value_is_escaped_on_the_way_back() {
    for (quote, after) in [("\"", "\"http://a.test/&quot;> '<\""), ("'", "'http://a.test/\"> &#39;<'")] {
        let back =
            restored(&page(&format!("<a href={quote}{}{quote}>", link("http://a.test/\"> '<"))), &HTML);
        assert_eq!(String::from_utf8_lossy(body(&back)), format!("<a href={after}>"));
    }
    let back = restored(&page(&format!("<a href={}>", link("http://a.test/> x\n\u{1}"))), &HTML);
    assert_eq!(String::from_utf8_lossy(body(&back)), "<a href=http://a.test/&#62;&#32;x&#10;&#1;>");
}

#[test]
fn quoted_printable_changes_only_the_lines_with_the_link() {
    let html = "one =e4 line   \r\n<a class=3D\"x\" href=3D\"http://a.t=\r\nest/?b=3D1\">caf=C3=A9</a> and then some more =\r\ntext\r\n=\r\nlast=20\r\n";
    let raw = message("Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable", html);
    let outcome = rewritten(&raw, &HTML);
    let after = String::from_utf8(body(&outcome.raw).to_vec()).unwrap();
    assert!(
        after.starts_with("one =e4 line   \r\n<a class=3D\"x\" href=3D\"https://links.test/u/1.a1."),
        "{after}"
    );
    assert!(after.ends_with("text\r\n=\r\nlast=20\r\n"), "{after}");
    assert!(after.lines().all(|l| l.len() <= 76), "{after}");
    let joined = after.replace("=\r\n", "");
    let expected = format!("href=3D\"{}\">caf=C3=A9</a> and then", link("http://a.test/?b=1"));
    assert!(joined.contains(&expected), "{joined}");
    let back = String::from_utf8(restored(&outcome.raw, &HTML).to_vec()).unwrap();
    assert_eq!(back.replace("=\r\n", ""), String::from_utf8_lossy(&raw).replace("=\r\n", ""));
}

#[test]
fn unusual_escapes_in_quoted_printable_come_back_as_they_were() {
    let html = "<a href=3d\"http=3a//a.test/=3fb=3d1\">x</a>\r\n";
    let raw = message("Content-Type: text/html\r\nContent-Transfer-Encoding: Quoted-Printable", html);
    let outcome = rewritten(&raw, &HTML);
    assert_eq!(outcome.rewritten, 1);
    assert_eq!(restored(&outcome.raw, &HTML), raw);
}

#[test]
fn base64_keeps_the_lines_before_the_link_and_its_width() {
    let html = format!("{}<a href=\"http://a.test/\">{}", "x".repeat(100), "y".repeat(50));
    let coded = STANDARD.encode(html);
    let lines: Vec<_> = coded.as_bytes().chunks(60).map(|c| std::str::from_utf8(c).unwrap()).collect();
    let text = lines.join("\r\n") + "\r\n\r\n";
    let raw = message("Content-Type: text/html\r\nContent-Transfer-Encoding: base64", &text);
    let outcome = rewritten(&raw, &HTML);
    let after = std::str::from_utf8(body(&outcome.raw)).unwrap();
    assert_eq!(after.lines().next(), Some(lines[0]));
    assert_eq!(after.lines().nth(1), Some(lines[1]));
    assert!(after.ends_with("\r\n\r\n"));
    assert!(after.lines().all(|l| l.len() <= 60));
    let plain = STANDARD.decode(after.replace("\r\n", "")).unwrap();
    assert!(
        String::from_utf8(plain).unwrap().contains(&format!("<a href=\"{}\">yyy", link("http://a.test/")))
    );
    assert_eq!(restored(&outcome.raw, &HTML), raw);
}

#[test]
fn a_line_over_998_octets_makes_the_part_quoted_printable_and_restore_undoes_that() {
    let html =
        format!("<p>{}\r\n é =\t\r\n<a href=\"http://a.test/\">{}</a>\r\n", "x".repeat(500), "y".repeat(940));
    for field in ["Content-Transfer-Encoding: 8bit", "content-transfer-encoding:\r\n 8BIT (as ever)", "X: y"]
    {
        let raw = message(&format!("{field}\r\nContent-Type: text/html; charset=utf-8"), &html);
        let outcome = rewritten(&raw, &HTML);
        let text = String::from_utf8(outcome.raw.to_vec()).unwrap();
        assert!(
            text.contains("Content-Transfer-Encoding: quoted-printable\r\nX-Tidegate-Encoding: "),
            "{text}"
        );
        assert!(!text.to_ascii_lowercase().contains("8bit"));
        assert!(text.lines().skip(5).all(|l| l.len() <= 76), "{text}");
        assert_eq!(restored(&outcome.raw, &HTML), raw);
    }
    let short = page("<a href=\"http://a.test/\">x</a>");
    assert!(!rewritten(&short, &HTML).raw.windows(9).any(|w| w == b"printable"));
}

#[test]
fn a_forged_kept_encoding_is_not_followed_to_bare_line_ends() {
    let old = URL_SAFE_NO_PAD.encode("Content-Transfer-Encoding: 8bit\r\n");
    let fields = format!(
        "Content-Type: text/html\r\nX-Tidegate-Encoding: {old}\r\nContent-Transfer-Encoding: quoted-printable"
    );
    let html = format!("<a href=3D\"{}\">=0A.=0D=0A", link("http://a.test/"));
    let back = restored(&message(&fields, html), &HTML);
    assert!(back.ends_with(b"<a href=3D\"http://a.test/\">=0A.=0D=0A"), "{}", String::from_utf8_lossy(&back));
}

#[test]
fn utf_16_is_rewritten_in_its_own_units() {
    for label in ["utf-16", "utf-16le", "utf-16be"] {
        let unit = |u: u16| if label == "utf-16be" { u.to_be_bytes() } else { u.to_le_bytes() };
        let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(unit).collect() };
        let coded = STANDARD.encode(wide("\u{feff}<p>\u{4e16}<a href=\"http://a.test/\u{fc}\">"));
        let fields = format!("Content-Type: text/html; charset={label}\r\nContent-Transfer-Encoding: base64");
        let raw = message(&fields, &coded);
        let outcome = rewritten(&raw, &HTML);
        assert_eq!(outcome.rewritten, 1, "{label}");
        let text = String::from_utf8_lossy(body(&outcome.raw)).replace("\r\n", "");
        let plain = STANDARD.decode(text).unwrap();
        assert_eq!(plain, wide(&format!("\u{feff}<p>\u{4e16}<a href=\"{}\">", link("http://a.test/\u{fc}"))));
        let back = restored(&outcome.raw, &HTML);
        let text = String::from_utf8_lossy(body(&back)).replace("\r\n", "");
        assert_eq!(text, coded, "{label}");
    }
}

#[test]
fn without_a_label_one_value_does_not_tell_the_charset_of_another() {
    let html = b"<a href=http://a.test/\xe9><a href=http://b.test/\xc3\xa9>\xe2\x86\x92";
    let raw = message("Content-Type: text/html", html);
    let outcome = rewritten(&raw, &HTML);
    let urls: Vec<_> = outcome.found.iter().map(|f| f.url.as_str()).collect();
    assert_eq!(urls, ["http://a.test/\u{e9}", "http://b.test/\u{e9}"]);
    assert_eq!(restored(&outcome.raw, &HTML), raw);
    let named = b"<a href=http://a.test/\x82\xb1><meta charset=shift_jis>";
    let raw = message("Content-Type: text/html", named);
    let outcome = rewritten(&raw, &HTML);
    assert_eq!(outcome.found[0].url, "http://a.test/\u{3053}");
    assert_eq!(restored(&outcome.raw, &HTML), raw);
}

#[test]
fn shifted_charsets_survive_octet_for_octet() {
    let html = b"\x1b$B$3$N<a href=\x1b(B<a href=\"http://a.test/\x1b$B$3\x1b(B\">\x1b$B\"'<\x1b(B";
    let raw = message("Content-Type: text/html; charset=ISO-2022-JP", html);
    let outcome = rewritten(&raw, &HTML);
    let mut after = b"\x1b$B$3$N<a href=\x1b(B<a href=\"".to_vec();
    after.extend(link("http://a.test/\u{3053}").bytes());
    after.extend_from_slice(b"\">\x1b$B\"'<\x1b(B");
    assert_eq!(body(&outcome.raw), after);
    assert_eq!(restored(&outcome.raw, &HTML), raw);
}

#[test]
fn plain_text_is_rewritten_only_when_asked() {
    let text = "See http://a.test/x. <https://b.test/?c=d&e> www.c.test\r\n";
    let raw = message("Content-Type: text/plain", text);
    assert_eq!(rewritten(&raw, &HTML).raw, raw);
    let outcome = rewritten(&raw, &ALL);
    let hint = URL_SAFE_NO_PAD.encode("www.c.test");
    let expected = format!(
        "See {}. <{}> {}/~r.{hint}\r\n",
        link("http://a.test/x"),
        link("https://b.test/?c=d&e"),
        link("http://www.c.test")
    );
    assert_eq!(String::from_utf8_lossy(body(&outcome.raw)), expected);
    // Restored whatever the policy says now.
    assert_eq!(restored(&outcome.raw, &HTML), raw);
}

#[test]
fn flowed_text_with_deleted_spaces_comes_back() {
    let text = "See http://a.test/x \r\nyz and\r\n";
    let raw = message("Content-Type: text/plain; format=flowed; delsp=yes", text);
    let outcome = rewritten(&raw, &ALL);
    assert_eq!(outcome.found[0].url, "http://a.test/xyz");
    assert_eq!(restored(&outcome.raw, &ALL), raw);
}

fn signed(protocol: &str, second: &str) -> Bytes {
    let fields = format!("Content-Type: multipart/signed; protocol=\"{protocol}\"; boundary=b");
    let parts = format!(
        "--b\r\nContent-Type: text/html\r\n\r\n<a href=\"http://a.test/\">\r\n--b\r\nContent-Type: {second}\r\n\r\nx\r\n--b--\r\n"
    );
    message(&fields, parts)
}

#[test]
fn signed_parts_stay_unless_the_policy_says_else_or_the_signature_is_a_sham() {
    let kind = "application/pgp-signature";
    let outcome = rewritten(&signed(kind, kind), &HTML);
    assert_eq!((outcome.raw, outcome.rewritten), (signed(kind, kind), 0));
    assert_eq!(outcome.oddities[0].0, "LINK_SIGNED");
    assert_eq!(outcome.found.len(), 1);
    let outcome = rewritten(&signed(kind, kind), &ALL);
    assert_eq!(outcome.rewritten, 1);
    assert_eq!(restored(&outcome.raw, &ALL), signed(kind, kind));
    for sham in [signed(kind, "text/plain"), signed("x/y", "x/y")] {
        assert_eq!(rewritten(&sham, &HTML).rewritten, 1);
    }
}

#[test]
fn a_sealed_part_and_an_unknown_coding_are_told() {
    let sealed = message("Content-Type: application/pkcs7-mime; smime-type=signed-data", "MIAG");
    assert_eq!(rewritten(&sealed, &HTML).oddities[0].0, "SMIME_OPAQUE");
    let fields = "Content-Type: text/html\r\nContent-Transfer-Encoding: x-uuencode";
    let outcome = rewritten(&message(fields, "<a href=http://a.test/>"), &HTML);
    assert_eq!((outcome.rewritten, outcome.oddities[0].0), (0, "CODING_UNKNOWN"));
}

#[test]
fn an_encoded_link_that_could_end_its_value_is_not_used() {
    let raw = page("<a href=\"http://a.test/\">");
    for bad in ["https://x.test/\"", "https://x.test/ y", "https://x.test/&amp;", "https://x.test/é"] {
        assert_eq!(rewrite(&raw, &HTML, &mut |_| Some(bad.to_owned())).raw, raw, "{bad}");
    }
    let outcome = rewrite(&raw, &HTML, &mut |_| None);
    assert_eq!(outcome.raw.as_ptr(), raw.as_ptr());
}

#[test]
fn an_address_too_long_for_a_token_stays_and_is_told() {
    let raw = page(&format!("<a href=\"http://a.test/{}\"><a href=http://b.test/>", "x".repeat(20_000)));
    let outcome = rewritten(&raw, &HTML);
    assert_eq!((outcome.rewritten, outcome.oddities[0].0), (1, "LINK_TOO_LONG"));
}

#[test]
fn links_come_with_the_text_a_reader_sees() {
    let raw = page(
        "<a href=\"http://a.test/\"> My <b>bank</b>\n&amp; <img src=x> me</a> <a href='http://b.test/'>B<area href=http://c.test/>",
    );
    let found = links_of(&raw);
    let shown: Vec<_> = found.iter().map(|f| (f.url.as_str(), f.text.as_deref())).collect();
    let expected =
        [("http://a.test/", Some("My bank & me")), ("http://b.test/", Some("B")), ("http://c.test/", None)];
    assert_eq!(shown, expected);
}

#[test]
fn a_hostile_message_takes_linear_time() {
    let nested = "<!--[if a]>".repeat(60_000);
    let quotes = "<a href=\"http://a.test/\" x='".repeat(40_000);
    let boundaries = format!("--b{}\r\n", "x".repeat(60)).repeat(10_000);
    for html in [
        nested,
        quotes,
        "<a ".repeat(200_000),
        "<script><!--<script>".repeat(40_000),
        "<svg>".repeat(100_000),
    ] {
        let _ = restored(&rewritten(&page(&html), &ALL).raw, &ALL);
    }
    let one_line = "<a href=3d'http://a.test/'> http://b.test/ ".repeat(20_000);
    for kind in ["html", "plain"] {
        let fields = format!("Content-Type: text/{kind}\r\nContent-Transfer-Encoding: quoted-printable");
        let _ = restored(&rewritten(&message(&fields, &one_line), &ALL).raw, &ALL);
    }
    let many = message("Content-Type: multipart/mixed; boundary=b", boundaries);
    let _ = rewritten(&many, &ALL);
    let deep: String = (0..5_000)
        .map(|n| format!("--b{n}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n", n + 1))
        .collect();
    let outcome = rewritten(&message("Content-Type: multipart/mixed; boundary=b0", deep), &ALL);
    assert!(outcome.oddities.iter().any(|(code, _)| *code == "MIME_EXCESS"));
}
