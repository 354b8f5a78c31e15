//! Files that fail on purpose: power cuts that lose unsynced writes, refused calls, full disks.

use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidegate::backends::log::files::{Disk, Files, SegmentFile};

/// Power losses keep or lose whole sectors.
const SECTOR: usize = 512;

/// What becomes of an unsynced sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It reached the disk.
    Kept,
    /// The disk holds what was there before.
    Lost,
    /// The disk holds neither.
    Garbage,
}

struct Unsynced {
    path: PathBuf,
    at: u64,
    before: Vec<u8>,
}

#[derive(Default)]
struct State {
    unsynced: Vec<Unsynced>,
    /// No power: every call fails.
    off: bool,
    /// The power goes at a sync, after so many more that work.
    off_at_sync: Option<u32>,
    /// Syncs wait.
    held: bool,
    /// Syncs that wait now.
    waiting: u32,
    /// Writes fail after half of their octets.
    fail_writes: Option<io::ErrorKind>,
    fail_syncs: Option<io::ErrorKind>,
    fail_creates: Option<io::ErrorKind>,
    free: Option<u64>,
}

/// The files, as the test steers them; clones share all state.
#[derive(Clone, Default)]
pub(crate) struct Faulty {
    state: Arc<Mutex<State>>,
    bell: Arc<Condvar>,
}

struct FaultyFile {
    files: Faulty,
    path: Mutex<PathBuf>,
    inner: Arc<dyn SegmentFile>,
}

fn disk() -> Disk {
    Disk { fsync: false }
}

fn no_power() -> io::Error {
    io::Error::other("no power")
}

impl Faulty {
    /// From now on nothing reaches the disk.
    pub(crate) fn power_off(&self) {
        self.state.lock().off = true;
        self.release();
    }

    /// The power goes instead of a sync, after `working` more.
    pub(crate) fn power_off_at_sync(&self, working: u32) {
        self.state.lock().off_at_sync = Some(working);
    }

    /// Syncs wait until [`Faulty::release`].
    pub(crate) fn hold(&self) {
        self.state.lock().held = true;
    }

    /// Waiting syncs go on.
    pub(crate) fn release(&self) {
        self.state.lock().held = false;
        self.bell.notify_all();
    }

    /// Blocks until a sync waits.
    pub(crate) fn wait_for_sync(&self) {
        let mut state = self.state.lock();
        while state.waiting == 0 {
            self.bell.wait(&mut state);
        }
    }

    pub(crate) fn fail_writes(&self, kind: Option<io::ErrorKind>) {
        self.state.lock().fail_writes = kind;
    }

    pub(crate) fn fail_syncs(&self, kind: Option<io::ErrorKind>) {
        self.state.lock().fail_syncs = kind;
    }

    pub(crate) fn fail_creates(&self, kind: Option<io::ErrorKind>) {
        self.state.lock().fail_creates = kind;
    }

    pub(crate) fn set_free(&self, free: Option<u64>) {
        self.state.lock().free = free;
    }

    /// Power is back: every unsynced sector had the fate that `fate` says.
    pub(crate) fn power_on(&self, mut fate: impl FnMut() -> Fate) {
        let mut state = self.state.lock();
        for write in std::mem::take(&mut state.unsynced).into_iter().rev() {
            let Ok(file) = disk().open(&write.path) else { continue };
            for (number, before) in write.before.chunks(SECTOR).enumerate() {
                let at = write.at + (number * SECTOR) as u64;
                match fate() {
                    Fate::Kept => {}
                    Fate::Lost => file.write_at(before, at).unwrap(),
                    Fate::Garbage => file.write_at(&vec![0xA5; before.len()], at).unwrap(),
                }
            }
        }
        let free = state.free;
        *state = State { free, ..State::default() };
    }

    fn file(&self, path: &Path, inner: Arc<dyn SegmentFile>) -> Arc<dyn SegmentFile> {
        Arc::new(FaultyFile { files: self.clone(), path: Mutex::new(path.to_owned()), inner })
    }

    fn check(&self) -> io::Result<()> {
        if self.state.lock().off { Err(no_power()) } else { Ok(()) }
    }
}

impl Files for Faulty {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        self.check()?;
        if let Some(kind) = self.state.lock().fail_creates {
            return Err(kind.into());
        }
        Ok(self.file(path, disk().create(path, bytes)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        self.check()?;
        Ok(self.file(path, disk().open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        disk().rename(from, to)?;
        for write in &mut self.state.lock().unsynced {
            if write.path == from {
                to.clone_into(&mut write.path);
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        self.state.lock().unsynced.retain(|write| write.path != path);
        disk().remove(path)
    }

    fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
        Ok(self.state.lock().free.unwrap_or(u64::MAX))
    }
}

impl FaultyFile {
    /// The file's name now: segments are renamed once, from `.new`.
    fn path(&self) -> PathBuf {
        let mut path = self.path.lock();
        let named = path.with_extension("seg");
        if !path.exists() && named.exists() {
            *path = named;
        }
        path.clone()
    }
}

impl SegmentFile for FaultyFile {
    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.files.check()?;
        let length = self.inner.length()?;
        let mut before = vec![0; data.len()];
        let there = length.saturating_sub(at).min(data.len() as u64) as usize;
        self.inner.read_at(&mut before[..there], at)?;
        let mut state = self.files.state.lock();
        state.unsynced.push(Unsynced { path: self.path(), at, before });
        if let Some(kind) = state.fail_writes {
            self.inner.write_at(&data[..data.len() / 2], at)?;
            return Err(kind.into());
        }
        self.inner.write_at(data, at)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.inner.read_at(into, at)
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        self.files.check()?;
        self.inner.resize(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.files.state.lock();
        state.waiting += 1;
        self.files.bell.notify_all();
        while state.held {
            self.files.bell.wait(&mut state);
        }
        state.waiting -= 1;
        match &mut state.off_at_sync {
            Some(0) => state.off = true,
            Some(left) => *left -= 1,
            None => {}
        }
        if state.off {
            return Err(no_power());
        }
        if let Some(kind) = state.fail_syncs {
            return Err(kind.into());
        }
        let path = self.path();
        state.unsynced.retain(|write| write.path != path);
        self.inner.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
}
