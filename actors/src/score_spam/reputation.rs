//! What people and other mails said about the sites a mail links to, in the last 30 days.
//!
//! Facts are rows of `reputation`, one a source, so nobody counts twice. The cache is made once in a process
//! and shared by all lanes and generations; what it says is at most a second old. Only opinions are weighed
//! here, and only distinct ones: five sources against a site, and more against than for it.

use crate::ports::{Scan, Store, StoreError};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::rows::{ReputationRow, day_of};
use tidegate_schemas::{Evidence, Row, now_ms};

/// Days that count.
const DAYS: u64 = 30;
/// Rows read of one domain.
const MAX_ROWS: usize = 500;
/// Sources against a domain before it weighs anything.
const LEAST_BAD: usize = 5;
/// Sources for a domain, and none against it, before it speaks for a mail.
const LEAST_GOOD: usize = 10;
/// Domains of one mail that are looked up.
pub(crate) const MAX_DOMAINS: usize = 10;

/// Facts about one domain: source, and whether it speaks against it.
type Facts = Arc<Vec<(String, bool)>>;

/// See the module.
pub struct Reputation {
    store: Arc<dyn Store>,
    cache: moka::sync::Cache<String, Facts>,
}

impl Reputation {
    /// Reads `store`, remembers for a second.
    pub fn new(store: Arc<dyn Store>) -> Reputation {
        let cache =
            moka::sync::Cache::builder().max_capacity(50_000).time_to_live(Duration::from_secs(1)).build();
        Reputation { store, cache }
    }

    async fn facts(&self, domain: &str) -> Result<Facts, StoreError> {
        if let Some(facts) = self.cache.get(domain) {
            return Ok(facts);
        }
        // A day without its `|` sorts before all of that day.
        let after = day_of(now_ms().saturating_sub(DAYS * 86_400_000));
        let scan = Scan {
            table: ReputationRow::TABLE,
            partition: domain,
            prefix: "",
            after: &after,
            limit: MAX_ROWS,
        };
        let rows = self.store.scan(scan).await?;
        // A row that does not decode says nothing about the domain.
        let sound = rows.iter().filter_map(|row| ReputationRow::from_value(&row.value).ok());
        let facts: Facts = Arc::new(sound.map(|row| (row.source, row.sign == "bad")).collect());
        self.cache.insert(domain.to_owned(), facts.clone());
        Ok(facts)
    }

    /// Evidence about the domains of one mail: the worst of them, or all of them being well known.
    /// `only`: a tenant path outside which no opinion counts, for tenants that share no learning.
    pub(crate) async fn weigh(
        &self,
        domains: &[String],
        only: Option<&str>,
    ) -> Result<Option<Evidence>, StoreError> {
        let asked = domains.iter().take(MAX_DOMAINS);
        let found = futures::future::try_join_all(asked.map(|domain| self.facts(domain))).await?;
        let mut worst: Option<(usize, &String)> = None;
        let mut all_good = !found.is_empty();
        for (domain, facts) in domains.iter().zip(&found) {
            let (bad, good) = count(facts, only);
            all_good &= bad == 0 && good >= LEAST_GOOD;
            if bad >= LEAST_BAD && bad > good && worst.is_none_or(|(most, _)| bad > most) {
                worst = Some((bad, domain));
            }
        }
        if let Some((bad, domain)) = worst {
            let weight = (1.0 + (bad as f32 / LEAST_BAD as f32).log2()).clamp(1.0, 4.0);
            let why = format!("{domain}: {bad} sources against it in {DAYS} days");
            return Ok(Some(Evidence { code: "DOMAIN_REPORTED".to_owned(), weight, why }));
        }
        let why = "all linked sites are well known".to_owned();
        Ok(all_good.then(|| Evidence { code: "DOMAIN_KNOWN".to_owned(), weight: -0.3, why }))
    }
}

/// Distinct sources against and for.
fn count(facts: &[(String, bool)], only: Option<&str>) -> (usize, usize) {
    let counts = |source: &str| only.is_none_or(|tenant| source.starts_with(tenant));
    let distinct = |bad: bool| -> usize {
        let sources: HashSet<&str> =
            facts.iter().filter(|(s, b)| *b == bad && counts(s)).map(|(s, _)| s.as_str()).collect();
        sources.len()
    };
    (distinct(true), distinct(false))
}
