//! Rules about header fields.

use super::View;
use super::names::{
    claimed_brand, is_cheap_tld, is_fancy, is_free_mail, is_project_domain, is_random, mixes_scripts,
    same_site,
};
use tidegate_schemas::mail::domain_of;

const DAY: i64 = 86_400;

pub(super) fn multiple_from(view: &View<'_>) -> Option<String> {
    let found = view.parsed.values("From").count();
    (found > 1).then(|| format!("{found} From fields"))
}

pub(super) fn missing_from(view: &View<'_>) -> Option<String> {
    let readable = view.parsed.from.iter().any(|(_, address)| address.contains('@'));
    (!readable && !view.parsed.unparsable).then(|| "nobody says who wrote this".to_owned())
}

pub(super) fn display_name_address(view: &View<'_>) -> Option<String> {
    let domain = view.parsed.sender_domain();
    for (name, address) in &view.parsed.from {
        let claimed = name.split(|c: char| c.is_whitespace() || "<>()\"'[],;".contains(c)).find(|w| {
            w.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'))
        });
        if let Some(claimed) = claimed.filter(|c| !same_site(&domain_of(c), &domain)) {
            return Some(format!("shows {claimed}, is {address}"));
        }
    }
    None
}

pub(super) fn from_is_recipient(view: &View<'_>) -> Option<String> {
    let (_, from) = view.parsed.from.first()?;
    let proven =
        view.mail.auth.dmarc == "pass" || view.mail.auth.dkim == "pass" || view.mail.auth.spf == "pass";
    let own = view.mail.recipients.iter().any(|r| r.address.eq_ignore_ascii_case(from));
    (own && !proven).then(|| format!("From is the recipient {from}"))
}

pub(super) fn reply_to_freemail(view: &View<'_>) -> Option<String> {
    let reply = domain_of(&view.parsed.reply_to);
    let from = view.parsed.sender_domain();
    let hit = is_free_mail(&reply) && !from.is_empty() && !is_free_mail(&from) && !view.parsed.has("List-Id");
    hit.then(|| format!("From is at {from}, replies go to {reply}"))
}

pub(super) fn mixed_script(view: &View<'_>) -> Option<String> {
    let names = view.parsed.from.iter().map(|(name, _)| name.as_str());
    let words =
        names.chain([view.parsed.subject.as_str()]).flat_map(|text| text.split(|c: char| !c.is_alphabetic()));
    let mut mixed = words.filter(|word| mixes_scripts(word));
    mixed.next().map(|word| format!("\"{word}\" is written in two alphabets"))
}

/// Mail of a list shows its writers' names under the list's own rules.
fn is_listed(view: &View<'_>) -> bool {
    view.parsed.has("List-Id") || view.parsed.has("List-Post")
}

pub(super) fn brand(view: &View<'_>) -> Option<String> {
    let (name, address) = view.parsed.from.first()?;
    let brand = claimed_brand(name, &view.parsed.sender_domain()).filter(|_| !is_listed(view))?;
    Some(format!("calls itself {brand}, is {address}"))
}

pub(super) fn fancy(view: &View<'_>) -> Option<String> {
    let names = view.parsed.from.iter().flat_map(|(name, _)| name.chars());
    let found = names.chain(view.parsed.subject.chars()).filter(|c| is_fancy(*c)).count();
    (found >= 3).then(|| format!("{found} letters of ornamental alphabets"))
}

pub(super) fn from_odd(view: &View<'_>) -> Option<String> {
    let (_, address) = view.parsed.from.first()?;
    let (local, domain) = address.rsplit_once('@')?;
    let sound = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let odd =
        local.is_empty() || !domain.contains('.') || !domain.chars().all(sound) || domain.ends_with('.');
    (odd && !domain.starts_with('[')).then(|| format!("{address} is no address that could be answered"))
}

pub(super) fn from_random(view: &View<'_>) -> Option<String> {
    let domain = view.parsed.sender_domain();
    domain.split('.').any(is_random).then(|| format!("{domain} looks drawn by lot"))
}

pub(super) fn from_project(view: &View<'_>) -> Option<String> {
    let domain = view.parsed.sender_domain();
    is_project_domain(&domain).then(|| format!("{domain} is a project name"))
}

pub(super) fn from_cheap_tld(view: &View<'_>) -> Option<String> {
    let domain = view.parsed.sender_domain();
    is_cheap_tld(&domain).then(|| format!("sent by {domain}"))
}

pub(super) fn subject_names_recipient(view: &View<'_>) -> Option<String> {
    let subject = view.parsed.subject.to_lowercase();
    let hit = view.mail.recipients.iter().take(20).any(|r| subject.contains(&r.address.to_lowercase()));
    hit.then(|| "Subject has the recipient's address".to_owned())
}

