//! Tenants as a file: `tidegate apply tenants.toml` and `tidegate export`.
//!
//! Applying is idempotent: rows that are there already are not written, and what changes is printed. It adds
//! and changes; it never removes what the file does not name (users arrive by themselves, entries are made by
//! people), so a short file cannot wipe a provider. Every mistake of the file is reported at once.

use argon2::{Argon2, PasswordHasher};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidegate_actors::ports::{Scan, Store, StoreError, get_row};
use tidegate_schemas::rows::{DomainRow, ListRow, PolicyRow, UserRow};
use tidegate_schemas::{Row, Write, now_ms, tenant};

/// The file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Tenants {
    /// Policies of operators and providers.
    pub tenant: Vec<TenantEntry>,
    /// Protected domains.
    pub domain: Vec<DomainEntry>,
    /// Users with logins.
    pub user: Vec<UserEntry>,
    /// List entries.
    pub list: Vec<ListEntry>,
}

/// A level above the domains.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TenantEntry {
    /// `operator` or `operator/provider`.
    pub path: String,
    /// Some of the fields of the policy.
    pub policy: toml::Table,
}

/// A protected domain.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DomainEntry {
    /// The domain; U-labels are turned into A-labels.
    pub name: String,
    /// `operator/provider`.
    pub under: String,
    /// `any` or `listed`.
    #[serde(default = "any")]
    pub users: String,
    /// Route, empty = the default route.
    #[serde(default)]
    pub route: String,
    /// Some of the fields of the policy.
    #[serde(default)]
    pub policy: toml::Table,
}

fn any() -> String {
    "any".into()
}

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    /// `local@domain`.
    pub address: String,
    /// Password in clear, hashed on applying.
    #[serde(default)]
    pub password: String,
    /// Or its PHC string.
    #[serde(default)]
    pub password_hash: String,
}

/// A list entry.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ListEntry {
    /// Tenant path of the level.
    pub path: String,
    /// `link`, `sender` or `ip`.
    pub kind: String,
    /// The value.
    pub value: String,
    /// `allow` or `block`.
    pub action: String,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

/// Why a file is not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// What is wrong with it, one line each.
    #[error("{}", .0.join("\n"))]
    Mistakes(Vec<String>),
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads a file and reports every mistake.
pub fn parse(text: &str) -> Result<Tenants, ApplyError> {
    let tenants: Tenants = toml::from_str(text).map_err(|e| ApplyError::Mistakes(vec![e.to_string()]))?;
    let mut mistakes = Vec::new();
    let mut policy = |path: &str, patch: &toml::Table| {
        let patch = serde_json::to_value(patch).unwrap_or_default();
        if let Err(error) = tenant::resolve(&[(path.to_owned(), patch)]) {
            mistakes.push(error.to_string());
        }
    };
    for entry in &tenants.tenant {
        policy(&entry.path, &entry.policy);
    }
    for entry in &tenants.domain {
        policy(&entry.name, &entry.policy);
    }
    for entry in &tenants.domain {
        if idna::domain_to_ascii_strict(&entry.name).is_err() {
            mistakes.push(format!("domain `{}`: no valid domain name", entry.name));
        }
        if entry.under.matches('/').count() != 1 {
            mistakes.push(format!("domain `{}`: `under` must be `operator/provider`", entry.name));
        }
        if !matches!(entry.users.as_str(), "any" | "listed") {
            mistakes.push(format!("domain `{}`: `users` must be `any` or `listed`", entry.name));
        }
        if !entry.route.is_empty()
            && let Err(error) = tidegate_actors::deliver::route::Route::parse(&entry.route)
        {
            mistakes.push(format!("domain `{}`: {error}", entry.name));
        }
    }
    for entry in &tenants.user {
        if !entry.address.contains('@') {
            mistakes.push(format!("user `{}`: not local@domain", entry.address));
        }
    }
    for entry in &tenants.list {
        let known = matches!(entry.kind.as_str(), "link" | "sender" | "ip");
        if !known || !matches!(entry.action.as_str(), "allow" | "block") {
            mistakes.push(format!(
                "list entry `{}`: kind is link, sender or ip; action allow or block",
                entry.value
            ));
        }
    }
    if mistakes.is_empty() { Ok(tenants) } else { Err(ApplyError::Mistakes(mistakes)) }
}

