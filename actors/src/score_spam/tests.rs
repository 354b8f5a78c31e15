//! The stage as a whole, against fakes.

use super::*;
use crate::ports::Store as _;
use crate::ports::fakes::{FixedDirectory, MemoryStore};
use proptest::prelude::*;
use tidegate_schemas::rows::{ReputationRow, day_of};
use tidegate_schemas::{Auth, Recipient, Row as _, Signal, SignalKind, Write, now_ms};

const RAW: &str = "Received: from a.test by b.test; Fri, 27 Nov 2026 11:59:00 +0000\r\n\
    From: Ann <ann@corp.test>\r\nTo: bob@example.test\r\nSubject: Minutes of Monday\r\n\
    Date: Fri, 27 Nov 2026 11:58:00 +0000\r\nMessage-ID: <1@corp.test>\r\n\r\nSee https://linked.test/x\r\n";
const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

struct Bench {
    directory: Arc<FixedDirectory>,
    store: Arc<MemoryStore>,
    model: SharedModel,
    stage: ScoreSpam,
}

fn bench_with(policy: Policy) -> Bench {
    let directory = Arc::new(FixedDirectory::of("example.test", policy));
    let store = Arc::new(MemoryStore::default());
    let model = classifier::Model::shared();
    let stage = ScoreSpam::new(directory.clone(), Arc::new(Reputation::new(store.clone())), model.clone());
    Bench { directory, store, model, stage }
}

fn bench() -> Bench {
    bench_with(Policy::default())
}

fn mail(raw: impl Into<Vec<u8>>) -> Mail {
    let recipient = Recipient { address: "bob@example.test".into(), ..Recipient::default() };
    Mail {
        id: "01M".into(),
        tenant: "isp/msp/example.test".into(),
        received_ms: 1_795_780_800_000,
        mail_from: "ann@corp.test".into(),
        recipients: vec![recipient],
        raw: raw.into().into(),
        ..Mail::default()
    }
}

/// The one record that comes out, and by which way.
async fn judged(stage: &ScoreSpam, mail: Mail) -> (crate::stage::Port, Mail) {
    let mut step = stage.work(mail.into()).await.unwrap();
    assert_eq!((step.out.len(), step.writes.len()), (1, 0));
    let (port, record) = step.out.remove(0);
    let Record::Mail(mail) = record else { panic!("a signal came out") };
    (port, *mail)
}

const NEXT: crate::stage::Port = crate::stage::Port::Next;
const HELD: crate::stage::Port = crate::stage::Port::Divert("held");

#[tokio::test]
async fn an_ordinary_mail_goes_on_with_its_score_and_untouched_octets() {
    let (port, out) = judged(&bench().stage, mail(RAW)).await;
    assert_eq!((port, out.verdict(), out.spam_probability), (NEXT, Verdict::Deliver, -1.0));
    assert_eq!(out.added_headers, "X-Tidegate-Score: 0.0\r\nX-Tidegate-Verdict: deliver\r\n");
    assert_eq!((out.raw, out.evidence), (Bytes::from(RAW), vec![]));
}

#[tokio::test]
async fn the_test_string_is_held_as_spam() {
    let (port, out) = judged(&bench().stage, mail(format!("{RAW}{GTUBE}\r\n"))).await;
    assert_eq!((port, out.hold_reason.as_str(), out.verdict()), (HELD, "spam", Verdict::Hold));
}

#[tokio::test]
async fn a_mail_over_the_lower_threshold_is_tagged() {
    let policy = Policy { tag_at: 0.2, ..Policy::default() };
    let raw = RAW.replace("Subject: Minutes of Monday\r\n", "");
    let (port, out) = judged(&bench_with(policy).stage, mail(raw)).await;
    assert_eq!((port, out.verdict()), (NEXT, Verdict::Tag));
    let added = "X-Tidegate-Score: 0.5\r\nX-Tidegate-Verdict: tag\r\nX-Tidegate-Spam: yes\r\n";
    assert_eq!(out.added_headers, added);
}

#[tokio::test]
async fn header_fields_in_our_name_are_cut_out_and_every_other_octet_stays() {
    let forged = "x-tidegate-SPAM: no\r\n folded\r\n";
    let raw = format!(
        "{forged}{}",
        RAW.replace("Date:", &format!("X-Tidegate-Verdict : deliver\r\n{forged}Date:"))
    );
    let raw = format!("{raw}X-Tidegate-Spam: this is body\r\n");
    let (_, out) = judged(&bench().stage, mail(raw)).await;
    assert_eq!(out.raw, Bytes::from(format!("{RAW}X-Tidegate-Spam: this is body\r\n")));
    assert!(out.has("FORGED_TIDEGATE"));
}

