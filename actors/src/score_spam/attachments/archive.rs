//! Looks into zip archives and gzip files: names, encryption, and the first octets of what is inside.
//!
//! Everything is bounded by one [`Budget`] a message: entries, octets inflated, depth. An archive that would
//! cost more is named a bomb and not opened further. Names come from the central directory, as in most
//! programs; an archive whose directory cannot be read is walked by its local headers.

use super::magic::{Content, content};
use flate2::read::{DeflateDecoder, GzDecoder};
use std::io::Read;

/// Entries looked at in all archives of one message.
const MAX_ENTRIES: usize = 5_000;
/// Octets inflated for one message.
const MAX_INFLATED: usize = 16 * 1024 * 1024;
/// Octets inflated of an entry only to see what it is.
const PEEK: usize = 1_024;
/// Octets inflated of an archive inside an archive.
const MAX_INNER: usize = 8 * 1024 * 1024;
/// Archives inside archives that are opened.
pub(crate) const MAX_DEPTH: usize = 2;
/// What unpacks to this many octets at this ratio is a bomb.
const BOMB_OCTETS: u64 = 64 * 1024 * 1024;
const BOMB_RATIO: u64 = 200;

/// What is left to spend on one message.
pub(crate) struct Budget {
    pub(crate) entries: usize,
    pub(crate) octets: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { entries: MAX_ENTRIES, octets: MAX_INFLATED }
    }
}

/// One file inside an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path as stored.
    pub(crate) name: String,
    /// What its first octets say; `Other` when they can't be read.
    pub(crate) content: Content,
}

/// What was seen in one archive and those inside it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inside {
    pub(crate) entries: Vec<Entry>,
    /// An entry is encrypted.
    pub(crate) encrypted: bool,
    /// It would unpack to far too much, or the budget is spent.
    pub(crate) bomb: bool,
    /// Archives nested deeper than is opened.
    pub(crate) too_deep: bool,
    /// The directory does not make sense.
    pub(crate) broken: bool,
}

impl Inside {
    /// Whether an entry's path ends like this, case ignored.
    pub(crate) fn has(&self, ending: &str) -> bool {
        self.entries.iter().any(|e| e.name.to_ascii_lowercase().ends_with(ending))
    }
}

struct Header {
    name: String,
    encrypted: bool,
    method: u16,
    packed: u64,
    size: u64,
    /// Where the entry's octets begin.
    start: usize,
}

/// Looks into a zip.
pub(crate) fn look_into_zip(zip: &[u8], budget: &mut Budget) -> Inside {
    let mut inside = Inside::default();
    zip_at_depth(zip, 0, budget, &mut inside);
    inside
}

fn zip_at_depth(zip: &[u8], depth: usize, budget: &mut Budget, inside: &mut Inside) {
    let headers = directory(zip, budget.entries).unwrap_or_else(|| {
        inside.broken = true;
        local_headers(zip, budget.entries)
    });
    let (packed, size) = headers
        .iter()
        .fold((0_u64, 0_u64), |(p, s), h| (p.saturating_add(h.packed), s.saturating_add(h.size)));
    if size > BOMB_OCTETS && size / packed.max(1) > BOMB_RATIO || headers.len() >= budget.entries {
        inside.bomb = true;
    }
    for header in headers {
        if budget.entries == 0 || budget.octets == 0 {
            inside.bomb = true;
            return;
        }
        budget.entries -= 1;
        inside.encrypted |= header.encrypted;
        let head = if header.encrypted { Vec::new() } else { unpack(zip, &header, PEEK, budget) };
        let kind = content(&head);
        inside.entries.push(Entry { name: header.name.clone(), content: kind });
        if kind != Content::Zip || inside.bomb {
            continue;
        }
        if depth + 1 >= MAX_DEPTH {
            // Office documents inside an archive are zips too, and no reason for alarm.
            inside.too_deep |= !is_document(&header.name);
            continue;
        }
        let inner = unpack(zip, &header, MAX_INNER, budget);
        zip_at_depth(&inner, depth + 1, budget, inside);
    }
}

fn is_document(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub", ".docm", ".xlsm", ".pptm"]
        .iter()
        .any(|e| name.ends_with(e))
}

