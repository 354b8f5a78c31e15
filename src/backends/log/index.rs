//! What is where: for each partition, the runs of its records in the segments; and the consumers' positions.
//!
//! Eight octets a record: a million queued records take 8 MB, 16 while their segment is still being filled.
//! A run is what one segment holds of one partition without a gap. Runs are kept in the order of offsets, do
//! not overlap, and may have gaps between them where a wholly consumed segment was deleted.

use super::cache::Cache;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tidegate_topology::log::{Entry, Lag, Seat};
use tokio::sync::Notify;

/// Topic and partition.
pub(super) type Part = (Arc<str>, u32);

/// Where one record's header starts in its segment, and the length of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) at: u32,
    pub(super) length: u32,
}

/// Records of one partition, in a row, in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) segment: u32,
    pub(super) first: u64,
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    pub(super) slots: Vec<Slot>,
}

impl Run {
    /// Offset after the last one.
    pub(super) fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }
}

/// Where a reader finds a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) slot: Slot,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    runs: VecDeque<Run>,
    /// Offset that the next appended record gets.
    pub(super) end: u64,
    /// Rings when records are published, and when the log breaks.
    pub(super) bell: Arc<Notify>,
}

impl Partition {
    /// Adds one record; one that is already known stays where it was.
    pub(super) fn add(&mut self, segment: u32, offset: u64, at_ms: u64, slot: Slot) {
        if offset >= self.end {
            self.end = offset + 1;
            match self.runs.back_mut() {
                Some(run) if run.segment == segment && run.end() == offset => {
                    run.slots.push(slot);
                    run.last_ms = at_ms;
                }
                _ => self.runs.push_back(Run {
                    segment,
                    first: offset,
                    first_ms: at_ms,
                    last_ms: at_ms,
                    slots: vec![slot],
                }),
            }
            return;
        }
        let place = self.runs.partition_point(|run| run.first <= offset);
        let before = place.checked_sub(1).and_then(|index| self.runs.get_mut(index));
        match before {
            Some(run) if offset < run.end() => {}
            Some(run) if run.segment == segment && run.end() == offset => {
                run.slots.push(slot);
                run.last_ms = at_ms;
            }
            _ => self.runs.insert(
                place,
                Run { segment, first: offset, first_ms: at_ms, last_ms: at_ms, slots: vec![slot] },
            ),
        }
    }

    /// Takes records out of a segment, so that they can be added where they were moved to.
    pub(super) fn forget_in(&mut self, segment: u32, first: u64, end: u64) {
        let mut kept = VecDeque::with_capacity(self.runs.len());
        for mut run in self.runs.drain(..) {
            if run.segment != segment || run.end() <= first || run.first >= end {
                kept.push_back(run);
                continue;
            }
            let tail = (run.end() > end).then(|| run.slots.split_off((end - run.first) as usize));
            let tail_first = end;
            run.slots.truncate(first.saturating_sub(run.first) as usize);
            let (segment, first_ms, last_ms) = (run.segment, run.first_ms, run.last_ms);
            if !run.slots.is_empty() {
                kept.push_back(run);
            }
            if let Some(slots) = tail {
                kept.push_back(Run { segment, first: tail_first, first_ms, last_ms, slots });
            }
        }
        self.runs = kept;
    }

    /// Up to `count` records from an offset on.
    pub(super) fn find(&self, from: u64, count: usize) -> Vec<Found> {
        let mut found = Vec::new();
        let begin = self.runs.partition_point(|run| run.end() <= from);
        for run in self.runs.iter().skip(begin) {
            let skip = from.saturating_sub(run.first) as usize;
            for (index, slot) in run.slots.iter().enumerate().skip(skip) {
                if found.len() == count {
                    return found;
                }
                found.push(Found { segment: run.segment, offset: run.first + index as u64, slot: *slot });
            }
        }
        found
    }

    /// The first run that may hold a record appended at or after a moment.
    pub(super) fn run_at(&self, moment_ms: u64) -> Option<&Run> {
        let index = self.runs.partition_point(|run| run.last_ms < moment_ms);
        self.runs.get(index)
    }

