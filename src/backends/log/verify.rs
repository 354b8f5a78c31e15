//! The check of a log folder, for `tidegate log verify`: reads every octet, changes nothing.
//!
//! Works beside a running gateway; then the last segment's end may be caught in the middle of a write.

use super::files::{Disk, SegmentFile};
use super::frame::Frame;
use super::open::{is_moved, numbers};
use super::segment::{self, ScanError};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What one segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Path of the file.
    pub file: PathBuf,
    /// Whole frames.
    pub frames: u64,
    /// Octets in use.
    pub bytes: u64,
    /// What is wrong, and at which octet; `None` when nothing is.
    pub damage: Option<String>,
    /// The last segment only: octets after the last frame that the next start cuts off.
    pub torn: bool,
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In order.
    pub segments: Vec<Checked>,
    /// Records by topic, those moved to a newer segment not counted again.
    pub records: BTreeMap<String, u64>,
    /// Changes of the store.
    pub changes: u64,
}

impl Report {
    /// Whether every acknowledged record can be read.
    pub fn whole(&self) -> bool {
        self.segments.iter().all(|segment| segment.damage.is_none())
    }
}

/// Reads all segments of the data folder `dir`.
pub fn verify(dir: &Path) -> io::Result<Report> {
    let folder = dir.join("log");
    let numbers = numbers(&folder)?;
    let mut report = Report::default();
    for number in &numbers {
        let path = segment::path(&folder, *number);
        let file = Disk::open_to_read(&path)?;
        let last = numbers.last() == Some(number);
        report.segments.push(check(&*file, path, *number, last, &mut report.records, &mut report.changes)?);
    }
    Ok(report)
}

fn check(
    file: &dyn SegmentFile,
    path: PathBuf,
    number: u32,
    last: bool,
    records: &mut BTreeMap<String, u64>,
    changes: &mut u64,
) -> io::Result<Checked> {
    let (mut frames, mut bytes) = (0, 0);
    let mut visit = |at: u64, whole: &Frame<'_>| {
        frames += 1;
        bytes = at + whole.header.total as u64;
        *changes += whole.head.changes.len() as u64;
        for place in &whole.head.places {
            if !is_moved(whole) {
                *records.entry(place.topic.to_owned()).or_default() += 1;
            }
        }
        Ok(())
    };
    let (damage, torn) = match segment::scan(file, number, last, &mut visit) {
        Ok(scanned) => (None, scanned.torn),
        Err(ScanError::Io(error)) => return Err(error),
        Err(error) => (Some(error.to_string()), false),
    };
    Ok(Checked { file: path, frames, bytes, damage, torn })
}
