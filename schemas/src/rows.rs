//! What the store keeps: one type a table.
//!
//! A row lives at (table, partition, sort): a read or scan never leaves one partition, and partitions stay
//! bounded (by tenant, day or hash), so that the same tables fit one machine and a cluster. Values are JSON
//! objects of named columns, save bodies, which are octets. **Every write is idempotent**: keys are made of
//! the record's id or a natural key, so that a replayed topic changes nothing.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A row as the store port moves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRow {
    /// Table name, one of [`TABLES`].
    pub table: &'static str,
    /// Partition key.
    pub partition: String,
    /// Clustering key; rows of a partition are scanned in its octet order.
    pub sort: String,
    /// The columns.
    pub value: Bytes,
    /// When the row is gone, milliseconds UTC; 0 = never.
    pub expires_ms: u64,
}

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Insert or replace.
    Put(RawRow),
    /// Insert unless a live row is there.
    PutIfAbsent(RawRow),
    /// Remove; nothing happens when it is not there.
    Delete {
        /// Table name.
        table: &'static str,
        /// Partition key.
        partition: String,
        /// Clustering key.
        sort: String,
    },
}

/// A stored value that does not decode: the row is named, the rest go on.
#[derive(Debug, thiserror::Error)]
#[error("row of table {table} does not decode: {why}")]
pub struct RowError {
    /// Table name.
    pub table: &'static str,
    /// What is wrong.
    pub why: String,
}

/// A typed row.
pub trait Row: Serialize + DeserializeOwned {
    /// Table name, one of [`TABLES`].
    const TABLE: &'static str;
    /// Partition key.
    fn partition(&self) -> String;
    /// Clustering key.
    fn sort(&self) -> String;

    /// The row with its columns encoded, gone at `expires_ms` (0 = never).
    fn raw(&self, expires_ms: u64) -> RawRow {
        // A struct of plain fields always serialises; an empty value would fail loudly on reading.
        let value = serde_json::to_vec(self).unwrap_or_default().into();
        RawRow { table: Self::TABLE, partition: self.partition(), sort: self.sort(), value, expires_ms }
    }

    /// Reads the columns.
    fn from_value(value: &[u8]) -> Result<Self, RowError> {
        serde_json::from_slice(value).map_err(|e| RowError { table: Self::TABLE, why: e.to_string() })
    }
}

/// All tables, for backends that create them.
pub const TABLES: &[&str] = &[
    "domains",
    "policies",
    "users",
    "lists",
    "held",
    "held_bodies",
    "dead",
    "sent",
    "senders",
    "clicks",
    "learned",
    "learning_stops",
    "reputation",
    "refused",
    "model",
    "feeds",
    "traces",
    "queue_marks",
];

/// A protected domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRow {
    /// Lower case A-label form.
    pub domain: String,
    /// Tenant path, `operator/provider/domain`.
    pub tenant: String,
    /// `any`: every local part is accepted; `listed`: only those in `users`.
    pub users: String,
    /// Next hop of inbound mail: `smtp:HOST:PORT`, `lmtp:HOST:PORT`, `maildir:PATH`, `mx`; empty = the process's default route.
    pub route: String,
}

impl Row for DomainRow {
    const TABLE: &'static str = "domains";
    fn partition(&self) -> String {
        self.domain.clone()
    }
    fn sort(&self) -> String {
        String::new()
    }
}

/// A policy patch at one level of the tenant tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// Tenant path.
    pub path: String,
    /// Some of the fields of `Policy`.
    pub patch: serde_json::Value,
}

impl Row for PolicyRow {
    const TABLE: &'static str = "policies";
    fn partition(&self) -> String {
        self.path.clone()
    }
    fn sort(&self) -> String {
        String::new()
    }
}

/// A user of a protected domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// Domain.
    pub domain: String,
    /// Local part, lower case.
    pub local: String,
    /// `account`, `alias`, `role`, `device`.
    pub class: String,
    /// Argon2 hash (PHC string) for submission; empty = no login.
    pub password: String,
    /// When first seen or made, milliseconds UTC.
    pub since_ms: u64,
    /// `apply`, `detect_sender`, ...
    pub by: String,
}

impl Row for UserRow {
    const TABLE: &'static str = "users";
    fn partition(&self) -> String {
        self.domain.clone()
    }
    fn sort(&self) -> String {
        self.local.clone()
    }
}

