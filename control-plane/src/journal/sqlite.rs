//! Entries in one SQLite file. A lock file beside it keeps a second process out.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use gleitzeit_core::run::event::EVENT_VERSION;
use gleitzeit_core::run::{Entry, Event};
use gleitzeit_core::{Position, QueueName, RunId, Seq, Timestamp};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use crate::journal::{FORMAT_VERSION, Store, StoreError, Tail};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (format_version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS entries (position INTEGER PRIMARY KEY, run_id TEXT, seq INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL, queue TEXT, type TEXT NOT NULL, body TEXT NOT NULL, version INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS entries_of_run ON entries (run_id, seq) WHERE run_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS runs (run_id TEXT PRIMARY KEY, finished INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS requests (request_id TEXT PRIMARY KEY, run_id TEXT NOT NULL, body_hash TEXT NOT NULL);
";
const COLUMNS: &str = "SELECT position, run_id, seq, recorded_at, queue, type, body, version FROM entries";

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    db: Connection,
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
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(lock_path).map_err(refused)?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => StoreError::InUse(path.to_owned()),
            std::fs::TryLockError::Error(source) => refused(source),
        })?;
        let db = Connection::open(path).map_err(database("open the file"))?;
        db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;").map_err(database("set it up"))?;
        db.execute_batch(SCHEMA).map_err(database("create its tables"))?;
        let found: Option<u32> = db
            .query_row("SELECT format_version FROM meta", [], |row| row.get(0))
            .optional()
            .map_err(database("read its format"))?;
        match found {
            Some(found) if found > FORMAT_VERSION => return Err(StoreError::Format { found, known: FORMAT_VERSION }),
            Some(_) => {}
            None => {
                db.execute("INSERT INTO meta VALUES (?1)", [FORMAT_VERSION]).map_err(database("write its format"))?;
            }
        }
        let tail = db
            .query_row("SELECT position, recorded_at FROM entries ORDER BY position DESC LIMIT 1", [], |row| {
                Ok(Tail { position: Position(number(row, 0)?), recorded_at: Timestamp(row.get(1)?) })
            })
            .optional()
            .map_err(database("read its end"))?
            .unwrap_or_default();
        Ok(Self { db, tail, _lock: lock })
    }

    fn read(&self, rest: &str, params: impl Params) -> Result<Vec<Entry>, StoreError> {
        let failed = database("read entries");
        let mut statement = self.db.prepare(&format!("{COLUMNS} {rest}")).map_err(&failed)?;
        let mut rows = statement.query(params).map_err(&failed)?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next().map_err(&failed)? {
            entries.push(entry(row)?);
        }
        Ok(entries)
    }
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
        }
        transaction.commit().map_err(&failed)?;
        self.tail = tail;
        Ok(())
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.read("WHERE position >= ?1 ORDER BY position LIMIT ?2", params![signed(from.0), rows(limit)])
    }

    fn read_run(&self, run_id: RunId, from: Seq, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let run_id = run_id.to_string();
        self.read("WHERE run_id = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3", params![run_id, signed(from.0), rows(limit)])
    }

    fn read_unfinished(&self, from: Position, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.read(
            "WHERE position >= ?1 AND (run_id IS NULL OR run_id IN (SELECT run_id FROM runs WHERE finished = 0))
             ORDER BY position LIMIT ?2",
            params![signed(from.0), rows(limit)],
        )
    }

    fn find_request(&self, request_id: &str) -> Result<Option<(RunId, String)>, StoreError> {
        let found: Option<(String, String)> = self
            .db
            .query_row("SELECT run_id, body_hash FROM requests WHERE request_id = ?1", [request_id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
            .map_err(database("look up a request"))?;
        found.map(|(run_id, hash)| Ok((parse_run(&run_id, 0)?, hash))).transpose()
    }
}

fn write(db: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let run_id = entry.run_id.map(|id| id.to_string());
    db.prepare("INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        signed(entry.position.0),
        run_id,
        signed(entry.seq.0),
        entry.recorded_at.0,
        entry.queue.as_ref().map(QueueName::as_str),
        entry.event.kind(),
        entry.event.body(),
        EVENT_VERSION
    ])?;
    match &entry.event {
        Event::WorkflowSubmitted(submitted) => {
            db.prepare("INSERT INTO runs VALUES (?1, 0)")?.execute([&run_id])?;
            if let Some(key) = &submitted.request {
                db.prepare("INSERT INTO requests VALUES (?1, ?2, ?3)")?.execute(params![
                    key.request_id,
                    run_id,
                    key.body_hash
                ])?;
            }
        }
        Event::WorkflowCompleted(_) | Event::WorkflowFailed(_) | Event::WorkflowCancelled(_) => {
            db.prepare("UPDATE runs SET finished = 1 WHERE run_id = ?1")?.execute([&run_id])?;
        }
        _ => {}
    }
    Ok(())
}

