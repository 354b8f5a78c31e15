//! One frame of a segment = one atomic commit: seat positions, records, store changes.
//!
//! ```text
//! frame  = magic "TGF1" | head length u32 | frame length u32 | crc32c u32 | sequence u64 | group u64 | head | records
//! head   = flags u8 | applied u64 | seats | ends | records' places | changes
//! record = offset u64 | at_ms u64 | length u32 | crc32c u32 | value
//! ```
//! Numbers are little endian. A frame's crc covers its header and head, a record's crc the rest of the
//! record: every octet is covered once, and a record can be read and checked alone. `sequence` rises by one
//! a frame; `group` is the sequence of the first frame that was made durable by the same sync, which tells
//! a torn last group from damage under what came later.

use bytes::Bytes;

/// Octets before the head.
pub(super) const HEADER: usize = 32;
/// Octets before a record's value.
pub(super) const RECORD: usize = 24;
/// First octets of every frame.
pub(super) const MAGIC: [u8; 4] = *b"TGF1";
/// Longest frame; what is longer on disk is damage, what is longer in memory is refused.
pub(super) const LONGEST: usize = 1 << 30;

/// The frame is the state at the start of a segment.
pub(super) const FLAG_SNAPSHOT: u8 = 1;
/// The records were moved here from an older segment, under their old offsets.
pub(super) const FLAG_MOVED: u8 = 2;

/// A seat's `next` when its consumer was forgotten.
pub(super) const FORGOTTEN: u64 = u64::MAX;

/// Header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) head: usize,
    pub(super) total: usize,
    pub(super) crc: u32,
    pub(super) sequence: u64,
    pub(super) group: u64,
}

/// Position of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeatAt<'a> {
    pub(super) consumer: &'a str,
    pub(super) topic: &'a str,
    pub(super) partition: u32,
    pub(super) next: u64,
}

/// End of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndAt<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: u32,
    pub(super) end: u64,
}

/// Where a record of the frame belongs, and how long its value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: u32,
    pub(super) length: u32,
}

/// A change of the store: `None` deletes. Conditions were decided before it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub(super) key: &'a [u8],
    /// Expiry (milliseconds UTC, 0 = never) and value.
    pub(super) row: Option<(u64, &'a [u8])>,
}

/// The head, borrowing from the frame's octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) flags: u8,
    pub(super) applied: u64,
    pub(super) seats: Vec<SeatAt<'a>>,
    pub(super) ends: Vec<EndAt<'a>>,
    pub(super) places: Vec<Place<'a>>,
    pub(super) changes: Vec<Change<'a>>,
}

/// What stands before a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) offset: u64,
    pub(super) at_ms: u64,
    pub(super) length: u32,
    pub(super) crc: u32,
}

/// A record to encode.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) offset: u64,
    pub(super) at_ms: u64,
    pub(super) value: Bytes,
}

/// Appends a frame to `out` and gives the start of each record, counted from the start of the frame.
pub(super) fn encode(
    out: &mut Vec<u8>,
    sequence: u64,
    group: u64,
    head: &Head<'_>,
    records: &[Outgoing],
) -> Vec<usize> {
    let start = out.len();
    out.resize(start + HEADER, 0);
    encode_head(out, head);
    let head_length = out.len() - start - HEADER;
    let mut starts = Vec::with_capacity(records.len());
    for record in records {
        starts.push(out.len() - start);
        let length = record.value.len() as u32;
        let crc = record_crc(record.offset, record.at_ms, length, &record.value);
        out.extend_from_slice(&record.offset.to_le_bytes());
        out.extend_from_slice(&record.at_ms.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&record.value);
    }
    let total = out.len() - start;
    let header = Header { head: head_length, total, crc: 0, sequence, group };
    let head_octets = out.get(start + HEADER..start + HEADER + head_length).unwrap_or_default();
    let crc = frame_crc(&header, head_octets);
    if let Some(place) = out.get_mut(start..start + HEADER) {
        place.copy_from_slice(&header_octets(&Header { crc, ..header }));
    }
    starts
}

fn header_octets(header: &Header) -> [u8; HEADER] {
    let mut octets = [0; HEADER];
    octets[0..4].copy_from_slice(&MAGIC);
    octets[4..8].copy_from_slice(&(header.head as u32).to_le_bytes());
    octets[8..12].copy_from_slice(&(header.total as u32).to_le_bytes());
    octets[12..16].copy_from_slice(&header.crc.to_le_bytes());
    octets[16..24].copy_from_slice(&header.sequence.to_le_bytes());
    octets[24..32].copy_from_slice(&header.group.to_le_bytes());
    octets
}

fn frame_crc(header: &Header, head: &[u8]) -> u32 {
    let plain = header_octets(&Header { crc: 0, ..*header });
    crc32c::crc32c_append(crc32c::crc32c(&plain), head)
}

fn record_crc(offset: u64, at_ms: u64, length: u32, value: &[u8]) -> u32 {
    let mut plain = [0; 20];
    plain[0..8].copy_from_slice(&offset.to_le_bytes());
    plain[8..16].copy_from_slice(&at_ms.to_le_bytes());
    plain[16..20].copy_from_slice(&length.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&plain), value)
}

