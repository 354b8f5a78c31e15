//! Rules about where links lead.

use super::super::links::{Kind, Link, Target, shown_host};
use super::View;
use super::names::{deceives, is_cheap_tld, is_free_hosting, is_shortener, same_site};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Links a person opens.
fn opened<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v Link> {
    view.parsed.links.iter().filter(|l| l.is_opened())
}

/// Targets of web links that a person opens.
fn targets<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v Target> {
    opened(view).filter_map(Link::web)
}

fn first(view: &View<'_>, hit: impl Fn(&&Target) -> bool) -> Option<String> {
    targets(view).find(hit).map(|t| format!("link to {}", t.host))
}

pub(super) fn homograph(view: &View<'_>) -> Option<String> {
    for target in targets(view).filter(|t| t.host.contains("xn--")) {
        let (host, _) = idna::domain_to_unicode(&target.host);
        if deceives(&host) {
            return Some(format!("{host} is {}", target.host));
        }
    }
    None
}

pub(super) fn punycode(view: &View<'_>) -> Option<String> {
    first(view, |t| t.host.contains("xn--"))
}

pub(super) fn userinfo(view: &View<'_>) -> Option<String> {
    let target = targets(view).find(|t| t.userinfo)?;
    Some(format!("a user name stands before the real host {}", target.host))
}

/// `www.bank.com.evil.example`: a label that is a common top-level domain, left of the registered domain.
pub(super) fn poses(view: &View<'_>) -> Option<String> {
    let poser = |t: &&Target| {
        let front = t.host.strip_suffix(&t.domain).unwrap_or_default();
        // The first label alone ("com.example.net") poses as nothing.
        front.split('.').skip(1).any(|label| matches!(label, "com" | "net" | "org" | "gov" | "edu"))
    };
    let target = targets(view).find(poser)?;
    Some(format!("{} belongs to {}", target.host, target.domain))
}

pub(super) fn script(view: &View<'_>) -> Option<String> {
    let runs = |l: &&Link| {
        let scheme = l.target.as_ref().map_or("", |t| t.scheme.as_str());
        l.kind != Kind::Image && matches!(scheme, "javascript" | "data" | "vbscript")
    };
    let link = opened(view).find(runs)?;
    Some(format!("a {} link", link.target.as_ref().map_or("", |t| t.scheme.as_str())))
}

/// A site that shows itself is never flagged, nor are the sender's own counting links: their domain is the
/// From domain or one that signed the mail.
pub(super) fn text_differs(view: &View<'_>) -> Option<String> {
    let from = view.parsed.sender_domain();
    for link in opened(view).filter(|l| l.kind == Kind::Anchor) {
        let Some(target) = link.web() else { continue };
        let Some(shown) = shown_host(&link.text) else { continue };
        let vouched = same_site(&target.host, &from)
            || view.mail.auth.dkim_domains.iter().any(|d| same_site(d, &target.host));
        if !same_site(&shown, &target.host) && !vouched {
            return Some(format!("shows {shown}, leads to {}", target.host));
        }
    }
    None
}

pub(super) fn ip(view: &View<'_>) -> Option<String> {
    first(view, |t| t.ip)
}

/// Pages of password thieves are given the victim's address in the link, to fill it in.
pub(super) fn carries_address(view: &View<'_>) -> Option<String> {
    let from = view.parsed.sender_domain();
    for recipient in view.mail.recipients.iter().take(10) {
        let address = recipient.address.to_lowercase();
        let encoded = STANDARD_NO_PAD.encode(&address);
        let escaped = address.replace('@', "%40");
        let hit = |t: &&Target| {
            let path = t.path.to_lowercase();
            let fragment = path.split_once('#').map_or("", |(_, f)| f);
            let plain = fragment.contains(&address) || fragment.contains(&escaped);
            (plain || t.path.contains(&encoded)) && !same_site(&t.host, &from)
        };
        if let Some(target) = targets(view).find(hit) {
            return Some(format!("a link to {} carries the recipient's address", target.host));
        }
    }
    None
}

pub(super) fn free_hosting(view: &View<'_>) -> Option<String> {
    first(view, |t| is_free_hosting(&t.host))
}

pub(super) fn shortener(view: &View<'_>) -> Option<String> {
    first(view, |t| is_shortener(&t.domain))
}

pub(super) fn port(view: &View<'_>) -> Option<String> {
    let target = targets(view).find(|t| t.port.is_some_and(|p| !matches!(p, 80 | 443 | 8080 | 8443)))?;
    Some(format!("link to port {} of {}", target.port.unwrap_or_default(), target.host))
}

pub(super) fn cheap_tld(view: &View<'_>) -> Option<String> {
    first(view, |t| !t.ip && is_cheap_tld(&t.host))
}

pub(super) fn deep_host(view: &View<'_>) -> Option<String> {
    first(view, |t| !t.ip && t.host.matches('.').count() >= 5)
}

pub(super) fn many(view: &View<'_>) -> Option<String> {
    let found = targets(view).count();
    (found > 120).then(|| format!("{found} links"))
}
