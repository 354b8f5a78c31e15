//! The queue: mail that is accepted and not yet delivered, as it lies on `outbound` and the `retry-*` topics.
//!
//! A log has no way to take a record out of its middle, so "retry now" appends a copy that is due at once and
//! marks the original as moved, and "remove" marks it as removed; `requeue` drops marked mail when its turn
//! comes. Copy and mark are one atomic append.

use super::{AdminError, Desk};
use crate::backends::intake::{OUTBOUND, output};
use serde::Serialize;
use tidegate_actors::ports::get_row;
use tidegate_schemas::rows::{MarkRow, TraceRow};
use tidegate_schemas::{Mail, Record, Row, Write, now_ms};
use tidegate_topology::log::{Batch, From};

const MARK_DAYS: u64 = 10;
const DAY_MS: u64 = 86_400_000;
const PAGE: usize = 256;

/// One queued mail.
#[derive(Debug, Serialize)]
pub struct Queued {
    /// Id of the mail record.
    pub id: String,
    /// Trace id, which the 250 reply named.
    pub trace: String,
    /// Topic it lies on.
    pub topic: String,
    /// Tenant path.
    pub tenant: String,
    /// Envelope sender.
    pub from: String,
    /// Recipients still to be served.
    pub to: Vec<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// Not before, milliseconds UTC.
    pub due_ms: u64,
    /// Last reply of the next hop.
    pub reply: String,
    /// Octets.
    pub bytes: usize,
}

impl Desk {
    /// Queued mails, oldest first per topic, at most `limit`.
    pub async fn queue_list(&self, limit: usize) -> Result<Vec<Queued>, AdminError> {
        let mut all = Vec::new();
        self.walk(|topic, mail| {
            all.push(queued(topic, mail));
            all.len() < limit
        })
        .await?;
        Ok(all)
    }

    /// One queued mail with its octets.
    pub async fn queue_show(&self, id: &str) -> Result<Mail, AdminError> {
        self.find(id).await
    }

    /// Sends a queued mail on its way now.
    pub async fn queue_retry(&self, id: &str) -> Result<(), AdminError> {
        let mut mail = self.find(id).await?;
        mail.due_ms = 0;
        mail.id = tidegate_schemas::new_id();
        let batch = Batch { outputs: vec![output(OUTBOUND, &mail.into())], writes: vec![mark(id, "moved")] };
        Ok(self.log.append(batch).await?)
    }

    /// Removes a queued mail; nobody is told.
    pub async fn queue_remove(&self, id: &str) -> Result<(), AdminError> {
        let mail = self.find(id).await?;
        let trace = TraceRow {
            trace: mail.trace,
            step: format!("{id}|removed"),
            tenant: mail.tenant,
            at_ms: now_ms(),
            what: "removed from the queue by an operator".into(),
            evidence: Vec::new(),
        };
        let writes = vec![mark(id, "removed"), Write::Put(trace.raw(now_ms() + 14 * DAY_MS))];
        Ok(self.log.append(Batch { outputs: Vec::new(), writes }).await?)
    }

    async fn find(&self, id: &str) -> Result<Mail, AdminError> {
        let mut found = None;
        self.walk(|_, mail| {
            if mail.id == id {
                found = Some(mail.clone());
            }
            found.is_none()
        })
        .await?;
        found.ok_or_else(|| AdminError::NotFound(format!("no queued mail {id}")))
    }

    /// Every queued mail that is not marked, until the visitor has enough.
    async fn walk(&self, mut visit: impl FnMut(&str, &Mail) -> bool) -> Result<(), AdminError> {
        for lag in self.log.lags() {
            let topic = lag.seat.topic.as_str();
            if topic != OUTBOUND && !topic.starts_with("retry-") {
                continue;
            }
            let mut at = lag.position;
            while at < lag.end {
                let page = self.log.browse(topic, lag.seat.partition, From::Offset(at), PAGE).await?;
                let Some(last) = page.last() else { break };
                at = last.offset + 1;
                for entry in &page {
                    let Ok(Record::Mail(mail)) = Record::decode(&entry.value) else { continue };
                    let marked = get_row::<MarkRow>(&*self.store, &mail.id, "").await?.is_some();
                    if !marked && !visit(topic, &mail) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

fn mark(id: &str, action: &str) -> Write {
    let row = MarkRow { id: id.to_owned(), action: action.to_owned(), at_ms: now_ms() };
    Write::Put(row.raw(now_ms() + MARK_DAYS * DAY_MS))
}

fn queued(topic: &str, mail: &Mail) -> Queued {
    Queued {
        id: mail.id.clone(),
        trace: mail.trace.clone(),
        topic: topic.to_owned(),
        tenant: mail.tenant.clone(),
        from: mail.mail_from.clone(),
        to: mail.recipients.iter().map(|r| r.address.clone()).collect(),
        attempts: mail.attempts,
        due_ms: mail.due_ms,
        reply: mail.recipients.first().map(|r| r.reply.clone()).unwrap_or_default(),
        bytes: mail.raw.len(),
    }
}
