//! Finds accounts in outbound mail: a first-seen sender of a protected domain becomes a user of it.
//!
//! Only with proof of domain: an authenticated submission, or a permitted host whose mail has an aligned DKIM
//! or SPF pass. An address range alone proves nothing (cloud ranges are shared by everybody), so without
//! proof nothing is made and the mail goes on with evidence.
//!
//! A burst of new senders within one domain and day is the mark of a compromised account or server: from the
//! policy's limit on, mail of further new senders is held, and known senders go on unhindered. The day's
//! senders are a set of rows, so a replay counts nobody twice.
//!
//! Inbound mail passes with one piece of evidence: whether this sender has written to this domain before.

use crate::ports::{Directory, DomainFacts, Store, StoreError, get_row, scan_rows};
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::mail::{Direction, domain_of};
use tidegate_schemas::rows::{SenderRow, UserRow, day_of};
use tidegate_schemas::{Mail, Record, Row, Signal, SignalKind, Write, now_ms};

const DAY_MS: u64 = 86_400_000;
/// How long a sender of inbound mail is remembered.
const INBOUND_MEMORY_DAYS: u64 = 180;

/// New senders admitted today in this process, shared by all lanes and generations: the rows of a batch in
/// flight are not in the store yet, and a burst comes in batches.
#[derive(Default)]
pub struct Today(Mutex<HashMap<String, HashSet<String>>>);

impl Today {
    /// Whether one more new sender is within the limit; counts it if so. `stored` is what the store has.
    fn admit(&self, scope: &str, address: &str, stored: Vec<SenderRow>, limit: usize) -> bool {
        let mut days = self.0.lock();
        if days.len() > 10_000 {
            days.clear();
        }
        let seen = days.entry(scope.to_owned()).or_default();
        seen.extend(stored.into_iter().map(|row| row.address));
        if seen.contains(address) {
            return true;
        }
        seen.len() < limit && seen.insert(address.to_owned())
    }
}

/// The stage `detect_sender`.
pub struct DetectSender {
    directory: Arc<dyn Directory>,
    store: Arc<dyn Store>,
    today: Arc<Today>,
    remembered: moka::sync::Cache<String, ()>,
}

impl DetectSender {
    /// `directory` says which domains are ours, `store` who was seen.
    pub fn new(directory: Arc<dyn Directory>, store: Arc<dyn Store>, today: Arc<Today>) -> DetectSender {
        let remembered =
            moka::sync::Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(600)).build();
        DetectSender { directory, store, today, remembered }
    }

    async fn inbound(&self, mut mail: Box<Mail>) -> Result<Step, StoreError> {
        let Some(recipient) = mail.recipients.first() else { return Ok(Step::next(*mail)) };
        if mail.mail_from.is_empty() {
            return Ok(Step::next(*mail));
        }
        let scope = format!("in:{}", domain_of(&recipient.address));
        let address = mail.mail_from.to_lowercase();
        let key = format!("{scope} {address}");
        if self.remembered.contains_key(&key) {
            return Ok(Step::next(*mail));
        }
        if get_row::<SenderRow>(&*self.store, &scope, &address).await?.is_some() {
            self.remembered.insert(key, ());
            return Ok(Step::next(*mail));
        }
        mail.add("FIRST_SEEN_SENDER", 0.0, format!("{address} has not written to this domain before"));
        let row = SenderRow { scope, address, first_ms: now_ms() };
        Ok(Step::next(*mail).and_write(Write::Put(row.raw(now_ms() + INBOUND_MEMORY_DAYS * DAY_MS))))
    }

    async fn outbound(&self, mut mail: Box<Mail>) -> Result<Step, StoreError> {
        let address = mail.mail_from.to_lowercase();
        let Some((local, domain)) = address.rsplit_once('@') else { return Ok(Step::next(*mail)) };
        let Some(facts) = self.directory.domain(domain).await? else { return Ok(Step::next(*mail)) };
        let key = format!("out:{address}");
        if self.remembered.contains_key(&key) {
            return Ok(Step::next(*mail));
        }
        if get_row::<UserRow>(&*self.store, domain, local).await?.is_some() {
            self.remembered.insert(key, ());
            return Ok(Step::next(*mail));
        }
        let Some(proof) = proof_of(&mail, domain) else {
            mail.add(
                "SENDER_UNPROVEN",
                0.0,
                format!("{address} is new and nothing proves that it may use {domain}"),
            );
            return Ok(Step::next(*mail));
        };
        let scope = format!("day:{domain}:{}", day_of(now_ms()));
        let limit = facts.policy.new_sender_burst as usize;
        let stored = scan_rows::<SenderRow>(&*self.store, &scope, "", limit).await?;
        if !self.today.admit(&scope, &address, stored, limit) {
            mail.add("SENDER_BURST", 0.0, format!("{limit} new senders of {domain} today already"));
            mail.hold_reason = "burst".into();
            return Ok(Step::divert("held", *mail));
        }
        let row = SenderRow { scope, address: address.clone(), first_ms: now_ms() };
        let step = welcome(*mail, &facts, local, proof);
        Ok(step.and_write(Write::Put(row.raw(now_ms() + 3 * DAY_MS))))
    }
}

