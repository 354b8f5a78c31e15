//! Why a log does not open.

use std::io;
use std::path::PathBuf;

/// Why the log does not open, as what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{folder} is in use by process {pid}: stop it first, or name another data folder")]
    Locked {
        /// The data folder.
        folder: PathBuf,
        /// Its process id, or `?`.
        pid: String,
    },
    /// The options contradict themselves or the folder.
    #[error("log options: {0}")]
    Options(String),
    /// The operating system refuses.
    #[error("data folder: {0}")]
    Io(#[from] io::Error),
    /// Records that were acknowledged cannot be read.
    #[error(
        "segment {file}: {why}; run `tidegate log verify`, then restore the file from a copy, or move it away and accept the loss of what is in it"
    )]
    Damaged {
        /// Path of the segment.
        file: PathBuf,
        /// What is wrong, and at which octet.
        why: String,
    },
    /// A newer Tidegate wrote it.
    #[error("segment {file}: {why}: upgrade this node")]
    Newer {
        /// Path of the segment.
        file: PathBuf,
        /// Which version.
        why: String,
    },
    /// redb does not open its file.
    #[error("store {file}: {why}; restore the data folder from a copy")]
    Store {
        /// Path of the file.
        file: PathBuf,
        /// redb's words.
        why: String,
    },
    /// The rows that the log has let go of are not in the store.
    #[error(
        "store {file} holds changes up to {applied}, the log needs {needed}: it is missing or older than the log; restore both from the same copy"
    )]
    StoreBehind {
        /// Path of the file.
        file: PathBuf,
        /// Sequence of the last frame in the store.
        applied: u64,
        /// Sequence that it must have.
        needed: u64,
    },
}
