//! Housekeeping, on a thread of its own: rows to redb, expired rows, old segments.
//!
//! A segment that only a few queued records pin (a stalled topic, mail that waits hours for its retry) would
//! keep everything beside them. So when pinned segments pile up, the queued records of the emptiest are
//! written again into the newest segment, under their offsets, and the old one is deleted.

use super::commit::Work;
use super::index::Found;
use super::{Shared, read, segment};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tidegate_schemas::now_ms;
use tidegate_topology::log::LogError;

/// Rows reach redb this soon, or sooner when many wait.
const FLUSH: Duration = Duration::from_millis(250);
/// How often old segments are looked for.
const PURGE: Duration = Duration::from_secs(1);
/// How often expired rows are removed.
const SWEEP: Duration = Duration::from_secs(30);
/// Pinned segments beyond the retention that are left alone.
const PINNED: usize = 8;
/// Octets of queued records moved at once.
const MOVE_BYTES: usize = 4 << 20;

/// Ends the keeper.
#[derive(Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    bell: Condvar,
}

impl Stop {
    /// Ends it, after a last flush.
    pub(super) fn now(&self) {
        *self.stopped.lock() = true;
        self.bell.notify_all();
    }

    /// Waits; `true` when it is time to end.
    fn wait(&self, time: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.bell.wait_for(&mut stopped, time);
        }
        *stopped
    }
}

/// What a segment still holds that is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pins {
    /// Records that a consumer has not committed.
    queued: u64,
    /// Their octets.
    queued_bytes: u64,
    /// Records of topics that nobody consumes.
    unread: u64,
}

