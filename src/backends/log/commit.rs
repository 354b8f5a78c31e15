//! The thread that writes: takes all calls that wait, writes their frames at once, syncs, shows them, answers.
//!
//! Nothing is shown to readers, and no number is used up, before the sync: a group that could not be
//! written leaves no trace but octets behind the last frame, which are cut off before anything else is
//! written ([`Committer::roll_back`]).

mod group;
mod queue;

pub(super) use queue::{Queue, Work};

use super::files::{Failure, SegmentFile, failure};
use super::frame::{self, EndAt, Head, SeatAt};
use super::segment::{self, Summary};
use super::{Shared, count};
use group::Group;
use queue::{Job, Pace};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tidegate_schemas::now_ms;
use tidegate_topology::log::{LogError, Seat};

/// A buffer that one huge group has grown is given back above this.
const KEEP_BUFFER: usize = 24 << 20;
/// Octets of a segment that is begun while the disk is nearly full, for commits that free room.
const SMALL_SEGMENT: u64 = 1 << 20;
/// How long a call with rows waits for redb to catch up.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// The segment that is written.
pub(super) struct Active {
    pub(super) number: u32,
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) summary: Summary,
    /// Octets allocated.
    pub(super) capacity: u64,
}

/// The thread's own state.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) active: Active,
    /// Sequence of the last durable frame.
    pub(super) sequence: u64,
    /// Time of the last record: time never runs backwards in the log.
    pub(super) clock_ms: u64,
    /// Octets behind the last frame may be there and must be cut off first.
    pub(super) dirty: bool,
    pub(super) buffer: Vec<u8>,
}

impl Committer {
    /// Until the queue is closed. A panic here breaks the log, and leaves no caller waiting.
    pub(super) fn run(self) {
        let shared = Arc::clone(&self.shared);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work())).is_err() {
            shared.poison("the thread that writes panicked, see its text above; restart to recover".into());
            shared.queue.abandon();
        }
    }

    fn work(mut self) {
        let mut pace = Pace::default();
        while let Some(jobs) = self.shared.queue.take(pace) {
            let began = Instant::now();
            let last = jobs.len();
            self.serve(jobs);
            pace = Pace { last, before: pace.last, took: began.elapsed() };
            if self.buffer.capacity() > KEEP_BUFFER {
                self.buffer = Vec::new();
            }
        }
        if !self.dirty && self.shared.broken.get().is_none() {
            self.cut_unused();
        }
    }

    fn serve(&mut self, jobs: Vec<Job>) {
        let ready = self.shared.check().and_then(|()| self.roll_back());
        if let Err(error) = ready {
            jobs.into_iter().for_each(|job| job.say(Err(error.clone())));
            return;
        }
        let jobs = self.with_room(jobs);
        self.clock_ms = self.clock_ms.max(now_ms());
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut group = Group::new(Arc::clone(&self.shared), buffer, self.sequence, self.clock_ms);
        for job in jobs {
            group.add(job);
        }
        if !group.is_empty() {
            match self.write(&group.buffer) {
                Ok(()) => self.publish(&mut group),
                Err(error) => group.refuse(&error),
            }
        }
        self.buffer = std::mem::take(&mut group.buffer);
    }

    /// Refuses what there is no room for.
    fn with_room(&self, jobs: Vec<Job>) -> Vec<Job> {
        let need = jobs.iter().map(|job| job.work.cost() as u64).sum::<u64>();
        let begins = self.active.summary.end + need > self.active.capacity;
        let wanted =
            self.shared.options.min_free_bytes + if begins { self.shared.options.segment_bytes } else { 0 };
        // A disk that does not say how full it is will say so when written.
        let free = self.shared.files.free_bytes(&self.shared.folder).unwrap_or(u64::MAX);
        let full = free < wanted;
        if self.shared.full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(full, free, wanted, "room on the log's disk");
        }
        let rows_stuck =
            jobs.iter().any(|job| job.work.has_rows()) && !self.shared.rows.wait_for_room(STORE_PATIENCE);
        let mut fit = Vec::with_capacity(jobs.len());
        for job in jobs {
            if full && job.work.takes_room() {
                job.say(Err(LogError::Full(format!("{free} octets free, {wanted} wanted"))));
            } else if rows_stuck && job.work.has_rows() {
                job.say(Err(LogError::Retry(
                    "the store does not keep up, see its errors in the journal".into(),
                )));
            } else {
                fit.push(job);
            }
        }
        fit
    }

    /// Makes a group durable, or leaves things as they were.
    fn write(&mut self, group: &[u8]) -> Result<(), LogError> {
        if self.active.summary.end + group.len() as u64 > self.active.capacity {
            self.rotate(group.len() as u64)?;
        }
        if let Err(error) = self.active.file.write_at(group, self.active.summary.end) {
            self.dirty = true;
            return Err(self.failed("write to", &error));
        }
        if let Err(error) = self.active.file.sync() {
            // The kernel may have dropped the pages: a second sync would prove nothing.
            let why = format!("sync of segment {} failed: {error}; restart to recover", self.active.number);
            self.shared.poison(why.clone());
            return Err(LogError::Broken(why));
        }
        count(&self.shared.counters.fsyncs, 1);
        count(&self.shared.counters.groups, 1);
        count(&self.shared.counters.bytes, group.len() as u64);
        Ok(())
    }

    fn failed(&self, what: &str, error: &io::Error) -> LogError {
        let why = format!("{what} segment {}: {error}", self.active.number);
        match failure(error) {
            Failure::Full => {
                self.shared.full.store(true, Ordering::Relaxed);
                LogError::Full(why)
            }
            Failure::Away => LogError::Retry(why),
            Failure::Unknown => {
                let why = format!("{why}; restart to recover");
                self.shared.poison(why.clone());
                LogError::Broken(why)
            }
        }
    }

    /// Cuts off what a failed write may have left.
    fn roll_back(&mut self) -> Result<(), LogError> {
        if !self.dirty {
            return Ok(());
        }
        let file = &self.active.file;
        let end = self.active.summary.end;
        if let Err(error) = file.resize(end).and_then(|()| file.sync()) {
            return Err(self.failed("roll back", &error));
        }
        // What was cut off is not allocated any more: go on in a new segment.
        self.active.capacity = end;
        self.dirty = false;
        Ok(())
    }

    /// Begins a new segment and closes the old one. On an error the old one stays the active one.
    fn rotate(&mut self, need: u64) -> Result<(), LogError> {
        let full = self.shared.full.load(Ordering::Relaxed);
        let usual = if full { SMALL_SEGMENT } else { self.shared.options.segment_bytes };
        let number = self.active.number + 1;
        match begin(&self.shared, number, self.sequence, usual, need) {
            Ok(active) => {
                let old = std::mem::replace(&mut self.active, active);
                self.shared.segments.lock().insert(number, self.active.summary);
                self.shared.active.store(number, Ordering::Release);
                count(&self.shared.counters.fsyncs, 1);
                seal(&self.shared, &old);
                Ok(())
            }
            Err(error) if failure(&error) == Failure::Full => {
                self.shared.full.store(true, Ordering::Relaxed);
                Err(LogError::Full(format!("no room for segment {number}: {error}")))
            }
            Err(error) => Err(LogError::Retry(format!("segment {number} cannot be begun: {error}"))),
        }
    }

    /// Shows a durable group to readers and answers its callers.
    fn publish(&mut self, group: &mut Group) {
        let number = self.active.number;
        let base = self.active.summary.end;
        let built = group.take();
        let mut bells = Vec::new();
        let mut answers = Vec::with_capacity(built.len());
        {
            let mut index = self.shared.index.lock();
            for done in built {
                self.sequence = done.sequence;
                let end = base + done.end as u64;
                let newest_ms = if done.records.is_empty() { 0 } else { self.clock_ms };
                self.active.summary.count(end, done.sequence, !done.changes.is_empty(), newest_ms);
                count(&self.shared.counters.frames, 1);
                done.show(&mut index, number, base, &self.shared.counters, &mut bells);
                self.shared.rows.take(done.sequence, done.changes);
                answers.push(done.answer);
            }
        }
        self.shared.segments.lock().insert(number, self.active.summary);
        for bell in bells {
            bell.notify_waiters();
        }
        for answer in answers {
            let _gone = answer.send(Ok(()));
        }
    }

    /// Gives back allocated room at a clean end.
    fn cut_unused(&self) {
        if let Err(error) = self.active.file.resize(self.active.summary.end) {
            tracing::warn!(%error, "unused room of the last segment stays allocated");
        }
    }
}