#[tokio::test]
async fn a_blocked_sender_is_held_without_proof_and_an_allowed_one_passes_only_with_it() {
    let b = bench();
    let list = |value: &str, allow| {
        b.directory.lists.lock().push(("isp/msp".into(), "sender".into(), value.into(), allow));
    };
    list("corp.test", true);
    let spam = format!("{RAW}{GTUBE}\r\n");
    let (port, out) = judged(&b.stage, mail(spam.clone())).await;
    assert!(port == HELD && out.has("LIST_ALLOW_UNPROVEN") && !out.has("LIST_ALLOW"));
    let proven = Auth { spf: "pass".into(), ..Auth::default() };
    let (port, out) = judged(&b.stage, Mail { auth: proven, ..mail(spam) }).await;
    assert!(port == NEXT && out.has("LIST_ALLOW"), "{:?}", out.evidence);
    list("ann@corp.test", false);
    let (port, out) = judged(&b.stage, mail(RAW)).await;
    assert_eq!((port, out.hold_reason.as_str()), (HELD, "list"));
}

#[tokio::test]
async fn spf_of_another_envelope_does_not_prove_a_listed_from_address() {
    let b = bench();
    b.directory.lists.lock().push(("isp".into(), "sender".into(), "corp.test".into(), true));
    let auth = Auth { spf: "pass".into(), ..Auth::default() };
    let forged = Mail { auth, mail_from: "x@evil.test".into(), ..mail(RAW) };
    let (_, out) = judged(&b.stage, forged).await;
    assert!(out.has("LIST_ALLOW_UNPROVEN") && !out.has("LIST_ALLOW"));
}

#[tokio::test]
async fn a_users_own_list_holds_for_that_user() {
    let keys = Arc::new(LinkKeys::generate().unwrap());
    let b = bench();
    let path = format!("isp/msp/example.test/{}", keys.pseudonym("isp/msp/example.test", "bob@example.test"));
    b.directory.lists.lock().push((path, "sender".into(), "corp.test".into(), false));
    assert_eq!(judged(&b.stage, mail(RAW)).await.0, NEXT);
    assert_eq!(judged(&b.stage.with_keys(keys), mail(RAW)).await.0, HELD);
}

#[tokio::test]
async fn a_forbidden_attachment_is_held_inbound_and_outbound() {
    let raw = RAW.replace("\r\n\r\n", "\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\n");
    for direction in [Direction::Inbound, Direction::Outbound] {
        let (port, out) =
            judged(&bench().stage, Mail { direction: direction as i32, ..mail(raw.clone()) }).await;
        assert_eq!((port, out.hold_reason.as_str()), (HELD, "attachment"));
    }
}

#[tokio::test]
async fn outbound_mail_is_never_tagged_and_released_and_own_mail_never_touched() {
    let spam = format!("{RAW}{GTUBE}\r\n");
    let outbound = Mail { direction: Direction::Outbound as i32, ..mail(spam.clone()) };
    let (port, out) = judged(&bench().stage, outbound).await;
    assert_eq!((port, out.verdict(), out.added_headers.as_str()), (NEXT, Verdict::Deliver, ""));
    let released = Mail { released_by: "admin".into(), ..mail(spam.clone()) };
    assert_eq!(judged(&bench().stage, released.clone()).await, (NEXT, released));
    let own = Mail { direction: Direction::Own as i32, ..mail(spam) };
    assert_eq!(judged(&bench().stage, own.clone()).await, (NEXT, own));
}

#[tokio::test]
async fn a_signal_passes() {
    let signal = Record::from(Signal::new(SignalKind::Click, "isp"));
    let step = bench().stage.work(signal.clone()).await.unwrap();
    assert_eq!(step.out, [(NEXT, signal)]);
}

#[tokio::test]
async fn the_record_comes_again_while_the_store_is_away() {
    let b = bench();
    b.store.set_away(true);
    assert!(matches!(b.stage.work(mail(RAW).into()).await, Err(Trouble::Retry { .. })));
    b.store.set_away(false);
    assert_eq!(judged(&b.stage, mail(RAW)).await.0, NEXT);
}

async fn say(store: &MemoryStore, sign: &str, sources: usize, days_ago: u64) {
    let day = day_of(now_ms() - days_ago * 86_400_000);
    let row = |n: usize| ReputationRow {
        domain: "linked.test".into(),
        day: day.clone(),
        sign: sign.into(),
        source: format!("isp/msp/{n}.test u"),
    };
    store.apply((0..sources).map(|n| Write::Put(row(n).raw(0))).collect()).await.unwrap();
}

