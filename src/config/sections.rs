//! The sections of the configuration file, their defaults and what must hold between them.

use super::read::Reader;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use tidegate_actors::deliver::route::Route;

/// The whole file.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[listen]`
    pub listen: Listen,
    /// `[smtp]`
    pub smtp: Smtp,
    /// `[tls]`
    pub tls: Tls,
    /// `[dns]`
    pub dns: Dns,
    /// `[checks]`
    pub checks: Checks,
    /// `[deliver]`
    pub deliver: Deliver,
    /// `[site]`
    pub site: SiteSection,
    /// `[log]`
    pub log: LogFiles,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// Folder of the file: relative paths in it start here.
    pub base: PathBuf,
}

/// Who this is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Fully qualified name used in greetings, Received and DSNs.
    pub hostname: String,
    /// Data directory; `--data` wins.
    pub data: PathBuf,
    /// Another topology than the shipped one.
    pub topology: Option<PathBuf>,
    /// Tenants applied at every start, as `tidegate apply` would.
    pub tenants: Option<PathBuf>,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            hostname: "localhost.localdomain".into(),
            data: "/var/lib/tidegate".into(),
            topology: None,
            tenants: None,
        }
    }
}

/// Where it listens. A service without an address does not run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Listen {
    /// SMTP for mail from the world.
    pub smtp: Vec<SocketAddr>,
    /// Message submission with STARTTLS (RFC 6409).
    pub submission: Vec<SocketAddr>,
    /// Message submission over implicit TLS (RFC 8314).
    pub submissions: Vec<SocketAddr>,
    /// The redirect site, plain HTTP; TLS is ended by the proxy in front of it.
    pub site: Option<SocketAddr>,
    /// `/metrics` and `/health`.
    pub metrics: Option<SocketAddr>,
    /// The admin API; a free loopback port when not given.
    pub admin: Option<SocketAddr>,
}

/// The ESMTP server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Smtp {
    /// Largest message, octets.
    pub max_message_bytes: usize,
    /// Most recipients of a transaction.
    pub max_recipients: usize,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most connections of one address at a time.
    pub max_connections_per_client: usize,
    /// Most messages of one address a minute; 0 = no limit.
    pub messages_per_minute_per_client: u32,
    /// Pause before the greeting, milliseconds: who talks earlier is no mail server.
    pub greet_delay_ms: u64,
    /// Whether early talkers are refused (else only noted).
    pub refuse_early_talkers: bool,
    /// Whether connections begin with a PROXY header; only `trusted_proxies` may connect then.
    pub proxy_protocol: bool,
    /// Addresses or prefixes of proxies.
    pub trusted_proxies: Vec<String>,
    /// Addresses or prefixes that may use XCLIENT and XFORWARD.
    pub xclient_hosts: Vec<String>,
    /// Addresses or prefixes that may send for protected domains without AUTH.
    pub relay_hosts: Vec<String>,
}

impl Default for Smtp {
    fn default() -> Smtp {
        Smtp {
            max_message_bytes: 50 << 20,
            max_recipients: 1_000,
            max_connections: 2_000,
            max_connections_per_client: 50,
            messages_per_minute_per_client: 0,
            greet_delay_ms: 0,
            refuse_early_talkers: true,
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            xclient_hosts: Vec::new(),
            relay_hosts: Vec::new(),
        }
    }
}

/// The certificate of SMTP. Without one a self-signed is made at first start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// PEM chain.
    pub certificate: Option<PathBuf>,
    /// PEM key.
    pub key: Option<PathBuf>,
}

/// Who answers DNS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// A zone file that answers everything, for tests and measuring.
    pub zone: Option<PathBuf>,
    /// Servers to ask; the system's when empty.
    pub servers: Vec<SocketAddr>,
    /// Time for one question, milliseconds.
    pub timeout_ms: u64,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns { zone: None, servers: Vec::new(), timeout_ms: 3_000 }
    }
}

/// What `check_dns` asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// authserv-id of Authentication-Results; empty = the hostname.
    pub authserv_id: String,
    /// Lists of client addresses, as tables.
    pub client_lists: Vec<toml::Value>,
    /// Lists of domains, as tables.
    pub domain_lists: Vec<toml::Value>,
    /// Domains whose ARC seals are believed.
    pub trusted_arc_sealers: Vec<String>,
    /// Time for all questions of a mail, milliseconds.
    pub deadline_ms: u64,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks {
            authserv_id: String::new(),
            client_lists: Vec::new(),
            domain_lists: Vec::new(),
            trusted_arc_sealers: Vec::new(),
            deadline_ms: 8_000,
        }
    }
}

/// A DKIM key for outbound mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DkimKey {
    /// Domain it signs for.
    pub domain: String,
    /// Selector.
    pub selector: String,
    /// PEM file (PKCS#8 or PKCS#1).
    pub key: PathBuf,
}

/// Delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Deliver {
    /// Next hop of inbound mail of domains without a route of their own.
    pub default_route: String,
    /// Next hop of outbound mail.
    pub outbound_route: String,
    /// The four waits between attempts, seconds.
    pub retry_seconds: [u64; 4],
    /// When an undeliverable mail is given up, hours.
    pub expire_hours: u64,
    /// When the sender is told of a delay, hours; 0 = never.
    pub delay_notice_hours: u64,
    /// Most connections to one destination at a time.
    pub concurrency: usize,
    /// Time to connect, milliseconds.
    pub connect_timeout_ms: u64,
    /// DKIM keys.
    pub dkim: Vec<DkimKey>,
}

impl Default for Deliver {
    fn default() -> Deliver {
        Deliver {
            default_route: "mx".into(),
            outbound_route: "mx".into(),
            retry_seconds: [60, 300, 1_800, 7_200],
            expire_hours: 120,
            delay_notice_hours: 4,
            concurrency: 20,
            connect_timeout_ms: 10_000,
            dkim: Vec::new(),
        }
    }
}

/// The redirect site.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteSection {
    /// Address that links are made with, `https://links.example.net`.
    pub base: String,
    /// Most connections at a time.
    pub max_connections: usize,
}

impl Default for SiteSection {
    fn default() -> SiteSection {
        SiteSection { base: "http://127.0.0.1:8080".into(), max_connections: 4_096 }
    }
}

/// The embedded log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LogFiles {
    /// Size of a segment file, octets.
    pub segment_bytes: u64,
    /// Consumed records are kept for replay up to so many octets in all.
    pub retain_bytes: u64,
    /// Consumed records are kept for replay so long, hours.
    pub retain_hours: u64,
    /// Mail is refused with 452 when less than this is free, octets.
    pub min_free_bytes: u64,
    /// fdatasync before 250. Off only for experiments: mail is lost with the power.
    pub fsync: bool,
}

impl Default for LogFiles {
    fn default() -> LogFiles {
        LogFiles {
            segment_bytes: 64 << 20,
            retain_bytes: 4 << 30,
            retain_hours: 72,
            min_free_bytes: 256 << 20,
            fsync: true,
        }
    }
}

/// What it tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// Filter of log lines, `info` or `tidegate=debug,info`.
    pub level: String,
    /// `text` or `json`.
    pub format: String,
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        Telemetry { level: "info".into(), format: "text".into() }
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Config {
    let config = Config {
        server: reader.section("server"),
        listen: reader.section("listen"),
        smtp: reader.section("smtp"),
        tls: reader.section("tls"),
        dns: reader.section("dns"),
        checks: reader.section("checks"),
        deliver: reader.section("deliver"),
        site: reader.section("site"),
        log: reader.section("log"),
        telemetry: reader.section("telemetry"),
        base: PathBuf::new(),
    };
    check(&config, reader);
    config
}

fn check(config: &Config, reader: &mut Reader<'_>) {
    let hostname = &config.server.hostname;
    if hostname.is_empty() || !hostname.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-') {
        reader.mistake("server.hostname", format!("`{hostname}` is no host name"));
    }
    for (path, route) in [
        ("deliver.default_route", &config.deliver.default_route),
        ("deliver.outbound_route", &config.deliver.outbound_route),
    ] {
        if let Err(error) = Route::parse(route) {
            reader.mistake(path, error.to_string());
        }
    }
    if config.tls.certificate.is_some() != config.tls.key.is_some() {
        let path = if config.tls.key.is_some() { "tls.key" } else { "tls.certificate" };
        reader.mistake(path, "certificate and key go together; one of them is missing");
    }
    let base = url::Url::parse(&config.site.base);
    if !base.is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host() && u.path() == "/") {
        reader.mistake("site.base", "must be http:// or https://, a host, and no path");
    }
    if config.smtp.proxy_protocol && config.smtp.trusted_proxies.is_empty() {
        reader.mistake(
            "smtp.proxy_protocol",
            "needs `trusted_proxies`: anybody could forge addresses otherwise",
        );
    }
    if !matches!(config.telemetry.format.as_str(), "text" | "json") {
        reader.mistake("telemetry.format", "must be `text` or `json`");
    }
    let sizes = [
        ("smtp.max_message_bytes", config.smtp.max_message_bytes as u64, 1 << 16),
        ("smtp.max_recipients", config.smtp.max_recipients as u64, 100),
        ("smtp.max_connections", config.smtp.max_connections as u64, 1),
        ("log.segment_bytes", config.log.segment_bytes, 1 << 20),
        ("deliver.concurrency", config.deliver.concurrency as u64, 1),
        ("dns.timeout_ms", config.dns.timeout_ms, 10),
    ];
    for (path, value, least) in sizes {
        if value < least {
            reader.mistake(path, format!("{value} is too small; at least {least}"));
        }
    }
}
