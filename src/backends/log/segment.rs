//! Segment files: their names, their header, reading one from end to end, and the index beside a full one.
//!
//! ```text
//! 0000000001.seg = header | snapshot frame | frame ... | zeros
//! 0000000001.idx = what a scan of the full segment would find; made again when missing or damaged
//! ```
//! A segment gets its name only when its header and its snapshot frame (positions, ends of partitions, how
//! far the store is) are durable, so any later segments alone tell the whole state.
//!
//! **What a bad frame means.** Zeros up to the end are room not yet used. In the last segment a bad frame is
//! cut off, with all after it, when nothing after it belongs to a later sync: it was never acknowledged, or
//! is damage that cannot be told from that. Anywhere else a bad frame is damage, and nobody repairs it
//! silently.

use super::files::SegmentFile;
use super::frame::{self, Frame};
use super::index::{Index, Slot};
use std::io;
use std::path::{Path, PathBuf};

/// Version of the format that this build writes.
pub(super) const VERSION: u32 = 1;
/// Octets of a segment's header.
pub(super) const HEADER: u64 = 32;
const MAGIC: [u8; 4] = *b"TGS1";
const INDEX_MAGIC: [u8; 4] = *b"TGI1";
const WINDOW: usize = 1 << 20;

/// Path of a segment.
pub(super) fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:010}.seg"))
}

/// Path of a full segment's index.
pub(super) fn index_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:010}.idx"))
}

/// Path of a segment or index that is being made.
pub(super) fn new_path(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Number of a file named like a segment or index.
pub(super) fn number_of(path: &Path, extension: &str) -> Option<u32> {
    if path.extension()?.to_str()? != extension {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

/// The header's octets.
pub(super) fn header(number: u32, made_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER as usize);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&made_ms.to_le_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.resize(HEADER as usize, 0);
    out
}

/// What is known of a segment beside its records' places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Octets in use.
    pub(super) end: u64,
    /// Frames, the snapshot included.
    pub(super) frames: u64,
    /// Sequence of the last frame.
    pub(super) sequence: u64,
    /// Sequence of the last frame that changes the store, 0 = none.
    pub(super) last_change: u64,
    /// When it was begun, milliseconds UTC.
    pub(super) made_ms: u64,
    /// When its newest record was appended, or when it was begun.
    pub(super) newest_ms: u64,
}

impl Summary {
    /// Counts a frame in.
    pub(super) fn count(&mut self, frame_end: u64, sequence: u64, changes: bool, newest_ms: u64) {
        self.end = frame_end;
        self.frames += 1;
        self.sequence = sequence;
        self.newest_ms = self.newest_ms.max(newest_ms);
        if changes {
            self.last_change = sequence;
        }
    }
}

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{why} at octet {at}")]
    Damaged { at: u64, why: &'static str },
    #[error("written by a newer version ({0}) of the format, this build reads up to {VERSION}")]
    Newer(u32),
}

/// What a scan found at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanned {
    pub(super) summary: Summary,
    /// Octets after the last whole frame are neither frames nor zeros.
    pub(super) torn: bool,
}

/// Reads a file through a buffer that only grows for a long frame.
struct Window<'f> {
    file: &'f dyn SegmentFile,
    length: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl Window<'_> {
    /// Octets from a position, fewer at the end of the file.
    fn get(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let count = (self.length.saturating_sub(at)).min(count as u64) as usize;
        let held = at >= self.start && at + count as u64 <= self.start + self.buffer.len() as u64;
        if !held {
            let wanted = count.max(WINDOW).min(self.length.saturating_sub(at) as usize);
            self.buffer.clear();
            self.buffer.resize(wanted, 0);
            self.file.read_at(&mut self.buffer, at)?;
            self.start = at;
        }
        let from = at.saturating_sub(self.start) as usize;
        Ok(self.buffer.get(from..from + count).unwrap_or_default())
    }
}

fn read_header(octets: &[u8], number: u32) -> Result<u64, ScanError> {
    let mut cursor = frame::Cursor(octets);
    let wrong = ScanError::Damaged { at: 0, why: "the segment's header is damaged" };
    let (Some(magic), Some(version), Some(own), Some(_), Some(made_ms), Some(crc)) =
        (cursor.take(4), cursor.u32(), cursor.u32(), cursor.u32(), cursor.u64(), cursor.u32())
    else {
        return Err(wrong);
    };
    let right = octets.get(..24).map(crc32c::crc32c) == Some(crc);
    if magic != MAGIC || own != number || !right {
        return Err(wrong);
    }
    if version > VERSION {
        return Err(ScanError::Newer(version));
    }
    Ok(made_ms)
}

