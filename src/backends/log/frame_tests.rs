use super::*;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

type Row = Option<(u64, Vec<u8>)>;

#[derive(Clone, Debug)]
struct Made {
    seats: Vec<(String, String, u32, u64)>,
    records: Vec<(String, u32, u64, u64, Vec<u8>)>,
    changes: Vec<(Vec<u8>, Row)>,
}

fn made() -> impl Strategy<Value = Made> {
    let seats = proptest::collection::vec((".{0,8}", ".{0,8}", any::<u32>(), any::<u64>()), 0..3);
    let record = (".{0,8}", any::<u32>(), any::<u64>(), any::<u64>(), octets(200));
    let records = proptest::collection::vec(record, 0..5);
    let change = (octets(20), proptest::option::of((any::<u64>(), octets(50))));
    let changes = proptest::collection::vec(change, 0..4);
    (seats, records, changes).prop_map(|(seats, records, changes)| Made { seats, records, changes })
}

fn head(made: &Made) -> Head<'_> {
    let seats = made.seats.iter().map(|(consumer, topic, partition, next)| SeatAt {
        consumer,
        topic,
        partition: *partition,
        next: *next,
    });
    let places = made.records.iter().map(|(topic, partition, _, _, value)| Place {
        topic,
        partition: *partition,
        length: value.len() as u32,
    });
    let changes = made.changes.iter().map(|(key, row)| Change {
        key,
        row: row.as_ref().map(|(expires_ms, value)| (*expires_ms, value.as_slice())),
    });
    Head {
        flags: 0,
        applied: 7,
        seats: seats.collect(),
        ends: Vec::new(),
        places: places.collect(),
        changes: changes.collect(),
    }
}

fn encoded(made: &Made) -> Vec<u8> {
    let outgoing = made.records.iter().map(|(_, _, offset, at_ms, value)| Outgoing {
        offset: *offset,
        at_ms: *at_ms,
        value: Bytes::from(value.clone()),
    });
    let mut out = Vec::new();
    encode(&mut out, 41, 40, &head(made), &outgoing.collect::<Vec<_>>());
    out
}

proptest! {
    #![proptest_config(Config { cases: 128, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_frame_comes_back_whole(made in made(), after in octets(40)) {
        let mut out = encoded(&made);
        let length = out.len();
        out.extend(after);
        let frame = decode(&out).unwrap();
        prop_assert_eq!((frame.header.total, frame.header.sequence, frame.header.group), (length, 41, 40));
        prop_assert_eq!(&frame.head, &head(&made));
        for ((start, record), (_, _, offset, at_ms, value)) in frame.records.iter().zip(&made.records) {
            prop_assert_eq!((record.offset, record.at_ms), (*offset, *at_ms));
            let (alone, octets) = decode_record(&out[*start..*start + RECORD + value.len()]).unwrap();
            prop_assert_eq!((alone, octets), (*record, value.as_slice()));
        }
    }

    #[test]
    fn one_wrong_bit_anywhere_is_seen(made in made(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut out = encoded(&made);
        let at = at.index(out.len());
        out[at] ^= 1_u8 << bit;
        prop_assert!(decode(&out).is_none());
    }

    #[test]
    fn a_cut_frame_is_none(made in made(), at in any::<prop::sample::Index>()) {
        let out = encoded(&made);
        prop_assert!(decode(&out[..at.index(out.len())]).is_none());
    }

    #[test]
    fn any_octets_at_all_end_in_a_value(noise in octets(400)) {
        let mut looks_right = MAGIC.to_vec();
        looks_right.extend(&noise);
        prop_assert!(decode(&noise).is_none() && decode(&looks_right).is_none());
    }
}

/// The format on disk is a promise to logs that exist: this frame was written by version 1.
#[test]
fn the_octets_of_version_1_do_not_change() {
    let made = Made {
        seats: vec![("deliver".into(), "outbound".into(), 1, 9)],
        records: vec![("held".into(), 2, 5, 1_700_000_000_000, b"mail".to_vec())],
        changes: vec![(b"k".to_vec(), Some((3, b"v".to_vec()))), (b"d".to_vec(), None)],
    };
    let golden = include_str!("frame_v1.hex").trim();
    assert_eq!(hex::encode(encoded(&made)), golden);
}
