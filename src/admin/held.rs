//! Quarantine and `dead`: list, show, release, replay, remove.
//!
//! Putting a record back and taking its row away is one atomic append, so neither a crash nor a second click
//! loses or doubles it.

use super::{AdminError, Desk};
use crate::backends::intake::{ACCEPTED, SIGNALS, output};
use crate::tenants::{all_partitions, all_rows};
use bytes::Bytes;
use tidegate_actors::ports::get_row;
use tidegate_schemas::rows::{BodyRow, DeadRow, HeldRow, TraceRow};
use tidegate_schemas::{Mail, Record, Row, Signal, SignalKind, Write, now_ms};
use tidegate_topology::log::{Batch, Output};

const DAY_MS: u64 = 86_400_000;

impl Desk {
    /// Held mail of one tenant path, or of all when `tenant` is empty; newest last.
    pub async fn held_list(&self, tenant: &str, limit: usize) -> Result<Vec<HeldRow>, AdminError> {
        let tenants = match tenant {
            "" => all_partitions(&self.store, HeldRow::TABLE).await?,
            one => vec![one.to_owned()],
        };
        let mut all = Vec::new();
        for tenant in tenants {
            all.extend(all_rows::<HeldRow>(&self.store, &tenant).await?);
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.truncate(limit);
        Ok(all)
    }

    /// A held mail.
    pub async fn held_show(&self, id: &str) -> Result<Mail, AdminError> {
        let body = get_row::<BodyRow>(&*self.store, id, "").await?;
        let body = body.ok_or_else(|| AdminError::NotFound(format!("no held mail {id}")))?;
        match Record::decode(&Bytes::from(body.record)) {
            Ok(Record::Mail(mail)) => Ok(*mail),
            Ok(Record::Signal(_)) => Err(AdminError::Broken(format!("held record {id} is no mail"))),
            Err(error) => Err(AdminError::Broken(format!("held record {id}: {error}"))),
        }
    }

    /// Releases a held mail: it passes every filter, has its links rewritten and is delivered. Malware only
    /// leaves when the operator insists.
    pub async fn held_release(&self, id: &str, by: &str, malware_too: bool) -> Result<(), AdminError> {
        let mut mail = self.held_show(id).await?;
        if mail.hold_reason == "malware" && !malware_too {
            return Err(AdminError::Refused("this is malware: release needs --malware".into()));
        }
        let signal = Signal {
            mail: mail.trace.clone(),
            sender: mail.mail_from.clone(),
            domain: tidegate_schemas::mail::domain_of(&mail.mail_from),
            reason: by.to_owned(),
            raw: mail.raw.clone(),
            ..Signal::new(SignalKind::Release, &mail.tenant)
        };
        let mut writes = gone(&mail);
        writes.push(traced(&mail, format!("released by {by}")));
        mail.released_by = by.to_owned();
        mail.hold_reason.clear();
        let outputs = vec![output(ACCEPTED, &mail.into()), output(SIGNALS, &signal.into())];
        Ok(self.log.append(Batch { outputs, writes }).await?)
    }

    /// Removes a held mail for good.
    pub async fn held_remove(&self, id: &str, by: &str) -> Result<(), AdminError> {
        let mail = self.held_show(id).await?;
        let mut writes = gone(&mail);
        writes.push(traced(&mail, format!("removed from quarantine by {by}")));
        Ok(self.log.append(Batch { outputs: Vec::new(), writes }).await?)
    }

    /// All records of `dead`.
    pub async fn dead_list(&self) -> Result<Vec<DeadRow>, AdminError> {
        Ok(all_rows::<DeadRow>(&self.store, "").await?)
    }

    /// One record of `dead`.
    pub async fn dead_show(&self, id: &str) -> Result<DeadRow, AdminError> {
        let row = get_row::<DeadRow>(&*self.store, "", id).await?;
        row.ok_or_else(|| AdminError::NotFound(format!("no dead record {id}")))
    }

    /// Puts a dead record back on the topic it came from.
    pub async fn dead_replay(&self, id: &str) -> Result<(), AdminError> {
        let row = self.dead_show(id).await?;
        let octets =
            hex::decode(&row.record).map_err(|e| AdminError::Broken(format!("dead record {id}: {e}")))?;
        let (topic, value) = (row.topic, Bytes::from(octets));
        let key = Record::decode(&value).map(|r| r.key()).unwrap_or_default();
        let outputs = vec![Output { topic, key, value }];
        Ok(self.log.append(Batch { outputs, writes: vec![buried(id)] }).await?)
    }

    /// Removes a dead record for good.
    pub async fn dead_remove(&self, id: &str) -> Result<(), AdminError> {
        self.dead_show(id).await?;
        Ok(self.log.append(Batch { outputs: Vec::new(), writes: vec![buried(id)] }).await?)
    }

    /// What became of a mail, in order of time.
    pub async fn trace(&self, trace: &str) -> Result<Vec<TraceRow>, AdminError> {
        let mut rows = all_rows::<TraceRow>(&self.store, trace).await?;
        rows.sort_by_key(|row| row.at_ms);
        Ok(rows)
    }
}

fn buried(id: &str) -> Write {
    Write::Delete { table: DeadRow::TABLE, partition: String::new(), sort: id.to_owned() }
}

fn gone(mail: &Mail) -> Vec<Write> {
    let row = Write::Delete { table: HeldRow::TABLE, partition: mail.tenant.clone(), sort: mail.id.clone() };
    let body = Write::Delete { table: BodyRow::TABLE, partition: mail.id.clone(), sort: String::new() };
    vec![row, body]
}

fn traced(mail: &Mail, what: String) -> Write {
    let row = TraceRow {
        trace: mail.trace.clone(),
        step: format!("{}|desk|{}", mail.id, now_ms()),
        tenant: mail.tenant.clone(),
        at_ms: now_ms(),
        what,
        evidence: Vec::new(),
    };
    Write::Put(row.raw(now_ms() + 14 * DAY_MS))
}
