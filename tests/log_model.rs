//! The embedded log and store against a plain model in memory: random calls, restarts, kills, power cuts that
//! lose, keep or garble unsynced sectors, full disks and failing calls.
//!
//! Held after every opening: what was acknowledged is there, in order; of a call that was not acknowledged,
//! everything or nothing is there, and only those that were queued before it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own helpers fail the test"
)]

#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "contract/faulty.rs"]
mod faulty;

use bytes::Bytes;
use faulty::{Fate, Faulty};
use futures::future::BoxFuture;
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidegate::backends::log::{Embedded, Options, TopicSpec, verify};
use tidegate_actors::ports::{Scan, Store};
use tidegate_schemas::{RawRow, Write};
use tidegate_topology::log::{Batch, From, Log, LogError, Output, Seat, Want};

const TOPICS: [&str; 2] = ["in", "out"];
const TABLE: &str = "clicks";

#[derive(Clone, Debug)]
enum Op {
    /// Records of these lengths, the first to `in`, the second to `out`, and so on.
    Append(Vec<u16>),
    /// Consumes from a topic and appends.
    Commit {
        topic: usize,
        take: u8,
        lengths: Vec<u16>,
    },
    /// Inserts a row unless it is there.
    Insert(u8),
    /// Removes such a row.
    Remove(u8),
    Restart,
    Kill,
    /// Several appends at once; the power goes after some syncs.
    Cut {
        lengths: Vec<u16>,
        working: u32,
        seed: u64,
    },
    House,
    FullDisk,
    FailedWrite(bool),
    FailedSync,
}

fn lengths(most: usize) -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(0..9_000_u16, 0..most)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => lengths(4).prop_map(Op::Append),
        6 => (0..2_usize, any::<u8>(), lengths(3)).prop_map(|(topic, take, lengths)| Op::Commit { topic, take, lengths }),
        2 => (0..4_u8).prop_map(Op::Insert),
        1 => (0..4_u8).prop_map(Op::Remove),
        1 => Just(Op::Restart),
        1 => Just(Op::Kill),
        3 => (lengths(7), 0..4_u32, any::<u64>()).prop_map(|(lengths, working, seed)| Op::Cut { lengths, working, seed }),
        2 => Just(Op::House),
        1 => Just(Op::FullDisk),
        1 => any::<bool>().prop_map(Op::FailedWrite),
        1 => Just(Op::FailedSync),
    ]
}

/// One call, as log and model take it.
#[derive(Clone, Debug, Default)]
struct Call {
    mark: String,
    outputs: Vec<(usize, Bytes)>,
    next: Option<(usize, u64)>,
    insert: Option<String>,
    remove: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    topics: [Vec<Bytes>; 2],
    positions: [u64; 2],
    /// Rows by partition (`mark` or `key`) and sort key.
    rows: BTreeMap<(String, String), String>,
}

impl Model {
    fn take(&mut self, call: &Call) {
        for (topic, value) in &call.outputs {
            self.topics[*topic].push(value.clone());
        }
        if let Some((topic, next)) = call.next {
            self.positions[topic] = next;
        }
        self.rows.insert(("mark".into(), call.mark.clone()), call.mark.clone());
        if let Some(key) = &call.insert {
            self.rows.entry(("key".into(), key.clone())).or_insert_with(|| call.mark.clone());
        }
        if let Some(key) = &call.remove {
            self.rows.remove(&("key".into(), key.clone()));
        }
    }
}

fn row(partition: &str, sort: &str, value: &str) -> RawRow {
    let value = Bytes::copy_from_slice(value.as_bytes());
    RawRow { table: TABLE, partition: partition.into(), sort: sort.into(), value, expires_ms: 0 }
}

fn batch(call: &Call) -> Batch {
    let mut writes = vec![Write::Put(row("mark", &call.mark, &call.mark))];
    writes.extend(call.insert.iter().map(|key| Write::PutIfAbsent(row("key", key, &call.mark))));
    writes.extend(call.remove.iter().map(|key| Write::Delete {
        table: TABLE,
        partition: "key".into(),
        sort: key.clone(),
    }));
    let output = |(topic, value): &(usize, Bytes)| Output {
        topic: TOPICS[*topic].into(),
        key: Bytes::new(),
        value: value.clone(),
    };
    Batch { outputs: call.outputs.iter().map(output).collect(), writes }
}

fn seat(topic: usize) -> Seat {
    Seat { consumer: "lane".into(), topic: TOPICS[topic].into(), partition: 0 }
}

