//! Learns which sites people go to, so that the warning page is shown where it says something.
//!
//! What is learned is a set of rows `(domain, day, tenant, user)`: a replay adds nothing, and distinct people
//! and days, which the rule asks for, are what is stored. The rule is applied on reading ([`learned`]), so
//! that decay, freezing and undoing need no clean-up.
//!
//! Who wants to poison the list has to get past all of these:
//! * Only a person who pressed "go on" on the warning page teaches (`client` is `human`); scanners, links
//!   opened outside their tenant, and going on against a block teach nothing.
//! * At least [`MIN_USERS`] different people on at least [`MIN_DAYS`] different days, of the last
//!   [`WINDOW_DAYS`]; and for everybody's list people of at least [`MIN_TENANTS`] tenants. A tenant's own
//!   people alone open a domain for that tenant alone.
//! * Domains where anybody can put a page, shorteners, redirectors, dynamic DNS and bare addresses are never
//!   learned ([`never_learnable`]).
//! * One report freezes a domain for its tenant, reports of two tenants for all, for [`WINDOW_DAYS`].
//! * What an administrator undid stays undone.
//!
//! A tenant that does not share (`share_learning = false`) teaches and is taught only by itself: its rows
//! stand in partitions of its own (`DOMAIN|TENANT`), which [`learned_alone`] reads.

use crate::ports::{Scan, Store, StoreError, get_row, scan_rows};
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::rows::{ClickRow, LearnedRow, PolicyRow, StopRow, day_of};
use tidegate_schemas::{Policy, Record, Row, Signal, SignalKind, TenantPath, Write, tenant};

mod open_to_all;

const DAY_MS: u64 = 86_400_000;
/// Days that a person's going on counts.
pub const WINDOW_DAYS: u64 = 90;
/// Different people it takes.
pub const MIN_USERS: usize = 5;
/// Different days it takes.
pub const MIN_DAYS: usize = 3;
/// Different tenants it takes for everybody's list.
pub const MIN_TENANTS: usize = 2;
/// Rows read at once, and how often: a domain with more rows than this was learned on the first pages.
const PAGE_ROWS: usize = 500;
const MOST_PAGES: usize = 20;
/// How long the stages go on with a policy they have read.
const POLICY_AGE: Duration = Duration::from_secs(10);

/// Why a domain counts as learned; what pages and administrators are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Different people, at least.
    pub users: usize,
    /// Different days, at least.
    pub days: usize,
    /// Different tenants, at least.
    pub tenants: usize,
    /// The first of those days, `YYYYMMDD` UTC.
    pub since: String,
}

/// Whether a domain is learned for a tenant: by everybody's list or by the tenant's own people.
/// Fails when the store is away.
pub async fn learned(
    store: &dyn Store,
    domain: &str,
    tenant: &str,
    now_ms: u64,
) -> Result<Option<Explanation>, StoreError> {
    if never_learnable(domain) || frozen(store, domain, tenant, now_ms).await? {
        return Ok(None);
    }
    let mut all = Tally::default();
    let mut own = Tally::default();
    count(store, domain, now_ms, |row| {
        if row.tenant == tenant {
            own.add(&row);
        }
        all.add(&row);
        own.enough(1) || all.enough(MIN_TENANTS)
    })
    .await?;
    Ok(all.explained(MIN_TENANTS).or_else(|| own.explained(1)))
}

/// The same for a tenant that does not share: by its own people alone.
pub async fn learned_alone(
    store: &dyn Store,
    domain: &str,
    tenant: &str,
    now_ms: u64,
) -> Result<Option<Explanation>, StoreError> {
    if never_learnable(domain) || frozen(store, domain, tenant, now_ms).await? {
        return Ok(None);
    }
    let mut own = Tally::default();
    // Rows from before the tenant stopped sharing still stand in the shared partition.
    for partition in [private_partition(domain, tenant), domain.to_owned()] {
        count(store, &partition, now_ms, |row| {
            if row.tenant == tenant {
                own.add(&row);
            }
            own.enough(1)
        })
        .await?;
    }
    Ok(own.explained(1))
}

