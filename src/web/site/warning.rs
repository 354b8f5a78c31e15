//! The warning page: where a link leads, in large letters, what is known about it, and what to do.

use super::act::list_value;
use super::decide::{Findings, Step, decide};
use super::{Opened, Site};
use serde_json::json;
use std::sync::Arc;
use tidegate_actors::rate_reputation::{Standing, standing};
use tidegate_schemas::rows::day_of;
use tidegate_schemas::{Policy, now_ms};
use warp::http::StatusCode;
use warp::reply::Response;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Site {
    /// The page. `kept` is false when the log is away: then nothing can be acted on, and the page says so.
    pub(super) async fn warning_page(
        &self,
        status: StatusCode,
        opened: &Opened,
        found: &Findings,
        policy: &Policy,
        kept: bool,
    ) -> Response {
        let (_, step) = decide(found);
        let standing = self.standing_of(&opened.target.domain).await;
        let works = kept && step != Step::Unchecked;
        let proof = |action: &str| self.proof(&[&opened.token, action]);
        let shown = opened.target.shown();
        let data = json!({
            "target": shown,
            "when": when_of(&opened.link.mail),
            "mail": opened.link.mail,
            "why": why(step, policy),
            "known": known(opened, found, standing),
            "reported": (standing.bad > 0).then(|| times(standing.bad)),
            "doubtful": standing.bad > 0 || shown.warning.is_some() || opened.target.has_login(),
            "cautions": cautions(opened),
            "away": !works,
            "site": list_value(opened).trim_start_matches('.'),
            "personal": works && !found.outside && !opened.link.user.is_empty(),
            "go": { "action": opened.action("go"), "proof": proof("go") },
            "trust": { "action": opened.action("trust"), "proof": proof("trust") },
            "block": { "action": opened.action("block"), "proof": proof("block") },
            "report": { "action": opened.action("report"), "proof": proof("report") },
        });
        // "Go on" ends at the target, and Chromium holds the whole chain of redirects to form-action.
        self.pages.page(status, "warning", policy, &data, works)
    }

    /// How a domain stands; nothing known when the store is away, since the page must be shown all the same.
    async fn standing_of(&self, domain: &str) -> Standing {
        if let Some(known) = self.standings.get(domain) {
            return known;
        }
        let Ok(fresh) = standing(&*self.store, domain, now_ms()).await else { return Standing::default() };
        self.standings.insert(domain.to_owned(), fresh);
        fresh
    }

    /// The policy of an opened link's tenant; `None` when that is gone, has moved, or cannot be asked.
    pub(super) async fn tenant_policy(&self, opened: &Opened) -> Option<Arc<Policy>> {
        let domain = opened.link.tenant.rsplit('/').next().unwrap_or_default();
        match self.directory.domain(domain).await {
            Ok(Some(facts)) if facts.tenant == opened.link.tenant => Some(facts.policy.clone()),
            _ => None,
        }
    }
}

/// Why the page is shown, for people.
fn why(step: Step, policy: &Policy) -> String {
    match step {
        Step::Outside => {
            "This link was made for mail of another organisation, or for one that is no longer looked \
                          after here. Nobody here can vouch for it."
                .to_owned()
        }
        Step::Unchecked => {
            "The lists of known sites cannot be read right now, so this site could not be checked.".to_owned()
        }
        Step::Sampled | Step::Unknown => {
            format!("{} asks before it opens sites that it does not know.", policy.brand)
        }
        _ => "This click could not be recorded, so you are asked first.".to_owned(),
    }
}

/// What is known in favour of the site, in whole sentences, or that nothing is.
fn known(opened: &Opened, found: &Findings, standing: Standing) -> Vec<String> {
    let mut lines = Vec::new();
    if standing.good > 0 {
        lines.push(format!(
            "Others went on to it, or released mail from it, {} in the last 60 days.",
            times(standing.good)
        ));
    }
    if let Some(learned) = &found.learned {
        lines.push(format!(
            "At least {} people in {} organisation(s) have used it on {} different days.",
            learned.users, learned.tenants, learned.days
        ));
    }
    if found.good.is_some() {
        lines.push("A list of well-known sites has it.".to_owned());
    }
    if lines.is_empty() && standing.bad == 0 {
        lines.push(format!(
            "Nobody here has said anything about {} yet, good or bad.",
            opened.target.shown().name
        ));
    }
    lines
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

/// What about the address itself should make a reader careful.
fn cautions(opened: &Opened) -> Vec<&'static str> {
    let target = &opened.target;
    let mut lines = Vec::new();
    if target.is_number() {
        lines
            .push("The address is a bare number instead of a name. Banks, shops and offices do not do that.");
    }
    if target.has_login() {
        lines.push("The address has a name before an “@” that looks like the site but is not. Only the name above counts.");
    }
    if target.is_plain_http() {
        lines.push("The connection to it is not encrypted: do not type passwords there.");
    }
    lines
}

/// When a mail came, from the time in its id (a ULID), for people. `None` for other ids.
pub(super) fn when_of(mail: &str) -> Option<String> {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    if mail.len() != 26 {
        return None;
    }
    let mut ms = 0_u64;
    for octet in mail.bytes().take(10) {
        let digit = DIGITS.iter().position(|d| *d == octet.to_ascii_uppercase())?;
        ms = ms * 32 + digit as u64;
    }
    if ms >= 1 << 48 {
        return None;
    }
    let date = day_of(ms);
    let (year, rest) = date.split_at_checked(date.len().checked_sub(4)?)?;
    let (month, day) = rest.split_at_checked(2)?;
    let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
    let minutes = ms / 60_000 % 1_440;
    Some(format!(
        "{} {month} {year} at {:02}:{:02} UTC",
        day.trim_start_matches('0'),
        minutes / 60,
        minutes % 60
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_mail_is_read_from_its_id() {
        assert_eq!(when_of("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap(), "30 July 2016 at 23:54 UTC");
        assert_eq!(when_of("00000000000000000000000000").unwrap(), "1 January 1970 at 00:00 UTC");
        for other in [
            "",
            "m",
            "7ZZZZZZZZZZZZZZZZZZZZZZZZ",
            "01ARZ3NDEKTSV4RRFFQ69G5FAVX",
            "0!ARZ3NDEKTSV4RRFFQ69G5FAV",
            "ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
        ] {
            assert_eq!(when_of(other), None, "{other}");
        }
    }

    #[test]
    fn every_new_id_has_a_time() {
        assert!(when_of(&tidegate_schemas::new_id()).is_some());
    }
}
