//! The batch a lane has in hand: which record is where, what was made of it, what can be committed.
//!
//! Pure bookkeeping, no clock of its own and no tasks. Invariants:
//! * A record is committed only as part of the finished run at the front, so offsets never skip one.
//! * What a record led to is kept until then, and thrown away whole when it has to be worked again: nothing
//!   of a half-finished round ever leaves.
//! * A suspect (it was in a stage that died) is worked alone.

use crate::log::{Batch, Entry, Output};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;
use tidegate_schemas::Write;
use tokio::time::Instant;

/// One record inside one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Position of the record in the batch as it was read.
    pub(crate) index: usize,
    /// Round of work on that record; an answer to an earlier round is void.
    pub(crate) round: u32,
    /// Tells the hops of a record that was split from each other.
    pub(crate) number: u32,
    /// Index of the stage in the lane.
    pub(crate) stage: usize,
    /// When it went in.
    pub(crate) since: Instant,
}

#[derive(Debug)]
enum Phase {
    /// To be worked, not before this moment.
    Ready(Instant),
    /// In the stages.
    Working,
    /// Nothing is left to do but the commit.
    Finished,
}

struct Item {
    offset: u64,
    value: Bytes,
    phase: Phase,
    round: u32,
    hops: Vec<Hop>,
    numbers: u32,
    made: Batch,
    suspect: bool,
    kills: u32,
}

/// The batch.
pub(crate) struct Flight {
    items: VecDeque<Item>,
    /// Index of the first item: how many of the batch are committed.
    base: usize,
    working: usize,
    unfinished: usize,
}

impl Flight {
    /// A batch just read; all of it is ready now.
    pub(crate) fn new(entries: Vec<Entry>, now: Instant) -> Flight {
        let item = |entry: Entry| Item {
            offset: entry.offset,
            value: entry.value,
            phase: Phase::Ready(now),
            round: 0,
            hops: Vec::new(),
            numbers: 0,
            made: Batch::default(),
            suspect: false,
            kills: 0,
        };
        let items: VecDeque<Item> = entries.into_iter().map(item).collect();
        Flight { unfinished: items.len(), items, base: 0, working: 0 }
    }

    fn item(&mut self, index: usize) -> Option<&mut Item> {
        self.items.get_mut(index.checked_sub(self.base)?)
    }

    /// Whether every record is finished.
    pub(crate) fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// Whether no record is in a stage.
    pub(crate) fn is_idle(&self) -> bool {
        self.working == 0
    }

    /// Offset and octets of a record.
    pub(crate) fn source(&self, index: usize) -> Option<(u64, Bytes)> {
        let item = self.items.get(index.checked_sub(self.base)?)?;
        Some((item.offset, item.value.clone()))
    }

    /// Records to begin now, marked as being worked. Suspects come one at a time, when nothing else is in
    /// hand, those nearest to being buried first. Only while it is open whether the stages work at all
    /// (`proven` is false), those that were never tried alone come first, in a scattered order, so that a run
    /// of poisoned mail does not look like a stage that never works.
    pub(crate) fn start(&mut self, now: Instant, proven: bool) -> Vec<usize> {
        let alone = self.items.iter().any(|i| i.suspect && matches!(i.phase, Phase::Working));
        if alone {
            return Vec::new();
        }
        let due = |item: &Item| matches!(item.phase, Phase::Ready(at) if at <= now);
        let due: Vec<usize> = (0..self.items.len()).filter(|i| self.items.get(*i).is_some_and(due)).collect();
        let suspect = |i: &usize| self.items.get(*i).is_some_and(|item| item.suspect);
        let (suspects, mut chosen): (Vec<usize>, Vec<usize>) = due.into_iter().partition(suspect);
        if chosen.is_empty() && self.working == 0 {
            let turn = |position: &usize| {
                let item = self.items.get(*position)?;
                Some((!proven && item.kills > 0, Reverse(item.kills), scattered(item.offset)))
            };
            chosen.extend(suspects.into_iter().min_by_key(turn));
        }
        for position in &chosen {
            if let Some(item) = self.items.get_mut(*position) {
                item.phase = Phase::Working;
                self.working += 1;
            }
        }
        chosen.into_iter().map(|position| position + self.base).collect()
    }

