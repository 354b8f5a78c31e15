//! `ingest`: the ESMTP server in front of the pipeline (RFC 5321, 6409, 8314).
//!
//! Invariants:
//! * A 250 after the final dot is said only once [`crate::ports::Intake::accept`] has returned: the mail is on disk.
//! * Only CRLF.CRLF ends DATA, and a message with a bare CR or LF is refused whole, so nobody can hide a second
//!   mail in the first (SMTP smuggling).
//! * Nothing is relayed without proof: a recipient is of a protected domain, or the client is authenticated and
//!   the sender is its own address, or the client is a relay host and the sender's domain is protected.
//! * Everything that arrives has a limit: lines, commands, errors, recipients, octets, time.
//!
//! Commands are parsed here and not by a library: what is refused (bare LF, source routes, odd paths) matters
//! as much as what is taken, and a general parser is lenient on purpose. Content is judged after the queue.

mod address;
mod auth;
mod command;
mod data;
mod net;
mod proxy;
mod received;
mod server;
mod session;
mod settings;
mod wire;

pub use net::IpNet;
pub use server::Server;
pub use settings::{Limits, Mode, Settings};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the server counts; plain numbers that the program exports.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections taken since the start.
    pub connections: AtomicU64,
    /// Sessions open now.
    pub sessions: AtomicU64,
    /// Mail records accepted.
    pub mails: AtomicU64,
    /// Recipients of accepted mail.
    pub recipients: AtomicU64,
    /// Octets of accepted messages.
    pub bytes: AtomicU64,
    /// Replies by first digit (index 2, 3, 4, 5).
    pub replies: [AtomicU64; 6],
    refused: parking_lot::Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    /// Counts one refusal by its reason word.
    pub(crate) fn refuse(&self, reason: &'static str) {
        *self.refused.lock().entry(reason).or_default() += 1;
    }

    pub(crate) fn reply(&self, text: &str) {
        let class = text.as_bytes().first().map_or(0, |b| usize::from(b.wrapping_sub(b'0')));
        if let Some(counter) = self.replies.get(class) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Refusals by reason.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.refused.lock().clone()
    }
}

#[cfg(test)]
mod tests;
