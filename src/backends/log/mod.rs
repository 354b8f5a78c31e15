//! The embedded log: topics in segment files of our own, for one machine.
//!
//! A call of `append` or `commit` becomes one frame, which holds everything that must happen together:
//! records for any topics, the consumer's next offset, changes of the store. One thread writes frames, as
//! many at once as wait, with one sync for all of them, and answers after it. So the cost of a sync is
//! shared under load and a lone caller waits for one sync only.
//!
//! * `frame`, `segment`: the format on disk. `index`, `cache`: what is where, and the newest in memory.
//! * `open`: recovery. `commit`: the thread that writes. `read`: readers. `keep`: the thread that
//!   brings rows to the store, deletes segments and moves what pins them. [`mod@verify`]: the check of a folder.
//! * [`files`]: the seam to the disk.
//!
//! Invariants:
//! * An `Ok` of `append` or `commit` comes after the sync of the frame. Nothing unsynced is ever shown.
//! * A segment is deleted only when every record in it is below the position of every consumer of its
//!   topic (or was moved to a newer segment, durably), it is outside the retention, and redb durably holds
//!   its changes. Topics that nobody consumes are kept by retention alone. A consumer that is in the log
//!   counts until [`Embedded::forget`], whether it runs or not.
//! * After a failed sync, or a failed write of which nobody knows what it wrote, the log is broken: every
//!   call fails until the process is started anew and recovery has looked. A full disk or a read-only folder
//!   breaks nothing: the group is rolled back, and the next call tries again.
//! * Memory is bounded: cache, overlay and group have limits, the index takes 8 to 16 octets a record.

mod cache;
mod commit;
mod error;
pub mod files;
mod frame;
mod index;
mod keep;
mod open;
mod read;
mod segment;
pub mod verify;

pub use error::OpenError;
pub use verify::verify;

use crate::backends::store::rows::Rows;
use async_trait::async_trait;
use commit::{Queue, Work};
use files::{Files, SegmentFile};
use index::Index;
use parking_lot::Mutex;
use segment::Summary;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate_schemas::now_ms;
use tidegate_topology::log::{Batch, Entry, From, Lag, Log, LogError, Seat, Want};

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name, at most 200 octets.
    pub name: String,
    /// Number of partitions; may grow from one start to the next.
    pub partitions: u32,
}

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// All topics that are written.
    pub topics: Vec<TopicSpec>,
    /// All consumers; what they have not committed is never deleted.
    pub consumers: Vec<Seat>,
    /// Octets of a segment file, 64 KiB to 1 GiB.
    pub segment_bytes: u64,
    /// Consumed segments are kept until newer ones hold this many octets, for replay.
    pub retain_bytes: u64,
    /// Consumed segments are kept until they are this old, for replay. Either limit lets them go.
    pub retain_age: Duration,
    /// Whether to wait for the device; `false` only for measurements.
    pub fsync: bool,
    /// With less than this free on the disk, records are refused as `Full` and retention is cut short.
    pub min_free_bytes: u64,
    /// Octets of the newest records kept in memory for readers.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            topics: Vec::new(),
            consumers: Vec::new(),
            segment_bytes: 64 << 20,
            retain_bytes: 4 << 30,
            retain_age: Duration::from_secs(7 * 24 * 3600),
            fsync: true,
            min_free_bytes: 512 << 20,
            cache_bytes: 48 << 20,
        }
    }
}

/// Figures of a log at a moment, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Syncs of segment files since the start.
    pub fsyncs: u64,
    /// Groups written since the start.
    pub groups: u64,
    /// Frames written since the start; frames / groups is how well syncs are shared.
    pub frames: u64,
    /// Records appended since the start.
    pub records: u64,
    /// Octets written to segments since the start.
    pub bytes: u64,
    /// Records moved out of old segments since the start.
    pub moved: u64,
    /// Segment files.
    pub segments: u64,
    /// Octets in use in them.
    pub disk_bytes: u64,
    /// Age of the oldest segment, milliseconds.
    pub oldest_ms: u64,
    /// Octets of the newest records in memory.
    pub cache_bytes: u64,
    /// Octets of store changes that wait for redb.
    pub store_waiting_bytes: u64,
    /// The log is broken; the process must be started anew.
    pub broken: bool,
    /// The disk is nearly full: records are refused.
    pub full: bool,
}

#[derive(Default)]
struct Counters {
    fsyncs: AtomicU64,
    groups: AtomicU64,
    frames: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    moved: AtomicU64,
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// What the callers and the two threads share.
struct Shared {
    folder: PathBuf,
    options: Options,
    files: Arc<dyn Files>,
    index: Mutex<Index>,
    segments: Mutex<BTreeMap<u32, Summary>>,
    /// The segment that is written, which is never deleted.
    active: std::sync::atomic::AtomicU32,
    handles: Mutex<VecDeque<(u32, Arc<dyn SegmentFile>)>>,
    queue: Queue,
    rows: Arc<Rows>,
    broken: OnceLock<String>,
    full: AtomicBool,
    counters: Counters,
}

impl Shared {
    fn check(&self) -> Result<(), LogError> {
        match self.broken.get() {
            Some(why) => Err(LogError::Broken(why.clone())),
            None => Ok(()),
        }
    }

