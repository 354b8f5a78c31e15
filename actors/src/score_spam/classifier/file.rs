//! The model on disk: one snapshot, and a journal of the marks learned since.
//!
//! The snapshot is written beside the old one and renamed over it, so there is always a whole one. A mark is
//! in the journal, synced, before it counts as learned, so `kill -9` loses none: loading reads the snapshot and
//! learns the journal again, which gives the very same model. Both carry checksums (CRC-32). What is torn in the
//! journal is what a crash leaves: it is skipped, and reading goes on at the next record's mark. A damaged
//! snapshot is an error that says so.
//!
//! Snapshot, all numbers little endian: `TGMODEL1`, marks, contradicted shares, ids, calibration, kept marks,
//! touched slots (slot, weights, squares), words (slot, counts), CRC-32 of everything before.

use super::features::{Features, SLOTS};
use super::weights::{Cell, LEARNERS};
use super::{IDS, Lesson, Model, SharedModel, kept};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"TGMODEL1";
/// Octets of journal from which a new snapshot is made: some 300 marks, a third of a second to learn again.
const JOURNAL_LIMIT: u64 = 2 * 1024 * 1024;
/// Begins each record of the journal.
const RECORD: &[u8; 4] = b"TGMK";
/// No honest record is longer.
const MAX_RECORD: usize = 256 * 1024;

/// The model's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Reading or writing failed.
    #[error("model file {path}: {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// Written by another version.
    #[error(
        "model file {0} is not of this version: move it away and train again, or use the version that wrote it"
    )]
    Version(PathBuf),
    /// Cut or changed.
    #[error("model file {0} is damaged: move it away and train again, or bring it back from a backup")]
    Damaged(PathBuf),
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |why| ModelError::Io { path: path.clone(), why }
}

/// The journal beside a snapshot.
fn journal_of(path: &Path) -> PathBuf {
    path.with_extension("marks")
}

impl Model {
    /// Reads a model, with the marks of its journal; an empty one when there is no file.
    pub fn load(path: &Path) -> Result<Model, ModelError> {
        let mut model = match std::fs::read(path) {
            Ok(octets) => Model::decode(&octets, path)?,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Model::default(),
            Err(why) => return Err(failed(path)(why)),
        };
        let journal = journal_of(path);
        match std::fs::read(&journal) {
            Ok(octets) => {
                for lesson in lessons(&octets) {
                    model.take(&lesson);
                }
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => return Err(failed(&journal)(why)),
        }
        Ok(model)
    }

    /// Reads a model; a file that cannot be used is renamed to `*.damaged` and an empty model starts, with the
    /// error to tell.
    pub fn load_or_new(path: &Path) -> (Model, Option<ModelError>) {
        match Model::load(path) {
            Ok(model) => (model, None),
            Err(error) => {
                // Best effort: when even this fails, saving will say so.
                let _kept = std::fs::rename(path, path.with_extension("damaged"));
                let mut model = Model::default();
                for lesson in std::fs::read(journal_of(path)).iter().flat_map(|octets| lessons(octets)) {
                    model.take(&lesson);
                }
                (model, Some(error))
            }
        }
    }

    /// Writes a snapshot in place of the old one and forgets the journal, whose marks it has.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let writing = self.writing.clone();
        let _one_at_a_time = writing.lock();
        self.write_snapshot(path)
    }