    /// When the next waiting record is due, of those not in a stage.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let waits = self.items.iter().filter_map(|i| match i.phase {
            Phase::Ready(at) => Some(at),
            _ => None,
        });
        waits.min()
    }

    /// A record goes into a stage.
    pub(crate) fn enter(&mut self, index: usize, stage: usize, since: Instant) -> Option<Hop> {
        let item = self.item(index)?;
        let hop = Hop { index, round: item.round, number: item.numbers, stage, since };
        item.numbers = item.numbers.wrapping_add(1);
        item.hops.push(hop);
        Some(hop)
    }

    /// A stage answered. False when the answer is void, as the record was given up in the meantime.
    pub(crate) fn leave(&mut self, hop: &Hop) -> bool {
        let Some(item) = self.item(hop.index) else { return false };
        let found = item.hops.iter().position(|h| h.number == hop.number && h.round == hop.round);
        match found {
            Some(at) => {
                item.hops.swap_remove(at);
                true
            }
            None => false,
        }
    }

    /// Something that the record led to.
    pub(crate) fn made(&mut self, index: usize, outputs: Vec<Output>, writes: Vec<Write>) {
        if let Some(item) = self.item(index) {
            item.made.outputs.extend(outputs);
            item.made.writes.extend(writes);
        }
    }

    /// The record is finished if none of it is in a stage any more. True when it just became so.
    pub(crate) fn settle(&mut self, index: usize) -> bool {
        let Some(item) = self.item(index) else { return false };
        if !matches!(item.phase, Phase::Working) || !item.hops.is_empty() {
            return false;
        }
        item.phase = Phase::Finished;
        item.suspect = false;
        self.working -= 1;
        self.unfinished -= 1;
        true
    }

    /// The record is worked again from the start of the lane, not before `at`.
    pub(crate) fn again(&mut self, index: usize, at: Instant) {
        let Some(item) = self.item(index) else { return };
        let was_working = matches!(item.phase, Phase::Working);
        if matches!(item.phase, Phase::Finished) {
            return;
        }
        item.phase = Phase::Ready(at);
        item.round = item.round.wrapping_add(1);
        item.hops.clear();
        item.made = Batch::default();
        self.working -= usize::from(was_working);
    }

    /// The record ends here, with this row in place of all it led to.
    pub(crate) fn bury(&mut self, index: usize, row: Write) {
        let Some(item) = self.item(index) else { return };
        let was_working = matches!(item.phase, Phase::Working);
        if matches!(item.phase, Phase::Finished) {
            return;
        }
        item.phase = Phase::Finished;
        item.round = item.round.wrapping_add(1);
        item.hops.clear();
        item.made = Batch { outputs: Vec::new(), writes: vec![row] };
        self.working -= usize::from(was_working);
        self.unfinished -= 1;
    }

    /// Records that are inside a stage.
    pub(crate) fn inside(&self, stage: usize) -> Vec<usize> {
        let inside = |item: &Item| item.hops.iter().any(|h| h.stage == stage);
        let positions = self.items.iter().enumerate().filter(|(_, item)| inside(item));
        positions.map(|(position, _)| position + self.base).collect()
    }

    /// Hops that are over their stage's deadline.
    pub(crate) fn overdue(&self, now: Instant, deadlines: &[Duration]) -> Vec<Hop> {
        let late = |hop: &&Hop| deadlines.get(hop.stage).is_some_and(|d| now - hop.since >= *d);
        self.items.iter().flat_map(|i| &i.hops).filter(late).copied().collect()
    }

    /// Marks a record as one that may have killed its stage.
    pub(crate) fn suspect(&mut self, index: usize) {
        if let Some(item) = self.item(index) {
            item.suspect = true;
        }
    }

    /// One more death is this record's doing; how many are now.
    pub(crate) fn blame(&mut self, index: usize) -> u32 {
        let Some(item) = self.item(index) else { return 0 };
        item.suspect = true;
        item.kills += 1;
        item.kills
    }

    /// The stages are gone: whatever was in them is ready to be worked again.
    pub(crate) fn replay(&mut self, now: Instant) {
        for index in self.base..self.base + self.items.len() {
            if self.item(index).is_some_and(|i| matches!(i.phase, Phase::Working)) {
                self.again(index, now);
            }
        }
    }

    /// Takes the finished run at the front, as the offset to go on from and what to commit with it.
    pub(crate) fn take_finished(&mut self) -> Option<(u64, Batch)> {
        let mut batch = Batch::default();
        let mut next = None;
        while self.items.front().is_some_and(|i| matches!(i.phase, Phase::Finished)) {
            let Some(item) = self.items.pop_front() else { break };
            batch.outputs.extend(item.made.outputs);
            batch.writes.extend(item.made.writes);
            next = Some(item.offset + 1);
            self.base += 1;
        }
        next.map(|next| (next, batch))
    }
}

/// A fixed shuffle of offsets (Fibonacci hashing).
fn scattered(offset: u64) -> u64 {
    offset.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;
