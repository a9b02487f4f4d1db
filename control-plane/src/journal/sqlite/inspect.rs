//! Inspecting a store that another process, or none, is writing. It is never locked, repaired or migrated, and its
//! writer is not disturbed. A process must not inspect the same file twice at the same time: closing it releases the
//! locks with which the database reads it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gleitzeit_run::Position;

use super::claim::Claim;
use super::part_file::beside;
use super::read::SqliteReader;
use super::state::{State, missing};
use super::watermark::Mark;
use super::{at, database, lock, log_of, migrate, real_path};
use crate::journal::{Reader, StoreError};
use crate::platform::is_claimed;

/// A store that is being inspected.
#[derive(Debug)]
pub struct Look {
    reader: SqliteReader,
    holder: Holder,
}

/// Tells whether a process has a store open as its writer.
#[derive(Clone, Debug)]
pub struct Holder {
    file: Arc<File>,
    lock: PathBuf,
    /// The store is read as immutable, so a writer that comes later goes unnoticed.
    is_still: bool,
}

impl Look {
    /// Opens the store at `path` for inspection; `None` if nothing was ever stored there.
    ///
    /// # Errors
    /// If it cannot be read, is damaged or not a store, or has another version.
    pub fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let path = &real_path(path)?;
        let refused = |source| StoreError::Open { path: path.clone(), source };
        // Opening a pipe would wait for a process that writes into it.
        if !fs::metadata(path).map_err(refused)?.is_file() {
            return Err(refused(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        let file = Arc::new(File::open(path).map_err(refused)?);
        let lock = beside(path, ".lock");
        // Read first: everything that was marked by now must be found in the store.
        let marked = open_lock(&lock).ok().and_then(|lock| Mark::new(lock).read());
        let mut holder = Holder { file: file.clone(), lock, is_still: false };
        let is_held = holder.is_there();
        let has_log = fs::metadata(log_of(path)).is_ok_and(|log| log.len() > 0);
        let has_content = file.metadata().map_err(refused)?.len() > 0;
        if !has_content && !has_log {
            return match marked.filter(|(_, written)| !is_held && written.0 > 0) {
                Some((_, written)) => Err(missing(path, written, "it is empty")),
                None => Ok(None),
            };
        }
        holder.is_still = !is_held && !has_log;
        let reader = SqliteReader::look(path, file, holder.is_still)?;
        match check(&reader, marked, path).map_err(|error| at(path, error))? {
            true => Ok(Some(Self { reader, holder })),
            false => Ok(None),
        }
    }

    /// The reader of the store.
    pub fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    /// Tells whether the store has a writer.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Takes the reader and the holder.
    pub fn into_parts(self) -> (Box<dyn Reader>, Holder) {
        (Box::new(self.reader), self.holder)
    }
}

/// Whether anything was stored there; an error if it is damaged.
fn check(reader: &SqliteReader, marked: Option<(String, Position)>, path: &Path) -> Result<bool, StoreError> {
    let failed = database("read its format");
    let db = reader.db().unchecked_transaction().map_err(&failed)?;
    let tables: u64 =
        db.query_row("SELECT count(*) FROM sqlite_master", [], |row| super::number(row, 0)).map_err(&failed)?;
    if tables == 0 {
        return Ok(false);
    }
    migrate::is_current(&db)?;
    if let Some(state) = State::read(&db, true)? {
        state.check_marked(marked, path)?;
    }
    Ok(true)
}

impl Holder {
    /// Whether a process has the store open as its writer now, unless the store is read as immutable. Asking keeps no
    /// process from becoming the writer.
    pub fn is_there(&self) -> bool {
        !self.is_still && is_claimed(&self.file).unwrap_or_else(|_| is_locked(&self.lock))
    }
}

/// Opens the file beside a store, whoever created it: if it is a pipe, this does not block but fails.
fn open_lock(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

/// The same, by the lock file, where the store itself cannot be locked. Takes the lock for a moment.
fn is_locked(lock: &Path) -> bool {
    open_lock(lock).is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

/// Exclusive access to a store, whatever it contains: until this is dropped, no process can open it as its writer.
#[derive(Debug)]
pub struct StoreLock {
    _claim: Option<Claim>,
    _mark: Mark,
}

impl StoreLock {
    /// Locks the store at `path` against all others, so that it can be removed.
    ///
    /// # Errors
    /// `InUse` if another process has it open; any other error if it cannot be locked.
    pub fn with(path: &Path) -> Result<Self, StoreError> {
        let path = &real_path(path)?;
        let mark = lock(path)?;
        let claim = path.exists().then(|| Claim::of_any(path)).transpose()?;
        Ok(Self { _claim: claim, _mark: mark })
    }
}