    fn write_snapshot(&self, path: &Path) -> Result<(), ModelError> {
        let fresh = path.with_extension("new");
        let file = File::create(&fresh).map_err(failed(&fresh))?;
        let mut out = Checked { out: BufWriter::with_capacity(1 << 20, file), sum: flate2::Crc::new() };
        self.encode(&mut out).map_err(failed(&fresh))?;
        let sum = out.sum.sum();
        out.out.write_all(&sum.to_le_bytes()).map_err(failed(&fresh))?;
        let file = out.out.into_inner().map_err(|e| failed(&fresh)(e.into_error()))?;
        file.sync_all().map_err(failed(&fresh))?;
        std::fs::rename(&fresh, path).map_err(failed(path))?;
        sync_folder(path)?;
        match std::fs::remove_file(journal_of(path)) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(failed(path)(why)),
            _ => Ok(()),
        }
    }

    fn encode(&self, out: &mut impl Write) -> std::io::Result<()> {
        out.write_all(MAGIC)?;
        put(out, &self.marks.map(u64::to_le_bytes).concat())?;
        put(out, &self.contradicted.map(f32::to_le_bytes).concat())?;
        put(out, &self.fisher.marks.map(u32::to_le_bytes).concat())?;
        put(out, &(self.id_order.len() as u32).to_le_bytes())?;
        for id in &self.id_order {
            put(out, &id.to_le_bytes())?;
        }
        for seen in &self.calibration.seen {
            put(out, &(seen.len() as u32).to_le_bytes())?;
            for score in seen {
                put(out, &score.to_le_bytes())?;
            }
        }
        for marks in &self.kept.marks {
            put(out, &(marks.len() as u32).to_le_bytes())?;
            for mark in marks {
                put(out, &(mark.len() as u32).to_le_bytes())?;
                put(out, mark)?;
            }
        }
        let touched = |cell: &Cell| cell.squares != [0.0; LEARNERS];
        put(out, &(self.weights.cells.iter().filter(|c| touched(c)).count() as u32).to_le_bytes())?;
        for (slot, cell) in self.weights.cells.iter().enumerate().filter(|(_, c)| touched(c)) {
            put(out, &(slot as u32).to_le_bytes())?;
            put(out, &cell.weight.map(f32::to_le_bytes).concat())?;
            put(out, &cell.squares.map(f32::to_le_bytes).concat())?;
        }
        put(out, &(self.fisher.counts.iter().filter(|c| **c != [0; 2]).count() as u32).to_le_bytes())?;
        for (slot, counts) in self.fisher.counts.iter().enumerate().filter(|(_, c)| **c != [0; 2]) {
            put(out, &(slot as u32).to_le_bytes())?;
            put(out, &counts.map(u16::to_le_bytes).concat())?;
        }
        Ok(())
    }

    fn decode(octets: &[u8], path: &Path) -> Result<Model, ModelError> {
        if octets.len() >= MAGIC.len() && !octets.starts_with(MAGIC) && octets.starts_with(b"TGMODEL") {
            return Err(ModelError::Version(path.to_owned()));
        }
        let damaged = || ModelError::Damaged(path.to_owned());
        let (body, sum) = octets.split_last_chunk::<4>().ok_or_else(damaged)?;
        let mut crc = flate2::Crc::new();
        crc.update(body);
        if crc.sum() != u32::from_le_bytes(*sum) || !body.starts_with(MAGIC) {
            return Err(damaged());
        }
        let mut input = Input(body.get(MAGIC.len()..).unwrap_or_default());
        input.model().ok_or_else(damaged)
    }
}

fn put(out: &mut impl Write, octets: &[u8]) -> std::io::Result<()> {
    out.write_all(octets)
}

fn sync_folder(path: &Path) -> Result<(), ModelError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(failed(folder))
}

