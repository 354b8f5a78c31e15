//! POST of `/u/TOKEN/{go,trust,block,report}`: what the buttons do.
//!
//! In order: is it a form of ours (same origin, proof, not too many), is the link whole, what is decided
//! *now* (a page may have been open for hours), then the act. What is acted on is kept first: the signal is
//! durable before the list row is written and before anybody is sent on.

use super::caller::{Caller, Origin};
use super::click::outside;
use super::decide::{Answer, Findings, Step, decide};
use super::respond::redirect;
use super::{Form, Opened, Site};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use subtle::ConstantTimeEq;
use tidegate_actors::learn_whitelist::never_learnable;
use tidegate_actors::ports::Scan;
use tidegate_schemas::rows::ListRow;
use tidegate_schemas::{Policy, Row, SignalKind, Write};
use warp::http::StatusCode;
use warp::reply::Response;

impl Site {
    /// Does what a button says. `tail` is `TOKEN/ACTION`.
    pub(super) async fn act(&self, tail: &str, caller: &Caller, form: &Form) -> Response {
        let Some((token, action)) = tail.split_once('/') else { return self.not_found() };
        if !matches!(action, "go" | "trust" | "block" | "report") {
            return self.not_found();
        }
        if let Err(page) = self.admit(caller, form, &[token, action]) {
            return *page;
        }
        let opened = match self.opened(token) {
            Ok(opened) => opened,
            Err(page) => return *page,
        };
        if action == "report" {
            return self.report(&opened, caller, form.get("comment")).await;
        }
        let (found, policy) = self.find_out(&opened, caller).await;
        match action {
            "go" => self.go(&opened, caller, &found, &policy).await,
            "trust" => self.edit(&opened, caller, &found, &policy, true).await,
            _ => self.edit(&opened, caller, &found, &policy, false).await,
        }
    }

    /// Whether a form is one of ours, or the page that says why not.
    pub(super) fn admit(&self, caller: &Caller, form: &Form, fields: &[&str]) -> Result<(), Box<Response>> {
        let expected = self.proof(fields);
        let right: bool = expected.as_bytes().ct_eq(form.get("proof").as_bytes()).into();
        if !right || caller.origin == Origin::Foreign {
            self.counters.refused("foreign form");
            return Err(self.foreign_form().into());
        }
        let Some(ip) = caller.ip else { return Ok(()) };
        let sent = self.posts.get_with(subscriber_of(ip), Default::default).fetch_add(1, Ordering::Relaxed);
        if sent >= self.settings.posts_a_minute {
            self.counters.refused("too many");
            return Err(self.too_many().into());
        }
        Ok(())
    }

    /// The proof that a form with these fields must carry.
    pub(super) fn proof(&self, fields: &[&str]) -> String {
        self.keys.read().clone().proof("form", fields)
    }

    async fn go(&self, opened: &Opened, caller: &Caller, found: &Findings, policy: &Policy) -> Response {
        let (answer, step) = decide(found);
        if answer == Answer::Block && !may_override(found, policy) {
            return self.blocked_page(opened, found, policy);
        }
        if step == Step::Unchecked {
            return self.warning_page(StatusCode::SERVICE_UNAVAILABLE, opened, found, policy, true).await;
        }
        let client = client_of_act(caller, found);
        let mut proceed = self.signal(SignalKind::Proceed, opened, client);
        proceed.decision = if answer == Answer::Block { "overridden" } else { "proceeded" }.to_owned();
        proceed.reason = step.word().to_owned();
        if !self.kept(proceed).await {
            return self.warning_page(StatusCode::SERVICE_UNAVAILABLE, opened, found, policy, false).await;
        }
        self.counters.action(&opened.link.tenant, "go", client);
        redirect(StatusCode::SEE_OTHER, &opened.target.location)
    }