/// Whether a domain must never be learned: an address, a public suffix, or a place where anybody can publish
/// or redirect.
pub fn never_learnable(domain: &str) -> bool {
    let bare = domain.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_ok() || !domain.contains('.') {
        return true;
    }
    let Some(suffix) = psl::suffix(domain.as_bytes()) else { return true };
    // Private suffixes of the list are by definition places where strangers get a name of their own.
    let given_away = suffix.typ() == Some(psl::Type::Private);
    given_away || suffix.as_bytes().len() == domain.len() || open_to_all::has(domain)
}

/// Whether a signal was given by a person, by the site's own judgement.
pub(crate) fn is_person(signal: &Signal) -> bool {
    signal.client == "human"
}

fn private_partition(domain: &str, tenant: &str) -> String {
    format!("{domain}|{tenant}")
}

/// People, days and tenants seen so far.
#[derive(Default)]
struct Tally {
    users: HashSet<(String, String)>,
    days: HashSet<String>,
    tenants: HashSet<String>,
    since: String,
}

impl Tally {
    fn add(&mut self, row: &LearnedRow) {
        if self.since.is_empty() || row.day < self.since {
            self.since.clone_from(&row.day);
        }
        self.users.insert((row.tenant.clone(), row.user.clone()));
        self.days.insert(row.day.clone());
        self.tenants.insert(row.tenant.clone());
    }

    fn enough(&self, tenants: usize) -> bool {
        self.users.len() >= MIN_USERS && self.days.len() >= MIN_DAYS && self.tenants.len() >= tenants
    }

    fn explained(self, tenants: usize) -> Option<Explanation> {
        let enough = self.enough(tenants);
        enough.then_some(Explanation {
            users: self.users.len(),
            days: self.days.len(),
            tenants: self.tenants.len(),
            since: self.since,
        })
    }
}

/// Shows rows of the window to `see`, oldest first, and stops after the page on which it says enough.
async fn count(
    store: &dyn Store,
    partition: &str,
    now_ms: u64,
    mut see: impl FnMut(LearnedRow) -> bool + Send,
) -> Result<(), StoreError> {
    let mut after = day_of(now_ms.saturating_sub(WINDOW_DAYS * DAY_MS));
    for _ in 0..MOST_PAGES {
        let scan = Scan { table: LearnedRow::TABLE, partition, prefix: "", after: &after, limit: PAGE_ROWS };
        let rows = store.scan(scan).await?;
        let mut enough = false;
        for raw in &rows {
            enough = see(LearnedRow::from_value(&raw.value).map_err(|e| StoreError(e.to_string()))?);
        }
        let Some(last) = rows.last() else { return Ok(()) };
        if enough || rows.len() < PAGE_ROWS {
            return Ok(());
        }
        after.clone_from(&last.sort);
    }
    Ok(())
}

async fn frozen(store: &dyn Store, domain: &str, tenant: &str, now_ms: u64) -> Result<bool, StoreError> {
    let stops: Vec<StopRow> = scan_rows(store, domain, "", 1_000).await?;
    let live = |stop: &&StopRow| stop.why != "report" || stop.at_ms + WINDOW_DAYS * DAY_MS > now_ms;
    let mut reporters = HashSet::new();
    for stop in stops.iter().filter(live) {
        if holds_for(&stop.tenant, tenant) {
            return Ok(true);
        }
        if stop.why == "report" {
            reporters.insert(stop.tenant.as_str());
        }
    }
    Ok(reporters.len() >= MIN_TENANTS)
}

