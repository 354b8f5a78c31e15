//! Rules about MIME structure, HTML and text.

use super::super::parsed::Part;
use super::View;

const GTUBE: &[u8] = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

pub(super) fn gtube(view: &View<'_>) -> Option<String> {
    let hit = |part: &Part<'_>| {
        part.kind.starts_with("text/") && memchr::memmem::find(part.content, GTUBE).is_some()
    };
    view.parts.iter().any(hit).then(|| "the test string for filters".to_owned())
}

/// Text parts that a reader sees.
fn shown<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v Part<'v>> {
    view.parts.iter().filter(|p| !p.attached && p.kind.starts_with("text/"))
}

pub(super) fn many_parts(view: &View<'_>) -> Option<String> {
    let most = super::super::parsed::MAX_PARTS;
    (view.parts.len() >= most).then(|| format!("{most} parts or more"))
}

pub(super) fn too_deep(view: &View<'_>) -> Option<String> {
    view.parts
        .iter()
        .any(|p| p.kind == "message/rfc822")
        .then(|| "a message too deep inside others".to_owned())
}

pub(super) fn invisible(view: &View<'_>) -> Option<String> {
    let found = view.parsed.invisible;
    (found >= 3).then(|| format!("{found} invisible characters inside words"))
}

pub(super) fn base64_text(view: &View<'_>) -> Option<String> {
    let hit = |p: &Part<'_>| p.encoding == "base64" && p.content.len() > 40 && p.content.is_ascii();
    shown(view).any(hit).then(|| "ASCII text in base64".to_owned())
}

pub(super) fn charset_unknown(view: &View<'_>) -> Option<String> {
    let unknown = |p: &&Part<'_>| {
        let label = p.charset.trim_matches(['"', '\'', ' ']);
        !label.is_empty()
            && mail_parser::decoders::charsets::map::charset_decoder(label.as_bytes()).is_none()
            && !matches!(label, "us-ascii" | "ascii" | "utf-8" | "utf8")
    };
    shown(view).find(unknown).map(|p| format!("charset \"{}\"", super::super::links::cut(&p.charset, 40)))
}

pub(super) fn defect(view: &View<'_>) -> Option<String> {
    view.parts.iter().find(|p| p.defective).map(|p| format!("a part of type {} is defective", p.kind))
}

pub(super) fn no_version(view: &View<'_>) -> Option<String> {
    let mime = view.parts.len() > 1 || view.parsed.page.parts > 0;
    (mime && !view.parsed.has("MIME-Version")).then(|| "no MIME-Version".to_owned())
}

pub(super) fn empty(view: &View<'_>) -> Option<String> {
    let silent = view.parsed.text.trim().is_empty() && view.parsed.page.pictures == 0;
    let bare = view.parts.iter().all(|p| p.kind.starts_with("text/") && p.name.is_empty());
    (silent && bare && view.parsed.links.is_empty()).then(|| "the message is empty".to_owned())
}

pub(super) fn html_only(view: &View<'_>) -> Option<String> {
    let plain = shown(view).any(|p| p.kind == "text/plain");
    (view.parsed.page.parts > 0 && !plain).then(|| "HTML only".to_owned())
}

pub(super) fn password(view: &View<'_>) -> Option<String> {
    (view.parsed.page.passwords > 0).then(|| "a password field".to_owned())
}

pub(super) fn only_picture(view: &View<'_>) -> Option<String> {
    let page = &view.parsed.page;
    let hit = page.parts > 0 && page.pictures > 0 && page.linked_pictures > 0 && page.visible < 200;
    hit.then(|| format!("{} pictures and {} characters of text", page.pictures, page.visible))
}

pub(super) fn broken_words(view: &View<'_>) -> Option<String> {
    let found = view.parsed.page.broken_words;
    (found >= 3).then(|| format!("{found} words broken by comments"))
}

pub(super) fn refresh(view: &View<'_>) -> Option<String> {
    (view.parsed.page.refreshes > 0).then(|| "a meta refresh".to_owned())
}

pub(super) fn hidden_text(view: &View<'_>) -> Option<String> {
    let page = &view.parsed.page;
    (page.hidden > 500 && page.hidden * 2 > page.visible)
        .then(|| format!("{} hidden characters", page.hidden))
}

