//! What stages need from outside, as traits with real fakes in [`fakes`].
//!
//! A port's errors say what to do: all of them here mean "away for now" (`Retry` to a stage, 451 to a
//! client). A missing row is not an error.

use async_trait::async_trait;
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;
use tidegate_schemas::{Mail, Policy, RawRow, Row, Signal, Write};

pub mod fakes;

/// The store cannot be reached or refuses; the text is for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("store: {0}")]
pub struct StoreError(pub String);

/// Rows by (table, partition, sort). Writes of a stage do not come here: they ride in its `Step`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value of one live row.
    async fn get(
        &self,
        table: &'static str,
        partition: &str,
        sort: &str,
    ) -> Result<Option<Bytes>, StoreError>;

    /// Live rows of one partition whose sort key begins with `prefix` and is greater than `after`, in octet order.
    async fn scan(&self, scan: Scan<'_>) -> Result<Vec<RawRow>, StoreError>;

    /// Applies writes atomically and durably, in order.
    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Partitions of a table that have rows, greater than `after`, in octet order. For exports and admin lists.
    async fn partitions(
        &self,
        table: &'static str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, StoreError>;
}

/// Which rows a scan wants.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// Table name.
    pub table: &'static str,
    /// Partition key.
    pub partition: &'a str,
    /// Sort keys begin with this.
    pub prefix: &'a str,
    /// Sort keys are greater than this (paging); empty = from the start.
    pub after: &'a str,
    /// At most so many rows.
    pub limit: usize,
}

/// One typed row, or none.
pub async fn get_row<R: Row>(
    store: &dyn Store,
    partition: &str,
    sort: &str,
) -> Result<Option<R>, StoreError> {
    let Some(value) = store.get(R::TABLE, partition, sort).await? else { return Ok(None) };
    R::from_value(&value).map(Some).map_err(|e| StoreError(e.to_string()))
}

/// Typed rows of one partition by prefix of the sort key.
pub async fn scan_rows<R: Row>(
    store: &dyn Store,
    partition: &str,
    prefix: &str,
    limit: usize,
) -> Result<Vec<R>, StoreError> {
    let rows = store.scan(Scan { table: R::TABLE, partition, prefix, after: "", limit }).await?;
    rows.iter().map(|row| R::from_value(&row.value).map_err(|e| StoreError(e.to_string()))).collect()
}

/// Why a mail or signal was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IntakeError {
    /// The log is away: 451.
    #[error("log: {0}")]
    Away(String),
    /// The disk is full: 452.
    #[error("log is full: {0}")]
    Full(String),
}

/// The way into the log for what comes from outside the lanes (SMTP, site, admin).
#[async_trait]
pub trait Intake: Send + Sync + 'static {
    /// Takes mails of one SMTP transaction: all or none, durable on return.
    async fn accept(&self, mails: Vec<Mail>) -> Result<(), IntakeError>;

    /// Takes signals, durable on return.
    async fn signal(&self, signals: Vec<Signal>) -> Result<(), IntakeError>;
}

/// What is known of a protected domain.
#[derive(Clone, Debug)]
pub struct DomainFacts {
    /// Lower case A-label form.
    pub domain: String,
    /// Tenant path.
    pub tenant: String,
    /// Whether every local part is accepted.
    pub any_user: bool,
    /// Next hop of inbound mail, empty = the default route.
    pub route: String,
    /// The policy in force.
    pub policy: Arc<Policy>,
}

/// Tenants, as the stages see them: cached, at most a second old.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// A protected domain, or `None` when it is not ours.
    async fn domain(&self, domain: &str) -> Result<Option<Arc<DomainFacts>>, StoreError>;

    /// Whether a local part of a protected domain exists (always, for `any` domains).
    async fn user_exists(&self, domain: &str, local: &str) -> Result<bool, StoreError>;

    /// Checks a login (`local@domain`) and password for submission; `Some` is the address proven.
    async fn login(&self, login: &str, password: &str) -> Result<Option<String>, StoreError>;

    /// `allow` or `block` where a list of `path` or above has this value; block wins over allow at the same
    /// level, a lower level's allow never opens what a higher one blocks. The reason names level and entry.
    async fn listed(&self, path: &str, kind: &str, values: &[String]) -> Result<Option<Listed>, StoreError>;
}

/// A hit in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `allow` (true) or `block`.
    pub allow: bool,
    /// `operator`, `provider`, `domain` or `user`.
    pub level: &'static str,
    /// The entry that hit.
    pub value: String,
}

/// DNS gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// Time-out, SERVFAIL, truncated garbage: a `temperror`, never a block.
    #[error("no answer from DNS: {0}")]
    Temporary(String),
}

/// Questions to DNS. Absent names and absent types both give an empty list.
#[async_trait]
pub trait Dns: Send + Sync + 'static {
    /// A and AAAA.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError>;
    /// MX, sorted by preference.
    async fn mx(&self, name: &str) -> Result<Vec<(u16, String)>, DnsError>;
    /// TXT, each record's strings joined.
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError>;
    /// PTR of an address.
    async fn ptr(&self, ip: IpAddr) -> Result<Vec<String>, DnsError>;
}

/// One DNS block list that has a client's address.
#[derive(Clone, Debug, PartialEq)]
pub struct ListHit {
    /// Zone of the list, such as `zen.example.org`.
    pub list: String,
    /// Points towards spam; negative for lists of good senders.
    pub weight: f32,
    /// One line for people, with the answer's meaning.
    pub why: String,
}

/// DNS lists of client addresses, asked while the SMTP dialogue runs. A list that fails or answers wrongly
/// gives no hit.
#[async_trait]
pub trait ClientLists: Send + Sync + 'static {
    /// All hits for an address, within the lists' own deadline.
    async fn hits(&self, ip: IpAddr) -> Vec<ListHit>;
}