/// A stop holds for the path it names and all below it; the empty path is everybody.
fn holds_for(stop: &str, tenant: &str) -> bool {
    stop.is_empty() || tenant.strip_prefix(stop).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Policies as the stages of the signals topic need them, read from the store and kept for a few seconds.
pub(crate) struct Policies {
    store: Arc<dyn Store>,
    kept: moka::sync::Cache<String, Arc<Policy>>,
}

impl Policies {
    pub(crate) fn new(store: Arc<dyn Store>) -> Policies {
        let kept = moka::sync::Cache::builder().max_capacity(10_000).time_to_live(POLICY_AGE).build();
        Policies { store, kept }
    }

    /// The policy in force at a tenant path. A patch that does not fit is taken as "share nothing".
    pub(crate) async fn of(&self, path: &str) -> Result<Arc<Policy>, StoreError> {
        if let Some(policy) = self.kept.get(path) {
            return Ok(policy);
        }
        let mut patches = Vec::new();
        for level in TenantPath(path.to_owned()).levels() {
            if let Some(row) = get_row::<PolicyRow>(&*self.store, level, "").await? {
                patches.push((row.path, row.patch));
            }
        }
        let policy = tenant::resolve(&patches).unwrap_or_else(|error| {
            tracing::warn!(%error, "policy does not fit; nothing is learned for all from this tenant");
            Policy { share_learning: false, ..Policy::default() }
        });
        let policy = Arc::new(policy);
        self.kept.insert(path.to_owned(), policy.clone());
        Ok(policy)
    }
}

/// The stage `learn_whitelist`.
pub struct LearnWhitelist {
    policies: Policies,
}

impl LearnWhitelist {
    /// `store` has the policies: how long clicks are kept, and who shares what is learned.
    pub fn new(store: Arc<dyn Store>) -> LearnWhitelist {
        LearnWhitelist { policies: Policies::new(store) }
    }

    async fn signal(&self, signal: &Signal) -> Result<Vec<Write>, StoreError> {
        let mut writes = Vec::new();
        match signal.kind() {
            SignalKind::Click => writes.push(self.click(signal, &signal.decision).await?),
            SignalKind::Proceed => {
                writes.push(self.click(signal, "proceeded").await?);
                writes.extend(self.lesson(signal).await?);
            }
            SignalKind::Report => {
                writes.push(self.click(signal, "reported").await?);
                writes.extend(report(signal));
            }
            SignalKind::Unlearn => writes.extend(undone(signal)),
            _ => {}
        }
        Ok(writes)
    }

    async fn click(&self, signal: &Signal, decision: &str) -> Result<Write, StoreError> {
        let policy = self.policies.of(&signal.tenant).await?;
        let row = ClickRow {
            tenant: signal.tenant.clone(),
            day: day_of(signal.at_ms),
            id: signal.id.clone(),
            user: signal.user.clone(),
            mail: signal.mail.clone(),
            host: signal.host.clone(),
            domain: signal.domain.clone(),
            decision: decision.to_owned(),
            reason: signal.reason.clone(),
            client: signal.client.clone(),
        };
        Ok(Write::Put(row.raw(signal.at_ms + u64::from(policy.click_days.max(1)) * DAY_MS)))
    }

    async fn lesson(&self, signal: &Signal) -> Result<Option<Write>, StoreError> {
        let teaches = is_person(signal) && signal.decision != "overridden" && !signal.user.is_empty();
        if !teaches || never_learnable(&signal.domain) {
            return Ok(None);
        }
        let shares = self.policies.of(&signal.tenant).await?.share_learning;
        let row = LearnedRow {
            domain: signal.domain.clone(),
            day: day_of(signal.at_ms),
            tenant: signal.tenant.clone(),
            user: signal.user.clone(),
        };
        let mut raw = row.raw(signal.at_ms + (WINDOW_DAYS + 1) * DAY_MS);
        if !shares {
            raw.partition = private_partition(&signal.domain, &signal.tenant);
        }
        Ok(Some(Write::Put(raw)))
    }
}

fn report(signal: &Signal) -> Option<Write> {
    if !is_person(signal) || signal.domain.is_empty() {
        return None;
    }
    let stop = stop_of(signal, &signal.tenant, "report");
    Some(Write::Put(stop.raw(signal.at_ms + WINDOW_DAYS * DAY_MS)))
}

/// An operator's undoing holds for everybody, anybody else's for his own level and below.
fn undone(signal: &Signal) -> Option<Write> {
    if signal.domain.is_empty() {
        return None;
    }
    let holds = if signal.tenant.contains('/') { signal.tenant.as_str() } else { "" };
    Some(Write::Put(stop_of(signal, holds, "undone").raw(0)))
}

fn stop_of(signal: &Signal, tenant: &str, why: &str) -> StopRow {
    StopRow {
        domain: signal.domain.clone(),
        tenant: tenant.to_owned(),
        why: why.to_owned(),
        at_ms: signal.at_ms,
    }
}

#[async_trait]
impl Stage for LearnWhitelist {
    fn name(&self) -> &'static str {
        "learn_whitelist"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Signal(signal) = record else {
            return Err(Trouble::Refuse { why: "learn_whitelist reads signals, this is a mail".into() });
        };
        let writes = self.signal(&signal).await;
        let writes =
            writes.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })?;
        Ok(Step { out: Vec::new(), writes })
    }
}

#[cfg(test)]
#[path = "learn_whitelist_tests.rs"]
mod tests;
