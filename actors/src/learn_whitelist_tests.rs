//! The learning whitelist: what it learns, and every way to poison it that we could think of.

use super::*;
use crate::ports::fakes::MemoryStore;
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

/// One "now" for the whole run: a test that spans midnight sees the same days throughout.
static NOW: LazyLock<u64> = LazyLock::new(tidegate_schemas::now_ms);

const A: &str = "isp/msp/a.test";
const B: &str = "isp/other/b.test";
const C: &str = "isp/msp/c.test";

fn at(days_ago: u64) -> u64 {
    *NOW - days_ago * DAY_MS
}

fn proceed(tenant: &str, user: &str, days_ago: u64) -> Signal {
    Signal {
        at_ms: at(days_ago),
        user: user.into(),
        domain: "site.test".into(),
        host: "www.site.test".into(),
        client: "human".into(),
        decision: "proceeded".into(),
        ..Signal::new(SignalKind::Proceed, tenant)
    }
}

fn report(tenant: &str) -> Signal {
    Signal {
        id: tidegate_schemas::new_id(),
        kind: SignalKind::Report as i32,
        ..proceed(tenant, "reporter", 0)
    }
}

async fn feed(store: &Arc<MemoryStore>, signals: &[Signal]) {
    let stage = LearnWhitelist::new(store.clone());
    for signal in signals {
        let step = stage.work(Record::from(signal.clone())).await.unwrap();
        assert!(step.out.is_empty());
        store.apply(step.writes).await.unwrap();
    }
}

async fn is_learned(store: &MemoryStore, tenant: &str) -> bool {
    learned(store, "site.test", tenant, *NOW).await.unwrap().is_some()
}

async fn policy(store: &MemoryStore, path: &str, patch: serde_json::Value) {
    let row = PolicyRow { path: path.into(), patch };
    store.apply(vec![Write::Put(row.raw(0))]).await.unwrap();
}

/// Three people of A and two of B on three days: just enough for everybody.
fn just_enough() -> Vec<Signal> {
    vec![
        proceed(A, "u1", 3),
        proceed(A, "u2", 2),
        proceed(A, "u3", 1),
        proceed(B, "u4", 2),
        proceed(B, "u5", 1),
    ]
}

#[tokio::test]
async fn five_people_of_two_tenants_on_three_days_open_a_domain_for_everybody_and_it_says_why() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &just_enough()).await;
    let why = learned(&*store, "site.test", C, *NOW).await.unwrap().unwrap();
    assert_eq!((why.users, why.days, why.tenants, why.since), (5, 3, 2, day_of(at(3))));
}

#[tokio::test]
async fn one_person_fewer_or_one_day_fewer_is_not_enough() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &just_enough()[..4]).await;
    assert!(!is_learned(&store, C).await);
    let two_days: Vec<Signal> =
        (0..9).map(|i| proceed([A, B][i % 2], &format!("v{i}"), 1 + (i as u64) % 2)).collect();
    let other = Arc::new(MemoryStore::default());
    feed(&other, &two_days).await;
    assert!(!is_learned(&other, C).await);
}

#[tokio::test]
async fn many_fake_people_of_one_tenant_open_a_domain_for_that_tenant_only() {
    let store = Arc::new(MemoryStore::default());
    let fakes: Vec<Signal> = (0..900).map(|i| proceed(A, &format!("fake{i}"), i % 60)).collect();
    feed(&store, &fakes).await;
    assert!(is_learned(&store, A).await);
    assert!(!is_learned(&store, B).await);
    assert!(!is_learned(&store, "isp/msp").await, "the provider above is not the tenant");
}

#[tokio::test]
async fn a_slow_drip_by_one_person_teaches_nothing() {
    let store = Arc::new(MemoryStore::default());
    let drip: Vec<Signal> = (0..80).map(|day| proceed(A, "patient", day)).collect();
    feed(&store, &drip).await;
    assert!(!is_learned(&store, A).await);
}

#[tokio::test]
async fn a_crowd_on_one_day_teaches_nothing() {
    let store = Arc::new(MemoryStore::default());
    let crowd: Vec<Signal> = (0..200).map(|i| proceed([A, B][i % 2], &format!("u{i}"), 1)).collect();
    feed(&store, &crowd).await;
    assert!(!is_learned(&store, A).await);
    assert!(!is_learned(&store, C).await);
}

#[tokio::test]
async fn replayed_signals_teach_nothing_twice() {
    let store = Arc::new(MemoryStore::default());
    let signals = &just_enough()[..4];
    for _ in 0..10 {
        feed(&store, signals).await;
    }
    assert!(!is_learned(&store, C).await);
    assert_eq!(scan_rows::<LearnedRow>(&*store, "site.test", "", 100).await.unwrap().len(), 4);
}

