//! A group on its way: frames in one buffer, and what becomes true when they are durable.

use super::super::frame::{self, Change, FLAG_MOVED, Head, Outgoing, Place, SeatAt};
use super::super::index::{Index, Part, Slot};
use super::super::{Counters, Shared, count};
use super::queue::{Answer, Job, Work};
use crate::backends::store::key;
use crate::backends::store::rows::{State, live};
use std::collections::HashMap;
use std::sync::Arc;
use tidegate_schemas::{RawRow, Write, now_ms};
use tidegate_topology::log::{Batch, Entry, LogError, Output, Seat};
use tokio::sync::Notify;

/// Longest name or key, octets.
const LONGEST_NAME: usize = 60_000;

/// A frame in the buffer.
pub(super) struct Built {
    pub(super) answer: Answer,
    pub(super) sequence: u64,
    /// Where it ends in the buffer.
    pub(super) end: usize,
    /// Each record with its start in the buffer.
    pub(super) records: Vec<(Part, usize, Entry)>,
    /// The consumer's new position; `None` forgets it.
    seat: Option<(Seat, Option<u64>)>,
    pub(super) changes: Vec<(Vec<u8>, State)>,
    /// The segment that the records were moved from.
    moved_from: Option<u32>,
}

impl Built {
    /// Puts it into the index.
    pub(super) fn show(
        &self,
        index: &mut Index,
        segment: u32,
        base: u64,
        counters: &Counters,
        bells: &mut Vec<Arc<Notify>>,
    ) {
        let moved = self.moved_from.is_some();
        if let (Some(old), Some((part, _, first)), Some((_, _, last))) =
            (self.moved_from, self.records.first(), self.records.last())
        {
            let (_, partition) = index.part_mut(&part.0, part.1);
            partition.forget_in(old, first.offset, last.offset + 1);
        }
        for (part, start, entry) in &self.records {
            let slot = Slot { at: (base + *start as u64) as u32, length: entry.value.len() as u32 };
            let (part, partition) = index.part_mut(&part.0, part.1);
            if moved {
                partition.add(segment, entry.offset, entry.at_ms, slot);
                continue;
            }
            if !bells.iter().any(|bell| Arc::ptr_eq(bell, &partition.bell)) {
                bells.push(Arc::clone(&partition.bell));
            }
            index.publish(&part, segment, slot, entry.clone());
        }
        count(if moved { &counters.moved } else { &counters.records }, self.records.len() as u64);
        if let Some((seat, next)) = &self.seat {
            index.set_position(seat.clone(), *next);
        }
    }
}

/// A group that is being built.
pub(super) struct Group {
    shared: Arc<Shared>,
    pub(super) buffer: Vec<u8>,
    first_sequence: u64,
    clock_ms: u64,
    built: Vec<Built>,
    /// Ends of partitions as the group leaves them.
    ends: HashMap<Part, u64>,
    /// Rows as the group leaves them, for the conditions of later frames in it.
    rows: HashMap<Vec<u8>, State>,
}

impl Group {
    pub(super) fn new(shared: Arc<Shared>, buffer: Vec<u8>, sequence: u64, clock_ms: u64) -> Group {
        let (ends, rows) = (HashMap::new(), HashMap::new());
        Group { shared, buffer, first_sequence: sequence + 1, clock_ms, built: Vec::new(), ends, rows }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.built.is_empty()
    }

    pub(super) fn take(&mut self) -> Vec<Built> {
        std::mem::take(&mut self.built)
    }

    /// Tells every caller that it was not done.
    pub(super) fn refuse(&mut self, error: &LogError) {
        for built in self.take() {
            let _gone = built.answer.send(Err(error.clone()));
        }
    }

    /// Adds a call's frame, or answers why not.
    pub(super) fn add(&mut self, job: Job) {
        let Job { work, answer } = job;
        let prepared = match work {
            Work::Batch { seat, batch } => self.batch(seat, batch),
            Work::Forget(seat) => Ok(Parts { seat: Some((seat, None)), ..Parts::default() }),
            Work::Move { segment, topic, partition, entries } => {
                let records =
                    entries.into_iter().map(|entry| ((Arc::clone(&topic), partition), entry)).collect();
                Ok(Parts { records, moved_from: Some(segment), ..Parts::default() })
            }
        };
        match prepared {
            Ok(parts) => self.encode(parts, answer),
            Err(error) => {
                let _gone = answer.send(Err(error));
            }
        }
    }

    fn batch(&mut self, seat: Option<(Seat, u64)>, batch: Batch) -> Result<Parts, LogError> {
        let octets = batch.outputs.iter().map(|output| output.value.len() as u64 + 64).sum::<u64>();
        if octets > frame::LONGEST as u64 / 2 {
            return Err(LogError::Broken(format!("a batch of {octets} octets is too long for one frame")));
        }
        if let Some((seat, next)) = &seat {
            self.check_seat(seat, *next)?;
        }
        for output in &batch.outputs {
            if self.shared.partitions(&output.topic).is_none() {
                return Err(LogError::Broken(format!("topic {} is not in the log's options", output.topic)));
            }
        }
        let changes = self.decide(batch.writes)?;
        let mut records = Vec::with_capacity(batch.outputs.len());
        for output in batch.outputs {
            records.push(self.place(output));
        }
        for (key, state) in &changes {
            self.rows.insert(key.clone(), state.clone());
        }
        Ok(Parts { records, seat: seat.map(|(seat, next)| (seat, Some(next))), changes, moved_from: None })
    }