fn entry(row: &Row<'_>) -> Result<Entry, StoreError> {
    let failed = database("read an entry");
    let position = number(row, 0).map_err(&failed)?;
    let version: u32 = row.get(7).map_err(&failed)?;
    if version > EVENT_VERSION {
        let why = format!("it has version {version}, this version reads up to {EVENT_VERSION}");
        return Err(StoreError::Entry { position, why });
    }
    let (kind, body): (String, String) = (row.get(5).map_err(&failed)?, row.get(6).map_err(&failed)?);
    let run_id: Option<String> = row.get(1).map_err(&failed)?;
    let queue: Option<String> = row.get(4).map_err(&failed)?;
    Ok(Entry {
        position: Position(position),
        run_id: run_id.map(|id| parse_run(&id, position)).transpose()?,
        seq: Seq(number(row, 2).map_err(&failed)?),
        recorded_at: Timestamp(row.get(3).map_err(&failed)?),
        queue: queue.map(QueueName::from),
        event: Event::decode(&kind, &body).map_err(|e| StoreError::Entry { position, why: e.to_string() })?,
    })
}

fn parse_run(text: &str, position: u64) -> Result<RunId, StoreError> {
    text.parse().map_err(|_| StoreError::Entry { position, why: format!("`{text}` is no run id") })
}

fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn database(what: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Database { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gleitzeit_core::run::event::OwnershipGranted;
    use gleitzeit_core::{Epoch, Slice};

    fn granted(position: u64) -> Arc<Entry> {
        let slice = Slice::Queue("default".into());
        Arc::new(Entry {
            position: Position(position),
            run_id: None,
            seq: Seq(0),
            recorded_at: Timestamp(1_000),
            queue: None,
            event: OwnershipGranted { slice, component_id: "q".into(), epoch: Epoch(position) }.into(),
        })
    }

    #[test]
    fn what_was_appended_is_there_after_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("made/store.db");
        let mut store = SqliteStore::open(&path).expect("a new store");
        store.append(&[granted(1), granted(2)]).expect("written");
        drop(store);
        let store = SqliteStore::open(&path).expect("reopened");
        assert_eq!(store.tail(), Tail { position: Position(2), recorded_at: Timestamp(1_000) });
        assert_eq!(store.read_from(Position(2), 9).expect("read"), vec![Entry::clone(&granted(2))]);
        assert_eq!(store.read_unfinished(Position(0), 9).expect("read").len(), 2);
    }

    #[test]
    fn a_batch_with_a_gap_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = SqliteStore::open(&folder.path().join("s.db")).expect("a new store");
        assert!(matches!(store.append(&[granted(1), granted(3)]), Err(StoreError::Entry { position: 3, .. })));
        assert_eq!(store.read_from(Position(0), 9).expect("read"), vec![]);
    }

    #[test]
    fn a_store_in_use_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.db");
        let _first = SqliteStore::open(&path).expect("a new store");
        assert!(matches!(SqliteStore::open(&path), Err(StoreError::InUse(_))));
    }

    #[test]
    fn a_later_format_or_event_version_is_refused_by_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.db");
        let mut store = SqliteStore::open(&path).expect("a new store");
        store.append(&[granted(1)]).expect("written");
        store.db.execute("UPDATE entries SET version = 99", []).expect("changed");
        assert!(store.read_from(Position(1), 1).expect_err("refused").to_string().contains("version 99"));
        store.db.execute("UPDATE meta SET format_version = 7", []).expect("changed");
        drop(store);
        assert!(matches!(SqliteStore::open(&path), Err(StoreError::Format { found: 7, known: FORMAT_VERSION })));
    }
}
