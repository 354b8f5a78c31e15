//! What follows from an attempt: the step of the stage.

use super::dsn::{self, Kind};
use super::relay::Outcome;
use super::{Settings, Shared, schedule};
use crate::stage::Step;
use std::sync::atomic::Ordering::Relaxed;
use tidegate_schemas::mail::{Direction, Mail, Recipient};
use tidegate_schemas::rows::{DeadRow, TraceRow};
use tidegate_schemas::{Record, Row, Write, now_ms};

/// How long a trace is kept.
const TRACE_MS: u64 = 14 * 86_400_000;

/// What became of one recipient in this attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Still to be tried.
    Pending,
    /// Handed over in an earlier life of this batch.
    Sent,
    /// As the relay said.
    Now(Outcome),
}

impl Fate {
    pub(super) fn before(sent: bool) -> Fate {
        if sent { Fate::Sent } else { Fate::Pending }
    }

    pub(super) fn after(outcome: Outcome) -> Fate {
        Fate::Now(outcome)
    }

    pub(super) fn is_delivered(&self) -> bool {
        matches!(self, Fate::Now(Outcome::Delivered { .. }))
    }
}

/// Sorts recipients by fate and says what follows. `mail.attempts` counts this attempt.
pub(super) fn settle(mail: Mail, fates: &[Fate], settings: &Settings, shared: &Shared) -> Step {
    let now = now_ms();
    let age = now.saturating_sub(mail.received_ms);
    let expired = u128::from(age) >= settings.expire_after.as_millis();
    let mut step = Step::done();
    let (mut later, mut failed, mut relayed) = (Vec::new(), Vec::new(), Vec::new());
    for (recipient, fate) in mail.recipients.iter().zip(fates) {
        let with = |reply: &str| Recipient { reply: reply.to_owned(), ..recipient.clone() };
        match fate {
            Fate::Sent => {}
            Fate::Now(Outcome::Delivered { reply, dsn }) => {
                shared.delivered.fetch_add(1, Relaxed);
                step = step.and_write(trace(
                    &mail,
                    recipient,
                    &format!("delivered to {}: {reply}", recipient.address),
                ));
                if !dsn {
                    relayed.push(with(reply));
                }
            }
            Fate::Now(Outcome::Failed(reply)) => failed.push(with(reply)),
            Fate::Now(Outcome::Deferred(reply)) if expired => failed.push(with(reply)),
            Fate::Now(Outcome::Deferred(reply)) => later.push(with(reply)),
            Fate::Pending => later.push(with("451 4.3.0 Not tried yet")),
        }
    }
    step = report(step, Kind::Relayed, &mail, &relayed, settings, shared);
    if !failed.is_empty() {
        step = fail(step, &mail, failed, settings, shared);
    }
    if later.is_empty() { step } else { defer(step, mail, later, age, settings, shared) }
}

/// The remainder waits; once in its life the sender is told.
fn defer(
    mut step: Step,
    mut mail: Mail,
    later: Vec<Recipient>,
    age: u64,
    settings: &Settings,
    shared: &Shared,
) -> Step {
    shared.deferred.fetch_add(later.len() as u64, Relaxed);
    let notice = settings.delay_notice_after.as_millis();
    if !mail.delay_told && notice > 0 && u128::from(age) >= notice {
        step = report(step, Kind::Delayed, &mail, &later, settings, shared);
        mail.delay_told = true;
    }
    let (port, wait) = schedule::next(mail.attempts, &settings.retry_delays);
    mail.due_ms = now_ms() + wait.as_millis() as u64;
    mail.recipients = later;
    step.and_divert(port, mail)
}

/// What will never arrive: reported, or put where an operator sees it.
fn fail(mut step: Step, mail: &Mail, failed: Vec<Recipient>, settings: &Settings, shared: &Shared) -> Step {
    shared.failed.fetch_add(failed.len() as u64, Relaxed);
    for recipient in &failed {
        let what = format!("not delivered to {}: {}", recipient.address, recipient.reply);
        step = step.and_write(trace(mail, recipient, &what));
    }
    if mail.direction() == Direction::Own {
        return step;
    }
    if dsn::sender_is_real(mail) {
        return report(step, Kind::Failed, mail, &failed, settings, shared);
    }
    let why = failed.iter().map(|r| format!("{}: {}", r.address, r.reply)).collect::<Vec<_>>().join("; ");
    let left = Mail { recipients: failed, ..mail.clone() };
    let row = DeadRow {
        id: format!("deliver-{}-{}", mail.id, mail.attempts),
        topic: "outbound".into(),
        partition: 0,
        offset: 0,
        stage: "deliver".into(),
        why: format!("refused by the next hop, and the sender cannot be told: {why}"),
        at_ms: now_ms(),
        tenant: mail.tenant.clone(),
        record: hex(&Record::from(left).encode()),
    };
    step.and_write(Write::Put(row.raw(0)))
}

fn report(
    step: Step,
    kind: Kind,
    mail: &Mail,
    all: &[Recipient],
    settings: &Settings,
    shared: &Shared,
) -> Step {
    let wanted: Vec<&Recipient> = all.iter().filter(|r| dsn::is_wanted(kind, &r.notify)).collect();
    if wanted.is_empty() || !dsn::sender_is_real(mail) {
        return step;
    }
    shared.reports.fetch_add(1, Relaxed);
    step.and_divert("outbound", dsn::report(kind, mail, &wanted, &settings.hostname))
}

fn trace(mail: &Mail, recipient: &Recipient, what: &str) -> Write {
    let row = TraceRow {
        trace: mail.trace.clone(),
        step: format!("{}|deliver|{}", mail.id, recipient.address),
        tenant: mail.tenant.clone(),
        at_ms: now_ms(),
        what: what.to_owned(),
        evidence: mail.evidence.clone(),
    };
    Write::Put(row.raw(now_ms() + TRACE_MS))
}

fn hex(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(octets.len() * 2);
    for octet in octets {
        out.push(char::from(DIGITS[usize::from(octet >> 4)]));
        out.push(char::from(DIGITS[usize::from(octet & 15)]));
    }
    out
}