#[tokio::test]
async fn scanners_strangers_and_overridden_blocks_teach_nothing() {
    let store = Arc::new(MemoryStore::default());
    let mut signals = just_enough();
    for (index, signal) in signals.iter_mut().enumerate() {
        match index % 3 {
            0 => signal.client = ["machine:agent", "unknown:outside", ""][index / 3].into(),
            1 => signal.decision = "overridden".into(),
            _ => signal.user = String::new(),
        }
    }
    feed(&store, &signals).await;
    assert!(scan_rows::<LearnedRow>(&*store, "site.test", "", 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_click_alone_teaches_nothing() {
    let store = Arc::new(MemoryStore::default());
    let mut signals = just_enough();
    signals.iter_mut().for_each(|s| s.kind = SignalKind::Click as i32);
    feed(&store, &signals).await;
    assert!(!is_learned(&store, A).await);
}

#[tokio::test]
async fn what_was_learned_decays_after_ninety_days() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &just_enough()).await;
    assert!(is_learned(&store, C).await);
    let later = *NOW + 88 * DAY_MS;
    assert!(
        learned(&*store, "site.test", C, later).await.unwrap().is_none(),
        "the first day no longer counts"
    );
}

#[tokio::test]
async fn one_report_freezes_a_domain_for_its_tenant_and_a_second_tenants_for_all() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &just_enough()).await;
    feed(&store, &[report(A)]).await;
    assert!(!is_learned(&store, A).await);
    assert!(is_learned(&store, C).await);
    feed(&store, &[report(A), report(A)]).await;
    assert!(is_learned(&store, C).await, "reports of one tenant freeze nobody else");
    feed(&store, &[report(B)]).await;
    assert!(!is_learned(&store, C).await);
}

#[tokio::test]
async fn a_report_by_a_machine_freezes_nothing() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &just_enough()).await;
    feed(&store, &[Signal { client: "machine:agent".into(), ..report(A) }]).await;
    assert!(is_learned(&store, A).await);
}

#[tokio::test]
async fn what_an_administrator_undid_stays_undone_for_his_level_and_below() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &just_enough()).await;
    let undo = Signal { domain: "site.test".into(), ..Signal::new(SignalKind::Unlearn, "isp/msp") };
    feed(&store, &[undo]).await;
    assert!(!is_learned(&store, A).await);
    assert!(!is_learned(&store, C).await);
    assert!(is_learned(&store, B).await);
    assert!(is_learned(&store, "isp/msp2/d.test").await, "a name that only begins the same is another level");
    let mut again = just_enough();
    again.extend((0..20).map(|i| proceed(A, &format!("more{i}"), i % 5)));
    feed(&store, &again).await;
    assert!(!is_learned(&store, A).await, "new clicks do not thaw it");
}

#[tokio::test]
async fn what_the_operator_undid_is_undone_for_everybody() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &just_enough()).await;
    let undo = Signal { domain: "site.test".into(), ..Signal::new(SignalKind::Unlearn, "isp") };
    feed(&store, &[undo]).await;
    for tenant in [A, B, C, "elsewhere/x/y.test"] {
        assert!(!is_learned(&store, tenant).await, "{tenant}");
    }
}