/// Octets of a string that its length field can hold; names longer than 64 KiB are refused before.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend_from_slice(&(octets.len() as u32).to_le_bytes());
    out.extend_from_slice(octets);
}

fn encode_head(out: &mut Vec<u8>, head: &Head<'_>) {
    out.push(head.flags);
    out.extend_from_slice(&head.applied.to_le_bytes());
    out.extend_from_slice(&(head.seats.len() as u32).to_le_bytes());
    for seat in &head.seats {
        put_text(out, seat.consumer);
        put_text(out, seat.topic);
        out.extend_from_slice(&seat.partition.to_le_bytes());
        out.extend_from_slice(&seat.next.to_le_bytes());
    }
    out.extend_from_slice(&(head.ends.len() as u32).to_le_bytes());
    for end in &head.ends {
        put_text(out, end.topic);
        out.extend_from_slice(&end.partition.to_le_bytes());
        out.extend_from_slice(&end.end.to_le_bytes());
    }
    out.extend_from_slice(&(head.places.len() as u32).to_le_bytes());
    for place in &head.places {
        put_text(out, place.topic);
        out.extend_from_slice(&place.partition.to_le_bytes());
        out.extend_from_slice(&place.length.to_le_bytes());
    }
    out.extend_from_slice(&(head.changes.len() as u32).to_le_bytes());
    for change in &head.changes {
        put_octets(out, change.key);
        match change.row {
            Some((expires_ms, value)) => {
                out.push(1);
                out.extend_from_slice(&expires_ms.to_le_bytes());
                put_octets(out, value);
            }
            None => out.push(0),
        }
    }
}

/// Takes numbers and strings off the front of octets; every take may find too few.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.u16()?.into();
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn octets(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }
}

/// Reads a header; `None` when the octets are no header of a frame that fits in `room` octets.
pub(super) fn decode_header(octets: &[u8], room: u64) -> Option<Header> {
    let mut cursor = Cursor(octets);
    if cursor.take(4)? != MAGIC {
        return None;
    }
    let (head, total, crc) = (cursor.u32()? as usize, cursor.u32()? as usize, cursor.u32()?);
    let header = Header { head, total, crc, sequence: cursor.u64()?, group: cursor.u64()? };
    let sane = total <= LONGEST && total as u64 <= room && head.checked_add(HEADER)? <= total;
    sane.then_some(header)
}

/// Reads and checks a head.
pub(super) fn decode_head<'a>(header: &Header, head: &'a [u8]) -> Option<Head<'a>> {
    if frame_crc(header, head) != header.crc {
        return None;
    }
    let mut cursor = Cursor(head);
    let mut out = Head { flags: cursor.u8()?, applied: cursor.u64()?, ..Head::default() };
    for _ in 0..cursor.u32()? {
        let (consumer, topic) = (cursor.text()?, cursor.text()?);
        out.seats.push(SeatAt { consumer, topic, partition: cursor.u32()?, next: cursor.u64()? });
    }
    for _ in 0..cursor.u32()? {
        out.ends.push(EndAt { topic: cursor.text()?, partition: cursor.u32()?, end: cursor.u64()? });
    }
    for _ in 0..cursor.u32()? {
        out.places.push(Place { topic: cursor.text()?, partition: cursor.u32()?, length: cursor.u32()? });
    }
    for _ in 0..cursor.u32()? {
        let key = cursor.octets()?;
        let row = match cursor.u8()? {
            0 => None,
            1 => Some((cursor.u64()?, cursor.octets()?)),
            _ => return None,
        };
        out.changes.push(Change { key, row });
    }
    cursor.0.is_empty().then_some(out)
}

/// Reads and checks one record, header and value together.
pub(super) fn decode_record(octets: &[u8]) -> Option<(RecordHeader, &[u8])> {
    let (header, value) = octets.split_at_checked(RECORD)?;
    let header = record_header(header)?;
    let right = header.length as usize == value.len()
        && record_crc(header.offset, header.at_ms, header.length, value) == header.crc;
    right.then_some((header, value))
}

/// Reads what stands before a value; not checked by itself.
pub(super) fn record_header(octets: &[u8]) -> Option<RecordHeader> {
    let mut cursor = Cursor(octets);
    Some(RecordHeader {
        offset: cursor.u64()?,
        at_ms: cursor.u64()?,
        length: cursor.u32()?,
        crc: cursor.u32()?,
    })
}

/// A whole, checked frame.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) header: Header,
    pub(super) head: Head<'a>,
    /// Start within the frame, and header, of each record, in the order of `head.places`.
    pub(super) records: Vec<(usize, RecordHeader)>,
}

/// Reads a frame at the front of `octets`; `None` when anything about it is wrong.
pub(super) fn decode(octets: &[u8]) -> Option<Frame<'_>> {
    let header = decode_header(octets, octets.len() as u64)?;
    let frame = octets.get(..header.total)?;
    let head = decode_head(&header, frame.get(HEADER..HEADER + header.head)?)?;
    let mut records = Vec::with_capacity(head.places.len());
    let mut at = HEADER + header.head;
    for place in &head.places {
        let end = at.checked_add(RECORD)?.checked_add(place.length as usize)?;
        let (record, _value) = decode_record(frame.get(at..end)?)?;
        records.push((at, record));
        at = end;
    }
    (at == header.total).then_some(Frame { header, head, records })
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