struct Checked<W> {
    out: W,
    sum: flate2::Crc,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(octets)?;
        self.sum.update(octets.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

struct Input<'o>(&'o [u8]);

impl<'o> Input<'o> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn octets(&mut self, length: usize) -> Option<&'o [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn f32(&mut self) -> Option<f32> {
        self.array().map(f32::from_le_bytes)
    }

    fn f32s<const N: usize>(&mut self) -> Option<[f32; N]> {
        let mut out = [0.0; N];
        for number in &mut out {
            *number = self.f32()?;
        }
        Some(out)
    }

    fn model(&mut self) -> Option<Model> {
        let mut model = Model { marks: [self.u64()?, self.u64()?], ..Model::default() };
        model.contradicted = self.f32s()?;
        model.fisher.marks = [self.u32()?, self.u32()?];
        for _ in 0..self.u32()? {
            model.remember(self.u64()?);
        }
        for class in 0..2 {
            for _ in 0..self.u32()? {
                let score = self.f32()?;
                model.calibration.seen.get_mut(class)?.push(score);
            }
        }
        model.calibration.fit();
        for class in 0..2 {
            for _ in 0..self.u32()? {
                let length = self.u32()? as usize;
                model.kept.push(self.octets(length)?.to_vec(), class == 1);
            }
        }
        for _ in 0..self.u32()? {
            let slot = self.u32()? as usize;
            let cell = Cell { weight: self.f32s()?, squares: self.f32s()? };
            model.weights.put((slot < SLOTS).then_some(slot)?, cell);
        }
        for _ in 0..self.u32()? {
            let slot = self.u32()? as usize;
            let counts = [u16::from_le_bytes(self.array()?), u16::from_le_bytes(self.array()?)];
            *model.fisher.counts.get_mut(slot)? = counts;
        }
        (self.0.is_empty() && model.id_order.len() <= IDS).then_some(model)
    }
}

/// Learns a lesson so that it survives a crash: journal first, synced, then the model; a new snapshot when the
/// journal has grown. `false` when it was learned before. Blocks on the disk; scoring goes on meanwhile.
pub(crate) fn learn_durably(model: &SharedModel, path: &Path, lesson: &Lesson) -> Result<bool, ModelError> {
    let writing = model.read().writing.clone();
    let _one_at_a_time = writing.lock();
    if model.read().knows(lesson) {
        return Ok(false);
    }
    let length = append(path, lesson)?;
    model.write().take(lesson);
    if length > JOURNAL_LIMIT {
        model.read().write_snapshot(path)?;
    }
    Ok(true)
}

fn append(path: &Path, lesson: &Lesson) -> Result<u64, ModelError> {
    let journal = journal_of(path);
    let mut payload = lesson.id.to_le_bytes().to_vec();
    payload.push(u8::from(lesson.spam));
    let groups = kept::encode(&lesson.features.groups);
    payload.extend((groups.len() as u32).to_le_bytes());
    payload.extend(groups);
    payload.extend(kept::encode(&[lesson.features.words.clone(), Vec::new(), Vec::new(), Vec::new()]));
    let mut record = RECORD.to_vec();
    record.extend((payload.len() as u32).to_le_bytes());
    record.extend(checksum(&payload).to_le_bytes());
    record.extend(payload);
    let new = !journal.exists();
    let mut file = OpenOptions::new().create(true).append(true).open(&journal).map_err(failed(&journal))?;
    let before = file.metadata().map_err(failed(&journal))?.len();
    let written = file.write_all(&record).and_then(|()| file.sync_data());
    written.map_err(failed(&journal))?;
    if new {
        sync_folder(path)?;
    }
    Ok(before + record.len() as u64)
}

fn checksum(octets: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(octets);
    crc.sum()
}

/// Lessons of a journal; what is torn or damaged is skipped.
fn lessons(octets: &[u8]) -> Vec<Lesson> {
    let mut out = Vec::new();
    let mut rest = octets;
    while let Some(at) = memchr::memmem::find(rest, RECORD) {
        let mut input = Input(rest.get(at + RECORD.len()..).unwrap_or_default());
        let after_mark = input.0;
        let lesson = next_lesson(&mut input);
        rest = if lesson.is_some() { input.0 } else { after_mark };
        out.extend(lesson);
    }
    out
}

fn next_lesson(input: &mut Input<'_>) -> Option<Lesson> {
    let length = input.u32()? as usize;
    let sum = input.u32()?;
    let payload = input.octets(if length <= MAX_RECORD { length } else { return None })?;
    if checksum(payload) != sum {
        return None;
    }
    let mut input = Input(payload);
    let id = input.u64()?;
    let spam = input.array::<1>()? == [1];
    let groups = input.u32()? as usize;
    let groups = kept::decode(input.octets(groups)?)?;
    let [words, ..] = kept::decode(input.0)?;
    Some(Lesson { id, spam, features: Features { groups, words } })
}
