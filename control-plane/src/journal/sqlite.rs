//! A store in one SQLite file. A lock file beside it keeps a second process out. This module opens and writes; `read`
//! answers queries, `entries` turns entries into rows and back, `run_tables` keeps the rows of runs and requests, and
//! `list_runs` lists them.

mod backup;
mod check;
mod claim;
mod compare;
mod entries;
mod inspect;
mod list_runs;
mod list_sums;
mod migrate;
mod part_file;
mod prune;
mod read;
mod repair;
mod restore;
mod run_row;
mod run_tables;
mod state;
mod sum;
mod swap;
mod terms;
#[cfg(test)]
mod tests;
mod watermark;

use std::fs::{File, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gleitzeit_run::{Entry, History, Position, TermId};
use gleitzeit_workflow::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row};

use crate::journal::store::is_corrupt;
use crate::journal::{Pruned, Reader, Store, StoreError, Tail};

pub use backup::{Copied, backup};
pub use check::{Checked, Wrong, check};
pub use inspect::{Holder, Look, StoreLock};
pub use repair::repair;
pub use restore::restore;

use claim::Claim;
use read::SqliteReader;
use state::State;
use watermark::Mark;

/// The log is checkpointed every 16 MiB instead of every 4, because each checkpoint costs two more flushes. Incremental
/// vacuum returns free pages to the disk in small steps. With F_FULLFSYNC a flush on macOS reaches the disk itself and
/// not only its cache; other systems have only one kind of flush.
const SETTINGS: &str = "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 4000;
  PRAGMA journal_size_limit = 67108864; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;";

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    db: Connection,
    path: PathBuf,
    state: State,
    /// Set while a change is being written, and for good after one failed: the state in memory may then differ from the
    /// file.
    broken: bool,
    /// The lock file, locked until the store is dropped or its process dies.
    mark: Mark,
    /// The claim on the file; released last, after the database is closed.
    claim: Arc<Claim>,
}

impl SqliteStore {
    /// Opens a store, or creates it with its folder. An interrupted restore of it is finished first.
    ///
    /// # Errors
    /// If the file cannot be used, another process has it open, a later version wrote it, or acknowledged entries are
    /// missing from it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_folder(path)?;
        // The canonical path: through a link it is the same store, with the same lock.
        let path = &real_path(path)?;
        let mut mark = lock(path)?;
        swap::resume(path, &mut mark)?;
        // Before the database creates or changes any file.
        let lost = match std::fs::metadata(path) {
            Ok(found) => (found.len() == 0).then_some("it is empty"),
            Err(_) => Some("its file is not there"),
        };
        if let (Some(what), Some((_, written))) = (lost, mark.read().filter(|(_, written)| written.0 > 0)) {
            return Err(state::missing(path, written, what));
        }
        let refused = |source| StoreError::Open { path: path.to_owned(), source };
        let made = create_private(path).map_err(refused)?;
        let mut claim = Claim::new(path)?;
        let (db, state) = connect(path, made.is_some(), &claim, &mut mark).map_err(|error| at(path, error))?;
        claim.note_log().map_err(refused)?;
        claim.confirm()?;
        mark.write(&state.store_id, state.tail.position);
        Ok(Self { db, path: path.to_owned(), state, broken: false, mark, claim: Arc::new(claim) })
    }
}

/// Creates the folder of a store.
fn make_folder(of: &Path) -> Result<(), StoreError> {
    let Some(folder) = of.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|source| StoreError::Open { path: of.to_owned(), source })
}

/// The path of a file with all links resolved. The file need not exist, but its folder must.
fn real_path(path: &Path) -> Result<PathBuf, StoreError> {
    let refused = |source| StoreError::Open { path: path.to_owned(), source };
    match path.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        found => return found.map_err(refused),
    }
    let name = path.file_name().ok_or_else(|| refused(std::io::ErrorKind::InvalidFilename.into()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    Ok(folder.canonicalize().map_err(refused)?.join(name))
}

impl Drop for SqliteStore {
    /// Leaves a closed store as a single file: a later process that only reads could not write its log back.
    fn drop(&mut self) {
        if !self.broken {
            let closing = "PRAGMA busy_timeout = 500; PRAGMA wal_checkpoint(TRUNCATE)";
            if let Err(error) = self.db.execute_batch(closing) {
                tracing::debug!(%error, "the write-ahead log of the store was not checkpointed; the next start does that");
            }
        }
    }
}

/// Locks the store against every other process.
fn lock(path: &Path) -> Result<Mark, StoreError> {
    let refused = |source| StoreError::Open { path: path.to_owned(), source };
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(lock_path)
        .map_err(refused)?;
    // The file may have been created when other users could still open it, and thus lock the owner out.
    lock.set_permissions(Permissions::from_mode(0o600)).map_err(refused)?;
    lock.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => StoreError::InUse(path.to_owned()),
        std::fs::TryLockError::Error(source) => refused(source),
    })?;
    Ok(Mark::new(lock))
}

