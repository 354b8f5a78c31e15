//! The port to the next hop: what `deliver` hands over, and what came of it for each recipient.

use async_trait::async_trait;
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tidegate_schemas::Recipient;

/// Where a job goes. The same destination shares connections, limits and back-off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// SMTP servers, to be tried in order.
    Smtp(Vec<SocketAddr>),
    /// One LMTP server.
    Lmtp(SocketAddr),
    /// A Maildir.
    Maildir(PathBuf),
}

/// One message for some recipients of one destination.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where to.
    pub destination: Arc<Destination>,
    /// Reverse path, empty for the null sender.
    pub sender: String,
    /// Recipients, at least one.
    pub recipients: Vec<Recipient>,
    /// Header block of our own.
    pub header: Bytes,
    /// The message.
    pub body: Bytes,
    /// The message has octets above 127.
    pub eight_bit: bool,
    /// The addresses may be UTF-8.
    pub smtputf8: bool,
    /// RET of RFC 3461.
    pub ret: String,
    /// ENVID of RFC 3461.
    pub envid: String,
}

/// What came of one recipient. Replies are what the next hop said, one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handed over. `dsn` says whether the next hop reports success itself (RFC 3461, 5.2.2).
    Delivered {
        /// Its reply.
        reply: String,
        /// It spoke DSN.
        dsn: bool,
    },
    /// Not now.
    Deferred(String),
    /// Never.
    Failed(String),
}

/// The next hop.
#[async_trait]
pub trait Relay: Send + Sync + 'static {
    /// Hands a message over; one outcome per recipient, in order.
    async fn send(&self, job: Job) -> Vec<Outcome>;
}