/// Makes a segment with its snapshot frame and gives it its name once both are durable.
pub(super) fn begin(
    shared: &Shared,
    number: u32,
    sequence: u64,
    usual: u64,
    need: u64,
) -> io::Result<Active> {
    let made_ms = now_ms();
    let mut octets = segment::header(number, made_ms);
    {
        let index = shared.index.lock();
        let seats = index.seats().map(|(seat, next)| {
            let Seat { consumer, topic, partition } = seat;
            SeatAt { consumer, topic, partition: *partition, next }
        });
        let ends = index.parts.iter().map(|((topic, number), partition)| EndAt {
            topic,
            partition: *number,
            end: partition.end,
        });
        let head = Head {
            flags: frame::FLAG_SNAPSHOT,
            applied: shared.rows.applied(),
            seats: seats.collect(),
            ends: ends.collect(),
            ..Head::default()
        };
        frame::encode(&mut octets, sequence, sequence, &head, &[]);
    }
    let end = octets.len() as u64;
    let capacity = usual.max(end + need);
    let path = segment::path(&shared.folder, number);
    let new = segment::new_path(&path);
    let made = shared.files.create(&new, capacity).and_then(|file| {
        file.write_at(&octets, 0)?;
        file.sync()?;
        shared.files.rename(&new, &path)?;
        Ok(file)
    });
    let file = made.inspect_err(|_| {
        // Recovery removes it if this does not.
        let _stays = shared.files.remove(&new);
    })?;
    let summary = Summary { end, frames: 1, sequence, last_change: 0, made_ms, newest_ms: made_ms };
    Ok(Active { number, file, summary, capacity })
}

/// Closes a full segment. Nothing here must succeed: zeros at the end are harmless, and a missing index file
/// is made at the next opening.
fn seal(shared: &Shared, old: &Active) {
    if let Err(error) = old.file.resize(old.summary.end) {
        tracing::warn!(segment = old.number, %error, "unused room stays allocated");
    }
    let octets = {
        let mut index = shared.index.lock();
        for partition in index.parts.values_mut() {
            partition.shrink(old.number);
        }
        segment::encode_index(&index, old.number, &old.summary)
    };
    write_index(shared, old.number, &octets);
}

/// Writes the index file of a full segment.
pub(super) fn write_index(shared: &Shared, number: u32, octets: &[u8]) {
    let path = segment::index_path(&shared.folder, number);
    let new = path.with_extension("idx-new");
    let written = shared.files.create(&new, 0).and_then(|file| file.write_at(octets, 0));
    if let Err(error) = written.and_then(|()| shared.files.rename(&new, &path)) {
        tracing::warn!(segment = number, %error, "index file not written, the next opening reads the segment");
    }
}
