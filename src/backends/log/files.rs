//! The seam between the log and the disk: everything the log asks of files goes through [`Files`], so that
//! tests can lose unsynced writes, fail calls and fill the disk.
//!
//! Invariant: whatever `create` and `rename` made is found again after a power loss once they returned; the
//! octets of a file are safe once `sync` returned, and not before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Files of the log's folder.
pub trait Files: Send + Sync + 'static {
    /// A new file of `bytes` octets, all zero, with its blocks allocated where the file system can.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>>;
    /// An existing file, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>>;
    /// Renames within a folder and makes the folder durable.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Octets that this process may still write to the disk of `folder`.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
}

/// One open file.
pub trait SegmentFile: Send + Sync + 'static {
    /// Writes all of `data` at a position.
    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()>;
    /// Fills `into` from a position.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;
    /// Cuts to, or extends with allocated zeros to, a length.
    fn resize(&self, bytes: u64) -> io::Result<()>;
    /// Makes all written octets and the length durable.
    fn sync(&self) -> io::Result<()>;
    /// Length in octets.
    fn length(&self) -> io::Result<u64>;
}

/// The real disk.
#[derive(Debug)]
pub struct Disk {
    /// Whether `sync` asks the device. `false` only for measurements: a power loss then loses acknowledged
    /// records, and may leave a log that does not open.
    pub fsync: bool,
}

impl Disk {
    /// A file that is only read.
    pub(super) fn open_to_read(path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(DiskFile { file: File::open(path)?, fsync: false }))
    }
}

struct DiskFile {
    file: File,
    fsync: bool,
}

impl Files for Disk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        allocate(&file, bytes)?;
        Ok(Arc::new(DiskFile { file, fsync: self.fsync }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Arc::new(DiskFile { file, fsync: self.fsync }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        match to.parent() {
            Some(folder) if self.fsync => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let facts = rustix::fs::statvfs(folder)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}

impl SegmentFile for DiskFile {
    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(data, at)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        if bytes < self.length()? {
            return self.file.set_len(bytes);
        }
        allocate(&self.file, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        if self.fsync { self.file.sync_data() } else { Ok(()) }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// Extends to `bytes` octets. Blocks allocated ahead make each sync cheaper (no change of length) and keep
/// a full disk from striking in the middle of a segment.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(bytes),
        Err(error) => Err(error.into()),
    }
}

/// What a failed file call means for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No room.
    Full,
    /// Not allowed now: a read-only mount or folder. Nothing was written.
    Away,
    /// Nobody knows what reached the disk.
    Unknown,
}

/// Sorts an error.
pub(super) fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Failure::Away,
        _ => Failure::Unknown,
    }
}