/// Creates a file that only its owner can read, since it holds inputs, results and environment variables; SQLite gives
/// its log the same mode. `None` if the file already exists.
fn create_private(path: &Path) -> std::io::Result<Option<File>> {
    let mut options = File::options();
    options.create_new(true).write(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
        made => made.map(Some),
    }
}

/// Opens the database, migrates it to this version, and checks that it is complete. If it is not, nothing is changed.
fn connect(path: &Path, made: bool, claim: &Claim, mark: &mut Mark) -> Result<(Connection, State), StoreError> {
    let failed = database("set it up");
    let mut db = Connection::open(path).map_err(database("open the file"))?;
    // Otherwise closing it after an error would discard a log of which only a part could be read.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&failed)?;
    if made {
        // A new store has nothing to lose yet: it is flushed once, below, instead of at each of these steps.
        db.execute_batch("PRAGMA synchronous = OFF").map_err(&failed)?;
    }
    db.execute_batch(SETTINGS).map_err(&failed)?;
    let transaction = db.transaction().map_err(&failed)?;
    let is_new = migrate::is_new(&transaction)?;
    if let Some((_, written)) = mark.read().filter(|(_, written)| is_new && written.0 > 0) {
        return Err(state::missing(path, written, "it has no entries"));
    }
    let state = migrate::prepare(&transaction, path)?;
    state.check_mark(mark, path)?;
    transaction.commit().map_err(&failed)?;
    // From now on each commit is durable.
    db.execute_batch("PRAGMA synchronous = FULL").map_err(&failed)?;
    if made {
        flush(path, claim).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
    }
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(&failed)?;
    Ok((db, state))
}

/// Flushes a new store to the disk: its file, its log and their names.
fn flush(path: &Path, claim: &Claim) -> std::io::Result<()> {
    claim.sync()?;
    File::options().write(true).open(log_of(path))?.sync_all()?;
    part_file::sync_folder(path)
}

/// The path of a store's write-ahead log.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Adds the path to an error from opening the database.
fn at(path: &Path, error: StoreError) -> StoreError {
    let StoreError::Database { what, source } = error else { return error };
    match write_error(path, what, source) {
        StoreError::Database { source, .. } => StoreError::Unusable { path: path.to_owned(), source },
        told => told,
    }
}

impl SqliteStore {
    fn write_all(&mut self, entries: &[Arc<Entry>]) -> rusqlite::Result<()> {
        let Self { db, state, .. } = self;
        in_transaction(db, || {
            for entry in entries {
                let sum = entries::write(db, entry)?;
                run_tables::record(db, entry, &mut state.lists)?;
                state.count(entry, sum);
            }
            state.write(db)
        })
    }

    /// Changes the file. After one failed change, every later one is refused.
    fn change<T>(
        &mut self,
        what: &'static str,
        change: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if self.broken {
            return Err(StoreError::Broken(self.path.clone()));
        }
        self.broken = true;
        let changed = change(self).map_err(|error| write_error(&self.path, what, error))?;
        self.claim.confirm()?;
        self.broken = false;
        self.mark.write(&self.state.store_id, self.state.tail.position);
        Ok(changed)
    }
}

impl SqliteStore {
    /// Changes the file if there is room for it. If there is not, the change is rolled back completely and the store
    /// stays usable.
    fn try_change<T>(
        &mut self,
        what: &'static str,
        change: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let before = self.state.counted();
        let why = match self.change(what, change) {
            Err(StoreError::Full { .. }) => "its disk is full".to_owned(),
            Err(StoreError::TooLarge { limit, .. }) => format!("a file may have at most {limit} bytes (`ulimit -f`)"),
            changed => return changed,
        };
        self.state.take_back(before);
        // The database has rolled its transaction back, so no step of it is visible.
        self.broken = !self.db.is_autocommit();
        if self.broken {
            return Err(StoreError::Broken(self.path.clone()));
        }
        Err(StoreError::NoRoom { path: self.path.clone(), why })
    }
}

