//! The newest records in memory, so that a reader that keeps up touches no file.
//!
//! Bounded in octets over all partitions; the oldest go first, and what all consumers have read goes at
//! once. Holds only what is on disk already.

use super::index::Part;
use std::collections::{BTreeMap, VecDeque};
use tidegate_topology::log::Entry;

/// What an entry costs beside its value.
const OVERHEAD: usize = 96;

/// The cache. Entries of a partition are in a row and end with the partition's newest.
#[derive(Debug)]
pub(super) struct Cache {
    limit: usize,
    bytes: usize,
    parts: BTreeMap<Part, VecDeque<Entry>>,
    /// Age order over all partitions; names of entries that are gone already are skipped.
    ages: VecDeque<(Part, u64)>,
    entries: usize,
}

impl Cache {
    pub(super) fn new(limit: usize) -> Cache {
        Cache { limit, bytes: 0, parts: BTreeMap::new(), ages: VecDeque::new(), entries: 0 }
    }

    /// Adds the newest entry of a partition.
    pub(super) fn push(&mut self, part: &Part, entry: Entry) {
        let queue = self.parts.entry(part.clone()).or_default();
        if queue.back().is_some_and(|last| last.offset + 1 != entry.offset) {
            let dropped = queue.drain(..).map(|e| e.value.len() + OVERHEAD).collect::<Vec<_>>();
            self.entries -= dropped.len();
            self.bytes -= dropped.iter().sum::<usize>();
        }
        self.bytes += entry.value.len() + OVERHEAD;
        self.entries += 1;
        self.ages.push_back((part.clone(), entry.offset));
        queue.push_back(entry);
        while self.bytes > self.limit && self.drop_oldest() {}
        if self.ages.len() > 2 * self.entries + 1024 {
            let parts = &self.parts;
            self.ages.retain(|(part, offset)| front(parts, part).is_some_and(|first| *offset >= first));
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((part, offset)) = self.ages.pop_front() else { return false };
        if front(&self.parts, &part) == Some(offset) {
            self.drop_front(&part);
        }
        true
    }

    fn drop_front(&mut self, part: &Part) {
        let Some(entry) = self.parts.get_mut(part).and_then(VecDeque::pop_front) else { return };
        self.bytes -= entry.value.len() + OVERHEAD;
        self.entries -= 1;
    }

    /// Drops what all consumers of a partition have read.
    pub(super) fn drop_below(&mut self, part: &Part, floor: u64) {
        while front(&self.parts, part).is_some_and(|first| first < floor) {
            self.drop_front(part);
        }
    }

    /// The entry at an offset.
    pub(super) fn get(&self, part: &Part, offset: u64) -> Option<&Entry> {
        let queue = self.parts.get(part)?;
        let index = offset.checked_sub(queue.front()?.offset)?;
        queue.get(index as usize)
    }

    /// Octets held, with overhead.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn front(parts: &BTreeMap<Part, VecDeque<Entry>>, part: &Part) -> Option<u64> {
    parts.get(part)?.front().map(|entry| entry.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;

    fn entry(offset: u64, length: usize) -> Entry {
        Entry { offset, at_ms: 0, value: Bytes::from(vec![0; length]) }
    }

    #[test]
    fn the_oldest_go_first_over_all_partitions() {
        let (a, b): (Part, Part) = ((Arc::from("a"), 0), (Arc::from("b"), 0));
        let mut cache = Cache::new(3 * (1000 + OVERHEAD));
        cache.push(&a, entry(0, 1000));
        cache.push(&b, entry(0, 1000));
        cache.push(&a, entry(1, 1000));
        cache.push(&a, entry(2, 1000));
        assert!(cache.get(&a, 0).is_none());
        assert!(cache.get(&b, 0).is_some() && cache.get(&a, 1).is_some() && cache.get(&a, 2).is_some());
    }

    #[test]
    fn what_is_read_by_all_is_dropped_and_its_names_do_not_pile_up() {
        let (stalled, flowing): (Part, Part) = ((Arc::from("s"), 0), (Arc::from("f"), 0));
        let mut cache = Cache::new(1 << 20);
        cache.push(&stalled, entry(0, 10));
        for offset in 0..100_000 {
            cache.push(&flowing, entry(offset, 10));
            cache.drop_below(&flowing, offset + 1);
        }
        assert_eq!(cache.bytes(), 10 + OVERHEAD);
        assert!(cache.ages.len() < 2_000, "{}", cache.ages.len());
    }
}
