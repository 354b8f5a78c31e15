//! How the site runs in this process. What a tenant decides is in its policy.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::Policy;

/// Octets of a form at most.
pub(super) const MOST_BODY: u64 = 16 * 1024;

/// Settings of the site; the defaults suit one process behind no proxy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base address that links get here by default, such as `https://links.example.net`; with `https`, browsers
    /// are told to keep to it.
    pub base: String,
    /// Further host names at which links of every tenant are at home: old names, addresses for tests.
    pub hosts: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Policy of pages that belong to no tenant (start page, damaged links): brand, colour, contact.
    pub policy: Arc<Policy>,
    /// Connections at once; further ones wait in the system's backlog.
    pub connections: usize,
    /// Time for a whole request head, and for the silence between two requests.
    pub head_within: Duration,
    /// Time for the body and the answer.
    pub answer_within: Duration,
    /// Age at which a connection is asked to end.
    pub connection_age: Duration,
    /// Time that open requests get when the process stops.
    pub drain_within: Duration,
    /// Forms a client address may send in a minute.
    pub posts_a_minute: u32,
    /// Entries of one user's own list at most.
    pub list_entries: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            base: String::new(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            policy: Arc::new(Policy::default()),
            connections: 4_096,
            head_within: Duration::from_secs(10),
            answer_within: Duration::from_secs(20),
            connection_age: Duration::from_secs(600),
            drain_within: Duration::from_secs(10),
            posts_a_minute: 60,
            list_entries: 1_000,
        }
    }
}

impl Settings {
    /// Whether a link of a tenant with this redirect base is at home at a host name. A tenant without a base
    /// of its own is at home everywhere.
    pub(super) fn is_at_home(&self, host: &str, redirect_base: &str) -> bool {
        if redirect_base.is_empty() {
            return true;
        }
        let known =
            self.hosts.iter().map(String::as_str).chain([host_of(redirect_base), host_of(&self.base)]);
        !host.is_empty() && known.into_iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Host of a base address, without scheme, port and path.
fn host_of(base: &str) -> &str {
    let after = base.split_once("://").map_or(base, |(_, rest)| rest);
    let authority = after.split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_at_home_at_its_tenants_host_at_the_process_and_at_old_names() {
        let settings = Settings {
            base: "https://links.isp.test".into(),
            hosts: vec!["old.test".into()],
            ..Settings::default()
        };
        for host in ["links.msp.test", "LINKS.msp.test", "links.isp.test", "old.test"] {
            assert!(settings.is_at_home(host, "https://links.msp.test:8443/"), "{host}");
        }
        assert!(!settings.is_at_home("links.other.test", "https://links.msp.test"));
        assert!(!settings.is_at_home("", "https://links.msp.test"));
        assert!(settings.is_at_home("anything.test", ""));
    }

    #[test]
    fn an_empty_base_is_nobodys_home() {
        assert!(!Settings::default().is_at_home("", "https://links.msp.test"));
    }
}
