//! DNS lists of addresses and domains (RFC 5782): per-code weights, health, cached answers.
//!
//! A list that does not answer for its test entry, or answers for everything, is ill: it drops out until a later
//! probe finds it well again. A list run by somebody who has retired must not refuse the world's mail.

use super::{ListSpec, Settings};
use crate::ports::{ClientLists, Dns, ListHit};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FRESH: Duration = Duration::from_secs(300);
const ILL_FOR: Duration = Duration::from_secs(60);
const FAILED_FOR: Duration = Duration::from_secs(30);

/// Whether a list is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Unknown,
    Well(Instant),
    Ill(Instant),
}

struct List {
    spec: ListSpec,
    /// Names that a well list has and has not.
    probes: (String, String),
    health: Mutex<Health>,
}

/// All lists, their health and their answers; outlives generations of the stage.
pub struct Lists {
    dns: Arc<dyn Dns>,
    clients: Vec<List>,
    domains: Vec<List>,
    patience: Duration,
    answers: moka::sync::Cache<String, Arc<Vec<Ipv4Addr>>>,
    failures: moka::sync::Cache<String, ()>,
}

impl Lists {
    /// The lists of these settings.
    pub fn new(dns: Arc<dyn Dns>, settings: &Settings) -> Lists {
        let list = |spec: &ListSpec, has: &str, has_not: &str| List {
            probes: (format!("{has}.{}", spec.zone), format!("{has_not}.{}", spec.zone)),
            spec: spec.clone(),
            health: Mutex::new(Health::Unknown),
        };
        let cache = |ttl| moka::sync::Cache::builder().max_capacity(200_000).time_to_live(ttl).build();
        Lists {
            dns,
            clients: settings.client_lists.iter().map(|s| list(s, "2.0.0.127", "1.0.0.127")).collect(),
            domains: settings.domain_lists.iter().map(|s| list(s, "test", "invalid")).collect(),
            patience: settings.deadline / 2,
            answers: cache(FRESH),
            failures: moka::sync::Cache::builder().max_capacity(200_000).time_to_live(FAILED_FOR).build(),
        }
    }

    /// Whether there are domain lists at all.
    pub(super) fn wants_domains(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Hits of domains, each list and domain once.
    pub(super) async fn domain_hits(&self, domains: &[String]) -> Vec<ListHit> {
        let mut questions = Vec::new();
        for list in &self.domains {
            for domain in domains {
                questions.push(self.ask(list, format!("{domain}.{}", list.spec.zone), domain.clone()));
            }
        }
        let all = tokio::time::timeout(self.patience, futures::future::join_all(questions)).await;
        all.unwrap_or_default().into_iter().flatten().collect()
    }

    async fn ask(&self, list: &List, name: String, what: String) -> Option<ListHit> {
        if !self.is_well(list).await {
            return None;
        }
        let codes = self.look_up(&name).await?;
        let (weight, code) = list.spec.weigh(&codes)?;
        let why = format!("{what} is listed by {} ({code})", list.spec.zone);
        Some(ListHit { list: list.spec.zone.clone(), weight, why })
    }

    /// Answers in 127/8; `None` when DNS is silent.
    async fn look_up(&self, name: &str) -> Option<Arc<Vec<Ipv4Addr>>> {
        if let Some(known) = self.answers.get(name) {
            return Some(known);
        }
        if self.failures.contains_key(name) {
            return None;
        }
        let Ok(found) = self.dns.addresses(name).await else {
            self.failures.insert(name.to_owned(), ());
            return None;
        };
        let codes: Vec<Ipv4Addr> = found
            .into_iter()
            .filter_map(|ip| match ip {
                // 127.255.255.x is how lists say "you are not served".
                IpAddr::V4(ip) if ip.octets()[0] == 127 && ip.octets()[..3] != [127, 255, 255] => Some(ip),
                _ => None,
            })
            .collect();
        let codes = Arc::new(codes);
        self.answers.insert(name.to_owned(), codes.clone());
        Some(codes)
    }

    async fn is_well(&self, list: &List) -> bool {
        let now = Instant::now();
        match *list.health.lock() {
            Health::Well(since) if now.duration_since(since) < FRESH => return true,
            Health::Ill(since) if now.duration_since(since) < ILL_FOR => return false,
            _ => {}
        }
        let (has, has_not) = futures::join!(self.dns.addresses(&list.probes.0), self.dns.addresses(&list.probes.1));
        let well = has.is_ok_and(|a| !a.is_empty()) && has_not.is_ok_and(|a| a.is_empty());
        if !well {
            tracing::warn!(list = %list.spec.zone, "list is ill and not asked: it does not answer its probes rightly");
        }
        *list.health.lock() = if well { Health::Well(now) } else { Health::Ill(now) };
        well
    }
}

#[async_trait]
impl ClientLists for Lists {
    async fn hits(&self, ip: IpAddr) -> Vec<ListHit> {
        let ip = ip.to_canonical();
        let reversed = reversed(ip);
        let questions = self
            .clients
            .iter()
            .filter(|list| ip.is_ipv4() || list.spec.ipv6)
            .map(|list| self.ask(list, format!("{reversed}.{}", list.spec.zone), ip.to_string()));
        let all = tokio::time::timeout(self.patience, futures::future::join_all(questions)).await;
        all.unwrap_or_default().into_iter().flatten().collect()
    }
}

/// The address as lists want it: octets, or nibbles of IPv6, backwards.
fn reversed(ip: IpAddr) -> String {
    let parts: Vec<String> = match ip {
        IpAddr::V4(ip) => ip.octets().iter().rev().map(ToString::to_string).collect(),
        IpAddr::V6(ip) => {
            ip.octets().iter().rev().flat_map(|o| [format!("{:x}", o & 15), format!("{:x}", o >> 4)]).collect()
        }
    };
    parts.join(".")
}

impl ListSpec {
    /// The heaviest code of an answer; with a table of codes, others count nothing.
    fn weigh(&self, codes: &[Ipv4Addr]) -> Option<(f32, Ipv4Addr)> {
        let weight = |code: &Ipv4Addr| match weight_of(&self.codes, code) {
            Some(weight) => Some((weight, *code)),
            None if self.codes.is_empty() => Some((self.weight, *code)),
            None => None,
        };
        codes.iter().filter_map(weight).max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()))
    }
}

fn weight_of(codes: &BTreeMap<String, f32>, code: &Ipv4Addr) -> Option<f32> {
    codes.get(&code.to_string()).copied()
}
