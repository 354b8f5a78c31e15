//! Tenants as the stages see them: rows of the store behind caches of one second.
//!
//! A second is the age that the design allows a policy or list to have on any node; nothing has to be told to
//! forget. A policy that does not fit (written by a newer version, say) is an error of that domain alone:
//! its mail waits, other tenants go on.

use argon2::{Argon2, PasswordVerifier, password_hash::phc::PasswordHash};
use async_trait::async_trait;
use moka::sync::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tidegate_actors::ports::{Directory, DomainFacts, Listed, Scan, Store, StoreError, get_row};
use tidegate_schemas::rows::{DomainRow, ListRow, PolicyRow, UserRow};
use tidegate_schemas::{Row, TenantPath, tenant};

/// Lists up to this many entries are held whole in the cache; longer ones are asked entry by entry.
const WHOLE_LIST: usize = 2_000;
/// A hash that no password fits, verified for unknown logins so that they take as long as known ones.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$dGlkZWdhdGUtbm9ib2R5$YkW3lvzlhrEvkO3cPX4AzWwNpgR2yKqSdc5vIqSxxWM";

type Entries = Option<Arc<HashMap<String, bool>>>;

/// The directory over a store.
pub struct StoreDirectory {
    store: Arc<dyn Store>,
    domains: Cache<String, Option<Arc<DomainFacts>>>,
    users: Cache<String, bool>,
    lists: Cache<(String, String), Entries>,
    /// Few hashes are computed at a time: each takes 19 MiB and tens of milliseconds.
    hashing: tokio::sync::Semaphore,
}

impl StoreDirectory {
    /// Reads rows of this store.
    pub fn new(store: Arc<dyn Store>) -> StoreDirectory {
        fn cache<K, V>() -> Cache<K, V>
        where
            K: std::hash::Hash + Eq + Send + Sync + 'static,
            V: Clone + Send + Sync + 'static,
        {
            Cache::builder().max_capacity(50_000).time_to_live(Duration::from_secs(1)).build()
        }
        let hashing = tokio::sync::Semaphore::new(2);
        StoreDirectory { store, domains: cache(), users: cache(), lists: cache(), hashing }
    }

    async fn load(&self, domain: &str) -> Result<Option<Arc<DomainFacts>>, StoreError> {
        let Some(row) = get_row::<DomainRow>(&*self.store, domain, "").await? else { return Ok(None) };
        let mut patches = Vec::new();
        for level in TenantPath(row.tenant.clone()).levels() {
            if let Some(policy) = get_row::<PolicyRow>(&*self.store, level, "").await? {
                patches.push((policy.path, policy.patch));
            }
        }
        let policy = tenant::resolve(&patches).map_err(|e| StoreError(e.to_string()))?;
        let any_user = row.users == "any";
        let (domain, tenant, route) = (row.domain, row.tenant, row.route);
        Ok(Some(Arc::new(DomainFacts { domain, tenant, any_user, route, policy: Arc::new(policy) })))
    }

    /// All entries of a level, or `None` when there are too many to hold.
    async fn entries(&self, level: &str, kind: &str) -> Result<Entries, StoreError> {
        let key = (level.to_owned(), kind.to_owned());
        if let Some(entries) = self.lists.get(&key) {
            return Ok(entries);
        }
        let prefix = format!("{kind}|");
        let scan =
            Scan { table: ListRow::TABLE, partition: level, prefix: &prefix, after: "", limit: WHOLE_LIST };
        let rows = self.store.scan(scan).await?;
        let mut entries = HashMap::new();
        for row in &rows {
            let row = ListRow::from_value(&row.value).map_err(|e| StoreError(e.to_string()))?;
            entries.insert(row.value, row.action == "allow");
        }
        let entries = (rows.len() < WHOLE_LIST).then(|| Arc::new(entries));
        self.lists.insert(key, entries.clone());
        Ok(entries)
    }

    async fn entry(
        &self,
        level: &str,
        kind: &str,
        value: &str,
        whole: &Entries,
    ) -> Result<Option<bool>, StoreError> {
        if let Some(entries) = whole {
            return Ok(entries.get(value).copied());
        }
        let row = get_row::<ListRow>(&*self.store, level, &format!("{kind}|{value}")).await?;
        Ok(row.map(|r| r.action == "allow"))
    }
}

#[async_trait]
impl Directory for StoreDirectory {
    async fn domain(&self, domain: &str) -> Result<Option<Arc<DomainFacts>>, StoreError> {
        if let Some(known) = self.domains.get(domain) {
            return Ok(known);
        }
        let facts = self.load(domain).await?;
        self.domains.insert(domain.to_owned(), facts.clone());
        Ok(facts)
    }

    async fn user_exists(&self, domain: &str, local: &str) -> Result<bool, StoreError> {
        let Some(facts) = self.domain(domain).await? else { return Ok(false) };
        if facts.any_user {
            return Ok(true);
        }
        let local = local.to_lowercase();
        let key = format!("{local}@{domain}");
        if let Some(known) = self.users.get(&key) {
            return Ok(known);
        }
        let mut known = get_row::<UserRow>(&*self.store, domain, &local).await?.is_some();
        if let (false, Some((base, _))) = (known, local.split_once('+')) {
            known = get_row::<UserRow>(&*self.store, domain, base).await?.is_some();
        }
        self.users.insert(key, known);
        Ok(known)
    }

    async fn login(&self, login: &str, password: &str) -> Result<Option<String>, StoreError> {
        let login = login.to_lowercase();
        let user = match login.rsplit_once('@') {
            Some((local, domain)) => get_row::<UserRow>(&*self.store, domain, local).await?,
            None => None,
        };
        let hash = user.map(|u| u.password).filter(|p| !p.is_empty()).unwrap_or_else(|| NOBODY.to_owned());
        let _permit = self.hashing.acquire().await.map_err(|e| StoreError(e.to_string()))?;
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || verify(&hash, &password));
        let right = right.await.map_err(|e| StoreError(e.to_string()))?;
        Ok(right.then_some(login))
    }

    async fn listed(&self, path: &str, kind: &str, values: &[String]) -> Result<Option<Listed>, StoreError> {
        let tenant = TenantPath(path.to_owned());
        let mut allowed = None;
        for level in tenant.levels() {
            let whole = self.entries(level, kind).await?;
            if whole.as_ref().is_some_and(|entries| entries.is_empty()) {
                continue;
            }
            for value in values {
                let found =
                    |allow| Listed { allow, level: TenantPath::scope_of(level), value: value.clone() };
                match self.entry(level, kind, value, &whole).await? {
                    // A block ends the search: nothing below may open what a level above has blocked.
                    Some(false) => return Ok(Some(found(false))),
                    Some(true) if allowed.is_none() => allowed = Some(found(true)),
                    _ => {}
                }
            }
        }
        Ok(allowed)
    }
}

/// Whether a password fits a PHC string; a string that is none fits nothing.
pub fn verify(hash: &str, password: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