#[tokio::test]
async fn shared_hosting_shorteners_dynamic_names_and_addresses_are_never_learned() {
    let never = [
        "bit.ly",
        "github.io",
        "someone.github.io",
        "evil.web.app",
        "duckdns.org",
        "evil.duckdns.org",
        "192.0.2.7",
        "[2001:db8::1]",
        "localhost",
        "com",
        "co.uk",
        "sharepoint.com",
        "x.blogspot.com",
        "google.com",
        "",
        "a.b.trycloudflare.com",
    ];
    for domain in never {
        assert!(never_learnable(domain), "{domain}");
    }
    for domain in ["example.com", "notbit.ly.example", "mybit.ly", "site.test", "bbc.co.uk"] {
        assert!(!never_learnable(domain), "{domain}");
    }
    let store = Arc::new(MemoryStore::default());
    let shared: Vec<Signal> =
        just_enough().into_iter().map(|s| Signal { domain: "bit.ly".into(), ..s }).collect();
    feed(&store, &shared).await;
    assert!(scan_rows::<LearnedRow>(&*store, "bit.ly", "", 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn rows_of_a_never_learnable_domain_count_for_nothing_though_they_are_there() {
    let store = MemoryStore::default();
    for (index, day) in [1, 2, 3, 1, 2, 3].into_iter().enumerate() {
        let row = LearnedRow {
            domain: "bit.ly".into(),
            day: day_of(at(day)),
            tenant: [A, B][index % 2].into(),
            user: format!("u{index}"),
        };
        store.apply(vec![Write::Put(row.raw(0))]).await.unwrap();
    }
    assert!(learned(&store, "bit.ly", A, *NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn a_tenant_that_does_not_share_teaches_itself_and_nobody_else() {
    let store = Arc::new(MemoryStore::default());
    policy(&store, A, json!({"share_learning": false})).await;
    feed(&store, &just_enough()).await;
    assert!(!is_learned(&store, C).await, "only B's two people are shared");
    let own: Vec<Signal> = (0..5).map(|i| proceed(A, &format!("u{i}"), i % 3)).collect();
    feed(&store, &own).await;
    assert!(learned_alone(&*store, "site.test", A, *NOW).await.unwrap().is_some());
    assert!(!is_learned(&store, B).await);
}

#[tokio::test]
async fn a_tenant_that_does_not_share_is_not_taught_by_others() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &just_enough()).await;
    assert!(learned_alone(&*store, "site.test", C, *NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn clicks_are_kept_as_long_as_the_policy_says() {
    let store = Arc::new(MemoryStore::default());
    policy(&store, "isp", json!({"click_days": 7})).await;
    let stage = LearnWhitelist::new(store.clone());
    let click = Signal { kind: SignalKind::Click as i32, decision: "warned".into(), ..proceed(A, "u1", 0) };
    let step = stage.work(Record::from(click.clone())).await.unwrap();
    let [Write::Put(row)] = &step.writes[..] else { panic!("one row expected") };
    assert_eq!(row.expires_ms, click.at_ms + 7 * DAY_MS);
    let kept = ClickRow::from_value(&row.value).unwrap();
    assert_eq!(
        (kept.decision.as_str(), kept.host.as_str(), kept.user.as_str()),
        ("warned", "www.site.test", "u1")
    );
    assert_eq!(row.partition, format!("{A}|{}", day_of(click.at_ms)));
}

#[tokio::test]
async fn going_on_and_reporting_are_kept_as_clicks_too() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &[proceed(A, "u1", 0), report(A)]).await;
    let rows: Vec<ClickRow> = scan_rows(&*store, &format!("{A}|{}", day_of(*NOW)), "", 10).await.unwrap();
    let mut decisions: Vec<&str> = rows.iter().map(|r| r.decision.as_str()).collect();
    decisions.sort_unstable();
    assert_eq!(decisions, ["proceeded", "reported"]);
}

#[tokio::test]
async fn with_the_store_away_the_signal_is_tried_again_and_nothing_counts_as_learned() {
    let store = Arc::new(MemoryStore::default());
    feed(&store, &just_enough()).await;
    store.set_away(true);
    assert!(learned(&*store, "site.test", C, *NOW).await.is_err());
    let answer = LearnWhitelist::new(store.clone()).work(Record::from(proceed(A, "u1", 0))).await;
    assert!(matches!(answer, Err(Trouble::Retry { .. })));
}

#[tokio::test]
async fn a_policy_that_does_not_fit_shares_nothing() {
    let store = Arc::new(MemoryStore::default());
    policy(&store, A, json!({"share_lerning": true})).await;
    assert!(!Policies::new(store.clone()).of(A).await.unwrap().share_learning);
}

#[tokio::test]
async fn other_signals_leave_nothing_and_a_mail_is_not_swallowed() {
    let stage = LearnWhitelist::new(Arc::new(MemoryStore::default()));
    for kind in [SignalKind::Judged, SignalKind::ListEdit, SignalKind::Refused, SignalKind::Notice] {
        assert!(stage.work(Record::from(Signal::new(kind, A))).await.unwrap().writes.is_empty());
    }
    let mail = stage.work(Record::from(tidegate_schemas::Mail::default())).await;
    assert!(matches!(mail, Err(Trouble::Refuse { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever order and mixture signals come in: nothing is learned with fewer people, days or tenants.
    #[test]
    fn nothing_is_learned_below_the_limits(clicks in proptest::collection::vec((0_usize..3, 0_u8..8, 0_u64..6), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = Arc::new(MemoryStore::default());
            let signals: Vec<Signal> = clicks.iter().map(|(t, u, d)| proceed([A, B, C][*t], &format!("u{u}"), *d)).collect();
            feed(&store, &signals).await;
            let count = |of: Option<usize>| {
                let mine = clicks.iter().filter(|(t, ..)| of.is_none_or(|o| o == *t));
                let people: HashSet<_> = mine.clone().map(|(t, u, _)| (t, u)).collect();
                let days: HashSet<_> = mine.clone().map(|(.., d)| d).collect();
                let tenants: HashSet<_> = mine.map(|(t, ..)| t).collect();
                (people.len(), days.len(), tenants.len())
            };
            let (all, own) = (count(None), count(Some(0)));
            let expected = (all.0 >= 5 && all.1 >= 3 && all.2 >= 2) || (own.0 >= 5 && own.1 >= 3);
            assert_eq!(is_learned(&store, A).await, expected);
        });
    }
}
