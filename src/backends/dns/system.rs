//! DNS asked of real servers, through hickory: the system's own, or those given.
//!
//! hickory keeps the cache (by the records' TTLs, within the limits below), asks again over TCP when an answer
//! was cut, and follows CNAMEs. `/etc/hosts` and search domains are left out: what a mail names is a full name.

use super::{canonical, reverse_name};
use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::{DnsError as AnswerError, NetError, runtime::TokioRuntimeProvider};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tidegate_actors::ports::{Dns, DnsError};

/// Answers kept at least this long: a spam run asks the same question for every mail of it.
const LEAST_TTL: Duration = Duration::from_secs(10);
/// Answers kept at most this long, so that a corrected record is believed within the hour.
const GREATEST_TTL: Duration = Duration::from_secs(3_600);
/// Absence kept at most this long.
const GREATEST_ABSENCE: Duration = Duration::from_secs(300);

/// How servers are asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// Servers, asked over UDP and TCP; the system's (`/etc/resolv.conf`) when empty.
    pub servers: Vec<SocketAddr>,
    /// Time for one try of one question.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: usize,
    /// Answers held in memory.
    pub cached_answers: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { servers: Vec::new(), timeout: Duration::from_secs(3), retries: 1, cached_answers: 100_000 }
    }
}

/// The resolver cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("DNS cannot be asked: {0}; name servers under `[dns] servers` or mend /etc/resolv.conf")]
pub struct SystemError(String);

/// Real DNS.
pub struct System {
    resolver: TokioResolver,
}

impl System {
    /// Sets the resolver up; nothing is asked yet.
    pub fn new(options: &Options) -> Result<System, SystemError> {
        let failed = |error: NetError| SystemError(error.to_string());
        let mut builder = if options.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(failed)?
        } else {
            let servers = options.servers.iter().map(|server| name_server(*server)).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        set(builder.options_mut(), options);
        Ok(System { resolver: builder.build().map_err(failed)? })
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, DnsError> {
        let Some(bare) = canonical(name) else { return Ok(Vec::new()) };
        let Ok(mut query) = Name::from_str_relaxed(&bare) else { return Ok(Vec::new()) };
        query.set_fqdn(true);
        match self.resolver.lookup(query, kind).await {
            Ok(lookup) => {
                let wanted = lookup.answers().iter().filter(|record| record.record_type() == kind);
                Ok(wanted.map(|record| record.data.clone()).collect())
            }
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(error) => Err(DnsError::Temporary(format!("{kind} of {bare}: {error}"))),
        }
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    // An answer "no such name" is final, also with several servers.
    NameServerConfig::new(server.ip(), true, connections)
}

fn set(target: &mut ResolverOpts, options: &Options) {
    target.timeout = options.timeout;
    target.attempts = options.retries;
    target.cache_size = options.cached_answers;
    target.use_hosts_file = ResolveHosts::Never;
    target.positive_min_ttl = Some(LEAST_TTL);
    target.positive_max_ttl = Some(GREATEST_TTL);
    target.negative_min_ttl = Some(LEAST_TTL);
    target.negative_max_ttl = Some(GREATEST_ABSENCE);
    target.edns0 = true;
    // A batch of mails asks hundreds of questions at once; the default of 32 would turn the rest away.
    target.max_active_requests = 4_096;
}

/// "No such name" and "no such type"; everything else (SERVFAIL, REFUSED, time-out) is no answer.
fn is_absent(error: &NetError) -> bool {
    let NetError::Dns(AnswerError::NoRecordsFound(none)) = error else { return false };
    matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn host(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').map_or_else(|| text.clone(), str::to_owned)
}

#[async_trait]
impl Dns for System {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let (v4, v6) = tokio::join!(self.ask(name, RecordType::A), self.ask(name, RecordType::AAAA));
        let records = v4?.into_iter().chain(v6?);
        Ok(records.filter_map(|data| data.ip_addr()).collect())
    }

    async fn mx(&self, name: &str) -> Result<Vec<(u16, String)>, DnsError> {
        let mut hosts = Vec::new();
        for data in self.ask(name, RecordType::MX).await? {
            if let RData::MX(mx) = data {
                hosts.push((mx.preference, host(&mx.exchange)));
            }
        }
        hosts.sort_by_key(|(preference, _)| *preference);
        Ok(hosts)
    }

    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let mut texts = Vec::new();
        for data in self.ask(name, RecordType::TXT).await? {
            if let RData::TXT(txt) = data {
                // Octet by octet, as the zone file does it: a TXT record has no character set.
                texts
                    .push(txt.txt_data.iter().flat_map(|part| part.iter()).map(|b| char::from(*b)).collect());
            }
        }
        Ok(texts)
    }

    async fn ptr(&self, ip: IpAddr) -> Result<Vec<String>, DnsError> {
        let mut names = Vec::new();
        for data in self.ask(&reverse_name(ip), RecordType::PTR).await? {
            if let RData::PTR(name) = data {
                names.push(host(&name));
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;