/// An entry of an allow or block list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRow {
    /// Tenant path of the level it holds for; for a user `operator/provider/domain/PSEUDONYM`.
    pub path: String,
    /// `link` (host, or domain with subdomains as `.example.org`), `sender` (address or domain), `ip` (address or prefix).
    pub kind: String,
    /// The value, lower case.
    pub value: String,
    /// `allow` or `block`.
    pub action: String,
    /// Who made it.
    pub by: String,
    /// When, milliseconds UTC.
    pub at_ms: u64,
    /// Why.
    pub comment: String,
}

impl Row for ListRow {
    const TABLE: &'static str = "lists";
    fn partition(&self) -> String {
        self.path.clone()
    }
    fn sort(&self) -> String {
        format!("{}|{}", self.kind, self.value)
    }
}

/// What a held mail shows in lists; its octets are in `held_bodies`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldRow {
    /// Tenant path.
    pub tenant: String,
    /// Id of the mail record.
    pub id: String,
    /// Trace id.
    pub trace: String,
    /// Envelope sender.
    pub mail_from: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// Decoded Subject, at most 200 characters.
    pub subject: String,
    /// Why it is held.
    pub reason: String,
    /// Sum of evidence.
    pub score: f32,
    /// When it came, milliseconds UTC.
    pub at_ms: u64,
    /// Octets of the message.
    pub bytes: u64,
}

impl Row for HeldRow {
    const TABLE: &'static str = "held";
    fn partition(&self) -> String {
        self.tenant.clone()
    }
    fn sort(&self) -> String {
        self.id.clone()
    }
}

/// An encoded record kept beside its row: held mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRow {
    /// Id of the mail record.
    pub id: String,
    /// The record as `Record::encode` gave it.
    pub record: Vec<u8>,
}

impl Row for BodyRow {
    const TABLE: &'static str = "held_bodies";
    fn partition(&self) -> String {
        self.id.clone()
    }
    fn sort(&self) -> String {
        String::new()
    }
    fn raw(&self, expires_ms: u64) -> RawRow {
        let value = Bytes::copy_from_slice(&self.record);
        RawRow { table: Self::TABLE, partition: self.id.clone(), sort: String::new(), value, expires_ms }
    }
    fn from_value(value: &[u8]) -> Result<BodyRow, RowError> {
        Ok(BodyRow { id: String::new(), record: value.to_vec() })
    }
}

/// A record that no stage could work on. Kept until an operator replays or removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadRow {
    /// `TOPIC-PARTITION-OFFSET`, for people and commands.
    pub id: String,
    /// Topic it was read from.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
    /// Stage that died or gave up.
    pub stage: String,
    /// Panic text or error.
    pub why: String,
    /// When, milliseconds UTC.
    pub at_ms: u64,
    /// Tenant path, empty when the record does not decode.
    pub tenant: String,
    /// The record's octets, hex.
    pub record: String,
}

impl Row for DeadRow {
    const TABLE: &'static str = "dead";
    fn partition(&self) -> String {
        String::new()
    }
    fn sort(&self) -> String {
        self.id.clone()
    }
}

/// Proof that a mail was handed over to a recipient: a replay does not send it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRow {
    /// Id of the mail record.
    pub mail: String,
    /// Recipient address.
    pub recipient: String,
    /// Reply of the next hop.
    pub reply: String,
    /// When, milliseconds UTC.
    pub at_ms: u64,
}

impl Row for SentRow {
    const TABLE: &'static str = "sent";
    fn partition(&self) -> String {
        self.mail.clone()
    }
    fn sort(&self) -> String {
        self.recipient.clone()
    }
}

/// An operator's word about a queued mail: when its turn comes it is dropped, because it was removed, or because
/// a copy of it was sent on its way at once. A log has no way to take a record out of its middle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRow {
    /// Id of the mail record.
    pub id: String,
    /// `removed` or `moved`.
    pub action: String,
    /// When, milliseconds UTC.
    pub at_ms: u64,
}

impl Row for MarkRow {
    const TABLE: &'static str = "queue_marks";
    fn partition(&self) -> String {
        self.id.clone()
    }
    fn sort(&self) -> String {
        String::new()
    }
}

/// A sender seen: partition is the recipient's domain (inbound) or the own domain (outbound).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderRow {
    /// `in:DOMAIN` or `out:DOMAIN`, or `day:DOMAIN:YYYYMMDD` for the day's new senders.
    pub scope: String,
    /// Address, lower case.
    pub address: String,
    /// When first seen, milliseconds UTC.
    pub first_ms: u64,
}

impl Row for SenderRow {
    const TABLE: &'static str = "senders";
    fn partition(&self) -> String {
        self.scope.clone()
    }
    fn sort(&self) -> String {
        self.address.clone()
    }
}