/// Reads a segment from end to end and shows each whole frame, with its position, to `visit`. `last` says
/// that it is the newest one, whose end may be torn.
pub(super) fn scan(
    file: &dyn SegmentFile,
    number: u32,
    last: bool,
    visit: &mut dyn FnMut(u64, &Frame<'_>) -> Result<(), ScanError>,
) -> Result<Scanned, ScanError> {
    let mut window = Window { file, length: file.length()?, start: 0, buffer: Vec::new() };
    let made_ms = read_header(window.get(0, HEADER as usize)?, number)?;
    let mut summary = Summary { end: HEADER, made_ms, newest_ms: made_ms, ..Summary::default() };
    loop {
        let at = summary.end;
        let room = window.length.saturating_sub(at);
        let header = frame::decode_header(window.get(at, frame::HEADER)?, room);
        let octets = window.get(at, header.map_or(0, |h| h.total))?;
        let Some(whole) = frame::decode(octets) else { break };
        let snapshot = whole.head.flags & frame::FLAG_SNAPSHOT != 0;
        let first = summary.frames == 0;
        if snapshot != first || (!first && whole.header.sequence != summary.sequence + 1) {
            break;
        }
        visit(at, &whole)?;
        let newest_ms = whole.records.iter().map(|(_, record)| record.at_ms).max().unwrap_or(0);
        let frame_end = at + whole.header.total as u64;
        summary.count(frame_end, whole.header.sequence, !whole.head.changes.is_empty(), newest_ms);
    }
    if summary.frames == 0 {
        return Err(ScanError::Damaged { at: HEADER, why: "the segment's first frame is damaged" });
    }
    let torn = !zeros_from(&mut window, summary.end)?;
    if torn && (!last || later_group_follows(&mut window, summary.end, summary.sequence + 1)?) {
        return Err(ScanError::Damaged { at: summary.end, why: "a frame is damaged and later ones follow" });
    }
    Ok(Scanned { summary, torn })
}

fn zeros_from(window: &mut Window<'_>, mut at: u64) -> io::Result<bool> {
    while at < window.length {
        let octets = window.get(at, WINDOW)?;
        if octets.iter().any(|octet| *octet != 0) {
            return Ok(false);
        }
        at += octets.len() as u64;
    }
    Ok(true)
}

/// Whether a whole frame that a later sync made durable stands somewhere after a bad one. Frames of the bad
/// one's own group prove nothing: a power loss keeps any part of a group that was not synced.
fn later_group_follows(window: &mut Window<'_>, bad: u64, bad_sequence: u64) -> io::Result<bool> {
    let mut at = bad + 1;
    while at + frame::HEADER as u64 <= window.length {
        let octets = window.get(at, WINDOW)?;
        let Some(hit) = octets.windows(4).position(|four| four == frame::MAGIC) else {
            at += octets.len().saturating_sub(3).max(1) as u64;
            continue;
        };
        at += hit as u64;
        let room = window.length - at;
        let header = frame::decode_header(window.get(at, frame::HEADER)?, room);
        let octets = window.get(at, header.map_or(0, |h| h.total))?;
        match frame::decode(octets) {
            Some(whole) if whole.header.group > bad_sequence => return Ok(true),
            Some(whole) => at += whole.header.total as u64,
            None => at += 1,
        }
    }
    Ok(false)
}

/// Adds a frame's records to the index.
pub(super) fn index_frame(index: &mut Index, number: u32, at: u64, whole: &Frame<'_>) {
    for (place, (start, record)) in whole.head.places.iter().zip(&whole.records) {
        let slot = Slot { at: (at + *start as u64) as u32, length: record.length };
        let (_, partition) = index.part_mut(place.topic, place.partition);
        partition.add(number, record.offset, record.at_ms, slot);
    }
}

/// The octets of a full segment's index.
pub(super) fn encode_index(index: &Index, number: u32, summary: &Summary) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&INDEX_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    let numbers = [summary.end, summary.frames, summary.sequence, summary.last_change];
    for value in numbers.into_iter().chain([summary.made_ms, summary.newest_ms]) {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for ((topic, partition), known) in &index.parts {
        for run in known.runs().filter(|run| run.segment == number) {
            out.extend_from_slice(&(topic.len() as u16).to_le_bytes());
            out.extend_from_slice(topic.as_bytes());
            out.extend_from_slice(&partition.to_le_bytes());
            for value in [run.first, run.first_ms, run.last_ms, run.slots.len() as u64] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            for slot in &run.slots {
                out.extend_from_slice(&slot.at.to_le_bytes());
                out.extend_from_slice(&slot.length.to_le_bytes());
            }
        }
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Adds what an index file says to the index; `None` when the octets are no index of this segment.
pub(super) fn decode_index(index: &mut Index, number: u32, octets: &[u8]) -> Option<Summary> {
    let (body, crc) = octets.split_at_checked(octets.len().checked_sub(4)?)?;
    if crc32c::crc32c(body).to_le_bytes() != crc {
        return None;
    }
    let mut cursor = frame::Cursor(body);
    let known = cursor.take(4)? == INDEX_MAGIC && cursor.u32()? == VERSION && cursor.u32()? == number;
    if !known {
        return None;
    }
    let summary = Summary {
        end: cursor.u64()?,
        frames: cursor.u64()?,
        sequence: cursor.u64()?,
        last_change: cursor.u64()?,
        made_ms: cursor.u64()?,
        newest_ms: cursor.u64()?,
    };
    while !cursor.0.is_empty() {
        let topic = cursor.text()?;
        let (_, partition) = index.part_mut(topic, cursor.u32()?);
        let (first, first_ms, last_ms, count) = (cursor.u64()?, cursor.u64()?, cursor.u64()?, cursor.u64()?);
        for number_in_run in 0..count {
            let slot = Slot { at: cursor.u32()?, length: cursor.u32()? };
            let at_ms = if number_in_run + 1 == count { last_ms } else { first_ms };
            partition.add(number, first + number_in_run, at_ms, slot);
        }
    }
    Some(summary)
}
