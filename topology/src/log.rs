//! The durable edge: the port between lanes and whatever keeps topics.
//!
//! Contract (held by one suite that runs on every backend):
//! * `append` and `commit` are atomic and durable on return: all of their outputs, offsets and store writes
//!   are there after a crash, or none.
//! * Offsets of a partition rise; a reader gets entries in that order, only committed ones, none twice within
//!   one position.
//! * A consumer's position moves only by its own `commit`.
//! * What a consumer has not committed is not purged.
//! * After a failed write the backend is poisoned: every later call fails with `Broken`.

use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;
use tidegate_schemas::Write;

/// A record on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Offset in its partition; the first is 0.
    pub offset: u64,
    /// When it was appended, milliseconds UTC.
    pub at_ms: u64,
    /// The record's octets.
    pub value: Bytes,
}

/// A record to append. The backend picks the partition by the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Topic.
    pub topic: String,
    /// Partition key.
    pub key: Bytes,
    /// The record's octets.
    pub value: Bytes,
}

/// A place of a reader: a consumer's name, a topic, a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seat {
    /// Name of the lane (its first stage); positions are kept by it.
    pub consumer: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
}

/// What a lane commits after a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Records for other topics.
    pub outputs: Vec<Output>,
    /// Store writes, applied in order.
    pub writes: Vec<Write>,
}

/// Why the log did not do it, as what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Away for now: the same call again later.
    #[error("log is away: {0}")]
    Retry(String),
    /// The disk is full; works again by itself once there is room.
    #[error("log is full: {0}")]
    Full(String),
    /// Poisoned: the process must stop.
    #[error("log is broken: {0}")]
    Broken(String),
}

/// How much a read wants at most; at least one entry is given when there is one.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// Entries.
    pub records: usize,
    /// Octets.
    pub bytes: usize,
    /// How long to wait for the first entry.
    pub wait: Duration,
}

/// How far a consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Whose.
    pub seat: Seat,
    /// Offset it reads next.
    pub position: u64,
    /// Offset the next appended record gets.
    pub end: u64,
}

/// The log.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends records to topics, atomically, with store writes.
    async fn append(&self, batch: Batch) -> Result<(), LogError>;

    /// Entries from the seat's committed position on; waits as `want` says; empty on time-out.
    /// Reading does not move the position: the same call again gives the same entries.
    async fn read(&self, seat: &Seat, want: Want) -> Result<Vec<Entry>, LogError>;

    /// Commits: the seat's next offset, outputs and store writes, atomically.
    async fn commit(&self, seat: &Seat, next: u64, batch: Batch) -> Result<(), LogError>;

    /// Entries of a partition from an offset or from a moment on, whoever has consumed them, as far as they
    /// are retained. For `replay`, `trace` and `queue`.
    async fn browse(
        &self,
        topic: &str,
        partition: u32,
        from: From,
        records: usize,
    ) -> Result<Vec<Entry>, LogError>;

    /// Lag of every seat.
    fn lags(&self) -> Vec<Lag>;
}

/// Where browsing begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At this offset, or the oldest retained one after it.
    Offset(u64),
    /// At the first entry appended at or after this moment, milliseconds UTC.
    Moment(u64),
}