    /// All runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// Gives back what growing vectors reserved, once their segment is full.
    pub(super) fn shrink(&mut self, segment: u32) {
        for run in self.runs.iter_mut().rev().take(4).filter(|run| run.segment == segment) {
            run.slots.shrink_to_fit();
        }
    }

    /// Drops what a deleted segment held.
    fn drop_segment(&mut self, segment: u32) {
        self.runs.retain(|run| run.segment != segment);
    }
}

/// All partitions and positions. One lock guards it, held for moments and never over I/O.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) parts: BTreeMap<Part, Partition>,
    seats: BTreeMap<Seat, u64>,
    pub(super) cache: Cache,
}

impl Index {
    pub(super) fn new(cache_bytes: usize) -> Index {
        Index { parts: BTreeMap::new(), seats: BTreeMap::new(), cache: Cache::new(cache_bytes) }
    }

    /// The partition, if it is known.
    pub(super) fn part(&self, topic: &str, partition: u32) -> Option<(&Part, &Partition)> {
        // A range by borrowed key would need an owned topic; the number of partitions is small.
        self.parts.iter().find(|((name, number), _)| *number == partition && &**name == topic)
    }

    /// The partition, made when it is new.
    pub(super) fn part_mut(&mut self, topic: &str, partition: u32) -> (Part, &mut Partition) {
        let known = self.part(topic, partition).map(|(part, _)| part.clone());
        let part = known.unwrap_or_else(|| (Arc::from(topic), partition));
        (part.clone(), self.parts.entry(part).or_default())
    }

    /// Where a consumer reads next; 0 for one that never committed.
    pub(super) fn position(&self, seat: &Seat) -> u64 {
        self.seats.get(seat).copied().unwrap_or(0)
    }

    /// Moves a consumer; `None` forgets it.
    pub(super) fn set_position(&mut self, seat: Seat, next: Option<u64>) {
        let (topic, partition) = (seat.topic.clone(), seat.partition);
        match next {
            Some(next) => self.seats.insert(seat, next),
            None => self.seats.remove(&seat),
        };
        let floor = self.floor(&topic, partition);
        if let (Some(floor), Some((part, _))) = (floor, self.part(&topic, partition)) {
            let part = part.clone();
            self.cache.drop_below(&part, floor);
        }
    }

    /// Makes sure that a consumer is counted, from the start when it is new.
    pub(super) fn register(&mut self, seat: &Seat) {
        self.seats.entry(seat.clone()).or_insert(0);
    }

    /// All positions.
    pub(super) fn seats(&self) -> impl Iterator<Item = (&Seat, u64)> {
        self.seats.iter().map(|(seat, next)| (seat, *next))
    }

    /// Below this offset every consumer of the partition is done; `None` when it has no consumer.
    pub(super) fn floor(&self, topic: &str, partition: u32) -> Option<u64> {
        let here = self.seats.iter().filter(|(seat, _)| seat.topic == topic && seat.partition == partition);
        here.map(|(_, next)| *next).min()
    }

    /// How far everyone is.
    pub(super) fn lags(&self) -> Vec<Lag> {
        let lag = |(seat, next): (&Seat, &u64)| {
            let end = self.part(&seat.topic, seat.partition).map_or(0, |(_, partition)| partition.end);
            Lag { seat: seat.clone(), position: *next, end }
        };
        self.seats.iter().map(lag).collect()
    }

    /// Drops what a deleted segment held.
    pub(super) fn drop_segment(&mut self, segment: u32) {
        for partition in self.parts.values_mut() {
            partition.drop_segment(segment);
        }
    }

    /// Adds a published record to the index, and to the cache.
    pub(super) fn publish(&mut self, part: &Part, segment: u32, slot: Slot, entry: Entry) {
        let partition = self.parts.entry(part.clone()).or_default();
        partition.add(segment, entry.offset, entry.at_ms, slot);
        self.cache.push(part, entry);
    }

    /// Rings every bell.
    pub(super) fn ring_all(&self) {
        for partition in self.parts.values() {
            partition.bell.notify_waiters();
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
