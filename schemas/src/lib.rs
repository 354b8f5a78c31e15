//! What flows through Tidegate and what it stores.
//!
//! Every other crate depends on this one and it depends on none of them, so that a record written by any
//! stage, on any node, of any version can be read by every other. Nothing here does I/O.
//!
//! * [`mail`], [`signal`]: the two kinds of record that topics carry, and their encoding ([`Record`]).
//! * [`verdict`]: the one place that sums evidence.
//! * [`tenant`]: the tenant path and the policy that inherits down it.
//! * [`rows`]: what the store keeps; each row type names its table.
//! * [`link`]: the token of a rewritten link, with its keys and offline decoder.

pub mod link;
pub mod mail;
pub mod record;
pub mod rows;
pub mod signal;
pub mod tenant;
pub mod verdict;

pub use mail::{Auth, Client, Death, Direction, Mail, Recipient};
pub use record::{Record, RecordError};
pub use rows::{RawRow, Row, Write};
pub use signal::{Signal, SignalKind};
pub use tenant::{Policy, TenantPath};
pub use verdict::{Evidence, Verdict};

/// Milliseconds since 1970-01-01 UTC, the only clock that records and rows use.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as u64)
}

/// A new record id: a ULID, so that ids sort by time of birth. 26 characters of Crockford base 32.
pub fn new_id() -> String {
    ulid::Ulid::generate().to_string()
}
