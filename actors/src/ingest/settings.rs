//! Settings and limits of one listener.

use super::IpNet;
use std::sync::Arc;
use std::time::Duration;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Mail from the world to protected domains (port 25).
    #[default]
    Inbound,
    /// Mail of users (ports 587 and 465): TLS and AUTH before MAIL.
    Submission,
}

/// How one listener behaves.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Name in greeting, EHLO and Received.
    pub hostname: String,
    /// What it is for.
    pub mode: Mode,
    /// Certificate and key; without them STARTTLS is not offered.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// TLS from the first octet (RFC 8314).
    pub implicit_tls: bool,
    /// Connections begin with a PROXY header (v1 or v2).
    pub proxy_protocol: bool,
    /// Only these may connect when `proxy_protocol` is on.
    pub trusted_proxies: Vec<IpNet>,
    /// These may use XCLIENT and XFORWARD.
    pub xclient_hosts: Vec<IpNet>,
    /// These may send for protected domains without AUTH.
    pub relay_hosts: Vec<IpNet>,
    /// Whether clients that talk before the greeting are refused.
    pub refuse_early_talkers: bool,
    /// Limits.
    pub limits: Limits,
}

/// Limits; times are those of RFC 5321, 4.5.3.2.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest message, octets.
    pub max_message_bytes: usize,
    /// Most recipients of a transaction; 452 beyond.
    pub max_recipients: usize,
    /// Most sessions at a time.
    pub max_connections: usize,
    /// Most sessions of one address.
    pub max_connections_per_ip: usize,
    /// Most messages of one address a minute; 0 = no limit.
    pub messages_per_minute_per_ip: u32,
    /// Wrong commands after which the session ends.
    pub max_errors: u32,
    /// Failed logins after which the session ends.
    pub max_failed_logins: u32,
    /// Transactions of a session.
    pub max_transactions: u32,
    /// Octets of a command line.
    pub max_line: usize,
    /// Octets of a line in an AUTH exchange (RFC 4954).
    pub max_auth_line: usize,
    /// Received fields from which a mail is in a loop.
    pub max_hops: usize,
    /// Pause before the greeting; 0 = none.
    pub greet_delay: Duration,
    /// Time for a command.
    pub command_timeout: Duration,
    /// Time between two pieces of a message.
    pub data_timeout: Duration,
    /// Time for a whole message, beyond which it must come at 1 kB/s.
    pub message_timeout: Duration,
    /// Time for the TLS handshake and the PROXY header.
    pub handshake_timeout: Duration,
    /// Time that a session in mid-message gets when the process stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_message_bytes: 50 << 20,
            max_recipients: 1_000,
            max_connections: 2_000,
            max_connections_per_ip: 50,
            messages_per_minute_per_ip: 0,
            max_errors: 20,
            max_failed_logins: 3,
            max_transactions: 10_000_000,
            max_line: 2_048,
            max_auth_line: 12_288,
            max_hops: 50,
            greet_delay: Duration::ZERO,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            message_timeout: Duration::from_secs(600),
            handshake_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(20),
        }
    }
}