/// Writes what differs; returns one line a change.
pub async fn apply(store: &Arc<dyn Store>, tenants: &Tenants) -> Result<Vec<String>, ApplyError> {
    let mut changes = Changes { store, lines: Vec::new(), writes: Vec::new() };
    for entry in &tenants.tenant {
        let patch = serde_json::to_value(&entry.policy).unwrap_or_default();
        changes
            .put(&PolicyRow { path: entry.path.clone(), patch }, &format!("policy of {}", entry.path))
            .await?;
    }
    for entry in &tenants.domain {
        let domain = idna::domain_to_ascii_strict(&entry.name)
            .map_err(|_| ApplyError::Mistakes(vec![format!("domain `{}`", entry.name)]))?;
        let tenant = format!("{}/{domain}", entry.under);
        if !entry.policy.is_empty() {
            let patch = serde_json::to_value(&entry.policy).unwrap_or_default();
            changes.put(&PolicyRow { path: tenant.clone(), patch }, &format!("policy of {tenant}")).await?;
        }
        let (users, route) = (entry.users.clone(), entry.route.clone());
        changes
            .put(&DomainRow { domain: domain.clone(), tenant, users, route }, &format!("domain {domain}"))
            .await?;
    }
    for entry in &tenants.user {
        changes.user(entry).await?;
    }
    for entry in &tenants.list {
        changes.list(entry).await?;
    }
    store.apply(changes.writes).await?;
    Ok(changes.lines)
}

struct Changes<'s> {
    store: &'s Arc<dyn Store>,
    lines: Vec<String>,
    writes: Vec<Write>,
}

impl Changes<'_> {
    async fn put<R: Row + PartialEq>(&mut self, row: &R, what: &str) -> Result<(), ApplyError> {
        let old = get_row::<R>(&**self.store, &row.partition(), &row.sort()).await?;
        let sign = match &old {
            Some(old) if old == row => return Ok(()),
            Some(_) => '~',
            None => '+',
        };
        self.lines.push(format!("{sign} {what}"));
        self.writes.push(Write::Put(row.raw(0)));
        Ok(())
    }

    async fn user(&mut self, entry: &UserEntry) -> Result<(), ApplyError> {
        let address = entry.address.to_lowercase();
        let Some((local, domain)) = address.rsplit_once('@') else { return Ok(()) };
        let old = get_row::<UserRow>(&**self.store, domain, local).await?;
        let old_hash = old.as_ref().map(|u| u.password.clone()).unwrap_or_default();
        let password = if !entry.password_hash.is_empty() {
            entry.password_hash.clone()
        } else if entry.password.is_empty() || crate::backends::directory::verify(&old_hash, &entry.password)
        {
            old_hash
        } else {
            hash(&entry.password)?
        };
        let mut row = UserRow {
            domain: domain.to_owned(),
            local: local.to_owned(),
            class: "account".into(),
            password,
            since_ms: now_ms(),
            by: "apply".into(),
        };
        if let Some(old) = old {
            (row.class, row.since_ms, row.by) = (old.class, old.since_ms, old.by);
        }
        self.put(&row, &format!("user {address}")).await
    }

    async fn list(&mut self, entry: &ListEntry) -> Result<(), ApplyError> {
        let value = entry.value.to_lowercase();
        let mut row = ListRow {
            path: entry.path.clone(),
            kind: entry.kind.clone(),
            value: value.clone(),
            action: entry.action.clone(),
            by: "apply".into(),
            at_ms: now_ms(),
            comment: entry.comment.clone(),
        };
        if let Some(old) = get_row::<ListRow>(&**self.store, &row.partition(), &row.sort()).await? {
            (row.at_ms, row.by) = (old.at_ms, old.by);
        }
        self.put(&row, &format!("{} {} {value} at {}", entry.action, entry.kind, entry.path)).await
    }
}

fn hash(password: &str) -> Result<String, ApplyError> {
    let failed = |e: argon2::password_hash::Error| ApplyError::Mistakes(vec![format!("password: {e}")]);
    Argon2::default().hash_password(password.as_bytes()).map(|h| h.to_string()).map_err(failed)
}