/// The keeper.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    stop: Arc<Stop>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, stop: Arc<Stop>) -> Keeper {
        Keeper { shared, stop }
    }

    /// Until told to stop. A panic here breaks the log: rows would pile up unseen.
    pub(super) fn run(self) {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work())).is_err() {
            self.shared
                .poison("the housekeeping thread panicked, see its text above; restart to recover".into());
        }
    }

    fn work(&self) {
        let (mut purged, mut swept) = (Instant::now(), Instant::now());
        loop {
            let stop = self.stop.wait(FLUSH);
            if let Err(error) = self.shared.rows.flush() {
                tracing::error!(%error, "rows wait in the log until the store takes them");
            }
            if stop {
                return;
            }
            if purged.elapsed() >= PURGE {
                purged = Instant::now();
                self.purge();
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                if let Err(error) = self.shared.rows.sweep(now_ms()) {
                    tracing::error!(%error, "expired rows stay in the store for now");
                }
            }
        }
    }

    /// Everything at once.
    pub(super) fn all_now(&self) {
        if let Err(error) = self.shared.rows.flush().and_then(|()| self.shared.rows.sweep(now_ms())) {
            tracing::error!(%error, "rows wait in the log until the store takes them");
        }
        self.purge();
    }

    /// Deletes what may go, and makes room where little pins much.
    fn purge(&self) {
        if self.shared.broken.get().is_some() {
            return;
        }
        let pins = self.pins();
        let old = self.beyond_retention();
        let full = self.shared.full.load(Ordering::Relaxed);
        let applied = self.shared.rows.applied();
        let mut pinned = Vec::new();
        for (number, outside) in old {
            let pin = pins.get(&number).copied().unwrap_or_default();
            let summary = self.shared.segments.lock().get(&number).copied().unwrap_or_default();
            if summary.last_change > applied || !(outside || (full && pin.unread == 0)) {
                continue;
            }
            if pin.queued == 0 {
                self.delete(number);
            } else if pin.queued_bytes * 2 < summary.end {
                pinned.push((pin.queued_bytes, number));
            }
        }
        if pinned.len() > PINNED {
            pinned.sort_unstable();
            for (_, number) in pinned.iter().take(pinned.len() - PINNED) {
                if let Err(error) = self.move_out(*number) {
                    tracing::warn!(segment = number, %error, "queued records stay in their old segment for now");
                    return;
                }
            }
        }
    }

    /// All segments but the active one, and whether each is beyond the retention.
    fn beyond_retention(&self) -> Vec<(u32, bool)> {
        let options = &self.shared.options;
        let active = self.shared.active.load(Ordering::Acquire);
        let segments = self.shared.segments.lock();
        let now = now_ms();
        let mut newer_bytes = 0;
        let mut out = Vec::new();
        for (number, summary) in segments.iter().rev() {
            let aged = now.saturating_sub(summary.newest_ms) > options.retain_age.as_millis() as u64;
            if *number != active {
                out.push((*number, aged || newer_bytes >= options.retain_bytes));
            }
            newer_bytes += summary.end;
        }
        out.reverse();
        out
    }

    fn pins(&self) -> BTreeMap<u32, Pins> {
        let index = self.shared.index.lock();
        let mut pins: BTreeMap<u32, Pins> = BTreeMap::new();
        for ((topic, number), partition) in &index.parts {
            let floor = index.floor(topic, *number);
            for run in partition.runs() {
                let pin = pins.entry(run.segment).or_default();
                let Some(floor) = floor else {
                    pin.unread += run.slots.len() as u64;
                    continue;
                };
                let done = floor.saturating_sub(run.first).min(run.slots.len() as u64) as usize;
                let queued = run.slots.get(done..).unwrap_or_default();
                pin.queued += queued.len() as u64;
                pin.queued_bytes += queued.iter().map(|slot| u64::from(slot.length)).sum::<u64>();
            }
        }
        pins
    }

    fn delete(&self, number: u32) {
        // Out of the index first: a reader that still finds the record finds the file, or looks again.
        self.shared.index.lock().drop_segment(number);
        self.shared.segments.lock().remove(&number);
        let path = segment::path(&self.shared.folder, number);
        if let Err(error) = self.shared.files.remove(&path) {
            tracing::warn!(file = %path.display(), %error, "consumed segment not deleted, the next start tries again");
        }
        // After the file: a handle opened in between would keep its room on the disk.
        self.shared.handles.lock().retain(|(known, _)| *known != number);
        // Recovery removes it if this does not.
        let _stays = self.shared.files.remove(&segment::index_path(&self.shared.folder, number));
    }

    /// Writes the queued records of a segment again, then it can be deleted by the next purge.
    fn move_out(&self, number: u32) -> Result<(), LogError> {
        let queued = self.queued_in(number);
        for ((topic, partition), found) in queued {
            for part in chunks(found) {
                let entries = read::records(&self.shared, part)?;
                let work = Work::Move { segment: number, topic: Arc::clone(&topic), partition, entries };
                let answer = self.shared.queue.push(work)?;
                let answer = answer.blocking_recv();
                answer.unwrap_or_else(|_| Err(LogError::Broken("the thread that writes ended".into())))?;
            }
        }
        Ok(())
    }

    fn queued_in(&self, number: u32) -> Vec<(super::index::Part, Vec<Found>)> {
        let index = self.shared.index.lock();
        let mut out = Vec::new();
        for (part, partition) in &index.parts {
            let floor = index.floor(&part.0, part.1).unwrap_or(u64::MAX);
            for run in partition.runs().filter(|run| run.segment == number) {
                let queued = run.slots.iter().enumerate().map(|(at, slot)| Found {
                    segment: number,
                    offset: run.first + at as u64,
                    slot: *slot,
                });
                let queued: Vec<Found> = queued.filter(|found| found.offset >= floor).collect();
                if !queued.is_empty() {
                    out.push((part.clone(), queued));
                }
            }
        }
        out
    }
}

/// Cuts a run of records into parts of a bounded size.
fn chunks(found: Vec<Found>) -> Vec<Vec<Found>> {
    let mut out = Vec::new();
    let mut part = Vec::new();
    let mut bytes = 0;
    for one in found {
        bytes += one.slot.length as usize + 64;
        if bytes > MOVE_BYTES && !part.is_empty() {
            out.push(std::mem::take(&mut part));
            bytes = one.slot.length as usize;
        }
        part.push(one);
    }
    if !part.is_empty() {
        out.push(part);
    }
    out
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
