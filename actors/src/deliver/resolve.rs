//! From a route and a domain to addresses (RFC 5321, 5.1; RFC 7505).

use super::relay::Destination;
use super::route::Route;
use crate::ports::{Dns, DnsError};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Hosts of a domain that are tried at most, and addresses in all.
const MOST_HOSTS: usize = 5;
const MOST_ADDRESSES: usize = 10;

/// Why there is no destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoWay {
    /// DNS did not answer: later.
    Later(String),
    /// There is none: never.
    Never(&'static str),
}

impl From<DnsError> for NoWay {
    fn from(error: DnsError) -> NoWay {
        NoWay::Later(format!("451 4.4.3 {error}"))
    }
}

/// The destination of a domain's mail by a route. `hostname` is our own name: an MX list is cut where it leads
/// back to us.
pub(super) async fn resolve(
    dns: &dyn Dns,
    route: &Route,
    domain: &str,
    hostname: &str,
) -> Result<Arc<Destination>, NoWay> {
    let destination = match route {
        Route::Maildir(path) => Destination::Maildir(path.clone()),
        Route::Smtp { host, port } => Destination::Smtp(addresses(dns, host, *port).await?),
        Route::Lmtp { host, port } => {
            let all = addresses(dns, host, *port).await?;
            Destination::Lmtp(*all.first().ok_or(NoWay::Never("550 5.4.4 The next hop has no address"))?)
        }
        Route::Mx => Destination::Smtp(by_mx(dns, domain, hostname).await?),
    };
    Ok(Arc::new(destination))
}

async fn addresses(dns: &dyn Dns, host: &str, port: u16) -> Result<Vec<SocketAddr>, NoWay> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if host == "localhost" {
        return Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
    }
    let found = dns.addresses(host).await?;
    if found.is_empty() {
        return Err(NoWay::Later(format!("451 4.4.4 The next hop {host} has no address")));
    }
    Ok(found.into_iter().take(MOST_ADDRESSES).map(|ip| SocketAddr::new(ip, port)).collect())
}

async fn by_mx(dns: &dyn Dns, domain: &str, hostname: &str) -> Result<Vec<SocketAddr>, NoWay> {
    if let Some(literal) = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']')) {
        let text = literal.strip_prefix("ipv6:").unwrap_or(literal);
        let ip = text.parse::<IpAddr>().map_err(|_| NoWay::Never("550 5.1.2 Bad address literal"))?;
        return Ok(vec![SocketAddr::new(ip, 25)]);
    }
    let mut hosts = dns.mx(domain).await?;
    if hosts.iter().any(|(_, name)| name.is_empty() || name == ".") && hosts.len() == 1 {
        return Err(NoWay::Never("556 5.1.10 The domain accepts no mail"));
    }
    if hosts.is_empty() {
        // The implicit MX: the domain itself.
        hosts.push((0, domain.to_owned()));
    }
    let own = hosts.iter().filter(|(_, name)| name.eq_ignore_ascii_case(hostname)).map(|(p, _)| *p).min();
    if let Some(own) = own {
        hosts.retain(|(preference, _)| *preference < own);
        if hosts.is_empty() {
            return Err(NoWay::Never("550 5.4.6 The mail would come back to us"));
        }
    }
    let mut all = Vec::new();
    let mut trouble = None;
    for (_, host) in hosts.iter().take(MOST_HOSTS) {
        match dns.addresses(host).await {
            Ok(found) => all.extend(found.into_iter().map(|ip| SocketAddr::new(ip, 25))),
            Err(error) => trouble = Some(error),
        }
    }
    all.truncate(MOST_ADDRESSES);
    match (all.is_empty(), trouble) {
        (false, _) => Ok(all),
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err(NoWay::Never("550 5.1.2 The domain has no mail server")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Table {
        mx: BTreeMap<&'static str, Vec<(u16, String)>>,
        a: BTreeMap<&'static str, Vec<IpAddr>>,
    }

    #[async_trait]
    impl Dns for Table {
        async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
            if name == "silent.test" {
                return Err(DnsError::Temporary("silent".into()));
            }
            Ok(self.a.get(name).cloned().unwrap_or_default())
        }
        async fn mx(&self, name: &str) -> Result<Vec<(u16, String)>, DnsError> {
            Ok(self.mx.get(name).cloned().unwrap_or_default())
        }
        async fn txt(&self, _: &str) -> Result<Vec<String>, DnsError> {
            Ok(Vec::new())
        }
        async fn ptr(&self, _: IpAddr) -> Result<Vec<String>, DnsError> {
            Ok(Vec::new())
        }
    }

    fn table(mx: &[(u16, &str)]) -> Table {
        let mut table = Table::default();
        table.mx.insert("d.test", mx.iter().map(|(p, n)| (*p, (*n).to_owned())).collect());
        for (name, last) in [("a.test", 1), ("b.test", 2), ("d.test", 3)] {
            table.a.insert(name, vec![IpAddr::from([192, 0, 2, last])]);
        }
        table
    }

    async fn ips(mx: &[(u16, &str)]) -> Result<Vec<String>, NoWay> {
        let found = by_mx(&table(mx), "d.test", "us.test").await?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn hosts_are_tried_in_order_of_preference_and_without_mx_the_domain_itself() {
        assert_eq!(ips(&[(5, "a.test"), (10, "b.test")]).await.unwrap(), ["192.0.2.1:25", "192.0.2.2:25"]);
        assert_eq!(ips(&[]).await.unwrap(), ["192.0.2.3:25"]);
    }

    #[tokio::test]
    async fn a_null_mx_and_a_list_that_leads_back_to_us_are_never() {
        assert!(matches!(ips(&[(0, "")]).await, Err(NoWay::Never(reply)) if reply.contains("5.1.10")));
        assert!(matches!(ips(&[(5, "us.test"), (5, "a.test")]).await, Err(NoWay::Never(_))));
        assert_eq!(ips(&[(5, "a.test"), (10, "us.test"), (20, "b.test")]).await.unwrap(), ["192.0.2.1:25"]);
    }

    #[tokio::test]
    async fn silence_is_later_and_absence_never() {
        assert!(matches!(ips(&[(5, "silent.test")]).await, Err(NoWay::Later(_))));
        assert!(matches!(ips(&[(5, "nowhere.test")]).await, Err(NoWay::Never(_))));
    }
}