/// What a gzip file has inside, by its first octets.
pub(crate) fn look_into_gzip(octets: &[u8], budget: &mut Budget) -> Content {
    let mut out = Vec::new();
    let limit = PEEK.min(budget.octets);
    // A damaged stream gives what could be read, which is enough to judge.
    let _partial = GzDecoder::new(octets).take(limit as u64).read_to_end(&mut out);
    budget.octets = budget.octets.saturating_sub(out.len());
    content(&out)
}

fn unpack(zip: &[u8], header: &Header, limit: usize, budget: &mut Budget) -> Vec<u8> {
    let packed = zip.get(header.start..).unwrap_or_default();
    let packed = packed
        .get(..packed.len().min(usize::try_from(header.packed).unwrap_or(usize::MAX)))
        .unwrap_or_default();
    let limit = limit.min(budget.octets);
    let mut out = Vec::new();
    match header.method {
        0 => out.extend_from_slice(packed.get(..packed.len().min(limit)).unwrap_or_default()),
        8 => {
            let _partial = DeflateDecoder::new(packed).take(limit as u64).read_to_end(&mut out);
        }
        _ => {}
    }
    budget.octets = budget.octets.saturating_sub(out.len());
    out
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let bytes = octets.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    let bytes = octets.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn text(octets: &[u8], at: usize, length: usize) -> Option<String> {
    Some(String::from_utf8_lossy(octets.get(at..at.checked_add(length)?)?).into_owned())
}

/// Entries by the central directory (APPNOTE 4.3.12), at most `most`; `None` when there is no sound one.
fn directory(zip: &[u8], most: usize) -> Option<Vec<Header>> {
    let tail_from = zip.len().saturating_sub(66_000);
    let tail = zip.get(tail_from..)?;
    let end = tail_from + memchr::memmem::rfind(tail, b"PK\x05\x06")?;
    let size = u32_at(zip, end + 12)? as usize;
    let declared = u32_at(zip, end + 16)? as usize;
    // Octets put before an archive shift it; what counts is where the directory ends.
    let from = end.checked_sub(size)?;
    let shift = from.checked_sub(declared)?;
    let mut at = from;
    let mut out = Vec::new();
    while zip.get(at..at + 4) == Some(b"PK\x01\x02") && out.len() < most {
        let (name_length, extra, comment) =
            (u16_at(zip, at + 28)? as usize, u16_at(zip, at + 30)? as usize, u16_at(zip, at + 32)? as usize);
        let local = (u32_at(zip, at + 42)? as usize).checked_add(shift)?;
        out.push(Header {
            name: text(zip, at + 46, name_length)?,
            encrypted: u16_at(zip, at + 8)? & 1 != 0,
            method: u16_at(zip, at + 10)?,
            packed: u64::from(u32_at(zip, at + 20)?),
            size: u64::from(u32_at(zip, at + 24)?),
            start: data_start(zip, local).unwrap_or(zip.len()),
        });
        at += 46 + name_length + extra + comment;
    }
    let declared_entries = usize::from(u16_at(zip, end + 10)?);
    (!out.is_empty() || declared_entries == 0).then_some(out)
}

/// Where an entry's octets begin, by its local header (APPNOTE 4.3.7).
fn data_start(zip: &[u8], local: usize) -> Option<usize> {
    if zip.get(local..local.checked_add(4)?) != Some(b"PK\x03\x04") {
        return None;
    }
    Some(local + 30 + usize::from(u16_at(zip, local + 26)?) + usize::from(u16_at(zip, local + 28)?))
}

fn local_headers(zip: &[u8], most: usize) -> Vec<Header> {
    let mut out = Vec::new();
    for at in memchr::memmem::find_iter(zip, b"PK\x03\x04").take(most) {
        let Some(header) = local_header(zip, at) else { continue };
        out.push(header);
    }
    out
}

fn local_header(zip: &[u8], at: usize) -> Option<Header> {
    let name_length = usize::from(u16_at(zip, at + 26)?);
    let packed = u64::from(u32_at(zip, at + 18)?);
    Some(Header {
        name: text(zip, at + 30, name_length)?,
        encrypted: u16_at(zip, at + 6)? & 1 != 0,
        method: u16_at(zip, at + 8)?,
        // With a data descriptor the size stands behind the octets: inflate up to the limit.
        packed: if packed == 0 { u64::MAX } else { packed },
        size: u64::from(u32_at(zip, at + 22)?),
        start: data_start(zip, at)?,
    })
}
