//! Entries in one SQLite file. A lock file beside it keeps a second process out. Lives here: opening and writing;
//! reading is in `read`, the rows of runs and requests in `rows`.

mod read;
mod rows;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gleitzeit_core::run::Entry;
use gleitzeit_core::run::event::EVENT_VERSION;
use gleitzeit_core::{Position, QueueName, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::journal::{FORMAT_VERSION, Reader, Store, StoreError, Tail};

use read::SqliteReader;
use rows::ROWS_VERSION;

/// Durable at each commit. The log is written back every 16 MiB rather than every 4: each time costs two more flushes.
const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
  PRAGMA journal_size_limit = 67108864;";

/// `rows_version` is that of the tables in `rows`, which can be made again from the entries.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (format_version INTEGER NOT NULL, rows_version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS entries (position INTEGER PRIMARY KEY, run_id BLOB, seq INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL, queue TEXT, version INTEGER NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS entries_of_run ON entries (run_id, seq) WHERE run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS entries_of_no_run ON entries (position) WHERE run_id IS NULL;
";

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    db: Connection,
    path: PathBuf,
    tail: Tail,
    /// Held until the store is dropped or its process dies.
    _lock: File,
}

impl SqliteStore {
    /// Opens or creates a store; creates its folder.
    ///
    /// # Errors
    /// If the file cannot be used, another process has it open, or a later version wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let refused = |source| StoreError::Open { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(refused)?;
        }
        create_private(path).map_err(refused)?;
        // By its real name: through a link it is the same store, with the same lock.
        let path = &path.canonicalize().map_err(refused)?;
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(lock_path).map_err(refused)?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => StoreError::InUse(path.to_owned()),
            std::fs::TryLockError::Error(source) => refused(source),
        })?;
        let (db, tail) = connect(path).map_err(|error| at(path, error))?;
        Ok(Self { db, path: path.to_owned(), tail, _lock: lock })
    }
}

/// Inputs, results and environment are for the owner's eyes; the log beside the file gets the same rights.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = File::options();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// Opens the file, makes it a store of this version, and finds its end.
fn connect(path: &Path) -> Result<(Connection, Tail), StoreError> {
    let mut db = Connection::open(path).map_err(database("open the file"))?;
    db.execute_batch(SETTINGS).map_err(database("set it up"))?;
    prepare(&mut db)?;
    let tail = db
        .query_row("SELECT position, recorded_at FROM entries ORDER BY position DESC LIMIT 1", [], |row| {
            Ok(Tail { position: Position(number(row, 0)?), recorded_at: Timestamp(row.get(1)?) })
        })
        .optional()
        .map_err(database("read its end"))?
        .unwrap_or_default();
    Ok((db, tail))
}

/// Says which file it is that cannot be opened.
fn at(path: &Path, error: StoreError) -> StoreError {
    let StoreError::Database { source, .. } = error else { return error };
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path, source }
        }
        _ => StoreError::Unusable { path, source },
    }
}

/// Makes the tables of this version, or refuses a store of a later one.
fn prepare(db: &mut Connection) -> Result<(), StoreError> {
    let transaction = db.transaction().map_err(database("set it up"))?;
    // Before anything else: the tables of a later version may not fit ours at all.
    let has_meta = transaction
        .query_row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'", [], |_| Ok(()))
        .optional()
        .map_err(database("read its tables"))?;
    if has_meta.is_some() {
        let found = transaction
            .query_row("SELECT format_version FROM meta", [], |row| row.get(0))
            .optional()
            .map_err(database("read its format"))?;
        if let Some(found) = found.filter(|found| *found > FORMAT_VERSION) {
            return Err(StoreError::Format { found, known: FORMAT_VERSION });
        }
    }
    transaction.execute_batch(SCHEMA).map_err(database("create its tables"))?;
    let found: Option<u32> = transaction
        .query_row("SELECT rows_version FROM meta", [], |row| row.get(0))
        .optional()
        .map_err(database("read its format"))?;
    let rows_version = match found {
        Some(rows_version) => Some(rows_version),
        None => {
            transaction
                .execute("INSERT INTO meta VALUES (?1, 0)", [FORMAT_VERSION])
                .map_err(database("write its format"))?;
            None
        }
    };
    if rows_version != Some(ROWS_VERSION) {
        rows::rebuild(&transaction)?;
        transaction
            .execute("UPDATE meta SET rows_version = ?1", [ROWS_VERSION])
            .map_err(database("write its format"))?;
    }
    transaction.commit().map_err(database("set it up"))
}

impl Store for SqliteStore {
    fn tail(&self) -> Tail {
        self.tail
    }

    fn append(&mut self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        let failed = database("write entries");
        let mut tail = self.tail;
        let transaction = self.db.transaction().map_err(&failed)?;
        for entry in entries {
            if entry.position != tail.position.next() {
                let why = format!("expected {}", tail.position.next());
                return Err(StoreError::Entry { position: entry.position.0, why });
            }
            tail = Tail { position: entry.position, recorded_at: entry.recorded_at };
            write(&transaction, entry).map_err(&failed)?;
            rows::record(&transaction, entry).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)?;
        self.tail = tail;
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(SqliteReader::open(&self.path)?))
    }
}

fn write(db: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        signed(entry.position.0),
        entry.run_id.map(|id| id.0.into_bytes()),
        signed(entry.seq.0),
        entry.recorded_at.0,
        entry.queue.as_ref().map(QueueName::as_str),
        EVENT_VERSION,
        entry.event.kind(),
        entry.event.body(),
    ])?;
    Ok(())
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