pub(super) fn fake_reply(view: &View<'_>) -> Option<String> {
    let start = view.parsed.subject.get(..3)?.to_ascii_lowercase();
    let answers = ["In-Reply-To", "References", "Thread-Index"].iter().any(|name| view.parsed.has(name));
    (start == "re:" && !answers && !is_listed(view)).then(|| "an answer to nothing".to_owned())
}

pub(super) fn subject_alarm(view: &View<'_>) -> Option<String> {
    let sign = view.parsed.subject.chars().find(|c| "⚠🚨🎁🔴❗‼🔔⏰💰📦🏆".contains(*c))?;
    Some(format!("Subject rings with {sign}"))
}

/// Seconds by which Date is ahead of the first hop, or of our own clock at reception when no hop says.
fn ahead(view: &View<'_>) -> Option<i64> {
    let here = i64::try_from(view.mail.received_ms / 1_000).ok().filter(|s| *s > 0);
    let reference = view.parsed.first_hop.or(here)?;
    Some(view.parsed.date? - reference)
}

pub(super) fn date_future(view: &View<'_>) -> Option<String> {
    let ahead = ahead(view)?;
    (ahead > DAY).then(|| format!("Date is {} hours ahead", ahead / 3_600))
}

pub(super) fn date_past(view: &View<'_>) -> Option<String> {
    let behind = -ahead(view)?;
    (behind > 10 * DAY).then(|| format!("Date is {} days behind", behind / DAY))
}

pub(super) fn date_unreadable(view: &View<'_>) -> Option<String> {
    (view.parsed.has("Date") && view.parsed.date.is_none()).then(|| "Date is no date".to_owned())
}

pub(super) fn missing_date(view: &View<'_>) -> Option<String> {
    (!view.parsed.has("Date")).then(|| "no Date".to_owned())
}

pub(super) fn missing_message_id(view: &View<'_>) -> Option<String> {
    (!view.parsed.has("Message-ID")).then(|| "no Message-ID".to_owned())
}

pub(super) fn message_id_odd(view: &View<'_>) -> Option<String> {
    let id = view.parsed.values("Message-ID").next()?.trim_ascii();
    let inside = id.strip_prefix(b"<").and_then(|id| id.split(|b| *b == b'>').next());
    let sound =
        inside.is_some_and(|id| memchr::memchr(b'@', id).is_some_and(|at| at > 0 && at + 1 < id.len()));
    (!sound).then(|| "Message-ID is malformed".to_owned())
}

pub(super) fn subject_caps(view: &View<'_>) -> Option<String> {
    let subject = &view.parsed.subject;
    let letters = subject.chars().filter(|c| c.is_alphabetic()).count();
    let lower = subject.chars().any(char::is_lowercase);
    let cased = subject.chars().filter(|c| c.is_uppercase()).count();
    let words = subject.split_whitespace().count();
    (!lower && cased >= 8 && cased == letters && words >= 2).then(|| "Subject is all capitals".to_owned())
}

pub(super) fn subject_excited(view: &View<'_>) -> Option<String> {
    let loud = ["!!", "$$", "???", "@@", "****"].iter().find(|s| view.parsed.subject.contains(**s))?;
    Some(format!("Subject has \"{loud}\""))
}

pub(super) fn subject_tail(view: &View<'_>) -> Option<String> {
    let (head, tail) = view.parsed.subject.rsplit_once("     ")?;
    let serial = !tail.trim().is_empty() && !tail.trim().contains(' ') && tail.trim().len() <= 24;
    (serial && !head.trim().is_empty()).then(|| format!("Subject ends in a gap and \"{}\"", tail.trim()))
}

pub(super) fn missing_subject(view: &View<'_>) -> Option<String> {
    view.parsed.subject.is_empty().then(|| "no Subject".to_owned())
}

pub(super) fn missing_to(view: &View<'_>) -> Option<String> {
    (!view.parsed.has("To") && !view.parsed.has("Cc")).then(|| "neither To nor Cc".to_owned())
}

pub(super) fn raw_8bit(view: &View<'_>) -> Option<String> {
    if view.mail.smtputf8 {
        return None;
    }
    let named = ["Subject", "From"].into_iter().find(|n| view.parsed.values(n).any(|v| !v.is_ascii()))?;
    Some(format!("{named} has raw 8-bit octets"))
}

pub(super) fn single_hop(view: &View<'_>) -> Option<String> {
    (!view.parsed.has("Received")).then(|| "no Received field".to_owned())
}

pub(super) fn forged_tidegate(view: &View<'_>) -> Option<String> {
    let forged = view.parsed.fields.iter().find(|f| super::super::is_ours(f.name))?;
    Some(format!("came with {}", forged.name))
}
