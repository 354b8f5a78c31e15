//! Opening: what is in the folder becomes the state in memory, whatever ended the last process.
//!
//! Full segments are known by their index files; the last one is read, its torn end cut off, and its
//! snapshot frame tells positions and ends. Then rows that redb has not durably are brought to it. So the
//! time to open goes with one segment, not with what is queued.

use super::commit::{Active, Committer, Queue, begin, write_index};
use super::error::OpenError;
use super::files::Files;
use super::frame::{FLAG_MOVED, FLAG_SNAPSHOT, FORGOTTEN, Frame};
use super::index::Index;
use super::segment::{self, ScanError, Scanned, Summary};
use super::{Counters, Options, Shared};
use crate::backends::store::rows::Rows;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, OnceLock};
use tidegate_schemas::now_ms;
use tidegate_topology::log::Seat;

/// What opening gives.
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) committer: Committer,
    pub(super) lock: File,
}

/// Rows' octets that are gathered before redb gets them while opening.
const REPLAY_BYTES: usize = 8 << 20;

fn scan_failed(folder: &Path, number: u32, error: ScanError) -> OpenError {
    let file = segment::path(folder, number);
    match error {
        ScanError::Io(error) => OpenError::Io(error),
        ScanError::Damaged { .. } => OpenError::Damaged { file, why: error.to_string() },
        ScanError::Newer(_) => OpenError::Newer { file, why: error.to_string() },
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let pid = if known { pid.trim().to_owned() } else { "?".into() };
            return Err(OpenError::Locked { folder: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn check(options: &Options) -> Result<(), OpenError> {
    let wrong = |text: String| Err(OpenError::Options(text));
    if !(64 << 10..=1 << 30).contains(&options.segment_bytes) {
        return wrong(format!("segment_bytes is {}, wanted 64 KiB to 1 GiB", options.segment_bytes));
    }
    for topic in &options.topics {
        if topic.name.is_empty() || topic.name.len() > 200 || topic.partitions == 0 {
            return wrong(format!("topic {:?} needs a name of 1 to 200 octets and a partition", topic.name));
        }
    }
    for seat in &options.consumers {
        let topic = options.topics.iter().find(|topic| topic.name == seat.topic);
        if topic.is_none_or(|topic| seat.partition >= topic.partitions) {
            return wrong(format!(
                "{} reads {}/{}, which is no partition",
                seat.consumer, seat.topic, seat.partition
            ));
        }
    }
    Ok(())
}

/// Numbers of the segments in a folder, in order.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for item in std::fs::read_dir(folder)? {
        numbers.extend(segment::number_of(&item?.path(), "seg"));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes what a kill left half made, and index files of deleted segments.
fn tidy(folder: &Path, known: &[u32]) -> io::Result<()> {
    for item in std::fs::read_dir(folder)? {
        let path = item?.path();
        let half = path.extension().is_some_and(|e| e == "new" || e == "idx-new");
        let orphan = segment::number_of(&path, "idx").is_some_and(|number| !known.contains(&number));
        if half || orphan {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// State that recovery gathers.
struct Recovery {
    index: Index,
    segments: BTreeMap<u32, Summary>,
    /// Full segments whose index file must be written again.
    unindexed: Vec<u32>,
    /// What the newest snapshot says of the store.
    applied: u64,
    clock_ms: u64,
}

impl Recovery {
    /// Takes in a frame of the last segment: positions and ends.
    fn positions(&mut self, whole: &Frame<'_>) {
        if whole.head.flags & FLAG_SNAPSHOT != 0 {
            self.applied = whole.head.applied;
        }
        for end in &whole.head.ends {
            let (_, partition) = self.index.part_mut(end.topic, end.partition);
            partition.end = partition.end.max(end.end);
        }
        for at in &whole.head.seats {
            let seat = Seat { consumer: at.consumer.into(), topic: at.topic.into(), partition: at.partition };
            self.index.set_position(seat, (at.next != FORGOTTEN).then_some(at.next));
        }
    }

    /// A full segment, by its index file or by reading it.
    fn full(&mut self, files: &dyn Files, folder: &Path, number: u32) -> Result<(), OpenError> {
        let octets = std::fs::read(segment::index_path(folder, number)).unwrap_or_default();
        let file = files.open(&segment::path(folder, number))?;
        let fits = |summary: &Summary| file.length().is_ok_and(|length| length >= summary.end);
        // Read into a throw-away index first: a damaged file must leave no trace.
        let mut trial = Index::new(0);
        if segment::decode_index(&mut trial, number, &octets).filter(fits).is_some() {
            let summary = segment::decode_index(&mut self.index, number, &octets).unwrap_or_default();
            self.segments.insert(number, summary);
            return Ok(());
        }
        let index = &mut self.index;
        let mut visit = |at: u64, whole: &Frame<'_>| {
            segment::index_frame(index, number, at, whole);
            Ok(())
        };
        let scanned =
            segment::scan(&*file, number, false, &mut visit).map_err(|e| scan_failed(folder, number, e))?;
        self.segments.insert(number, scanned.summary);
        self.unindexed.push(number);
        Ok(())
    }

    /// The last segment, always by reading it.
    fn last(
        &mut self,
        files: &dyn Files,
        folder: &Path,
        number: u32,
        usual: u64,
    ) -> Result<Active, OpenError> {
        let file = files.open(&segment::path(folder, number))?;
        let mut visit = |at: u64, whole: &Frame<'_>| {
            self.positions(whole);
            segment::index_frame(&mut self.index, number, at, whole);
            Ok(())
        };
        let scanned =
            segment::scan(&*file, number, true, &mut visit).map_err(|e| scan_failed(folder, number, e))?;
        let Scanned { summary, torn } = scanned;
        if torn {
            let cut = file.length()?.saturating_sub(summary.end);
            tracing::warn!(
                segment = number,
                at = summary.end,
                cut,
                "a torn end was cut off: not acknowledged"
            );
            file.resize(summary.end)?;
            file.sync()?;
        }
        self.segments.insert(number, summary);
        let capacity = file.length()?.max(summary.end);
        // A cut or closed segment is short: allocate again, or begin a new one at the first write.
        let capacity = match file.resize(usual.max(capacity)).and_then(|()| file.sync()) {
            Ok(()) => usual.max(capacity),
            Err(_) => summary.end,
        };
        Ok(Active { number, file, summary, capacity })
    }
}

/// Brings rows to redb that only the log has.
fn replay(folder: &Path, files: &dyn Files, recovery: &Recovery, rows: &Rows) -> Result<(), OpenError> {
    let failed = |why: String| OpenError::Store { file: folder.with_file_name("store.redb"), why };
    let applied = rows.applied();
    if applied < recovery.applied {
        let file = folder.with_file_name("store.redb");
        return Err(OpenError::StoreBehind { file, applied, needed: recovery.applied });
    }
    let last = recovery.segments.keys().next_back().copied();
    for (number, summary) in &recovery.segments {
        if summary.last_change <= applied {
            continue;
        }
        let mut trouble = None;
        let mut visit = |_at: u64, whole: &Frame<'_>| {
            if whole.header.sequence <= applied || whole.head.changes.is_empty() {
                return Ok(());
            }
            let changes = whole.head.changes.iter().map(|change| {
                let state = change.row.map(|(expires_ms, value)| (expires_ms, Bytes::copy_from_slice(value)));
                (change.key.to_vec(), state)
            });
            rows.take(whole.header.sequence, changes.collect());
            if rows.waiting() > REPLAY_BYTES && trouble.is_none() {
                trouble = rows.flush().err();
            }
            Ok(())
        };
        let file = files.open(&segment::path(folder, *number))?;
        let scanned = segment::scan(&*file, *number, last == Some(*number), &mut visit);
        scanned.map_err(|error| scan_failed(folder, *number, error))?;
        if let Some(error) = trouble {
            return Err(failed(error.to_string()));
        }
    }
    rows.flush().map_err(|error| failed(error.to_string()))
}

/// Opens or makes a folder.
pub(super) fn open(dir: &Path, options: Options, files: Arc<dyn Files>) -> Result<Opened, OpenError> {
    check(&options)?;
    let folder = dir.join("log");
    std::fs::create_dir_all(&folder)?;
    let lock = lock(dir)?;
    let known = numbers(&folder)?;
    tidy(&folder, &known)?;
    let mut recovery = Recovery {
        index: Index::new(options.cache_bytes),
        segments: BTreeMap::new(),
        unindexed: Vec::new(),
        applied: 0,
        clock_ms: 0,
    };
    let mut active = None;
    if let Some((last, full)) = known.split_last() {
        for number in full {
            recovery.full(&*files, &folder, *number)?;
        }
        active = Some(recovery.last(&*files, &folder, *last, options.segment_bytes)?);
    }
    let store = dir.join("store.redb");
    let rows = Rows::open(&store).map_err(|e| OpenError::Store { file: store, why: e.to_string() })?;
    replay(&folder, &*files, &recovery, &rows)?;
    recovery.clock_ms = recovery.segments.values().map(|summary| summary.newest_ms).max().unwrap_or(0);
    let sequence = recovery.segments.values().map(|summary| summary.sequence).max().unwrap_or(0);
    if sequence < rows.applied() {
        tracing::warn!(
            sequence,
            applied = rows.applied(),
            "the log is older than the store: was its folder replaced?"
        );
    }
    let unindexed = std::mem::take(&mut recovery.unindexed);
    let clock_ms = recovery.clock_ms.max(now_ms());
    let shared = share(folder, options, files, recovery, rows)?;
    for number in unindexed {
        let summary = shared.segments.lock().get(&number).copied().unwrap_or_default();
        let octets = segment::encode_index(&shared.index.lock(), number, &summary);
        write_index(&shared, number, &octets);
    }
    let sequence = sequence.max(shared.rows.applied());
    // A store that is ahead of the log would swallow frames with sequences that it believes it has.
    let ahead = active.as_ref().is_some_and(|active| active.summary.sequence < sequence);
    let active = match active {
        Some(active) if !ahead => active,
        other => {
            let number = other.map_or(1, |active| active.number + 1);
            begin(&shared, number, sequence, shared.options.segment_bytes, 0)?
        }
    };
    shared.segments.lock().insert(active.number, active.summary);
    shared.active.store(active.number, std::sync::atomic::Ordering::Release);
    let committer = Committer {
        shared: Arc::clone(&shared),
        active,
        sequence,
        clock_ms,
        dirty: false,
        buffer: Vec::new(),
    };
    Ok(Opened { shared, committer, lock })
}

/// Puts the state together and checks it against the options.
fn share(
    folder: PathBuf,
    options: Options,
    files: Arc<dyn Files>,
    mut recovery: Recovery,
    rows: Rows,
) -> Result<Arc<Shared>, OpenError> {
    for topic in &options.topics {
        for partition in 0..topic.partitions {
            recovery.index.part_mut(&topic.name, partition);
        }
    }
    for seat in &options.consumers {
        recovery.index.register(seat);
    }
    for lag in recovery.index.lags() {
        let Seat { consumer, topic, partition } = &lag.seat;
        let partitions = options.topics.iter().find(|spec| spec.name == *topic).map(|spec| spec.partitions);
        if lag.position < lag.end && partitions.is_some_and(|count| *partition >= count) {
            let queued = lag.end - lag.position;
            let text = format!(
                "{topic}/{partition} has {queued} records for {consumer}: partitions can grow, not shrink"
            );
            return Err(OpenError::Options(text));
        }
    }
    Ok(Arc::new(Shared {
        folder,
        options,
        files,
        index: Mutex::new(recovery.index),
        segments: Mutex::new(recovery.segments),
        active: AtomicU32::new(0),
        handles: Mutex::new(VecDeque::new()),
        queue: Queue::default(),
        rows: Arc::new(rows),
        broken: OnceLock::new(),
        full: AtomicBool::new(false),
        counters: Counters::default(),
    }))
}

/// Whether a frame's records were moved there.
pub(super) fn is_moved(whole: &Frame<'_>) -> bool {
    whole.head.flags & FLAG_MOVED != 0
}