    fn check_seat(&self, seat: &Seat, next: u64) -> Result<(), LogError> {
        if seat.consumer.len() > LONGEST_NAME {
            return Err(LogError::Broken("a consumer's name is too long".into()));
        }
        let end =
            self.shared.index.lock().part(&seat.topic, seat.partition).map(|(_, partition)| partition.end);
        match end {
            Some(end) if next <= end => Ok(()),
            Some(end) => {
                let Seat { consumer, topic, partition } = seat;
                Err(LogError::Broken(format!(
                    "{consumer} commits {next} of {topic}/{partition}, which ends at {end}"
                )))
            }
            None => Err(LogError::Broken(format!("no partition {} of topic {}", seat.partition, seat.topic))),
        }
    }

    /// Gives a record its partition and offset.
    fn place(&mut self, output: Output) -> (Part, Entry) {
        let partitions = self.shared.partitions(&output.topic).unwrap_or(1).max(1);
        // Part of the format: a key stays in its partition for as long as their number stays.
        let number = crc32c::crc32c(&output.key) % partitions;
        let (part, known_end) = {
            let mut index = self.shared.index.lock();
            let (part, partition) = index.part_mut(&output.topic, number);
            (part, partition.end)
        };
        let end = self.ends.entry(part.clone()).or_insert(known_end);
        let offset = *end;
        *end += 1;
        (part, Entry { offset, at_ms: self.clock_ms, value: output.value })
    }

    /// Decides conditions against the rows as they are after all frames before this one.
    fn decide(&self, writes: Vec<Write>) -> Result<Vec<(Vec<u8>, State)>, LogError> {
        let mut own: HashMap<Vec<u8>, State> = HashMap::new();
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            let (key, state) = match write {
                Write::Put(row) => keyed(row),
                Write::PutIfAbsent(row) => {
                    let (key, state) = keyed(row);
                    let before = own.get(&key).or_else(|| self.rows.get(&key)).cloned();
                    let before = match before {
                        Some(state) => state,
                        None => {
                            self.shared.rows.get(&key).map_err(|e| LogError::Retry(format!("store: {e}")))?
                        }
                    };
                    if before.is_some_and(|(expires_ms, _)| live(expires_ms, now_ms())) {
                        continue;
                    }
                    (key, state)
                }
                Write::Delete { table, partition, sort } => (key::row(table, &partition, &sort), None),
            };
            if key.len() > LONGEST_NAME {
                return Err(LogError::Broken(format!("a row's key of {} octets is too long", key.len())));
            }
            own.insert(key.clone(), state.clone());
            changes.push((key, state));
        }
        Ok(changes)
    }

    fn encode(&mut self, parts: Parts, answer: Answer) {
        let Parts { records, seat, changes, moved_from } = parts;
        let sequence = self.first_sequence + self.built.len() as u64;
        let head = Head {
            flags: if moved_from.is_some() { FLAG_MOVED } else { 0 },
            applied: 0,
            seats: seat.iter().map(seat_at).collect(),
            ends: Vec::new(),
            places: records.iter().map(place_of).collect(),
            changes: changes.iter().map(change_of).collect(),
        };
        let outgoing: Vec<Outgoing> = records.iter().map(|(_, entry)| outgoing(entry)).collect();
        let start = self.buffer.len();
        let starts = frame::encode(&mut self.buffer, sequence, self.first_sequence, &head, &outgoing);
        drop(head);
        let with_start = records.into_iter().zip(starts);
        let records = with_start.map(|((part, entry), at)| (part, start + at, entry)).collect();
        self.built.push(Built {
            answer,
            sequence,
            end: self.buffer.len(),
            records,
            seat,
            changes,
            moved_from,
        });
    }
}

/// What a frame is made of.
#[derive(Default)]
struct Parts {
    records: Vec<(Part, Entry)>,
    seat: Option<(Seat, Option<u64>)>,
    changes: Vec<(Vec<u8>, State)>,
    moved_from: Option<u32>,
}

fn keyed(row: RawRow) -> (Vec<u8>, State) {
    (key::row(row.table, &row.partition, &row.sort), Some((row.expires_ms, row.value)))
}

fn seat_at(seat: &(Seat, Option<u64>)) -> SeatAt<'_> {
    let (Seat { consumer, topic, partition }, next) = seat;
    SeatAt { consumer, topic, partition: *partition, next: next.unwrap_or(frame::FORGOTTEN) }
}

fn place_of(record: &(Part, Entry)) -> Place<'_> {
    let ((topic, partition), entry) = record;
    Place { topic, partition: *partition, length: entry.value.len() as u32 }
}

fn change_of(change: &(Vec<u8>, State)) -> Change<'_> {
    let (key, state) = change;
    Change { key, row: state.as_ref().map(|(expires_ms, value)| (*expires_ms, &**value)) }
}

fn outgoing(entry: &Entry) -> Outgoing {
    Outgoing { offset: entry.offset, at_ms: entry.at_ms, value: entry.value.clone() }
}
