//! The next hop for real: SMTP (RFC 5321), LMTP (RFC 2033), Maildir.
//!
//! * Connections are kept and used again per destination; a destination has so many at a time and no more.
//! * A destination that cannot be reached is left alone for a while, so that a batch of mail to a dead host costs
//!   one connect timeout and not one each.
//! * TLS is used when offered, whatever certificate the peer shows: between strangers it protects against
//!   listeners only, and refusing would mean sending in the clear.
//! * 8-bit mail goes to a peer without 8BITMIME as it is (RFC 6152 asks for a conversion or a bounce): converting
//!   breaks signatures, bouncing loses mail, and every server met in this century takes the octets.

mod conversation;
mod maildir;
mod pool;
mod smtp;
mod tls;

use async_trait::async_trait;
use pool::Pool;
use std::time::Duration;
use tidegate_actors::deliver::relay::{Destination, Job, Outcome, Relay};

/// How connections are made and kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our name in EHLO.
    pub hostname: String,
    /// Connections to one destination at a time.
    pub concurrency: usize,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for a reply to a command.
    pub command_timeout: Duration,
    /// Time for the reply to the final dot (RFC 5321 says ten minutes; the stage's own patience is shorter).
    pub data_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// Mails over one connection.
    pub mails_per_connection: u32,
    /// How long a destination that cannot be reached is left alone.
    pub down: Duration,
    /// Whether STARTTLS is used when offered.
    pub starttls: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            hostname: "localhost".into(),
            concurrency: 20,
            connect_timeout: Duration::from_secs(10),
            command_timeout: Duration::from_secs(30),
            data_timeout: Duration::from_secs(50),
            idle: Duration::from_secs(10),
            mails_per_connection: 1_000,
            down: Duration::from_secs(10),
            starttls: true,
        }
    }
}

/// The relay over the network and the file system.
pub struct Network {
    pool: Pool,
    hostname: String,
}

impl Network {
    /// A relay with no connection yet.
    pub fn new(options: Options) -> Network {
        Network { hostname: options.hostname.clone(), pool: Pool::new(options) }
    }
}

#[async_trait]
impl Relay for Network {
    async fn send(&self, job: Job) -> Vec<Outcome> {
        match &*job.destination {
            Destination::Maildir(folder) => maildir::store(folder, &job, &self.hostname).await,
            Destination::Smtp(_) | Destination::Lmtp(_) => self.pool.send(&job).await,
        }
    }
}

#[cfg(test)]
mod tests;
