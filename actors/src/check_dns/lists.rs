//! DNS lists of addresses and domains (RFC 5782): per-code weights, health, cached answers.
//!
//! A list that does not answer for its test entry, or answers for everything, is ill: it drops out until a later
//! probe finds it well again. A list run by somebody who has retired must not refuse the world's mail.

use super::{ListSpec, Settings};
use crate::ports::{ClientLists, Dns, ListHit};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const FRESH: Duration = Duration::from_secs(300);
const ILL_FOR: Duration = Duration::from_secs(60);
const FAILED_FOR: Duration = Duration::from_secs(30);
/// Questions in a row without an answer after which a list drops out.
const MOST_SILENCES: u32 = 3;

/// Whether a list is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Unknown,
    Well(Instant),
    Ill(Instant),
}

impl Health {
    /// The verdict, while it holds.
    fn fresh(self) -> Option<bool> {
        match self {
            Health::Well(since) if since.elapsed() < FRESH => Some(true),
            Health::Ill(since) if since.elapsed() < ILL_FOR => Some(false),
            _ => None,
        }
    }
}

/// What one question to a list came to.
enum Answer {
    Hit(ListHit),
    Clear,
    Silent(String),
}

/// What all questions of a mail came to.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) hits: Vec<ListHit>,
    /// Zones that gave no answer, each once.
    pub(super) silent: Vec<String>,
}

struct List {
    spec: ListSpec,
    /// Names that a well list has and has not.
    probes: (String, String),
    health: Mutex<Health>,
    /// Held by whoever probes, so that a batch of mails does not probe a batch of times.
    probing: tokio::sync::Mutex<()>,
    silences: AtomicU32,
}

impl List {
    fn fall_ill(&self, why: &str) {
        tracing::warn!(list = %self.spec.zone, "the list is not asked for a while: {why}");
        *self.health.lock() = Health::Ill(Instant::now());
    }
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
            probing: tokio::sync::Mutex::new(()),
            silences: AtomicU32::new(0),
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

    /// Zones that are not asked at present, because they failed or answered wrongly.
    pub fn ill(&self) -> Vec<String> {
        let lists = self.clients.iter().chain(&self.domains);
        lists.filter(|l| l.health.lock().fresh() == Some(false)).map(|l| l.spec.zone.clone()).collect()
    }

    /// What the lists of domains say.
    pub(super) async fn about_domains(&self, domains: &[String]) -> Answers {
        let mut questions = Vec::new();
        for list in &self.domains {
            for domain in domains {
                questions.push(self.ask(list, format!("{domain}.{}", list.spec.zone), domain.clone()));
            }
        }
        gathered(futures::future::join_all(questions).await)
    }

    /// What the lists of clients say.
    pub(super) async fn about_client(&self, ip: IpAddr) -> Answers {
        let ip = ip.to_canonical();
        let reversed = reversed(ip);
        let questions = self
            .clients
            .iter()
            .filter(|list| ip.is_ipv4() || list.spec.ipv6)
            .map(|list| self.ask(list, format!("{reversed}.{}", list.spec.zone), ip.to_string()));
        gathered(futures::future::join_all(questions).await)
    }

    /// One question, bounded by itself: a list that hangs takes no other list's hits away.
    async fn ask(&self, list: &List, name: String, what: String) -> Answer {
        let silent = || Answer::Silent(list.spec.zone.clone());
        let codes = tokio::time::timeout(self.patience, async {
            if self.is_well(list).await { self.look_up(list, &name).await } else { Some(Arc::default()) }
        });
        let Ok(Some(codes)) = codes.await else {
            self.failures.insert(name, ());
            if list.silences.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_SILENCES {
                list.silences.store(0, Ordering::Relaxed);
                list.fall_ill("it gave no answer several times in a row");
            }
            return silent();
        };
        let Some((weight, code)) = list.spec.weigh(&codes) else { return Answer::Clear };
        let why = format!("{what} is listed by {} ({code})", list.spec.zone);
        Answer::Hit(ListHit { list: list.spec.zone.clone(), weight, why })
    }

    /// Codes of a name; `None` when DNS is silent.
    async fn look_up(&self, list: &List, name: &str) -> Option<Arc<Vec<Ipv4Addr>>> {
        if let Some(known) = self.answers.get(name) {
            return Some(known);
        }
        if self.failures.contains_key(name) {
            return None;
        }
        let found = self.dns.addresses(name).await.ok()?;
        list.silences.store(0, Ordering::Relaxed);
        let codes: Vec<Ipv4Addr> = found
            .iter()
            .filter_map(|ip| match ip {
                IpAddr::V4(ip) if is_code(*ip) => Some(*ip),
                _ => None,
            })
            .collect();
        if codes.len() < found.len() {
            list.fall_ill("it answers with what is no list's code, or says that this resolver is not served");
            return None;
        }
        let codes = Arc::new(codes);
        self.answers.insert(name.to_owned(), codes.clone());
        Some(codes)
    }

