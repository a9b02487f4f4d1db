//! Looking at a store of another process, or of none: it is never locked, repaired or brought to this version, and what
//! goes on in it goes on. A process looks at the same file once at a time, since closing it gives up the locks by which
//! the database reads it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gleitzeit_run::Position;

use super::claim::Claim;
use super::mark::Mark;
use super::part::beside;
use super::read::SqliteReader;
use super::state::{State, missing};
use super::{at, database, lock, log_of, migrate, real_path};
use crate::journal::{Reader, StoreError};
use crate::platform::is_claimed;

/// A store that is looked at.
#[derive(Debug)]
pub struct Look {
    reader: SqliteReader,
    holder: Holder,
}

/// Who has a store open as its writer.
#[derive(Clone, Debug)]
pub struct Holder {
    file: Arc<File>,
    lock: PathBuf,
    /// The store is read as one that does not change: a writer that comes later is not seen.
    is_still: bool,
}

impl Look {
    /// Looks at the store at `path`; none if nothing was ever stored there.
    ///
    /// # Errors
    /// If it cannot be read, is no store or a damaged one, or is of another version.
    pub fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let path = &real_path(path)?;
        let refused = |source| StoreError::Open { path: path.clone(), source };
        // Opening a pipe would wait for whoever writes into it.
        if !fs::metadata(path).map_err(refused)?.is_file() {
            return Err(refused(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        let file = Arc::new(File::open(path).map_err(refused)?);
        let lock = beside(path, ".lock");
        // Before anything is read: what was marked by now must be found.
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

    /// What reads it.
    pub fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    /// Who has it open as its writer.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Both, to be kept.
    pub fn into_parts(self) -> (Box<dyn Reader>, Holder) {
        (Box::new(self.reader), self.holder)
    }
}

/// Whether anything was stored there, and whether it is there as it was.
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
    /// Whether a process has the store open as its writer now, as far as its writing can be read. Asking keeps none from
    /// doing so.
    pub fn is_there(&self) -> bool {
        !self.is_still && is_claimed(&self.file).unwrap_or_else(|_| is_locked(&self.lock))
    }
}

/// Opens the file beside a store, whoever made it: a pipe there keeps nobody waiting, and is none.
fn open_lock(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

/// The same by the lock file, where the store itself cannot be locked: for a moment the lock is taken.
fn is_locked(lock: &Path) -> bool {
    open_lock(lock).is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

/// A store that nobody else can open as its writer, whatever it holds, until this is dropped.
#[derive(Debug)]
pub struct Alone {
    _claim: Option<Claim>,
    _mark: Mark,
}

impl Alone {
    /// Keeps all others from the store at `path`, so that it can be removed.
    ///
    /// # Errors
    /// `InUse` if somebody has it; else if it cannot be locked.
    pub fn with(path: &Path) -> Result<Self, StoreError> {
        let path = &real_path(path)?;
        let mark = lock(path)?;
        let claim = path.exists().then(|| Claim::of_any(path)).transpose()?;
        Ok(Self { _claim: claim, _mark: mark })
    }
}
