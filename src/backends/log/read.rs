//! Readers: from memory when they keep up, else from the segments, off the async threads.

use super::files::SegmentFile;
use super::frame::{self, RECORD};
use super::index::{Found, Part};
use super::{Shared, segment};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use tidegate_topology::log::{Entry, From, LogError, Seat, Want};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Open segments kept for readers.
const HANDLES: usize = 32;
/// Octets that one browse gives at most, beside its first record.
const BROWSE_BYTES: usize = 64 << 20;
/// Places looked up at once.
const PLACES: usize = 4096;

/// A record that is wanted: in memory, or where it is on disk.
enum Source {
    Memory(Entry),
    Disk(Found),
}

/// Why a record could not be read.
enum ReadError {
    /// The segment was deleted or the record moved meanwhile: look again.
    Gone,
    Log(LogError),
}

pub(super) async fn read(shared: &Arc<Shared>, seat: &Seat, want: Want) -> Result<Vec<Entry>, LogError> {
    let deadline = Instant::now() + want.wait;
    loop {
        shared.check()?;
        let bell = bell(shared, &seat.topic, seat.partition)?;
        // Enabled before the look, so that a record published after it rings.
        let ring = bell.notified();
        tokio::pin!(ring);
        ring.as_mut().enable();
        shared.check()?;
        let position = shared.index.lock().position(seat);
        let entries = entries(shared, seat, position, want.records, want.bytes).await?;
        if !entries.is_empty() || Instant::now() >= deadline {
            return Ok(entries);
        }
        // A time-out is followed by one last look above.
        let _rang_or_late = tokio::time::timeout_at(deadline, ring).await;
    }
}

pub(super) async fn browse(
    shared: &Arc<Shared>,
    topic: &str,
    partition: u32,
    from: From,
    records: usize,
) -> Result<Vec<Entry>, LogError> {
    shared.check()?;
    bell(shared, topic, partition)?;
    let seat = Seat { consumer: String::new(), topic: topic.into(), partition };
    let offset = match from {
        From::Offset(offset) => Some(offset),
        From::Moment(moment_ms) => offset_at(shared, topic, partition, moment_ms).await?,
    };
    match offset {
        Some(offset) => entries(shared, &seat, offset, records, BROWSE_BYTES).await,
        None => Ok(Vec::new()),
    }
}

fn bell(shared: &Shared, topic: &str, partition: u32) -> Result<Arc<Notify>, LogError> {
    let index = shared.index.lock();
    let known = index.part(topic, partition).map(|(_, partition)| Arc::clone(&partition.bell));
    known.ok_or_else(|| LogError::Broken(format!("{topic}/{partition} is not in the log's options")))
}

/// Entries from an offset on, at least one when there is one.
async fn entries(
    shared: &Arc<Shared>,
    seat: &Seat,
    from: u64,
    records: usize,
    bytes: usize,
) -> Result<Vec<Entry>, LogError> {
    loop {
        let sources = sources(shared, seat, from, records, bytes);
        if sources.iter().all(|source| matches!(source, Source::Memory(_))) {
            let entries = sources.into_iter().filter_map(|source| match source {
                Source::Memory(entry) => Some(entry),
                Source::Disk(_) => None,
            });
            return Ok(entries.collect());
        }
        let own = Arc::clone(shared);
        let done = tokio::task::spawn_blocking(move || fetch(&own, sources)).await;
        let done = done.map_err(|e| LogError::Retry(format!("read was ended: {e}")))?;
        match done {
            Ok(entries) => return Ok(entries),
            Err(ReadError::Gone) => {}
            Err(ReadError::Log(error)) => return Err(error),
        }
    }
}

