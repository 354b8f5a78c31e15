//! Fakes of the ports: whole implementations in memory, for tests and offline tools.

use super::*;
use parking_lot::Mutex;
use std::collections::BTreeMap;

type Place = (&'static str, String, String);

/// A store in memory. Rows expire by the system's clock.
#[derive(Default)]
pub struct MemoryStore {
    rows: Mutex<BTreeMap<Place, RawRow>>,
    away: std::sync::atomic::AtomicBool,
}

impl MemoryStore {
    /// From now on every call fails (or works again).
    pub fn set_away(&self, away: bool) {
        self.away.store(away, std::sync::atomic::Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), StoreError> {
        let away = self.away.load(std::sync::atomic::Ordering::SeqCst);
        if away { Err(StoreError("told to be away".into())) } else { Ok(()) }
    }

    fn live(row: &RawRow) -> bool {
        row.expires_ms == 0 || row.expires_ms > tidegate_schemas::now_ms()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(
        &self,
        table: &'static str,
        partition: &str,
        sort: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        self.check()?;
        let rows = self.rows.lock();
        let row = rows.get(&(table, partition.to_owned(), sort.to_owned()));
        Ok(row.filter(|r| Self::live(r)).map(|r| r.value.clone()))
    }

    async fn scan(&self, scan: Scan<'_>) -> Result<Vec<RawRow>, StoreError> {
        self.check()?;
        let rows = self.rows.lock();
        let hit = |r: &&RawRow| {
            r.table == scan.table
                && r.partition == scan.partition
                && r.sort.starts_with(scan.prefix)
                && (scan.after.is_empty() || r.sort.as_str() > scan.after)
                && Self::live(r)
        };
        Ok(rows.values().filter(hit).take(scan.limit).cloned().collect())
    }

    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.check()?;
        let mut rows = self.rows.lock();
        for write in writes {
            match write {
                Write::Put(row) => {
                    rows.insert((row.table, row.partition.clone(), row.sort.clone()), row);
                }
                Write::PutIfAbsent(row) => {
                    let place = (row.table, row.partition.clone(), row.sort.clone());
                    if !rows.get(&place).is_some_and(Self::live) {
                        rows.insert(place, row);
                    }
                }
                Write::Delete { table, partition, sort } => {
                    rows.remove(&(table, partition, sort));
                }
            }
        }
        Ok(())
    }

    async fn partitions(
        &self,
        table: &'static str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        self.check()?;
        let rows = self.rows.lock();
        let live = rows.values().filter(|r| r.table == table && Self::live(r));
        let mut names: Vec<String> =
            live.map(|r| r.partition.clone()).filter(|p| p.as_str() > after).collect();
        names.dedup();
        names.truncate(limit);
        Ok(names)
    }
}

/// An intake that keeps what it was given.
#[derive(Default)]
pub struct MemoryIntake {
    /// Mails accepted so far.
    pub mails: Mutex<Vec<Mail>>,
    /// Signals so far.
    pub signals: Mutex<Vec<Signal>>,
    /// What to answer instead of taking.
    pub fail: Mutex<Option<IntakeError>>,
}

#[async_trait]
impl Intake for MemoryIntake {
    async fn accept(&self, mails: Vec<Mail>) -> Result<(), IntakeError> {
        if let Some(error) = self.fail.lock().clone() {
            return Err(error);
        }
        self.mails.lock().extend(mails);
        Ok(())
    }

    async fn signal(&self, signals: Vec<Signal>) -> Result<(), IntakeError> {
        if let Some(error) = self.fail.lock().clone() {
            return Err(error);
        }
        self.signals.lock().extend(signals);
        Ok(())
    }
}

/// A directory of fixed domains, logins and list entries.
#[derive(Default)]
pub struct FixedDirectory {
    /// By domain.
    pub domains: BTreeMap<String, Arc<DomainFacts>>,
    /// `local@domain` of domains that are not `any_user`.
    pub users: Vec<String>,
    /// Login and password.
    pub logins: Vec<(String, String)>,
    /// Path, kind, value, allow.
    pub lists: Mutex<Vec<(String, String, String, bool)>>,
}

impl FixedDirectory {
    /// One protected domain that takes any user, under `isp/msp`, with this policy.
    pub fn of(domain: &str, policy: Policy) -> FixedDirectory {
        let facts = DomainFacts {
            domain: domain.to_owned(),
            tenant: format!("isp/msp/{domain}"),
            any_user: true,
            route: String::new(),
            policy: Arc::new(policy),
        };
        FixedDirectory { domains: [(domain.to_owned(), Arc::new(facts))].into(), ..FixedDirectory::default() }
    }
}

#[async_trait]
impl Directory for FixedDirectory {
    async fn domain(&self, domain: &str) -> Result<Option<Arc<DomainFacts>>, StoreError> {
        Ok(self.domains.get(domain).cloned())
    }

    async fn user_exists(&self, domain: &str, local: &str) -> Result<bool, StoreError> {
        let any = self.domains.get(domain).is_some_and(|d| d.any_user);
        Ok(any || self.users.contains(&format!("{local}@{domain}")))
    }

    async fn login(&self, login: &str, password: &str) -> Result<Option<String>, StoreError> {
        let right = self.logins.iter().any(|(l, p)| l == login && p == password);
        Ok(right.then(|| login.to_owned()))
    }

    async fn listed(&self, path: &str, kind: &str, values: &[String]) -> Result<Option<Listed>, StoreError> {
        let lists = self.lists.lock();
        let tenant = tidegate_schemas::TenantPath(path.to_owned());
        let mut allowed = None;
        for level in tenant.levels() {
            let hits = |allow: bool| {
                lists.iter().find(|(p, k, v, a)| p == level && k == kind && values.contains(v) && *a == allow)
            };
            let found = |allow: bool, value: &str| Listed {
                allow,
                level: tidegate_schemas::TenantPath::scope_of(level),
                value: value.to_owned(),
            };
            if let Some((_, _, value, _)) = hits(false) {
                return Ok(Some(found(false, value)));
            }
            if let (None, Some((_, _, value, _))) = (&allowed, hits(true)) {
                allowed = Some(found(true, value));
            }
        }
        Ok(allowed)
    }
}