/// Everything in the store as a file; applying it again changes nothing.
pub async fn export(store: &Arc<dyn Store>) -> Result<Tenants, StoreError> {
    let mut out = Tenants::default();
    for path in all_partitions(store, PolicyRow::TABLE).await? {
        let Some(row) = get_row::<PolicyRow>(&**store, &path, "").await? else { continue };
        let policy = toml::Table::try_from(&row.patch).map_err(|e| StoreError(e.to_string()))?;
        if path.matches('/').count() < 2 {
            out.tenant.push(TenantEntry { path, policy });
        }
    }
    for name in all_partitions(store, DomainRow::TABLE).await? {
        let Some(row) = get_row::<DomainRow>(&**store, &name, "").await? else { continue };
        let patch =
            get_row::<PolicyRow>(&**store, &row.tenant, "").await?.map(|p| p.patch).unwrap_or_default();
        let policy = toml::Table::try_from(&patch).unwrap_or_default();
        let under = row.tenant.rsplit_once('/').map_or("", |(under, _)| under).to_owned();
        out.domain.push(DomainEntry { name, under, users: row.users, route: row.route, policy });
    }
    for domain in all_partitions(store, UserRow::TABLE).await? {
        for row in all_rows::<UserRow>(store, &domain).await? {
            let address = format!("{}@{}", row.local, row.domain);
            out.user.push(UserEntry { address, password: String::new(), password_hash: row.password });
        }
    }
    for path in all_partitions(store, ListRow::TABLE).await? {
        for row in all_rows::<ListRow>(store, &path).await? {
            let ListRow { path, kind, value, action, comment, .. } = row;
            out.list.push(ListEntry { path, kind, value, action, comment });
        }
    }
    Ok(out)
}

/// Every partition of a table, page by page.
pub async fn all_partitions(store: &Arc<dyn Store>, table: &'static str) -> Result<Vec<String>, StoreError> {
    const PAGE: usize = 1_000;
    let mut all: Vec<String> = Vec::new();
    loop {
        let after = all.last().cloned().unwrap_or_default();
        let page = store.partitions(table, &after, PAGE).await?;
        let last = page.len() < PAGE;
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// Every row of a partition, page by page.
pub async fn all_rows<R: Row>(store: &Arc<dyn Store>, partition: &str) -> Result<Vec<R>, StoreError> {
    const PAGE: usize = 1_000;
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let scan = Scan { table: R::TABLE, partition, prefix: "", after: &after, limit: PAGE };
        let page = store.scan(scan).await?;
        for row in &page {
            all.push(R::from_value(&row.value).map_err(|e| StoreError(e.to_string()))?);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(&last.sort),
            _ => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_actors::ports::fakes::MemoryStore;

    const FILE: &str = r#"
        [[tenant]]
        path = "isp/msp"
        policy = { brand = "MSP" }
        [[domain]]
        name = "Bücher.test"
        under = "isp/msp"
        policy = { mode = "silent" }
        [[user]]
        address = "ann@xn--bcher-kva.test"
        password = "secret"
        [[list]]
        path = "isp"
        kind = "link"
        value = "Evil.test"
        action = "block"
    "#;

    #[tokio::test]
    async fn applying_twice_changes_nothing_and_an_export_applies_to_nothing() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let tenants = parse(FILE).unwrap();
        let first = apply(&store, &tenants).await.unwrap();
        assert!(first.contains(&"+ domain xn--bcher-kva.test".to_owned()), "{first:?}");
        assert_eq!(first.len(), 5);
        assert_eq!(apply(&store, &tenants).await.unwrap(), Vec::<String>::new());
        let text = toml::to_string(&export(&store).await.unwrap()).unwrap();
        assert!(!text.contains("secret"));
        assert_eq!(apply(&store, &parse(&text).unwrap()).await.unwrap(), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_of_a_file_is_told() {
        let text = FILE
            .replace("isp/msp\"\n        policy = { mode", "isp\"\n        policy = { mood")
            .replace("block", "bloc");
        let Err(ApplyError::Mistakes(mistakes)) = parse(&text) else { panic!() };
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    }
}
