use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use tidegate_schemas::Row;
use tidegate_schemas::rows::SentRow;

fn flight(records: u64, now: Instant) -> Flight {
    let entry = |offset| Entry { offset, at_ms: 0, value: Bytes::new() };
    Flight::new((10..10 + records).map(entry).collect(), now)
}

fn output(text: &str) -> Output {
    Output { topic: text.to_owned(), key: Bytes::new(), value: Bytes::new() }
}

fn row(offset: u64) -> Write {
    let mail = offset.to_string();
    Write::Put(SentRow { mail, recipient: String::new(), reply: String::new(), at_ms: 0 }.raw(0))
}

/// Sends a record through one stage.
fn work(flight: &mut Flight, index: usize, now: Instant) {
    let hop = flight.enter(index, 0, now).unwrap();
    assert!(flight.leave(&hop));
    flight.made(index, vec![output(&index.to_string())], Vec::new());
    flight.settle(index);
}

#[tokio::test]
async fn only_the_finished_run_at_the_front_can_be_committed() {
    let now = Instant::now();
    let mut flight = flight(4, now);
    assert_eq!(flight.start(now, true), [0, 1, 2, 3]);
    for index in [0, 1, 3] {
        work(&mut flight, index, now);
    }
    let (next, batch) = flight.take_finished().unwrap();
    assert_eq!((next, batch.outputs), (12, vec![output("0"), output("1")]));
    assert!(flight.take_finished().is_none());
    work(&mut flight, 2, now);
    assert!(flight.is_finished());
    let (next, batch) = flight.take_finished().unwrap();
    assert_eq!((next, batch.outputs), (14, vec![output("2"), output("3")]));
}

#[tokio::test]
async fn an_answer_to_an_earlier_round_is_void() {
    let now = Instant::now();
    let mut flight = flight(1, now);
    flight.start(now, true);
    let (one, two) = (flight.enter(0, 0, now).unwrap(), flight.enter(0, 0, now).unwrap());
    assert!(flight.leave(&one));
    flight.made(0, vec![output("half")], Vec::new());
    flight.again(0, now + Duration::from_secs(1));
    assert!(!flight.leave(&two));
    assert!(flight.is_idle());
    assert!(flight.start(now, true).is_empty(), "not before its time");
    assert_eq!(flight.next_due(), Some(now + Duration::from_secs(1)));
    assert_eq!(flight.start(now + Duration::from_secs(1), true), [0]);
    work(&mut flight, 0, now);
    assert_eq!(
        flight.take_finished().unwrap().1.outputs,
        [output("0")],
        "nothing of the first round is left"
    );
}

#[tokio::test]
async fn suspects_are_worked_alone_and_the_rest_together_before_them() {
    let now = Instant::now();
    let mut flight = flight(4, now);
    flight.start(now, true);
    for index in [1, 2] {
        flight.suspect(index);
    }
    flight.replay(now);
    assert_eq!(flight.start(now, true), [0, 3]);
    assert!(flight.start(now, true).is_empty(), "no suspect beside others");
    work(&mut flight, 0, now);
    work(&mut flight, 3, now);
    let first = flight.start(now, true);
    assert_eq!(first.len(), 1);
    assert!(flight.start(now, true).is_empty(), "one suspect at a time");
    work(&mut flight, first[0], now);
    let second = flight.start(now, true);
    assert_eq!(first[0] + second[0], 3);
}

#[tokio::test]
async fn who_is_nearest_to_being_buried_comes_first_unless_nothing_ever_worked() {
    for (proven, expected) in [(true, 1), (false, 0)] {
        let now = Instant::now();
        let mut flight = flight(2, now);
        flight.start(now, true);
        flight.suspect(0);
        assert_eq!(flight.blame(1), 1);
        flight.replay(now);
        assert_eq!(flight.start(now, proven), [expected]);
    }
}

#[tokio::test]
async fn a_buried_record_leaves_only_its_row() {
    let now = Instant::now();
    let mut flight = flight(1, now);
    flight.start(now, true);
    flight.made(0, vec![output("a")], vec![row(1)]);
    flight.bury(0, row(2));
    assert_eq!(flight.take_finished(), Some((11, Batch { outputs: Vec::new(), writes: vec![row(2)] })));
}

#[tokio::test]
async fn what_is_over_its_deadline_is_found_by_stage() {
    let now = Instant::now();
    let mut flight = flight(2, now);
    flight.start(now, true);
    let deadlines = [Duration::from_secs(5), Duration::from_secs(9)];
    flight.enter(0, 0, now);
    let late = flight.enter(1, 1, now).unwrap();
    assert!(flight.overdue(now + Duration::from_secs(4), &deadlines).is_empty());
    assert_eq!(flight.overdue(now + Duration::from_secs(9), &deadlines[1..]).len(), 1);
    assert_eq!(flight.overdue(now + Duration::from_secs(9), &deadlines)[1], late);
    assert_eq!((flight.inside(0), flight.inside(1)), (vec![0], vec![1]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to the records, in whatever order: each is committed once, in order, and the batch ends.
    #[test]
    fn every_record_is_committed_once_and_in_order(
        records in 1..12u64,
        events in proptest::collection::vec((0..6u8, 0..12usize), 0..120),
    ) {
        let mut now = Instant::now();
        let mut flight = flight(records, now);
        let mut committed = Vec::new();
        let mut working: BTreeSet<usize> = BTreeSet::new();
        let mut position = 10;
        let take = |flight: &mut Flight, committed: &mut Vec<String>, position: &mut u64| {
            if let Some((next, batch)) = flight.take_finished() {
                assert!(next > *position);
                assert_eq!((next - *position) as usize, batch.outputs.len() + batch.writes.len());
                *position = next;
                committed.extend(batch.outputs.iter().map(|o| o.topic.clone()));
            }
        };
        for (event, index) in events {
            let busy = working.contains(&index);
            match event {
                0 => working.extend(flight.start(now, index % 2 == 0)),
                1 if busy => {
                    work(&mut flight, index, now);
                    working.remove(&index);
                }
                2 if busy => {
                    flight.again(index, now + Duration::from_secs(1));
                    working.remove(&index);
                }
                3 if busy => {
                    flight.blame(index);
                    flight.replay(now);
                    working.clear();
                }
                4 if busy => {
                    flight.bury(index, row(index as u64));
                    working.remove(&index);
                }
                5 => take(&mut flight, &mut committed, &mut position),
                _ => {}
            }
            prop_assert_eq!(flight.is_idle(), working.is_empty());
        }
        while !flight.is_finished() {
            now += Duration::from_secs(2);
            working.extend(flight.start(now, true));
            prop_assert!(!working.is_empty(), "nothing to do and not finished");
            for index in std::mem::take(&mut working) {
                work(&mut flight, index, now);
            }
        }
        take(&mut flight, &mut committed, &mut position);
        prop_assert_eq!(position, 10 + records);
        let unique: BTreeSet<&String> = committed.iter().collect();
        prop_assert_eq!(unique.len(), committed.len());
    }
}