    /// From now on every call fails.
    fn poison(&self, why: String) {
        tracing::error!(%why, "the log is broken, no further call is served");
        // Only the first reason counts.
        let _first = self.broken.set(why);
        self.index.lock().ring_all();
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.options.topics.iter().find(|spec| spec.name == topic).map(|spec| spec.partitions)
    }
}

/// The embedded log and store of one folder. Dropping it finishes what is queued and closes it.
pub struct Embedded {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: Arc<keep::Stop>,
    _lock: std::fs::File,
}

impl Embedded {
    /// Opens or makes the log and store in `dir`: segments in `dir/log`, rows in `dir/store.redb`.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Embedded>, OpenError> {
        let disk = Arc::new(files::Disk { fsync: options.fsync });
        Embedded::open_on(dir, options, disk)
    }

    /// As [`Embedded::open`], on files of the caller's.
    pub fn open_on(dir: &Path, options: Options, files: Arc<dyn Files>) -> Result<Arc<Embedded>, OpenError> {
        let opened = open::open(dir, options, files)?;
        let stop = Arc::new(keep::Stop::default());
        let committer = opened.committer;
        let keeper = keep::Keeper::new(Arc::clone(&opened.shared), Arc::clone(&stop));
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(work).map_err(OpenError::Io)
        };
        let keeper = spawn("log-keep", Box::new(move || keeper.run()))?;
        let threads = match spawn("log-commit", Box::new(move || committer.run())) {
            Ok(committer) => vec![committer, keeper],
            Err(error) => {
                stop.now();
                return Err(error);
            }
        };
        Ok(Arc::new(Embedded {
            shared: opened.shared,
            threads: Mutex::new(threads),
            stop,
            _lock: opened.lock,
        }))
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (segments, disk_bytes, oldest) = {
            let known = shared.segments.lock();
            let oldest = known.values().next().map_or(0, |summary| summary.made_ms);
            (known.len() as u64, known.values().map(|summary| summary.end).sum(), oldest)
        };
        Stats {
            fsyncs: read(&shared.counters.fsyncs),
            groups: read(&shared.counters.groups),
            frames: read(&shared.counters.frames),
            records: read(&shared.counters.records),
            bytes: read(&shared.counters.bytes),
            moved: read(&shared.counters.moved),
            segments,
            disk_bytes,
            oldest_ms: now_ms().saturating_sub(oldest),
            cache_bytes: shared.index.lock().cache.bytes() as u64,
            store_waiting_bytes: shared.rows.waiting() as u64,
            broken: shared.broken.get().is_some(),
            full: shared.full.load(Ordering::Relaxed),
        }
    }

    /// Forgets a consumer that is not coming back, so that it no longer keeps records from being deleted.
    pub async fn forget(&self, seat: &Seat) -> Result<(), LogError> {
        self.submit(Work::Forget(seat.clone())).await
    }

    /// Does now what the housekeeping thread does from time to time: rows to redb, expired rows, old segments.
    /// Blocks, so not for async threads.
    pub fn keep_house(&self) {
        keep::Keeper::new(Arc::clone(&self.shared), Arc::clone(&self.stop)).all_now();
    }

    /// Finishes what is queued, brings all rows to redb and ends the threads. Later calls fail.
    pub fn close(&self) {
        self.shared.queue.close();
        let mut threads = self.threads.lock();
        // The committer first: what it still writes has rows for the keeper.
        if !threads.is_empty() {
            let committer = threads.remove(0);
            if committer.join().is_err() {
                self.shared.poison("the thread that writes died".into());
            }
        }
        self.stop.now();
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("the log's housekeeping thread died");
            }
        }
    }

    pub(crate) fn rows(&self) -> Arc<Rows> {
        Arc::clone(&self.shared.rows)
    }

    async fn submit(&self, work: Work) -> Result<(), LogError> {
        self.shared.check()?;
        let answer = self.shared.queue.push(work)?;
        answer.await.unwrap_or_else(|_| Err(LogError::Broken("the thread that writes ended".into())))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Log for Embedded {
    async fn append(&self, batch: Batch) -> Result<(), LogError> {
        self.submit(Work::Batch { seat: None, batch }).await
    }

    async fn read(&self, seat: &Seat, want: Want) -> Result<Vec<Entry>, LogError> {
        read::read(&self.shared, seat, want).await
    }

    async fn commit(&self, seat: &Seat, next: u64, batch: Batch) -> Result<(), LogError> {
        self.submit(Work::Batch { seat: Some((seat.clone(), next)), batch }).await
    }

    async fn browse(
        &self,
        topic: &str,
        partition: u32,
        from: From,
        records: usize,
    ) -> Result<Vec<Entry>, LogError> {
        read::browse(&self.shared, topic, partition, from, records).await
    }

    fn lags(&self) -> Vec<Lag> {
        self.shared.index.lock().lags()
    }
}