fn sources(shared: &Shared, seat: &Seat, from: u64, records: usize, bytes: usize) -> Vec<Source> {
    let index = shared.index.lock();
    let Some((part, partition)) = index.part(&seat.topic, seat.partition) else { return Vec::new() };
    let part: Part = part.clone();
    let mut sources = Vec::new();
    let mut total = 0_usize;
    for found in partition.find(from, records.min(PLACES)) {
        total = total.saturating_add(found.slot.length as usize);
        if total > bytes && !sources.is_empty() {
            break;
        }
        sources.push(match index.cache.get(&part, found.offset) {
            Some(entry) => Source::Memory(entry.clone()),
            None => Source::Disk(found),
        });
    }
    sources
}

fn fetch(shared: &Shared, sources: Vec<Source>) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::with_capacity(sources.len());
    for source in sources {
        entries.push(match source {
            Source::Memory(entry) => entry,
            Source::Disk(found) => record(shared, found)?,
        });
    }
    Ok(entries)
}

/// An open segment.
fn handle(shared: &Shared, number: u32) -> Result<Arc<dyn SegmentFile>, ReadError> {
    let mut handles = shared.handles.lock();
    if let Some((_, file)) = handles.iter().find(|(known, _)| *known == number) {
        return Ok(Arc::clone(file));
    }
    let path = segment::path(&shared.folder, number);
    let file = shared.files.open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if !shared.segments.lock().contains_key(&number) => ReadError::Gone,
        _ => ReadError::Log(LogError::Retry(format!("{}: {error}", path.display()))),
    })?;
    handles.push_back((number, Arc::clone(&file)));
    if handles.len() > HANDLES {
        handles.pop_front();
    }
    Ok(file)
}

/// Reads and checks one record.
fn record(shared: &Shared, found: Found) -> Result<Entry, ReadError> {
    let file = handle(shared, found.segment)?;
    let mut octets = vec![0; RECORD + found.slot.length as usize];
    let damaged = |why: &str| {
        let path = segment::path(&shared.folder, found.segment);
        let at = found.slot.at;
        let text = format!("{} at octet {at}: {why}; run `tidegate log verify`", path.display());
        ReadError::Log(LogError::Broken(text))
    };
    file.read_at(&mut octets, found.slot.at.into()).map_err(|e| damaged(&e.to_string()))?;
    let octets = Bytes::from(octets);
    match frame::decode_record(&octets) {
        Some((header, _)) if header.offset == found.offset => {
            Ok(Entry { offset: header.offset, at_ms: header.at_ms, value: octets.slice(RECORD..) })
        }
        _ => Err(damaged("the record is damaged")),
    }
}

/// Reads whole records of one segment for moving them.
pub(super) fn records(shared: &Shared, found: Vec<Found>) -> Result<Vec<Entry>, LogError> {
    let sources = found.into_iter().map(Source::Disk).collect();
    fetch(shared, sources).map_err(|error| match error {
        ReadError::Gone => LogError::Retry("segment was deleted meanwhile".into()),
        ReadError::Log(error) => error,
    })
}

/// Offset of the first record appended at or after a moment.
async fn offset_at(
    shared: &Arc<Shared>,
    topic: &str,
    partition: u32,
    moment_ms: u64,
) -> Result<Option<u64>, LogError> {
    let run = {
        let index = shared.index.lock();
        index.part(topic, partition).and_then(|(_, partition)| partition.run_at(moment_ms).cloned())
    };
    let Some(run) = run else { return Ok(None) };
    if run.first_ms >= moment_ms {
        return Ok(Some(run.first));
    }
    let own = Arc::clone(shared);
    let search = tokio::task::spawn_blocking(move || {
        let (mut low, mut high) = (0, run.slots.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(slot) = run.slots.get(middle) else { break };
            let found = Found { segment: run.segment, offset: run.first + middle as u64, slot: *slot };
            match record(&own, found) {
                Ok(entry) if entry.at_ms < moment_ms => low = middle + 1,
                Ok(_) => high = middle,
                // Deleted meanwhile: whatever is left comes after it.
                Err(ReadError::Gone) => return Ok(run.end()),
                Err(ReadError::Log(error)) => return Err(error),
            }
        }
        Ok(run.first + low as u64)
    });
    search.await.map_err(|e| LogError::Retry(format!("read was ended: {e}")))?.map(Some)
}
