//! Quarantine: what is held is kept as a row with its octets beside it, until a person releases or removes
//! it, or its days are over.
//!
//! Both rows are keyed by the mail's id, so a replayed topic writes the same rows again. Nothing here
//! notifies anybody; the list is read by the command line and the site.

use crate::ports::Directory;
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tidegate_schemas::rows::{BodyRow, HeldRow, TraceRow};
use tidegate_schemas::{Mail, Record, Row, Write, mail::domain_of};

const DAY_MS: u64 = 86_400_000;

/// What the stage counts, for the balance of fates.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Recipients of mail that was held.
    pub held: AtomicU64,
}

/// The stage `hold`.
pub struct Hold {
    directory: Arc<dyn Directory>,
    tallies: Arc<Tallies>,
}

impl Hold {
    /// Held mail is kept as many days as the tenant's policy says.
    pub fn new(directory: Arc<dyn Directory>, tallies: Arc<Tallies>) -> Hold {
        Hold { directory, tallies }
    }

    async fn days(&self, mail: &Mail) -> Result<u32, Trouble> {
        let address = match mail.direction() {
            tidegate_schemas::Direction::Outbound => mail.mail_from.as_str(),
            _ => mail.recipients.first().map_or("", |r| r.address.as_str()),
        };
        let facts = self.directory.domain(&domain_of(address)).await;
        let facts =
            facts.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })?;
        Ok(facts.map_or(30, |f| f.policy.held_days))
    }
}

#[async_trait]
impl Stage for Hold {
    fn name(&self) -> &'static str {
        "hold"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Mail(mail) = record else { return Ok(Step::done()) };
        let expires_ms = tidegate_schemas::now_ms() + u64::from(self.days(&mail).await?) * DAY_MS;
        self.tallies.held.fetch_add(mail.recipients.len() as u64, Relaxed);
        let row = held_row(&mail);
        let trace = TraceRow {
            trace: mail.trace.clone(),
            step: format!("{}|hold", mail.id),
            tenant: mail.tenant.clone(),
            at_ms: tidegate_schemas::now_ms(),
            what: format!("held: {}, score {:.1}", mail.hold_reason, mail.score),
            evidence: mail.evidence.clone(),
        };
        let id = mail.id.clone();
        let body = BodyRow { id, record: Record::Mail(mail).encode().to_vec() };
        let step = Step::done().and_write(Write::Put(row.raw(expires_ms)));
        Ok(step.and_write(Write::Put(body.raw(expires_ms))).and_write(Write::Put(trace.raw(expires_ms))))
    }
}

fn held_row(mail: &Mail) -> HeldRow {
    HeldRow {
        tenant: mail.tenant.clone(),
        id: mail.id.clone(),
        trace: mail.trace.clone(),
        mail_from: mail.mail_from.clone(),
        recipients: mail.recipients.iter().map(|r| r.address.clone()).collect(),
        subject: subject_of(&mail.raw),
        reason: mail.hold_reason.clone(),
        score: mail.score,
        at_ms: mail.received_ms,
        bytes: mail.raw.len() as u64,
    }
}

/// Decoded Subject of a message, at most 200 characters, without control characters.
pub fn subject_of(raw: &[u8]) -> String {
    let message = crate::parse::few_headers(raw);
    let subject = message.as_ref().and_then(|m| m.subject()).unwrap_or_default();
    subject.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::fakes::FixedDirectory;
    use tidegate_schemas::{Policy, Recipient};

    fn mail() -> Mail {
        let recipient = Recipient { address: "b@example.test".into(), ..Recipient::default() };
        Mail {
            id: "01M".into(),
            trace: "01T".into(),
            tenant: "isp/msp/example.test".into(),
            raw: "Subject: =?utf-8?q?gr=C3=BCn?=\r\n\r\nbody\r\n".into(),
            recipients: vec![recipient],
            hold_reason: "spam".into(),
            ..Mail::default()
        }
    }

    #[tokio::test]
    async fn a_held_mail_can_be_read_back_octet_for_octet() {
        let stage =
            Hold::new(Arc::new(FixedDirectory::of("example.test", Policy::default())), Arc::default());
        let step = stage.work(mail().into()).await.unwrap();
        assert!(step.out.is_empty());
        let Write::Put(row) = &step.writes[0] else { panic!("{:?}", step.writes) };
        assert_eq!(HeldRow::from_value(&row.value).unwrap().subject, "grün");
        let Write::Put(body) = &step.writes[1] else { panic!("{:?}", step.writes) };
        assert_eq!(Record::decode(&body.value).unwrap(), Record::from(mail()));
    }

    #[tokio::test]
    async fn the_same_mail_twice_writes_the_same_rows() {
        let stage =
            Hold::new(Arc::new(FixedDirectory::of("example.test", Policy::default())), Arc::default());
        let keys = |step: &Step| -> Vec<(String, String)> {
            let place = |w: &Write| match w {
                Write::Put(row) => (row.partition.clone(), row.sort.clone()),
                other => panic!("{other:?}"),
            };
            step.writes.iter().map(place).collect()
        };
        let first = stage.work(mail().into()).await.unwrap();
        let second = stage.work(mail().into()).await.unwrap();
        assert_eq!(keys(&first), keys(&second));
    }
}
