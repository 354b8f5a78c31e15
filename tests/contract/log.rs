//! The contract of the log port, to run on every backend.
//!
//! A backend calls [`suite`] with a function that opens its log. The function gets the scenario's name: the
//! same name again (after the first log was dropped) means the same data, another name means fresh data.
//! Topics are `in` and `out` with two partitions each, consumers `a` and `b` of both partitions of `in`.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tidegate_topology::log::{Batch, Entry, From, Log, Output, Seat, Want};

/// Long enough for any machine; only a broken backend waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn output(topic: &str, key: &str, value: &str) -> Output {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    Output { topic: topic.into(), key, value }
}

pub(crate) fn outputs(outputs: Vec<Output>) -> Batch {
    Batch { outputs, writes: Vec::new() }
}

pub(crate) fn seat(consumer: &str, partition: u32) -> Seat {
    Seat { consumer: consumer.into(), topic: "in".into(), partition }
}

fn at_once(records: usize) -> Want {
    Want { records, bytes: 1 << 20, wait: Duration::ZERO }
}

fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).collect()
}

async fn all(log: &Arc<dyn Log>, topic: &str, partition: u32) -> Vec<Entry> {
    log.browse(topic, partition, From::Offset(0), 100_000).await.unwrap()
}

/// The partition that holds a value.
async fn partition_with(log: &Arc<dyn Log>, topic: &str, value: &str) -> u32 {
    for partition in 0..2 {
        if texts(&all(log, topic, partition).await).iter().any(|text| text == value) {
            return partition;
        }
    }
    panic!("{value} is in no partition of {topic}");
}

