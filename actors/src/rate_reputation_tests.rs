//! Reputation: what counts, for which side, and that it counts once.

use super::*;
use crate::ports::fakes::MemoryStore;
use serde_json::json;
use tidegate_schemas::now_ms;
use tidegate_schemas::rows::PolicyRow;

const TENANT: &str = "isp/msp/a.test";

fn signal(kind: SignalKind, user: &str, client: &str) -> Signal {
    Signal {
        user: user.into(),
        domain: "site.test".into(),
        client: client.into(),
        ..Signal::new(kind, TENANT)
    }
}

async fn feed(store: &Arc<MemoryStore>, signals: &[Signal]) {
    let stage = RateReputation::new(store.clone());
    for signal in signals {
        let step = stage.work(Record::from(signal.clone())).await.unwrap();
        store.apply(step.writes).await.unwrap();
    }
}

#[tokio::test]
async fn reports_and_spam_marks_speak_against_and_going_on_and_releases_for_a_domain() {
    let store = Arc::new(MemoryStore::default());
    let said = [
        signal(SignalKind::Report, "u1", "human"),
        signal(SignalKind::MarkSpam, "u2", ""),
        signal(SignalKind::Proceed, "u3", "human"),
        signal(SignalKind::Release, "u4", ""),
        signal(SignalKind::Click, "u5", "human"),
    ];
    feed(&store, &said).await;
    assert_eq!(standing(&*store, "site.test", now_ms()).await.unwrap(), Standing { good: 2, bad: 2 });
}

#[tokio::test]
async fn one_person_counts_once_however_often_he_says_it_and_on_every_replay() {
    let store = Arc::new(MemoryStore::default());
    let said: Vec<Signal> = (0..20).map(|_| signal(SignalKind::Report, "u1", "human")).collect();
    feed(&store, &said).await;
    feed(&store, &said).await;
    assert_eq!(standing(&*store, "site.test", now_ms()).await.unwrap().bad, 1);
}

#[tokio::test]
async fn scanners_and_overridden_blocks_say_nothing() {
    let store = Arc::new(MemoryStore::default());
    let mut overridden = signal(SignalKind::Proceed, "u2", "human");
    overridden.decision = "overridden".into();
    let said = [
        signal(SignalKind::Proceed, "u1", "machine:agent"),
        signal(SignalKind::Report, "u1", "machine:agent"),
        signal(SignalKind::Proceed, "u1", ""),
        overridden,
    ];
    feed(&store, &said).await;
    assert_eq!(standing(&*store, "site.test", now_ms()).await.unwrap(), Standing::default());
}

#[tokio::test]
async fn a_signal_without_a_domain_changes_nothing() {
    let store = Arc::new(MemoryStore::default());
    let nameless = Signal { domain: String::new(), ..signal(SignalKind::MarkSpam, "u1", "") };
    let step = RateReputation::new(store).work(Record::from(nameless)).await.unwrap();
    assert!(step.writes.is_empty());
}

#[tokio::test]
async fn a_tenant_that_does_not_share_adds_nothing() {
    let store = Arc::new(MemoryStore::default());
    let row = PolicyRow { path: "isp/msp".into(), patch: json!({"share_learning": false}) };
    store.apply(vec![Write::Put(row.raw(0))]).await.unwrap();
    feed(&store, &[signal(SignalKind::Report, "u1", "human")]).await;
    assert_eq!(standing(&*store, "site.test", now_ms()).await.unwrap(), Standing::default());
}

#[tokio::test]
async fn facts_older_than_sixty_days_do_not_count() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &[signal(SignalKind::Report, "u1", "human")]).await;
    let later = now_ms() + 62 * 86_400_000;
    assert_eq!(standing(&*store, "site.test", later).await.unwrap(), Standing::default());
}

#[tokio::test]
async fn with_the_store_away_the_signal_is_tried_again() {
    let store = Arc::new(MemoryStore::default());
    let stage = RateReputation::new(store.clone());
    store.set_away(true);
    let answer = stage.work(Record::from(signal(SignalKind::Report, "u1", "human"))).await;
    assert!(matches!(answer, Err(Trouble::Retry { .. })));
}
