//! Rows in redb, behind an overlay of what the log has made durable and redb has not.
//!
//! Invariants: the overlay holds only changes whose frame is durable in the log. A change leaves the overlay
//! only after redb has made it durable, in the same transaction as `applied`, the sequence of the last frame
//! that redb has taken in. So after any crash the frames after `applied` say what is missing, and the log
//! keeps them until then. Readers look at the overlay first, then at redb: a change is always in one of them.

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use redb::{Database, ReadableDatabase, TableDefinition};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Row key -> expiry (milliseconds UTC, little endian, 0 = never), value.
const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
/// Expiry (big endian), row key: in the order in which rows expire.
const EXPIRIES: TableDefinition<'static, &[u8], ()> = TableDefinition::new("expiries");
/// Facts about the store itself.
const FACTS: TableDefinition<'static, &str, u64> = TableDefinition::new("facts");
const APPLIED: &str = "applied";
const FORMAT: &str = "format";
const VERSION: u64 = 1;
/// redb's page cache.
const CACHE_BYTES: usize = 32 << 20;
/// Above this the committer waits for redb.
const OVERLAY_LIMIT: usize = 64 << 20;
/// What a change costs beside key and value.
const OVERHEAD: usize = 128;
/// Expired rows removed in one transaction.
const SWEEP: usize = 10_000;

/// redb did not do it; the text is for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RowsError(String);

impl RowsError {
    fn of(error: impl Into<redb::Error>) -> RowsError {
        RowsError(error.into().to_string())
    }
}

/// A row's expiry (milliseconds UTC, 0 = never) and value; `None` = deleted.
pub(crate) type State = Option<(u64, Bytes)>;

#[derive(Default)]
struct Overlay {
    changes: BTreeMap<Vec<u8>, (u64, State)>,
    bytes: usize,
    /// Sequence of the newest frame in it.
    sequence: u64,
}

fn cost(key: &[u8], state: &State) -> usize {
    key.len() + state.as_ref().map_or(0, |(_, value)| value.len()) + OVERHEAD
}

/// A page of a merged read.
pub(crate) struct Page {
    /// Live rows in order: key, expiry, value.
    pub(crate) rows: Vec<(Vec<u8>, u64, Bytes)>,
    /// Where to go on; `None` at the end of the range.
    pub(crate) next: Option<Vec<u8>>,
}

/// The rows.
pub(crate) struct Rows {
    path: PathBuf,
    overlay: RwLock<Overlay>,
    /// `None` while it is being opened again after an error.
    database: RwLock<Option<Arc<Database>>>,
    applied: AtomicU64,
    /// One flush or sweep at a time.
    writing: Mutex<()>,
    room: (Mutex<()>, Condvar),
}

/// Whether a row with this expiry is to be seen.
pub(crate) fn live(expires_ms: u64, now_ms: u64) -> bool {
    expires_ms == 0 || expires_ms > now_ms
}

fn open_database(path: &Path) -> Result<Database, RowsError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.create(path).map_err(RowsError::of)
}

