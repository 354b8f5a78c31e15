//! A whole log in memory, for tests and offline tools: the contract of [`crate::log`] without the disk.
//!
//! It also keeps what a test wants to see (commits, reads, store writes) and fails when told to.

use crate::log::{Batch, Entry, From, Lag, Log, LogError, Output, Seat, Want};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use tidegate_schemas::Write;
use tokio::sync::Notify;

/// A log in memory. Nothing is ever purged.
#[derive(Default)]
pub struct MemoryLog {
    state: Mutex<State>,
    appended: Notify,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, Vec<Vec<Entry>>>,
    positions: BTreeMap<Seat, u64>,
    writes: Vec<Write>,
    commits: Vec<(Seat, u64)>,
    reads: usize,
    failures: VecDeque<LogError>,
    broken: Option<String>,
}

impl MemoryLog {
    /// A log with these topics and partitions.
    pub fn new<'t>(topics: impl IntoIterator<Item = (&'t str, u32)>) -> MemoryLog {
        let empty = |partitions: u32| (0..partitions.max(1)).map(|_| Vec::new()).collect();
        let topics = topics.into_iter().map(|(name, partitions)| (name.to_owned(), empty(partitions)));
        let state = State { topics: topics.collect(), ..State::default() };
        MemoryLog { state: Mutex::new(state), appended: Notify::new() }
    }

    /// A log with the topics of a plan.
    pub fn of(plan: &crate::Plan) -> MemoryLog {
        MemoryLog::new(plan.topics.iter().map(|t| (t.name.as_str(), t.partitions)))
    }

    /// The next appends and commits fail with these, one each. `Broken` poisons the log for good.
    pub fn fail(&self, errors: impl IntoIterator<Item = LogError>) {
        self.state.lock().failures.extend(errors);
    }

    /// Everything on a topic, all partitions one after the other.
    pub fn entries(&self, topic: &str) -> Vec<Entry> {
        self.state.lock().topics.get(topic).map(|p| p.concat()).unwrap_or_default()
    }

    /// All store writes so far, in order.
    pub fn writes(&self) -> Vec<Write> {
        self.state.lock().writes.clone()
    }

    /// All commits so far: whose, and the next offset.
    pub fn commits(&self) -> Vec<(Seat, u64)> {
        self.state.lock().commits.clone()
    }

    /// How many reads were asked for so far.
    pub fn reads(&self) -> usize {
        self.state.lock().reads
    }

    /// Waits until something is appended or committed after this call, or at once when `seen` is true already.
    pub async fn until(&self, seen: impl Fn(&MemoryLog) -> bool) {
        loop {
            let changed = self.appended.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if seen(self) {
                return;
            }
            changed.await;
        }
    }

    /// Reads what is there.
    fn take(&self, seat: &Seat, want: Want) -> Result<Vec<Entry>, LogError> {
        let state = self.state.lock();
        state.whole()?;
        let position = state.positions.get(seat).copied().unwrap_or(0) as usize;
        let partition = state.partition(&seat.topic, seat.partition)?;
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in partition.iter().skip(position).take(want.records.max(1)) {
            bytes += entry.value.len();
            if !entries.is_empty() && bytes > want.bytes {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }
}

impl State {
    fn whole(&self) -> Result<(), LogError> {
        match &self.broken {
            Some(why) => Err(LogError::Broken(why.clone())),
            None => Ok(()),
        }
    }

    fn partition(&self, topic: &str, partition: u32) -> Result<&Vec<Entry>, LogError> {
        let partitions = self.topics.get(topic);
        let found = partitions.and_then(|p| p.get(partition as usize));
        found.ok_or_else(|| LogError::Broken(format!("there is no partition {partition} of topic `{topic}`")))
    }

    /// All or nothing: what can fail is tried before anything changes.
    fn put(&mut self, batch: Batch) -> Result<(), LogError> {
        self.whole()?;
        if let Some(error) = self.failures.pop_front() {
            if let LogError::Broken(why) = &error {
                self.broken = Some(why.clone());
            }
            return Err(error);
        }
        if let Some(lost) = batch.outputs.iter().find(|o| !self.topics.contains_key(&o.topic)) {
            return Err(LogError::Broken(format!("there is no topic `{}`", lost.topic)));
        }
        let at_ms = tidegate_schemas::now_ms();
        for Output { topic, key, value } in batch.outputs {
            let Some(partitions) = self.topics.get_mut(&topic) else { continue };
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            let chosen = (hasher.finish() % partitions.len() as u64) as usize;
            if let Some(partition) = partitions.get_mut(chosen) {
                partition.push(Entry { offset: partition.len() as u64, at_ms, value });
            }
        }
        self.writes.extend(batch.writes);
        Ok(())
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, batch: Batch) -> Result<(), LogError> {
        self.state.lock().put(batch)?;
        self.appended.notify_waiters();
        Ok(())
    }

    async fn read(&self, seat: &Seat, want: Want) -> Result<Vec<Entry>, LogError> {
        self.state.lock().reads += 1;
        let deadline = tokio::time::Instant::now() + want.wait;
        loop {
            let appended = self.appended.notified();
            tokio::pin!(appended);
            appended.as_mut().enable();
            let entries = self.take(seat, want)?;
            if !entries.is_empty() || tokio::time::timeout_at(deadline, appended).await.is_err() {
                return Ok(entries);
            }
        }
    }

    async fn commit(&self, seat: &Seat, next: u64, batch: Batch) -> Result<(), LogError> {
        {
            let mut state = self.state.lock();
            state.put(batch)?;
            state.positions.insert(seat.clone(), next);
            state.commits.push((seat.clone(), next));
        }
        self.appended.notify_waiters();
        Ok(())
    }

    async fn browse(
        &self,
        topic: &str,
        partition: u32,
        from: From,
        records: usize,
    ) -> Result<Vec<Entry>, LogError> {
        let state = self.state.lock();
        state.whole()?;
        let after = |e: &&Entry| match from {
            From::Offset(offset) => e.offset >= offset,
            From::Moment(at_ms) => e.at_ms >= at_ms,
        };
        Ok(state.partition(topic, partition)?.iter().filter(after).take(records).cloned().collect())
    }

    fn lags(&self) -> Vec<Lag> {
        let state = self.state.lock();
        let end = |seat: &Seat| state.partition(&seat.topic, seat.partition).map_or(0, |p| p.len() as u64);
        let seats = state.positions.iter();
        seats
            .map(|(seat, position)| Lag { seat: seat.clone(), position: *position, end: end(seat) })
            .collect()
    }
}