struct World<'f> {
    folder: &'f Path,
    files: Faulty,
    log: Option<Arc<Embedded>>,
    model: Model,
    calls: u64,
}

impl World<'_> {
    fn open(&mut self) {
        let options = Options {
            topics: TOPICS.map(|name| TopicSpec { name: name.into(), partitions: 1 }).to_vec(),
            consumers: vec![seat(0), seat(1)],
            segment_bytes: 64 << 10,
            retain_bytes: 128 << 10,
            min_free_bytes: 1 << 20,
            cache_bytes: 32 << 10,
            ..Options::default()
        };
        self.log = Some(Embedded::open_on(self.folder, options, Arc::new(self.files.clone())).unwrap());
    }

    fn log(&self) -> Arc<Embedded> {
        Arc::clone(self.log.as_ref().unwrap())
    }

    fn call(&mut self, lengths: &[u16]) -> Call {
        self.calls += 1;
        let mark = format!("{:05}", self.calls);
        let value = |(number, length): (usize, &u16)| {
            let mut value = format!("{mark}.{number}.").into_bytes();
            value.resize(value.len() + usize::from(*length), b'v');
            (number % 2, Bytes::from(value))
        };
        Call { outputs: lengths.iter().enumerate().map(value).collect(), mark, ..Call::default() }
    }

    fn start(&self, call: &Call) -> BoxFuture<'static, Result<(), LogError>> {
        let (log, batch, next) = (self.log(), batch(call), call.next);
        Box::pin(async move {
            match next {
                Some((topic, next)) => log.commit(&seat(topic), next, batch).await,
                None => log.append(batch).await,
            }
        })
    }

    async fn done(&mut self, call: Call) {
        self.start(&call).await.unwrap();
        self.model.take(&call);
    }

    /// Stops, as the files allow, opens again, and finds out how many of the unsure calls happened.
    async fn reopen(&mut self, fate: impl FnMut() -> Fate, unsure: &[Call]) {
        self.log = None;
        self.files.power_on(fate);
        self.open();
        for call in unsure {
            let there = self.log().get(TABLE, "mark", &call.mark).await.unwrap();
            if there.is_none() {
                break;
            }
            self.model.take(call);
        }
        self.compare().await;
    }

    /// Log and store hold exactly what the model holds, save what all have consumed and may be deleted.
    async fn compare(&self) {
        let log = self.log();
        for (topic, name) in TOPICS.iter().enumerate() {
            let values = &self.model.topics[topic];
            let position = self.model.positions[topic];
            let lag = log.lags().into_iter().find(|lag| lag.seat == seat(topic)).unwrap();
            assert_eq!((lag.position, lag.end), (position, values.len() as u64), "{name}");
            let entries = log.browse(name, 0, From::Offset(0), 100_000).await.unwrap();
            for entry in &entries {
                assert_eq!(Some(&entry.value), values.get(entry.offset as usize), "{name} {}", entry.offset);
            }
            let queued: Vec<u64> =
                entries.iter().map(|entry| entry.offset).filter(|offset| *offset >= position).collect();
            assert_eq!(queued, (position..values.len() as u64).collect::<Vec<_>>(), "{name}");
            let want = Want { records: 3, bytes: 10_000, wait: Duration::ZERO };
            let read = log.read(&seat(topic), want).await.unwrap();
            assert_eq!(read.first().map(|entry| entry.offset), queued.first().copied());
        }
        let mut rows = BTreeMap::new();
        for partition in ["mark", "key"] {
            let scan = Scan { table: TABLE, partition, prefix: "", after: "", limit: 100_000 };
            for row in log.scan(scan).await.unwrap() {
                rows.insert((row.partition, row.sort), String::from_utf8(row.value.to_vec()).unwrap());
            }
        }
        assert_eq!(rows, self.model.rows);
    }

    async fn run(&mut self, op: Op) {
        match op {
            Op::Append(lengths) => {
                let call = self.call(&lengths);
                self.done(call).await;
            }
            Op::Commit { topic, take, lengths } => {
                let left = self.model.topics[topic].len() as u64 - self.model.positions[topic];
                let next = self.model.positions[topic] + u64::from(take) % (left + 1);
                let call = Call { next: Some((topic, next)), ..self.call(&lengths) };
                self.done(call).await;
            }
            Op::Insert(key) => {
                let call = Call { insert: Some(key.to_string()), ..self.call(&[]) };
                self.done(call).await;
            }
            Op::Remove(key) => {
                let call = Call { remove: Some(key.to_string()), ..self.call(&[]) };
                self.done(call).await;
            }
            Op::Restart => self.reopen(|| Fate::Kept, &[]).await,
            Op::Kill => {
                self.files.power_off();
                self.reopen(|| Fate::Kept, &[]).await;
            }
            Op::Cut { lengths, working, seed } => self.cut(&lengths, working, seed).await,
            Op::House => {
                let log = self.log();
                tokio::task::spawn_blocking(move || log.keep_house()).await.unwrap();
                self.compare().await;
            }
            Op::FullDisk => self.full_disk().await,
            Op::FailedWrite(full) => self.failed_write(full).await,
            Op::FailedSync => self.failed_sync().await,
        }
    }

    /// One call waits in its sync while the others queue up behind it, in order; then the power goes at a sync.
    async fn cut(&mut self, lengths: &[u16], working: u32, mut seed: u64) {
        let calls: Vec<Call> =
            std::iter::once(&10).chain(lengths).map(|length| self.call(&[*length, *length])).collect();
        self.files.hold();
        let mut answers = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            let mut answer = self.start(call);
            assert!(futures::poll!(&mut answer).is_pending());
            answers.push(answer);
            if number == 0 {
                let files = self.files.clone();
                tokio::task::spawn_blocking(move || files.wait_for_sync()).await.unwrap();
            }
        }
        self.files.power_off_at_sync(working);
        self.files.release();
        let mut unsure = Vec::new();
        for (call, answer) in calls.into_iter().zip(answers) {
            match answer.await {
                Ok(()) => {
                    assert!(unsure.is_empty(), "calls are answered in order");
                    self.model.take(&call);
                }
                Err(_) => unsure.push(call),
            }
        }
        self.files.power_off();
        let style = seed % 4;
        let fate = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match (style, (seed >> 33) % 8) {
                (0, _) => Fate::Lost,
                (1, _) => Fate::Kept,
                (2, 0..7) | (3, 0..3) => Fate::Kept,
                (3, 3..6) => Fate::Lost,
                _ => Fate::Garbage,
            }
        };
        self.reopen(fate, &unsure).await;
    }

    async fn full_disk(&mut self) {
        self.files.set_free(Some(1000));
        let refused = self.call(&[100]);
        assert!(matches!(self.start(&refused).await, Err(LogError::Full(_))));
        let consuming = Call { next: Some((0, self.model.topics[0].len() as u64)), ..self.call(&[]) };
        self.done(consuming).await;
        self.files.set_free(None);
        let call = self.call(&[100]);
        self.done(call).await;
        self.compare().await;
    }

    async fn failed_write(&mut self, full: bool) {
        let kind = if full { ErrorKind::StorageFull } else { ErrorKind::ReadOnlyFilesystem };
        self.files.fail_writes(Some(kind));
        let refused = self.call(&[5_000, 5_000]);
        let error = self.start(&refused).await.unwrap_err();
        assert!(matches!((&error, full), (LogError::Full(_), true) | (LogError::Retry(_), false)), "{error}");
        self.files.fail_writes(None);
        self.compare().await;
        let call = self.call(&[100]);
        self.done(call).await;
    }

    async fn failed_sync(&mut self) {
        self.files.fail_syncs(Some(ErrorKind::Other));
        let unsure = self.call(&[100]);
        let error = self.start(&unsure).await.unwrap_err();
        self.files.fail_syncs(None);
        // In the middle of beginning a segment nothing was risked, and the log goes on.
        if let LogError::Broken(_) = error {
            let refused = self.call(&[100]);
            assert!(matches!(self.start(&refused).await, Err(LogError::Broken(_))));
            let want = Want { records: 1, bytes: 1, wait: Duration::ZERO };
            assert!(matches!(self.log().read(&seat(0), want).await, Err(LogError::Broken(_))));
        } else {
            let call = self.call(&[100]);
            self.done(call).await;
        }
        self.reopen(|| Fate::Kept, &[unsure]).await;
    }
}

proptest! {
    #![proptest_config(Config { cases: 48, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })]

    #[test]
    fn what_was_acknowledged_is_there_and_the_rest_is_all_or_nothing(ops in proptest::collection::vec(op(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world =
                World { folder: folder.path(), files: Faulty::default(), log: None, model: Model::default(), calls: 0 };
            world.open();
            for op in ops {
                world.run(op).await;
            }
            world.reopen(|| Fate::Kept, &[]).await;
            world.log = None;
        });
        prop_assert!(verify(folder.path()).unwrap().whole());
    }
}