fn begin(database: &Database) -> Result<redb::WriteTransaction, RowsError> {
    let mut transaction = database.begin_write().map_err(RowsError::of)?;
    // Without it, opening after a kill reads the whole file.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Makes the tables and reads how far redb is.
fn prepare(database: &Database) -> Result<u64, RowsError> {
    let transaction = begin(database)?;
    let applied = {
        transaction.open_table(ROWS).map_err(RowsError::of)?;
        transaction.open_table(EXPIRIES).map_err(RowsError::of)?;
        let mut facts = transaction.open_table(FACTS).map_err(RowsError::of)?;
        let format = read_fact(&facts, FORMAT)?;
        if format.is_some_and(|format| format > VERSION) {
            let text = format!("written by a newer Tidegate (format {format:?}, this build reads {VERSION})");
            return Err(RowsError(text));
        }
        if format.is_none() {
            facts.insert(FORMAT, VERSION).map_err(RowsError::of)?;
        }
        read_fact(&facts, APPLIED)?.unwrap_or(0)
    };
    transaction.commit().map_err(RowsError::of)?;
    Ok(applied)
}

fn read_fact(
    facts: &impl redb::ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<Option<u64>, RowsError> {
    Ok(facts.get(name).map_err(RowsError::of)?.map(|value| value.value()))
}

impl Rows {
    /// Opens or makes the file.
    pub(crate) fn open(path: &Path) -> Result<Rows, RowsError> {
        let database = open_database(path)?;
        let applied = prepare(&database)?;
        Ok(Rows {
            path: path.to_owned(),
            overlay: RwLock::new(Overlay { sequence: applied, ..Overlay::default() }),
            database: RwLock::new(Some(Arc::new(database))),
            applied: AtomicU64::new(applied),
            writing: Mutex::new(()),
            room: (Mutex::new(()), Condvar::new()),
        })
    }

    /// Sequence of the last frame that redb holds durably.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Takes in the changes of a durable frame; visible at once.
    pub(crate) fn take(&self, sequence: u64, changes: Vec<(Vec<u8>, State)>) {
        if changes.is_empty() {
            return;
        }
        let mut overlay = self.overlay.write();
        overlay.sequence = overlay.sequence.max(sequence);
        for (key, state) in changes {
            overlay.bytes += cost(&key, &state);
            let key_length = key.len();
            if let Some((_, old)) = overlay.changes.insert(key, (sequence, state)) {
                let old_value = old.as_ref().map_or(0, |(_, value)| value.len());
                overlay.bytes -= key_length + old_value + OVERHEAD;
            }
        }
    }

    /// Octets that wait for redb.
    pub(crate) fn waiting(&self) -> usize {
        self.overlay.read().bytes
    }

    /// Waits until the overlay has room; `false` when it has none for this long.
    pub(crate) fn wait_for_room(&self, patience: Duration) -> bool {
        let deadline = std::time::Instant::now() + patience;
        while self.waiting() > OVERLAY_LIMIT {
            let mut guard = self.room.0.lock();
            // Looked at again in short steps: the bell may ring between the look and the wait.
            let step = Duration::from_millis(20);
            if std::time::Instant::now() >= deadline {
                return false;
            }
            self.room.1.wait_for(&mut guard, step);
        }
        true
    }

    fn database(&self) -> Result<Arc<Database>, RowsError> {
        let database = self.database.read().clone();
        database.ok_or_else(|| RowsError("being opened again after an error".into()))
    }

    /// A row if it is in the overlay: `Some(None)` = known to be deleted.
    pub(crate) fn overlaid(&self, key: &[u8]) -> Option<State> {
        self.overlay.read().changes.get(key).map(|(_, state)| state.clone())
    }

    /// A row, from overlay or redb, expired or not. May read the disk.
    pub(crate) fn get(&self, key: &[u8]) -> Result<State, RowsError> {
        if let Some(state) = self.overlaid(key) {
            return Ok(state);
        }
        let transaction = self.database()?.begin_read().map_err(RowsError::of)?;
        let table = transaction.open_table(ROWS).map_err(RowsError::of)?;
        let found = table.get(key).map_err(RowsError::of)?;
        Ok(found.and_then(|value| decode(value.value())))
    }

    /// Live rows with `from <= key < to`, from at most `count` rows of overlay and redb each.
    pub(crate) fn page(&self, from: &[u8], to: &[u8], count: usize, now_ms: u64) -> Result<Page, RowsError> {
        if from >= to {
            return Ok(Page { rows: Vec::new(), next: None });
        }
        let count = count.max(1);
        let range = (Bound::Included(from), Bound::Excluded(to));
        let over: Vec<(Vec<u8>, State)> = {
            let overlay = self.overlay.read();
            let changes = overlay.changes.range::<[u8], _>(range).take(count);
            changes.map(|(key, (_, state))| (key.clone(), state.clone())).collect()
        };
        let under = self.redb_page(from, to, count)?;
        // Beyond the last key of a side that was cut short, that side is not known.
        let cut = |full: bool, last: Option<Vec<u8>>| if full { last } else { None };
        let over_cut = cut(over.len() == count, over.last().map(|(key, _)| key.clone()));
        let under_cut = cut(under.len() == count, under.last().map(|(key, _)| key.clone()));
        let bound = match (over_cut, under_cut) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let mut merged: BTreeMap<Vec<u8>, State> = under.into_iter().collect();
        merged.extend(over);
        let known = |key: &Vec<u8>| bound.as_ref().is_none_or(|bound| key <= bound);
        let rows = merged.into_iter().filter(|(key, _)| known(key)).filter_map(|(key, state)| {
            let (expires_ms, value) = state?;
            live(expires_ms, now_ms).then_some((key, expires_ms, value))
        });
        let rows = rows.collect();
        let next = bound.map(|key| [key.as_slice(), &[0]].concat());
        Ok(Page { rows, next })
    }

    fn redb_page(&self, from: &[u8], to: &[u8], count: usize) -> Result<Vec<(Vec<u8>, State)>, RowsError> {
        let transaction = self.database()?.begin_read().map_err(RowsError::of)?;
        let table = transaction.open_table(ROWS).map_err(RowsError::of)?;
        let mut rows = Vec::new();
        for row in table.range::<&[u8]>(from..to).map_err(RowsError::of)?.take(count) {
            let (key, value) = row.map_err(RowsError::of)?;
            rows.push((key.value().to_vec(), decode(value.value())));
        }
        Ok(rows)
    }

    /// Writes the overlay to redb, durably, and frees it. On an error nothing is lost: the overlay stays and
    /// redb is opened again.
    pub(crate) fn flush(&self) -> Result<(), RowsError> {
        let _one = self.writing.lock();
        let (batch, sequence) = {
            let overlay = self.overlay.read();
            if overlay.changes.is_empty() {
                return Ok(());
            }
            let all = overlay.changes.iter().map(|(key, (_, state))| (key.clone(), state.clone()));
            (all.collect::<Vec<_>>(), overlay.sequence)
        };
        if let Err(error) = self.write(&batch, sequence) {
            self.reopen();
            return Err(error);
        }
        self.applied.store(sequence, Ordering::Release);
        let mut overlay = self.overlay.write();
        for (key, _) in batch {
            let done = overlay.changes.get(&key).filter(|(at, _)| *at <= sequence);
            let Some(freed) = done.map(|(_, state)| cost(&key, state)) else { continue };
            overlay.bytes -= freed;
            overlay.changes.remove(&key);
        }
        drop(overlay);
        self.room.1.notify_all();
        Ok(())
    }

    fn write(&self, batch: &[(Vec<u8>, State)], sequence: u64) -> Result<(), RowsError> {
        let database = self.database()?;
        let transaction = begin(&database)?;
        {
            let mut rows = transaction.open_table(ROWS).map_err(RowsError::of)?;
            let mut expiries = transaction.open_table(EXPIRIES).map_err(RowsError::of)?;
            let mut facts = transaction.open_table(FACTS).map_err(RowsError::of)?;
            for (key, state) in batch {
                let key = key.as_slice();
                let old = match state {
                    Some((expires_ms, value)) => {
                        if *expires_ms != 0 {
                            expiries
                                .insert(expiry(*expires_ms, key).as_slice(), ())
                                .map_err(RowsError::of)?;
                        }
                        rows.insert(key, encode(*expires_ms, value).as_slice()).map_err(RowsError::of)?
                    }
                    None => rows.remove(key).map_err(RowsError::of)?,
                };
                let old_expiry =
                    old.and_then(|old| decode(old.value())).map_or(0, |(expires_ms, _)| expires_ms);
                let new_expiry = state.as_ref().map_or(0, |(expires_ms, _)| *expires_ms);
                if old_expiry != 0 && old_expiry != new_expiry {
                    expiries.remove(expiry(old_expiry, key).as_slice()).map_err(RowsError::of)?;
                }
            }
            facts.insert(APPLIED, sequence).map_err(RowsError::of)?;
        }
        transaction.commit().map_err(RowsError::of)
    }

    /// Nothing reaches redb while the guard lives.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.writing.lock()
    }

    /// Removes rows that expired before `now_ms`, up to a limit; gives how many.
    pub(crate) fn sweep(&self, now_ms: u64) -> Result<usize, RowsError> {
        let _one = self.writing.lock();
        let database = self.database()?;
        let due: Vec<Vec<u8>> = {
            let transaction = database.begin_read().map_err(RowsError::of)?;
            let table = transaction.open_table(EXPIRIES).map_err(RowsError::of)?;
            let end = now_ms.to_be_bytes();
            let range = table.range::<&[u8]>(..end.as_slice()).map_err(RowsError::of)?;
            let keys = range.take(SWEEP).map(|row| row.map(|(key, _unit)| key.value().to_vec()));
            keys.collect::<Result<_, _>>().map_err(RowsError::of)?
        };
        if due.is_empty() {
            return Ok(0);
        }
        let transaction = begin(&database)?;
        {
            let mut rows = transaction.open_table(ROWS).map_err(RowsError::of)?;
            let mut expiries = transaction.open_table(EXPIRIES).map_err(RowsError::of)?;
            for entry in &due {
                expiries.remove(entry.as_slice()).map_err(RowsError::of)?;
                if let Some(key) = entry.get(8..) {
                    rows.remove(key).map_err(RowsError::of)?;
                }
            }
        }
        transaction.commit().map_err(RowsError::of)?;
        Ok(due.len())
    }

    /// After an I/O error redb refuses all further work until it is opened again.
    fn reopen(&self) {
        let mut place = self.database.write();
        let Some(mut old) = place.take() else { return self.reopen_into(&mut place) };
        // redb locks its file; readers still at work hold it for moments.
        for _ in 0..500 {
            match Arc::try_unwrap(old) {
                Ok(database) => {
                    drop(database);
                    return self.reopen_into(&mut place);
                }
                Err(shared) => {
                    old = shared;
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        *place = Some(old);
    }

    fn reopen_into(&self, place: &mut Option<Arc<Database>>) {
        match open_database(&self.path) {
            Ok(database) => *place = Some(Arc::new(database)),
            Err(error) => {
                tracing::error!(file = %self.path.display(), %error, "the store cannot be opened again")
            }
        }
    }
}

fn encode(expires_ms: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + value.len());
    out.extend_from_slice(&expires_ms.to_le_bytes());
    out.extend_from_slice(value);
    out
}

fn decode(octets: &[u8]) -> State {
    let (expires_ms, value) = octets.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*expires_ms), Bytes::copy_from_slice(value)))
}

fn expiry(expires_ms: u64, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + key.len());
    out.extend_from_slice(&expires_ms.to_be_bytes());
    out.extend_from_slice(key);
    out
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