impl Store for SqliteStore {
    fn tail(&self) -> Tail {
        self.state.tail
    }

    fn begin_term(&mut self, id: TermId) -> Result<History, StoreError> {
        self.change("begin a term", |store| terms::begin(&mut store.db, id, store.state.tail.position))
    }

    fn append(&mut self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        let mut last = self.state.tail.position;
        for entry in entries {
            if entry.position != last.next() {
                return Err(StoreError::Entry { position: entry.position.0, why: format!("expected {}", last.next()) });
            }
            last = entry.position;
        }
        self.change("write entries", |store| store.write_all(entries))
    }

    fn confirm(&self) -> Result<(), StoreError> {
        self.claim.confirm()
    }

    fn pruned(&self) -> Position {
        self.state.pruned
    }

    fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // A file system that does not report its free space is assumed to have room.
        let Ok(told) = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))) else { return Ok(()) };
        if told.f_bavail.saturating_mul(told.f_frsize) >= bytes {
            return Ok(());
        }
        Err(StoreError::NoRoom { path: self.path.clone(), why: format!("its disk has less than {bytes} bytes left") })
    }

    fn prune(&mut self, ended: Timestamp) -> Result<Pruned, StoreError> {
        let step = |store: &mut Self| {
            let transaction = store.db.transaction()?;
            let step = prune::step(&transaction, &mut store.state, ended)?;
            transaction.commit()?;
            Ok(step)
        };
        let step = match self.try_change("remove finished runs", step) {
            Err(StoreError::NoRoom { .. }) => {
                // After a checkpoint the log is reused from its beginning, which may be all the room that is needed.
                let written_back = self.db.execute_batch("PRAGMA wal_checkpoint(PASSIVE)");
                written_back.map_err(|error| write_error(&self.path, "write its log back", error))?;
                self.try_change("remove finished runs", step)?
            }
            step => step?,
        };
        if step.more || step.entries > 0 || !step.runs.is_empty() {
            return Ok(Pruned { more: true, ..step });
        }
        let more = self.try_change("give room back", |store| prune::give_back(&store.db))?;
        Ok(Pruned { more, ..step })
    }

    fn remove(&mut self, positions: &[Position]) -> Result<u64, StoreError> {
        self.try_change("remove entries that no longer matter", |store| {
            let transaction = store.db.transaction()?;
            let removed = prune::remove(&transaction, &mut store.state, positions)?;
            transaction.commit()?;
            Ok(removed)
        })
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(SqliteReader::open(&self.path, self.claim.clone())?))
    }
}

/// Like [`Connection::transaction`], but with cached statements: parsing them anew each time is more than a hundredth
/// of all the work of a small run.
fn in_transaction(db: &Connection, change: impl FnOnce() -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let execute = |sql| db.prepare_cached(sql)?.execute([]).map(drop);
    execute("BEGIN")?;
    let changed = change().and_then(|()| execute("COMMIT"));
    if changed.is_err() && !db.is_autocommit() {
        // The first error is the one reported; closing the file rolls back as well.
        execute("ROLLBACK").ok();
    }
    changed
}

/// Names the path in errors that the operator can fix, such as a full disk or missing permissions; other errors stay as
/// they are.
fn write_error(path: &Path, what: &'static str, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full { path, source },
        Some(rusqlite::ErrorCode::SystemIoFailure) if let Some(limit) = reached_limit(&path) => {
            StoreError::TooLarge { path, limit, source }
        }
        Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::PermissionDenied) => {
            StoreError::Unusable { path, source }
        }
        _ if is_corrupt(&source) => StoreError::Damaged { path, source },
        _ => StoreError::Database { what, source },
    }
}

/// The file size limit of this process, if the store or its log is so close to it that a write may not fit.
fn reached_limit(path: &Path) -> Option<u64> {
    /// The largest write to either file, in bytes.
    const LARGEST_WRITE: u64 = 128 * 1024;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current?;
    ["", "-wal"].into_iter().find_map(|ending| {
        let mut path = path.as_os_str().to_owned();
        path.push(ending);
        let length = std::fs::metadata(path).ok()?.len();
        (length + LARGEST_WRITE > limit).then_some(limit)
    })
}

fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn database(what: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Database { what, source }
}