    async fn edit(
        &self,
        opened: &Opened,
        caller: &Caller,
        found: &Findings,
        policy: &Policy,
        allow: bool,
    ) -> Response {
        let client = client_of_act(caller, found);
        if client != "human" || opened.link.user.is_empty() {
            self.counters.refused("not a person");
            return self.not_a_person();
        }
        let (answer, step) = decide(found);
        let by_himself = found.listed.as_ref().is_some_and(|l| l.level == "user");
        if allow && answer == Answer::Block && !(step == Step::Blocked && by_himself) {
            return self.blocked_page(opened, found, policy);
        }
        let entry = list_value(opened);
        let row = list_row(opened, &entry, allow);
        match self.has_room(&row).await {
            Ok(true) => {}
            Ok(false) => return self.list_full(),
            Err(()) => return self.unavailable(),
        }
        let mut signal = self.signal(SignalKind::ListEdit, opened, client);
        signal.scope = "user".to_owned();
        signal.decision.clone_from(&row.action);
        signal.reason.clone_from(&entry);
        signal.ip = caller.ip.map(|ip| ip.to_string()).unwrap_or_default();
        if !self.kept(signal).await {
            return self.unavailable();
        }
        if let Err(error) = self.store.apply(vec![Write::Put(row.raw(0))]).await {
            tracing::error!(%error, "a list entry was not written");
            return self.unavailable();
        }
        self.counters.action(&opened.link.tenant, &row.action, client);
        self.saved_page(opened, policy, &entry, allow)
    }

    /// Whether the user's list has room for a row, or has it already.
    async fn has_room(&self, row: &ListRow) -> Result<bool, ()> {
        let (partition, sort) = (row.partition(), row.sort());
        let limit = self.settings.list_entries;
        let scan = Scan { table: ListRow::TABLE, partition: &partition, prefix: "", after: "", limit };
        let rows = self.store.scan(scan).await.map_err(|error| {
            tracing::error!(%error, "a user's list could not be read");
        })?;
        Ok(rows.len() < limit || rows.iter().any(|r| r.sort == sort))
    }
}

/// The part of an address that one subscriber has: all of IPv4, the first 64 bits of IPv6.
fn subscriber_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(six) => IpAddr::V6((u128::from(six) & (u128::MAX << 64)).into()),
    }
}

/// Whether a person may go on though it is blocked: only past his own tenant's lists, and only by policy.
pub(super) fn may_override(found: &Findings, policy: &Policy) -> bool {
    let by_lists = found.listed.as_ref().is_some_and(|l| !l.allow && l.level != "operator");
    by_lists && found.dangerous.is_none() && policy.proceed_when_blocked
}

/// Who pressed a button. A client that does not say where its form comes from is not taken for a person.
fn client_of_act(caller: &Caller, found: &Findings) -> &'static str {
    match (caller.client, caller.origin) {
        ("human", Origin::Same) if found.outside => outside(caller.client),
        ("human", Origin::Same) => "human",
        ("human", _) => "unknown:origin",
        (client, _) => client,
    }
}

/// What "this site" means: the registered domain with all below it, or the bare host where strangers share a
/// domain.
pub(super) fn list_value(opened: &Opened) -> String {
    let target = &opened.target;
    if never_learnable(&target.domain) { target.host.clone() } else { format!(".{}", target.domain) }
}

fn list_row(opened: &Opened, entry: &str, allow: bool) -> ListRow {
    ListRow {
        path: format!("{}/{}", opened.link.tenant, opened.link.user),
        kind: "link".to_owned(),
        value: entry.to_owned(),
        action: if allow { "allow" } else { "block" }.to_owned(),
        by: "site".to_owned(),
        at_ms: tidegate_schemas::now_ms(),
        comment: format!("by a link of mail {}", opened.link.mail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_cannot_dodge_the_limit_within_his_own_network() {
        let of = |ip: &str| subscriber_of(ip.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:aaaa:bbbb:cccc:dddd"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
    }
}
