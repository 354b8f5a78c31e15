//! Rules about combinations of authentication results. Single results are weighed where they are found out;
//! without results (offline judging without DNS) none of these hits.

use super::super::links::registered;
use super::View;
use super::names::always_signs;

fn checked(view: &View<'_>) -> bool {
    !view.mail.auth.spf.is_empty() && !view.mail.auth.dkim.is_empty()
}

fn is_away(word: &str) -> bool {
    word == "temperror"
}

/// Whether the From domain itself vouches: DMARC, or an aligned DKIM signature.
pub(crate) fn vouches(view: &View<'_>) -> bool {
    let from = view.parsed.sender_domain();
    let signed = view.mail.auth.dkim_domains.iter().any(|d| registered(d) == registered(&from));
    !from.is_empty() && view.parsed.from.len() == 1 && (view.mail.auth.dmarc == "pass" || signed)
}

pub(super) fn freemail_forged(view: &View<'_>) -> Option<String> {
    let auth = &view.mail.auth;
    let from = view.parsed.sender_domain();
    let unknown = [&auth.spf, &auth.dkim, &auth.dmarc].into_iter().any(|w| is_away(w));
    // Mailing lists break signatures and are not forgers.
    let listed = view.parsed.has("List-Id") || view.parsed.has("List-Post");
    let hit = checked(view) && !unknown && !listed && always_signs(&from) && !vouches(view);
    hit.then(|| format!("{from} signs its mail, and this is not signed by it"))
}

pub(super) fn nothing(view: &View<'_>) -> Option<String> {
    let auth = &view.mail.auth;
    let none = auth.spf == "none"
        && auth.dkim == "none"
        && !matches!(auth.iprev.as_str(), "pass" | "temperror" | "");
    none.then(|| "nobody vouches for sender or client".to_owned())
}

pub(super) fn aligned(view: &View<'_>) -> Option<String> {
    vouches(view).then(|| format!("{} vouches for it", view.parsed.sender_domain()))
}

pub(super) fn polite_bulk(view: &View<'_>) -> Option<String> {
    let polite = view.parsed.has("List-Unsubscribe") && view.parsed.has("List-Unsubscribe-Post");
    (polite && view.mail.auth.dkim == "pass").then(|| "signed, with one-click unsubscribe".to_owned())
}
