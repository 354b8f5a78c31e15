//! Replay: a window of accepted mail through today's rules, and where the verdict would differ.
//!
//! The mail is read from the log as far as it is retained and judged by fresh stages; nothing is delivered by
//! it. Without `--dry-run` the one thing done is what an analyst would do by hand: mail that is still held
//! and that today's rules would deliver is released.

use super::{AdminError, Desk};
use crate::backends::intake::ACCEPTED;
use serde::Serialize;
use std::sync::Arc;
use tidegate_actors::ports::{Directory, get_row};
use tidegate_actors::stage::{Port, Stage};
use tidegate_schemas::mail::domain_of;
use tidegate_schemas::rows::{BodyRow, TraceRow};
use tidegate_schemas::{Mail, Record, Verdict, verdict};
use tidegate_topology::log::From;

const PAGE: usize = 64;

/// The stages that judge, in order, and the directory for thresholds.
#[derive(Clone)]
pub struct Judge {
    /// `check_dns`, `score_spam`.
    pub stages: Vec<Arc<dyn Stage>>,
    /// Tenants.
    pub directory: Arc<dyn Directory>,
}

/// One mail whose verdict differs.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// Trace id.
    pub trace: String,
    /// Tenant path.
    pub tenant: String,
    /// Envelope sender.
    pub from: String,
    /// Verdict and score then.
    pub before: String,
    /// Verdict and score now.
    pub now: String,
    /// Evidence codes that are new or gone, with a sign.
    pub changed: Vec<String>,
}

impl Judge {
    /// The mail as judged now. A record that a stage refuses comes back as it was.
    pub async fn judge(&self, mail: Mail) -> Mail {
        let mut mail = mail;
        for stage in &self.stages {
            let kept = mail.clone();
            let step = stage.work(mail.into()).await;
            let out = step.ok().and_then(|step| {
                let onward = |(port, record): (Port, Record)| match (port, record) {
                    (Port::Next | Port::Divert("held"), Record::Mail(mail)) => Some(*mail),
                    _ => None,
                };
                step.out.into_iter().find_map(onward)
            });
            mail = out.unwrap_or(kept);
        }
        mail
    }
}

fn told(mail: &Mail) -> String {
    let word = mail.verdict.and_then(|v| Verdict::try_from(v).ok()).map_or("none", Verdict::word);
    format!("{word} {:.1}", mail.score)
}

impl Desk {
    /// Judges the window `[since, until)`, milliseconds UTC, and lists what differs.
    pub async fn replay(&self, since: u64, until: u64, dry_run: bool) -> Result<Vec<Difference>, AdminError> {
        let mut differences = Vec::new();
        let partitions = self.log.lags().into_iter().filter(|l| l.seat.topic == ACCEPTED);
        for lag in partitions {
            let mut from = From::Moment(since);
            loop {
                let page = self.log.browse(ACCEPTED, lag.seat.partition, from, PAGE).await?;
                let Some(last) = page.last() else { break };
                from = From::Offset(last.offset + 1);
                for entry in page.iter().filter(|e| e.at_ms < until) {
                    if let Ok(Record::Mail(mail)) = Record::decode(&entry.value) {
                        differences.extend(self.compare(*mail, dry_run).await?);
                    }
                }
                if page.last().is_some_and(|e| e.at_ms >= until) {
                    break;
                }
            }
        }
        Ok(differences)
    }

    async fn compare(&self, mail: Mail, dry_run: bool) -> Result<Option<Difference>, AdminError> {
        if !mail.released_by.is_empty() {
            return Ok(None);
        }
        let Some(before) = self.before(&mail).await? else { return Ok(None) };
        let now = self.judge.judge(mail).await;
        if before.verdict == now.verdict {
            return Ok(None);
        }
        let mut changed: Vec<String> = Vec::new();
        changed.extend(now.evidence.iter().filter(|e| !before.has(&e.code)).map(|e| format!("+{}", e.code)));
        changed.extend(before.evidence.iter().filter(|e| !now.has(&e.code)).map(|e| format!("-{}", e.code)));
        let held = get_row::<BodyRow>(&*self.store, &now.id, "").await?.is_some();
        if !dry_run && held && now.verdict == Some(Verdict::Deliver as i32) {
            self.held_release(&now.id, "replay", false).await?;
        }
        Ok(Some(Difference {
            trace: now.trace.clone(),
            tenant: now.tenant.clone(),
            from: now.mail_from.clone(),
            before: told(&before),
            now: told(&now),
            changed,
        }))
    }

    /// The mail with the evidence and verdict that its trace has, or nothing when it was not judged yet.
    async fn before(&self, mail: &Mail) -> Result<Option<Mail>, AdminError> {
        let rows = crate::tenants::all_rows::<TraceRow>(&self.store, &mail.trace).await?;
        let Some(row) = rows.into_iter().find(|row| row.tenant == mail.tenant && !row.evidence.is_empty())
        else {
            return Ok(None);
        };
        let domain = mail.recipients.first().map(|r| domain_of(&r.address)).unwrap_or_default();
        let Some(facts) = self.judge.directory.domain(&domain).await? else { return Ok(None) };
        let (verdict, score) = verdict::decide(&row.evidence, facts.policy.thresholds());
        let evidence = row.evidence;
        Ok(Some(Mail { evidence, score, verdict: Some(verdict as i32), ..Mail::default() }))
    }
}