/// The account row and the signal of a proven new sender.
fn welcome(mail: Mail, facts: &DomainFacts, local: &str, proof: &str) -> Step {
    let user = UserRow {
        domain: facts.domain.clone(),
        local: local.to_owned(),
        class: class_of(local).to_owned(),
        password: String::new(),
        since_ms: now_ms(),
        by: "detect_sender".into(),
    };
    let signal = Signal {
        // Named after the address, so that a replay says the same thing, not another.
        id: format!("new-sender:{local}@{}", facts.domain),
        sender: format!("{local}@{}", facts.domain),
        mail: mail.trace.clone(),
        domain: facts.domain.clone(),
        decision: user.class.clone(),
        reason: proof.to_owned(),
        ..Signal::new(SignalKind::NewSender, &facts.tenant)
    };
    Step::next(mail).and_divert("signals", signal).and_write(Write::PutIfAbsent(user.raw(0)))
}

/// What proves that the sender may use the domain, or nothing.
fn proof_of(mail: &Mail, domain: &str) -> Option<&'static str> {
    if !mail.client.login.is_empty() {
        return Some("authenticated submission");
    }
    if mail.auth.dkim_domains.iter().any(|d| d.eq_ignore_ascii_case(domain)) {
        return Some("aligned DKIM signature");
    }
    (mail.auth.spf == "pass").then_some("aligned SPF pass")
}

/// Devices and role addresses are classed apart: they are not people and are not billed.
fn class_of(local: &str) -> &'static str {
    const ROLES: &[&str] = &[
        "abuse",
        "admin",
        "administrator",
        "billing",
        "contact",
        "helpdesk",
        "hostmaster",
        "info",
        "noc",
        "office",
        "postmaster",
        "root",
        "sales",
        "security",
        "support",
        "webmaster",
    ];
    const DEVICES: &[&str] = &[
        "alarm", "backup", "camera", "copier", "fax", "monitor", "nas", "noreply", "no-reply", "printer",
        "scanner", "ups",
    ];
    let bare = local.split('+').next().unwrap_or(local);
    if ROLES.contains(&bare) {
        "role"
    } else if DEVICES.iter().any(|d| bare.starts_with(d)) {
        "device"
    } else if bare.len() < local.len() {
        "alias"
    } else {
        "account"
    }
}

#[async_trait]
impl Stage for DetectSender {
    fn name(&self) -> &'static str {
        "detect_sender"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Mail(mail) = record else { return Ok(Step::next(record)) };
        let step = match mail.direction() {
            Direction::Inbound => self.inbound(mail).await,
            Direction::Outbound => self.outbound(mail).await,
            Direction::Own => Ok(Step::next(*mail)),
        };
        step.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })
    }
}

#[cfg(test)]
#[path = "detect_sender_tests.rs"]
mod tests;