    async fn is_well(&self, list: &List) -> bool {
        let seen = *list.health.lock();
        if let Some(well) = seen.fresh() {
            return well;
        }
        let _turn = match list.probing.try_lock() {
            Ok(turn) => turn,
            // Somebody probes already: go by what was known, or wait for the first verdict.
            Err(_) if seen != Health::Unknown => return matches!(seen, Health::Well(_)),
            Err(_) => list.probing.lock().await,
        };
        let meanwhile = list.health.lock().fresh();
        if let Some(well) = meanwhile {
            return well;
        }
        let probes =
            async { futures::join!(self.dns.addresses(&list.probes.0), self.dns.addresses(&list.probes.1)) };
        // Half of the patience, so that whoever waits for the probe still learns its end.
        match tokio::time::timeout(self.patience / 2, probes).await {
            Ok((Ok(has), Ok(has_not))) if has.iter().any(is_code_of_any) && has_not.is_empty() => {
                *list.health.lock() = Health::Well(Instant::now());
                true
            }
            Ok((Ok(_), Ok(_))) => {
                list.fall_ill("it does not list its test entry, or lists what no list may (RFC 5782)");
                false
            }
            _ => {
                list.fall_ill("it does not answer its probes");
                false
            }
        }
    }
}

fn gathered(answers: Vec<Answer>) -> Answers {
    let mut all = Answers::default();
    for answer in answers {
        match answer {
            Answer::Hit(hit) => all.hits.push(hit),
            Answer::Clear => {}
            Answer::Silent(zone) if all.silent.contains(&zone) => {}
            Answer::Silent(zone) => all.silent.push(zone),
        }
    }
    all
}

/// Codes stand in 127/8, but 127.255.255.x is how lists say "you are not served".
fn is_code(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [127, b, c, _] if (b, c) != (255, 255))
}

fn is_code_of_any(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if is_code(*ip))
}

#[async_trait]
impl ClientLists for Lists {
    async fn hits(&self, ip: IpAddr) -> Vec<ListHit> {
        self.about_client(ip).await.hits
    }
}

/// The address as lists want it: octets, or nibbles of IPv6, backwards.
fn reversed(ip: IpAddr) -> String {
    let parts: Vec<String> = match ip {
        IpAddr::V4(ip) => ip.octets().iter().rev().map(ToString::to_string).collect(),
        IpAddr::V6(ip) => ip
            .octets()
            .iter()
            .rev()
            .flat_map(|o| [format!("{:x}", o & 15), format!("{:x}", o >> 4)])
            .collect(),
    };
    parts.join(".")
}

impl ListSpec {
    /// The heaviest code of an answer; with a table of codes, others count nothing.
    fn weigh(&self, codes: &[Ipv4Addr]) -> Option<(f32, Ipv4Addr)> {
        let mut heaviest: Option<(f32, Ipv4Addr)> = None;
        for code in codes {
            let listed =
                self.codes.iter().filter(|(pattern, _)| fits(pattern, *code)).map(|(_, weight)| *weight);
            let plain = self.codes.is_empty().then_some(self.weight);
            for weight in listed.chain(plain) {
                if heaviest.is_none_or(|(most, _)| weight.abs() > most.abs()) {
                    heaviest = Some((weight, *code));
                }
            }
        }
        heaviest
    }
}

/// Whether a code fits a pattern of [`ListSpec::codes`].
fn fits(pattern: &str, code: Ipv4Addr) -> bool {
    let octets = code.octets();
    if let Some(bit) = pattern.strip_prefix('&') {
        return bit.parse::<u8>().is_ok_and(|bit| octets[3] & bit != 0);
    }
    let parts = pattern.split('.').map(part);
    parts.zip(octets).all(|(part, octet)| part.is_some_and(|(low, high)| (low..=high).contains(&octet)))
}

/// `4`, `4-7` or `*` as the octets it stands for.
fn part(text: &str) -> Option<(u8, u8)> {
    if text == "*" {
        return Some((0, 255));
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some((low.parse().ok()?, high.parse().ok()?))
}

/// Whether a pattern is one at all.
pub(super) fn is_pattern(pattern: &str) -> bool {
    match pattern.strip_prefix('&') {
        Some(bit) => bit.parse::<u8>().is_ok_and(|bit| bit != 0),
        None => pattern.split('.').count() == 4 && pattern.split('.').all(|text| part(text).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_octets_ranges_stars_or_a_bit() {
        let code = Ipv4Addr::new(127, 0, 12, 6);
        for pattern in ["127.0.12.6", "127.0.*.4-7", "*.*.*.*", "&2", "&4"] {
            assert!(is_pattern(pattern) && fits(pattern, code), "{pattern}");
        }
        for pattern in ["127.0.0.6", "127.0.*.7-9", "&1", "&8"] {
            assert!(is_pattern(pattern) && !fits(pattern, code), "{pattern}");
        }
        for pattern in ["", "127.0.0", "127.0.0.0.1", "127.0.0.256", "&0", "&x", "127.0.0.4-"] {
            assert!(!is_pattern(pattern), "{pattern}");
        }
    }

    #[test]
    fn addresses_are_asked_for_backwards() {
        assert_eq!(reversed("192.0.2.7".parse().unwrap()), "7.2.0.192");
        let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
        assert_eq!(reversed("2001:db8::1".parse().unwrap()), nibbles);
    }
}