/// All scenarios.
pub(crate) async fn suite<F, Opening>(open: F)
where
    F: Fn(&'static str) -> Opening,
    Opening: Future<Output = Arc<dyn Log>>,
{
    a_keys_records_stay_in_order_in_one_partition(open("order").await).await;
    reading_moves_nothing_and_a_commit_moves_its_own_seat_only(open("seats").await).await;
    a_commit_brings_outputs_and_position_together(open("commit").await).await;
    a_reader_waits_for_the_first_record(open("waits").await).await;
    a_read_gives_nothing_when_nothing_comes_in_time(open("late").await).await;
    a_read_gives_as_much_as_is_wanted_and_at_least_one(open("want").await).await;
    browsing_begins_at_an_offset_or_a_moment_whoever_has_consumed(open("browse").await).await;
    racing_producers_leave_no_gap_and_no_double(open("race").await).await;
    records_and_positions_outlive_the_process(&open).await;
}

async fn a_keys_records_stay_in_order_in_one_partition(log: Arc<dyn Log>) {
    for number in 0..20 {
        let one = output("in", "one key", &format!("k{number}"));
        let other = output("in", &format!("other {number}"), "x");
        log.append(outputs(vec![one, other])).await.unwrap();
    }
    let partition = partition_with(&log, "in", "k0").await;
    let entries = all(&log, "in", partition).await;
    let ours: Vec<String> = texts(&entries).into_iter().filter(|text| text.starts_with('k')).collect();
    assert_eq!(ours, (0..20).map(|number| format!("k{number}")).collect::<Vec<_>>());
    for pair in entries.windows(2) {
        assert!(pair[0].offset < pair[1].offset && pair[0].at_ms <= pair[1].at_ms, "{pair:?}");
    }
}

async fn reading_moves_nothing_and_a_commit_moves_its_own_seat_only(log: Arc<dyn Log>) {
    let batch = (0..5).map(|number| output("in", "key", &format!("v{number}"))).collect();
    log.append(outputs(batch)).await.unwrap();
    let partition = partition_with(&log, "in", "v0").await;
    let (a, b) = (seat("a", partition), seat("b", partition));
    let first = log.read(&a, at_once(3)).await.unwrap();
    assert_eq!(texts(&first), ["v0", "v1", "v2"]);
    assert_eq!(log.read(&a, at_once(3)).await.unwrap(), first, "the same call gives the same entries");
    log.commit(&a, first[1].offset + 1, Batch::default()).await.unwrap();
    assert_eq!(texts(&log.read(&a, at_once(9)).await.unwrap()), ["v2", "v3", "v4"]);
    assert_eq!(texts(&log.read(&b, at_once(9)).await.unwrap()), ["v0", "v1", "v2", "v3", "v4"]);
    let lags = log.lags();
    let position =
        |seat: &Seat| lags.iter().find(|lag| lag.seat == *seat).map(|lag| (lag.position, lag.end)).unwrap();
    let (moved, end) = position(&a);
    assert_eq!((end - moved, position(&b).1 - position(&b).0), (3, 5));
}

async fn a_commit_brings_outputs_and_position_together(log: Arc<dyn Log>) {
    log.append(outputs(vec![output("in", "key", "v0")])).await.unwrap();
    let partition = partition_with(&log, "in", "v0").await;
    let a = seat("a", partition);
    let next = log.read(&a, at_once(1)).await.unwrap()[0].offset + 1;
    let batch = outputs(vec![
        output("out", "1", "first"),
        output("out", "1", "second"),
        output("in", "key", "again"),
    ]);
    log.commit(&a, next, batch).await.unwrap();
    assert_eq!(texts(&log.read(&a, at_once(9)).await.unwrap()), ["again"]);
    let out = partition_with(&log, "out", "first").await;
    assert_eq!(texts(&all(&log, "out", out).await), ["first", "second"]);
}

async fn a_reader_waits_for_the_first_record(log: Arc<dyn Log>) {
    let wait = Want { records: 10, bytes: 1 << 20, wait: PATIENCE };
    let (seats, logs) = ([seat("a", 0), seat("a", 1)], [Arc::clone(&log), Arc::clone(&log)]);
    let readers = logs
        .into_iter()
        .zip(seats)
        .map(|(log, seat)| tokio::spawn(async move { texts(&log.read(&seat, wait).await.unwrap()) }));
    let readers: Vec<_> = readers.collect();
    // Whether they wait already or come later, both must get theirs.
    let batch = (0..64).map(|number| output("in", &format!("key {number}"), "v")).collect();
    log.append(outputs(batch)).await.unwrap();
    for reader in readers {
        assert!(!reader.await.unwrap().is_empty());
    }
}

async fn a_read_gives_nothing_when_nothing_comes_in_time(log: Arc<dyn Log>) {
    let wait = Want { records: 10, bytes: 1 << 20, wait: Duration::from_millis(5) };
    assert_eq!(log.read(&seat("a", 0), wait).await.unwrap(), []);
}

async fn a_read_gives_as_much_as_is_wanted_and_at_least_one(log: Arc<dyn Log>) {
    let long = "l".repeat(10_000);
    let batch = (0..10).map(|_| output("in", "key", &long)).collect();
    log.append(outputs(batch)).await.unwrap();
    let a = seat("a", partition_with(&log, "in", &long).await);
    let want = |records, bytes| Want { records, bytes, wait: Duration::ZERO };
    assert_eq!(log.read(&a, want(4, 1 << 20)).await.unwrap().len(), 4);
    assert_eq!(log.read(&a, want(10, 35_000)).await.unwrap().len(), 3);
    assert_eq!(log.read(&a, want(10, 1)).await.unwrap().len(), 1, "one, however long");
}

async fn browsing_begins_at_an_offset_or_a_moment_whoever_has_consumed(log: Arc<dyn Log>) {
    let batch = (0..5).map(|number| output("in", "key", &format!("v{number}"))).collect();
    log.append(outputs(batch)).await.unwrap();
    let partition = partition_with(&log, "in", "v0").await;
    let entries = all(&log, "in", partition).await;
    let last = entries.last().unwrap();
    for consumer in ["a", "b"] {
        log.commit(&seat(consumer, partition), last.offset + 1, Batch::default()).await.unwrap();
    }
    let from = |from, records| log.browse("in", partition, from, records);
    assert_eq!(texts(&from(From::Offset(entries[3].offset), 9).await.unwrap()), ["v3", "v4"]);
    assert_eq!(texts(&from(From::Offset(0), 2).await.unwrap()), ["v0", "v1"]);
    assert_eq!(from(From::Offset(last.offset + 1), 9).await.unwrap(), []);
    assert_eq!(from(From::Moment(0), 9).await.unwrap(), entries);
    assert_eq!(from(From::Moment(entries[0].at_ms), 9).await.unwrap(), entries);
    assert_eq!(from(From::Moment(last.at_ms + 1), 9).await.unwrap(), []);
}

async fn racing_producers_leave_no_gap_and_no_double(log: Arc<dyn Log>) {
    let producers = (0..8).map(|producer| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for number in 0..25 {
                let name = format!("{producer}-{number}");
                log.append(outputs(vec![output("in", &name, &name)])).await.unwrap();
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.await.unwrap();
    }
    let mut seen = BTreeSet::new();
    for partition in 0..2 {
        let entries = all(&log, "in", partition).await;
        for pair in entries.windows(2) {
            assert!(pair[0].offset < pair[1].offset);
        }
        assert_eq!(log.read(&seat("a", partition), at_once(1_000)).await.unwrap(), entries);
        for text in texts(&entries) {
            assert!(seen.insert(text.clone()), "{text} twice");
        }
    }
    assert_eq!(seen.len(), 200);
}

async fn records_and_positions_outlive_the_process<F, Opening>(open: &F)
where
    F: Fn(&'static str) -> Opening,
    Opening: Future<Output = Arc<dyn Log>>,
{
    let log = open("outlive").await;
    let batch = (0..5).map(|number| output("in", "key", &format!("v{number}"))).collect();
    log.append(outputs(batch)).await.unwrap();
    let partition = partition_with(&log, "in", "v0").await;
    let before = all(&log, "in", partition).await;
    log.commit(&seat("a", partition), before[2].offset, Batch::default()).await.unwrap();
    drop(log);
    let log = open("outlive").await;
    assert_eq!(all(&log, "in", partition).await, before);
    assert_eq!(texts(&log.read(&seat("a", partition), at_once(9)).await.unwrap()), ["v2", "v3", "v4"]);
    log.append(outputs(vec![output("in", "key", "v5")])).await.unwrap();
    let after = all(&log, "in", partition).await;
    assert!(after[5].offset > before[4].offset, "offsets go on rising");
    assert_eq!(texts(&log.read(&seat("b", partition), at_once(9)).await.unwrap()).len(), 6);
}