#[tokio::test]
async fn a_site_with_many_sources_against_it_weighs_and_old_or_few_ones_do_not() {
    for (bad, good, days_ago, hit) in [(8, 0, 1, true), (4, 0, 1, false), (8, 0, 40, false), (8, 9, 1, false)]
    {
        let b = bench();
        say(&b.store, "bad", bad, days_ago).await;
        say(&b.store, "good", good, days_ago).await;
        let (_, out) = judged(&b.stage, mail(RAW)).await;
        assert_eq!(out.has("DOMAIN_REPORTED"), hit, "{bad} {good} {days_ago}");
    }
}

#[tokio::test]
async fn the_same_source_on_many_days_counts_once() {
    let b = bench();
    for day in 1..15 {
        say(&b.store, "bad", 1, day).await;
    }
    assert!(!judged(&b.stage, mail(RAW)).await.1.has("DOMAIN_REPORTED"));
}

#[tokio::test]
async fn a_tenant_that_shares_no_learning_hears_no_other_tenants() {
    let b = bench_with(Policy { share_learning: false, ..Policy::default() });
    say(&b.store, "bad", 20, 1).await;
    assert!(!judged(&b.stage, mail(RAW)).await.1.has("DOMAIN_REPORTED"));
}

#[tokio::test]
async fn a_well_known_site_speaks_for_the_mail() {
    let b = bench();
    say(&b.store, "good", 12, 1).await;
    let (_, out) = judged(&b.stage, mail(RAW)).await;
    assert!(out.has("DOMAIN_KNOWN") && out.score < 0.0);
}

#[tokio::test]
async fn the_classifier_adds_evidence_once_it_is_trained() {
    let b = bench();
    for n in 0..40 {
        let spam = format!("Subject: pills {n}\r\n\r\ncheap pills now {n}\r\n");
        b.model.write().learn(&format!("s{n}"), spam.as_bytes(), true);
        b.model.write().learn(&format!("h{n}"), RAW.as_bytes(), false);
    }
    let (_, ham) = judged(&b.stage, mail(RAW)).await;
    assert!(ham.has("CLASSIFIER_HAM") && (0.0..0.5).contains(&ham.spam_probability));
    let (_, spam) = judged(&b.stage, mail("Subject: pills\r\n\r\ncheap pills now\r\n")).await;
    assert!(spam.has("CLASSIFIER_SPAM") && spam.spam_probability > 0.5);
    let told = spam.evidence.iter().find(|e| e.code == "CLASSIFIER_SPAM").unwrap();
    assert!(told.why.contains("pills") && told.weight <= MOST_POINTS, "{told:?}");
}

#[tokio::test]
async fn what_cannot_be_parsed_is_judged_by_what_there_is() {
    for raw in [&b""[..], b"\0\0\0", b"\r\n", b"no header here"] {
        let (_, out) = judged(&bench().stage, mail(raw)).await;
        assert!(out.has("UNPARSABLE"), "{raw:?} {:?}", out.evidence);
    }
}

#[test]
fn real_ham_is_rarely_over_the_thresholds_by_rules_alone() {
    let Some(samples) = corpora::ham_and_spam(400) else { return };
    let b = bench();
    let sum = |s: &corpora::Sample| -> f32 {
        b.stage.examine(&mail(s.raw.clone()), &Policy::default()).evidence.iter().map(|e| e.weight).sum()
    };
    let ham: Vec<f32> = samples.iter().filter(|s| !s.spam).map(sum).collect();
    let over = ham.iter().filter(|score| **score >= 5.0).count();
    println!("{over} of {} ham at 5 points or more", ham.len());
    assert!(over * 100 <= ham.len(), "{over} of {}", ham.len());
    assert!(ham.iter().all(|score| *score < 10.0));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn cutting_our_fields_leaves_every_other_octet(
        fields in proptest::collection::vec("(X-Tidegate-[A-Z]{1,5}|[A-Z]{1,8}) ?:[ -~]{0,20}(\r\n [a-z]{0,9})?\r\n", 0..8),
        body in "[ -~\r\n]{0,60}",
    ) {
        let ours = |f: &&String| f.starts_with("X-Tidegate-") && !f.starts_with("X-Tidegate-TRAP");
        let raw = format!("{}\r\n{body}", fields.concat());
        let want = format!("{}\r\n{body}", fields.iter().filter(|f| !ours(f)).cloned().collect::<String>());
        let cut = without_ours(raw.as_bytes());
        prop_assert_eq!(cut.unwrap_or(Bytes::from(raw)), Bytes::from(want));
    }

    #[test]
    fn any_octets_are_examined_without_a_panic(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        let b = bench();
        b.stage.examine(&mail(raw), &Policy::default());
    }
}
