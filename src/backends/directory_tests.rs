//! Inheritance, lists and logins over a store.

use super::*;
use argon2::PasswordHasher;
use serde_json::json;
use tidegate_actors::ports::fakes::MemoryStore;
use tidegate_schemas::Write;

const TENANT: &str = "isp/msp/example.test";

fn entry(path: &str, value: &str, action: &str) -> Write {
    let row = ListRow {
        path: path.into(),
        kind: "link".into(),
        value: value.into(),
        action: action.into(),
        by: "test".into(),
        at_ms: 0,
        comment: String::new(),
    };
    Write::Put(row.raw(0))
}

async fn directory(writes: Vec<Write>) -> StoreDirectory {
    let store = Arc::new(MemoryStore::default());
    let domain = DomainRow {
        domain: "example.test".into(),
        tenant: TENANT.into(),
        users: "listed".into(),
        route: String::new(),
    };
    store.apply(vec![Write::Put(domain.raw(0))]).await.unwrap();
    store.apply(writes).await.unwrap();
    StoreDirectory::new(store)
}

fn user(local: &str, password: &str) -> Write {
    let password = Argon2::default().hash_password(password.as_bytes()).unwrap().to_string();
    let row = UserRow {
        domain: "example.test".into(),
        local: local.into(),
        class: "account".into(),
        password,
        since_ms: 0,
        by: "test".into(),
    };
    Write::Put(row.raw(0))
}

#[tokio::test]
async fn a_domain_has_the_policy_of_all_levels_above_it() {
    let policy = |path: &str, patch| Write::Put(PolicyRow { path: path.into(), patch }.raw(0));
    let writes = vec![policy("isp", json!({"tag_at": 3.0})), policy(TENANT, json!({"mode": "silent"}))];
    let facts = directory(writes).await.domain("example.test").await.unwrap().unwrap();
    assert_eq!((facts.policy.tag_at, facts.policy.mode), (3.0, tidegate_schemas::tenant::Mode::Silent));
}

#[tokio::test]
async fn a_users_allow_never_opens_what_the_operator_blocks() {
    let user = format!("{TENANT}/u1");
    let writes = vec![entry("isp", "evil.test", "block"), entry(&user, "evil.test", "allow")];
    let listed = directory(writes).await.listed(&user, "link", &["evil.test".into()]).await.unwrap();
    assert_eq!(listed, Some(Listed { allow: false, level: "operator", value: "evil.test".into() }));
}

#[tokio::test]
async fn a_block_of_the_user_wins_over_an_allow_above() {
    let user = format!("{TENANT}/u1");
    let writes = vec![entry("isp", "a.test", "allow"), entry(&user, "a.test", "block")];
    let listed = directory(writes).await.listed(&user, "link", &["a.test".into()]).await.unwrap();
    assert_eq!(listed.map(|l| (l.allow, l.level)), Some((false, "user")));
}

#[tokio::test]
async fn a_list_too_long_for_the_cache_is_asked_entry_by_entry() {
    let writes = (0..WHOLE_LIST + 5).map(|n| entry("isp", &format!("h{n:06}.test"), "block")).collect();
    let directory = directory(writes).await;
    let last = format!("h{:06}.test", WHOLE_LIST + 4);
    assert!(directory.listed(TENANT, "link", &[last]).await.unwrap().is_some());
    assert!(directory.listed(TENANT, "link", &["none.test".into()]).await.unwrap().is_none());
}

#[tokio::test]
async fn only_the_right_password_of_a_known_user_logs_in() {
    let directory = directory(vec![user("ann", "secret")]).await;
    assert_eq!(
        directory.login("Ann@example.test", "secret").await.unwrap().as_deref(),
        Some("ann@example.test")
    );
    assert_eq!(directory.login("ann@example.test", "wrong").await.unwrap(), None);
    assert_eq!(directory.login("bob@example.test", "secret").await.unwrap(), None);
    assert_eq!(directory.login("nobody", "").await.unwrap(), None);
}

#[tokio::test]
async fn a_plus_address_exists_when_its_base_does() {
    let directory = directory(vec![user("ann", "x")]).await;
    assert!(directory.user_exists("example.test", "Ann+shop").await.unwrap());
    assert!(!directory.user_exists("example.test", "bob").await.unwrap());
    assert!(!directory.user_exists("elsewhere.test", "ann").await.unwrap());
}

#[test]
fn the_hash_for_nobody_is_well_formed_and_fits_no_common_password() {
    assert!(PasswordHash::new(NOBODY).is_ok());
    assert!(!verify(NOBODY, "") && !verify(NOBODY, "password"));
}