/// One decision of the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClickRow {
    /// Tenant path.
    pub tenant: String,
    /// Day, `YYYYMMDD` UTC; with the tenant the partition.
    pub day: String,
    /// Signal id, which is also the order of time.
    pub id: String,
    /// Pseudonym of the user.
    pub user: String,
    /// Trace id of the mail.
    pub mail: String,
    /// Host of the target.
    pub host: String,
    /// Registered domain of the target.
    pub domain: String,
    /// `warned`, `blocked`, `redirected`, `proceeded`, `reported`.
    pub decision: String,
    /// Why.
    pub reason: String,
    /// `human` or `machine`.
    pub client: String,
}

impl Row for ClickRow {
    const TABLE: &'static str = "clicks";
    fn partition(&self) -> String {
        format!("{}|{}", self.tenant, self.day)
    }
    fn sort(&self) -> String {
        self.id.clone()
    }
}

/// One person of one tenant went on to a domain on one day: what the whitelist learns from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedRow {
    /// Registered domain.
    pub domain: String,
    /// Day, `YYYYMMDD` UTC.
    pub day: String,
    /// Tenant path.
    pub tenant: String,
    /// Pseudonym of the user.
    pub user: String,
}

impl Row for LearnedRow {
    const TABLE: &'static str = "learned";
    fn partition(&self) -> String {
        self.domain.clone()
    }
    fn sort(&self) -> String {
        format!("{}|{}|{}", self.day, self.tenant, self.user)
    }
}

/// A domain must not be learned: reported, or undone by an administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRow {
    /// Registered domain.
    pub domain: String,
    /// Tenant path it holds for; empty = everybody.
    pub tenant: String,
    /// `report` or `undone`.
    pub why: String,
    /// When, milliseconds UTC.
    pub at_ms: u64,
}

impl Row for StopRow {
    const TABLE: &'static str = "learning_stops";
    fn partition(&self) -> String {
        self.domain.clone()
    }
    fn sort(&self) -> String {
        format!("{}|{}", self.tenant, self.why)
    }
}

/// One fact about a domain: a verdict, a report, a proceed. Counted when read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReputationRow {
    /// Registered domain.
    pub domain: String,
    /// Day, `YYYYMMDD` UTC.
    pub day: String,
    /// `good` or `bad`.
    pub sign: String,
    /// Who says so: tenant path and pseudonym or mail id; makes the fact count once.
    pub source: String,
}

impl Row for ReputationRow {
    const TABLE: &'static str = "reputation";
    fn partition(&self) -> String {
        self.domain.clone()
    }
    fn sort(&self) -> String {
        format!("{}|{}|{}", self.day, self.sign, self.source)
    }
}

/// A mail refused in the SMTP dialogue, seen by the tenant it was meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRow {
    /// Tenant path; empty when no protected domain was named.
    pub tenant: String,
    /// Signal id.
    pub id: String,
    /// Client address.
    pub ip: String,
    /// Envelope sender.
    pub sender: String,
    /// The reply given.
    pub reply: String,
    /// When, milliseconds UTC.
    pub at_ms: u64,
}

impl Row for RefusedRow {
    const TABLE: &'static str = "refused";
    fn partition(&self) -> String {
        self.tenant.clone()
    }
    fn sort(&self) -> String {
        self.id.clone()
    }
}

/// What became of a mail, for `tidegate trace`: one row a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceRow {
    /// Trace id.
    pub trace: String,
    /// Id of the mail record and name of the step; makes the step unique.
    pub step: String,
    /// Tenant path.
    pub tenant: String,
    /// When, milliseconds UTC.
    pub at_ms: u64,
    /// One line.
    pub what: String,
    /// Evidence at that step.
    pub evidence: Vec<crate::Evidence>,
}

impl Row for TraceRow {
    const TABLE: &'static str = "traces";
    fn partition(&self) -> String {
        self.trace.clone()
    }
    fn sort(&self) -> String {
        self.step.clone()
    }
}

/// Day of a moment as `YYYYMMDD`, UTC (civil calendar, proleptic Gregorian).
pub fn day_of(ms: u64) -> String {
    let days = (ms / 86_400_000) as i64;
    // Days to civil date: shift the epoch to 0000-03-01 so that leap days end a year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_the_civil_calendar() {
        assert_eq!(day_of(0), "19700101");
        assert_eq!(day_of(951_782_400_000), "20000229");
        assert_eq!(day_of(1_795_737_600_000), "20261127");
    }

    #[test]
    fn a_row_reads_back_what_it_wrote() {
        let row = SentRow { mail: "m".into(), recipient: "r".into(), reply: "250".into(), at_ms: 7 };
        assert_eq!(SentRow::from_value(&row.raw(0).value).unwrap(), row);
    }
}
