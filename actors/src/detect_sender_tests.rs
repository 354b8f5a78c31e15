//! Proof, classes, bursts and replays of detect_sender.

use super::*;
use crate::ports::fakes::{FixedDirectory, MemoryStore};
use crate::stage::Port;
use tidegate_schemas::{Client, Policy, Recipient};

fn stage(burst: u32) -> (DetectSender, Arc<MemoryStore>) {
    let policy = Policy { new_sender_burst: burst, ..Policy::default() };
    let store = Arc::new(MemoryStore::default());
    (
        DetectSender::new(
            Arc::new(FixedDirectory::of("example.test", policy)),
            store.clone(),
            Arc::default(),
        ),
        store,
    )
}

fn outbound(from: &str, login: &str) -> Record {
    let client = Client { login: login.into(), ..Client::default() };
    let direction = Direction::Outbound as i32;
    Mail { id: from.into(), mail_from: from.into(), direction, client, ..Mail::default() }.into()
}

fn inbound(from: &str) -> Record {
    let recipients = vec![Recipient { address: "b@example.test".into(), ..Recipient::default() }];
    Mail { mail_from: from.into(), recipients, ..Mail::default() }.into()
}

async fn run(stage: &DetectSender, store: &MemoryStore, record: Record) -> Step {
    let step = stage.work(record).await.unwrap();
    store.apply(step.writes.clone()).await.unwrap();
    step
}

fn ports(step: &Step) -> Vec<&Port> {
    step.out.iter().map(|(port, _)| port).collect()
}

#[tokio::test]
async fn an_authenticated_first_mail_makes_an_account_and_a_signal_once() {
    let (stage, store) = stage(5);
    let step = run(&stage, &store, outbound("Ann@example.test", "ann@example.test")).await;
    assert_eq!(ports(&step), [&Port::Next, &Port::Divert("signals")]);
    let user = get_row::<UserRow>(&*store, "example.test", "ann").await.unwrap().unwrap();
    assert_eq!(user.class, "account");
    let again = run(&stage, &store, outbound("ann@example.test", "ann@example.test")).await;
    assert_eq!(ports(&again), [&Port::Next]);
}

#[tokio::test]
async fn without_proof_nothing_is_made_and_the_mail_goes_on() {
    let (stage, store) = stage(5);
    let step = run(&stage, &store, outbound("ann@example.test", "")).await;
    assert_eq!(ports(&step), [&Port::Next]);
    assert!(step.writes.is_empty());
}

#[tokio::test]
async fn a_burst_of_new_senders_is_held_and_known_senders_go_on() {
    let (stage, store) = stage(3);
    for n in 0..3 {
        run(&stage, &store, outbound(&format!("u{n}@example.test"), "x@example.test")).await;
    }
    let fourth = run(&stage, &store, outbound("u3@example.test", "x@example.test")).await;
    assert_eq!(ports(&fourth), [&Port::Divert("held")]);
    let known = run(&stage, &store, outbound("u1@example.test", "x@example.test")).await;
    assert_eq!(ports(&known), [&Port::Next]);
}

#[tokio::test]
async fn a_burst_within_one_batch_is_seen_before_its_rows_are_stored() {
    let (stage, _) = stage(3);
    let mut held = 0;
    for n in 0..10 {
        let step = stage.work(outbound(&format!("u{n}@example.test"), "x@example.test")).await.unwrap();
        held += usize::from(step.out[0].0 == Port::Divert("held"));
    }
    assert_eq!(held, 7);
}

#[tokio::test]
async fn a_replayed_mail_counts_once_towards_the_burst() {
    let (stage, store) = stage(2);
    let first = stage.work(outbound("a@example.test", "x@example.test")).await.unwrap();
    let replay = stage.work(outbound("a@example.test", "x@example.test")).await.unwrap();
    store.apply(first.writes).await.unwrap();
    store.apply(replay.writes).await.unwrap();
    let second = run(&stage, &store, outbound("b@example.test", "x@example.test")).await;
    assert_eq!(second.out[0].0, Port::Next);
}

#[tokio::test]
async fn the_first_inbound_mail_of_a_sender_is_marked_and_the_second_is_not() {
    let (stage, store) = stage(2);
    let first = run(&stage, &store, inbound("new@out.test")).await;
    let Record::Mail(mail) = &first.out[0].1 else { panic!() };
    assert!(mail.has("FIRST_SEEN_SENDER"));
    let second = run(&stage, &store, inbound("new@out.test")).await;
    let Record::Mail(mail) = &second.out[0].1 else { panic!() };
    assert!(!mail.has("FIRST_SEEN_SENDER"));
}

#[tokio::test]
async fn a_store_that_is_away_means_retry() {
    let (stage, store) = stage(2);
    store.set_away(true);
    assert!(matches!(stage.work(inbound("a@out.test")).await, Err(Trouble::Retry { .. })));
}

#[test]
fn devices_roles_and_aliases_are_told_from_people() {
    let classes = ["printer2", "postmaster", "ann+shop", "ann"].map(class_of);
    assert_eq!(classes, ["device", "role", "alias", "account"]);
}
