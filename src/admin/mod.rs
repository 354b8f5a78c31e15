//! The admin desk: what operators do to a running gateway, and the HTTP API (`/api/v1`) that the command line
//! speaks to it.
//!
//! The embedded store has one owner, so commands go to the process that owns it. The API listens on loopback
//! and wants a bearer token from a file that only the data directory's owner can read. Every change is an
//! atomic append to the log; nothing here touches a lane.

mod api;
mod held;
mod queue;
mod replay;

pub use api::{Access, serve};
pub use queue::Queued;
pub use replay::{Difference, Judge};

use std::sync::Arc;
use tidegate_actors::ports::{Store, StoreError};
use tidegate_topology::log::{Log, LogError};

/// What the desk works on.
pub struct Desk {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Judges mail by today's rules, for `replay`.
    pub judge: Judge,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No such mail or record: 404.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense: 400.
    #[error("{0}")]
    Bad(String),
    /// Not allowed as asked: 403.
    #[error("{0}")]
    Refused(String),
    /// Stored data does not decode: 500.
    #[error("{0}")]
    Broken(String),
    /// Log or store away: 503.
    #[error("{0}")]
    Away(String),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> AdminError {
        AdminError::Away(error.to_string())
    }
}

impl From<LogError> for AdminError {
    fn from(error: LogError) -> AdminError {
        AdminError::Away(error.to_string())
    }
}

#[cfg(test)]
mod tests;