pub(super) fn tiny_text(view: &View<'_>) -> Option<String> {
    let page = &view.parsed.page;
    (page.tiny > 150).then(|| format!("{} characters too small to read", page.tiny))
}

pub(super) fn form(view: &View<'_>) -> Option<String> {
    (view.parsed.page.forms > 0).then(|| "a form".to_owned())
}

pub(super) fn script(view: &View<'_>) -> Option<String> {
    (view.parsed.page.scripts > 0).then(|| "a script".to_owned())
}

pub(super) fn frame(view: &View<'_>) -> Option<String> {
    (view.parsed.page.frames > 0).then(|| "a frame or embedded object".to_owned())
}

/// How many of some phrases the text has.
fn phrases(view: &View<'_>, list: &[&str]) -> Vec<String> {
    let text = view.lower.as_bytes();
    let has = |p: &&&str| memchr::memmem::find(text, p.as_bytes()).is_some();
    list.iter().filter(has).map(|p| format!("\"{p}\"")).collect()
}

pub(super) fn account_threat(view: &View<'_>) -> Option<String> {
    let found = phrases(
        view,
        &[
            "verify your account",
            "confirm your account",
            "account has been suspended",
            "account will be suspended",
            "account has been limited",
            "account will be closed",
            "unusual sign-in",
            "unusual activity",
            "update your payment",
            "your mailbox is full",
            "mailbox will be deactivated",
            "password will expire",
            "password expires",
            "within 24 hours",
            "within 48 hours",
            "validate your",
            "keep same password",
            "keep current password",
            "restore access",
            "avoid suspension",
            "release your messages",
            "konto wurde gesperrt",
            "konto verifizieren",
            "votre compte",
            "verifique su cuenta",
            "atualize seus dados",
        ],
    );
    (found.len() >= 2 && !view.parsed.links.is_empty()).then(|| found.join(", "))
}

pub(super) fn prize(view: &View<'_>) -> Option<String> {
    let found = phrases(
        view,
        &[
            "you have been selected",
            "you've been selected",
            "you have won",
            "you've won",
            "claim your",
            "gift card",
            "congratulations!",
            "your reward",
            "free bonus",
            "exclusive reward",
            "answer a short survey",
            "short survey",
            "deposit bonus",
            "herzlichen glückwunsch",
            "gefeliciteerd",
            "félicitations",
            "parabéns",
        ],
    );
    (found.len() >= 2 && !view.parsed.links.is_empty()).then(|| found.join(", "))
}

pub(super) fn advance_fee(view: &View<'_>) -> Option<String> {
    let found = phrases(
        view,
        &[
            "million dollars",
            "million usd",
            "million united states dollars",
            "next of kin",
            "beneficiary",
            "inheritance",
            "barrister",
            "deceased",
            "transfer of funds",
            "transfer the fund",
            "utmost confidence",
            "strictly confidential",
            "your share",
            "foreign partner",
            "diplomatic",
            "consignment",
            "compensation fund",
            "western union",
            "late husband",
            "central bank of nigeria",
            "god bless",
            "your full name",
            "donation of",
        ],
    );
    (found.len() >= 3).then(|| found.join(", "))
}

pub(super) fn extortion(view: &View<'_>) -> Option<String> {
    if phrases(view, &["bitcoin", "btc", "litecoin"]).is_empty() {
        return None;
    }
    let threats = phrases(
        view,
        &[
            "webcam",
            "pervert",
            "masturbat",
            "your contacts",
            "your password is",
            "malware on",
            "remote access",
            "your devices",
            "i recorded",
            "i have recorded",
            "porn",
        ],
    );
    if threats.len() < 2 {
        return None;
    }
    let address = view.parsed.text.split(|c: char| !c.is_ascii_alphanumeric()).any(is_coin_address);
    address.then(|| format!("a coin address and {}", threats.join(", ")))
}

fn is_coin_address(word: &str) -> bool {
    let old = (26..=35).contains(&word.len())
        && word.starts_with(['1', '3'])
        && word.bytes().any(|b| b.is_ascii_lowercase())
        && word.bytes().any(|b| b.is_ascii_uppercase());
    let new = (42..=62).contains(&word.len()) && (word.starts_with("bc1") || word.starts_with("ltc1"));
    old || new
}
