use super::*;
use bytes::Bytes;

fn slot(at: u32) -> Slot {
    Slot { at, length: 1 }
}

fn places(partition: &Partition, from: u64) -> Vec<(u64, u32)> {
    partition.find(from, usize::MAX).iter().map(|found| (found.offset, found.segment)).collect()
}

#[test]
fn records_are_found_over_segments_and_gaps() {
    let mut partition = Partition::default();
    for offset in 0..3 {
        partition.add(1, offset, 10 + offset, slot(offset as u32));
    }
    partition.add(2, 3, 20, slot(0));
    partition.add(3, 9, 30, slot(0));
    assert_eq!(places(&partition, 0), [(0, 1), (1, 1), (2, 1), (3, 2), (9, 3)]);
    assert_eq!(places(&partition, 2), [(2, 1), (3, 2), (9, 3)]);
    assert_eq!(places(&partition, 5), [(9, 3)]);
    assert_eq!((partition.end, places(&partition, 10)), (10, vec![]));
    assert_eq!(partition.find(0, 2).len(), 2);
    partition.drop_segment(2);
    assert_eq!(places(&partition, 2), [(2, 1), (9, 3)]);
}

#[test]
fn moved_records_take_the_place_of_the_old_ones() {
    let mut partition = Partition::default();
    for offset in 0..6 {
        partition.add(1, offset, 10, slot(offset as u32));
    }
    partition.add(2, 6, 20, slot(0));
    partition.forget_in(1, 2, 5);
    assert_eq!(places(&partition, 0), [(0, 1), (1, 1), (5, 1), (6, 2)]);
    for offset in 2..5 {
        partition.add(2, offset, 10, slot(offset as u32));
    }
    assert_eq!(places(&partition, 0), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 2), (5, 1), (6, 2)]);
    partition.drop_segment(1);
    assert_eq!(places(&partition, 0), [(2, 2), (3, 2), (4, 2), (6, 2)]);
    assert_eq!(partition.end, 7);
}

#[test]
fn a_moved_record_is_not_taken_twice_when_its_old_segment_is_still_there() {
    let mut partition = Partition::default();
    for offset in 0..4 {
        partition.add(1, offset, 10, slot(offset as u32));
    }
    for offset in 1..3 {
        partition.add(2, offset, 10, slot(77));
    }
    assert_eq!(places(&partition, 0), [(0, 1), (1, 1), (2, 1), (3, 1)]);
}

#[test]
fn the_slowest_consumer_sets_the_floor() {
    let mut index = Index::new(1 << 20);
    let seat = |consumer: &str| Seat { consumer: consumer.into(), topic: "t".into(), partition: 0 };
    let (part, _) = index.part_mut("t", 0);
    for offset in 0..5 {
        index.publish(&part, 1, slot(0), Entry { offset, at_ms: 1, value: Bytes::from_static(b"v") });
    }
    assert_eq!(index.floor("t", 0), None);
    index.register(&seat("b"));
    index.set_position(seat("a"), Some(4));
    assert_eq!(index.floor("t", 0), Some(0));
    index.set_position(seat("b"), Some(2));
    assert_eq!(index.floor("t", 0), Some(2));
    assert!(index.cache.get(&part, 1).is_none() && index.cache.get(&part, 2).is_some());
    index.set_position(seat("b"), None);
    assert_eq!(index.floor("t", 0), Some(4));
}

#[test]
fn a_million_queued_records_take_less_than_thirty_megabytes() {
    let mut partition = Partition::default();
    for offset in 0..1_000_000_u64 {
        partition.add((offset / 20_000) as u32, offset, 1, slot(0));
    }
    let slots: usize = partition.runs().map(|run| run.slots.capacity() * size_of::<Slot>()).sum();
    assert!(slots + partition.runs.capacity() * size_of::<Run>() < 30 << 20, "{slots}");
}
