use super::super::{Embedded, Options, TopicSpec};
use super::*;
use bytes::Bytes;
use tidegate_schemas::{RawRow, Write};
use tidegate_topology::log::{Batch, Log, Output, Seat};

#[test]
fn a_consumed_segment_stays_until_the_store_has_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seat = Seat { consumer: "lane".into(), topic: "flow".into(), partition: 0 };
    let options = Options {
        topics: vec![TopicSpec { name: "flow".into(), partitions: 1 }],
        consumers: vec![seat.clone()],
        segment_bytes: 64 << 10,
        retain_bytes: 0,
        min_free_bytes: 0,
        ..Options::default()
    };
    let log = Embedded::open(folder.path(), options).unwrap();
    let shared = Arc::clone(&log.shared);
    let keeper = Keeper::new(Arc::clone(&shared), Arc::clone(&log.stop));
    let numbers = || shared.segments.lock().keys().copied().collect::<Vec<_>>();
    let held = shared.rows.hold();
    runtime.block_on(async {
        for number in 0..30_u64 {
            let (sort, value) = (number.to_string(), Bytes::from_static(b"v"));
            let row = RawRow { table: "clicks", partition: "p".into(), sort, value, expires_ms: 0 };
            // Only the first segment changes the store.
            let writes = if number == 0 { vec![Write::Put(row)] } else { vec![] };
            let value = Bytes::from(vec![b'v'; 8_000]);
            let outputs = vec![Output { topic: "flow".into(), key: Bytes::new(), value }];
            log.append(Batch { outputs, writes }).await.unwrap();
        }
        log.commit(&seat, 30, Batch::default()).await.unwrap();
    });
    let last = *numbers().last().unwrap();
    keeper.purge();
    assert_eq!(numbers(), [1, last]);
    drop(held);
    keeper.all_now();
    assert_eq!(numbers(), [last]);
}

#[test]
fn chunks_are_bounded_and_lose_nothing() {
    let found = |offset: u64, length: u32| Found {
        segment: 1,
        offset,
        slot: super::super::index::Slot { at: 0, length },
    };
    let all: Vec<Found> = (0..50).map(|offset| found(offset, 1 << 20)).collect();
    let parts = chunks(all.clone());
    assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= 4), "{}", parts.len());
    assert_eq!(parts.concat(), all);
    assert_eq!(chunks(vec![found(0, u32::MAX)]).len(), 1, "one record, however long");
    assert!(chunks(vec![]).is_empty());
}
