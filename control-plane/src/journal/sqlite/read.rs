//! Reads over a separate connection: with a write-ahead log, readers and the writer do not block each other.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gleitzeit_run::{Entry, Position, RunId, Seq};
use gleitzeit_workflow::Timestamp;
use rusqlite::{Connection, OpenFlags, Params, Row, params};
use uuid::Uuid;

use super::claim::Claim;
use super::entries::{COLUMNS, damaged, entry};
use super::list_runs::list;
use super::sum::loaded;
use super::{database, number, run_tables, signed};
use crate::journal::guard::guarded;
use crate::journal::{ReadLimit, Reader, Replay, RunCounts, RunFilter, RunRow, StoreError, Unreadable};

/// Finds what must be replayed with indexes alone: only the bodies that are needed are read then.
pub(super) const UNFINISHED: &str =
    "SELECT e.position, e.checksum FROM runs r JOIN entries e ON e.run_id = r.run_id WHERE r.status = 'running'
  UNION ALL SELECT position, checksum FROM entries WHERE run_id IS NULL";

/// A connection that only reads.
#[derive(Debug)]
pub(super) struct SqliteReader {
    db: Connection,
    path: PathBuf,
    held: Held,
}

/// What a reader keeps open as long as it lives: closing the file would release the locks that the database has on it.
#[derive(Debug)]
enum Held {
    /// In the writer's process.
    Claim(Arc<Claim>),
    /// In a process that only inspects the store, as described in [`super::look`]. If `is_still`, no process writes it.
    Look { file: Arc<File>, is_still: bool },
}

impl SqliteReader {
    pub(super) fn open(path: &Path, claim: Arc<Claim>) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(database("open the file for reading"))?;
        // The path was opened, so it must still lead to the same file.
        claim.confirm()?;
        Ok(Self { db, path: path.to_owned(), held: Held::Claim(claim) })
    }

    /// Opens a file that another process, or none, is writing.
    pub(super) fn look(path: &Path, file: Arc<File>, is_still: bool) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = match is_still {
            true => Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI),
            false => Connection::open_with_flags(path, flags),
        };
        let db = opened.map_err(database("open the file for reading"))?;
        Ok(Self { db, path: path.to_owned(), held: Held::Look { file, is_still } })
    }

    /// The connection, for other queries.
    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    fn page(&self, rest: &str, params: impl Params, most_bytes: usize) -> Result<Vec<Entry>, StoreError> {
        let failed = database("read entries");
        let mut statement = self.db.prepare_cached(&format!("{COLUMNS} {rest}")).map_err(&failed)?;
        let mut rows = statement.query(params).map_err(&failed)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < most_bytes {
            let Some(row) = rows.next().map_err(&failed)? else { break };
            let (entry, size) = entry(row)?;
            entries.push(entry);
            bytes += size;
        }
        Ok(entries)
    }
}

impl Reader for SqliteReader {
    fn another(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(match &self.held {
            Held::Claim(claim) => Self::open(&self.path, claim.clone())?,
            Held::Look { file, is_still } => Self::look(&self.path, file.clone(), *is_still)?,
        }))
    }

    fn read_from(&self, from: Position, page: ReadLimit) -> Result<Vec<Entry>, StoreError> {
        let params = params![signed(from.0), most(page.entries)];
        self.page("WHERE position >= ?1 ORDER BY position LIMIT ?2", params, page.bytes)
    }

    fn read_run(&self, run_id: RunId, from: Seq, page: ReadLimit) -> Result<Vec<Entry>, StoreError> {
        let params = params![run_id.0.into_bytes(), signed(from.0), most(page.entries)];
        self.page("WHERE run_id = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3", params, page.bytes)
    }

    fn replay(&self, run_bytes: usize, each: &mut Replay<'_>) -> Result<(), StoreError> {
        let failed = database("read entries");
        // Both statements must see the same entries.
        let snapshot = self.db.unchecked_transaction().map_err(&failed)?;
        let mut wanted = Vec::new();
        let mut statement = snapshot.prepare(UNFINISHED).map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            wanted.push((number(row, 0).map_err(&failed)?, loaded(row.get(1).map_err(&failed)?)));
        }
        wanted.sort_unstable_by_key(|&(position, _)| position);
        let mut statement = snapshot.prepare(&format!("{COLUMNS} WHERE position = ?1")).map_err(&failed)?;
        let mut sizes: HashMap<RunId, usize> = HashMap::new();
        for (position, sum) in wanted {
            let mut rows = statement.query([signed(position)]).map_err(&failed)?;
            let row = rows.next().map_err(&failed)?.ok_or_else(|| damaged(position, "it is missing"))?;
            let read = match too_large(row, run_bytes, &mut sizes).map_err(&failed)? {
                Some(unreadable) => Err(StoreError::Unreadable(Box::new(unreadable))),
                None => guarded(|| entry(row)).unwrap_or_else(|why| Err(unreadable(row, why))),
            };
            let entry = match read {
                Ok((entry, _)) => Ok(entry),
                Err(StoreError::Unreadable(unreadable)) if unreadable.run_id.is_some() => Err(*unreadable),
                Err(error) => return Err(error),
            };
            if loaded(row.get(8).map_err(&failed)?) != sum {
                return Err(damaged(position, "it is another than it was"));
            }
            each(entry)?;
        }
        Ok(())
    }

    fn find_request(&self, request_id: &str) -> Result<Option<(RunId, String)>, StoreError> {
        run_tables::request(&self.db, request_id).map_err(database("look up a request"))
    }

    fn list_runs(&self, filter: &RunFilter, after: Option<RunId>, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        list(&self.db, filter, after, most(limit))
    }

    fn ended_since(&self, from: Timestamp, limit: usize) -> Result<Vec<(RunId, Timestamp)>, StoreError> {
        run_tables::ended_since(&self.db, from, most(limit))
    }

    fn counts(&self) -> Result<RunCounts, StoreError> {
        run_tables::counts(&self.db)
    }
}

/// The URI of a file that does not change while it is read: the database then creates no files beside it, which it
/// could not remove.
fn immutable(path: &Path) -> PathBuf {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut name = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => name.extend(format!("%{byte:02X}").bytes()),
            other => name.push(*other),
        }
    }
    name.extend(b"?immutable=1");
    OsString::from_vec(name).into()
}

/// The error for an entry that is not read because its run exceeds the limit; `sizes` has the bytes read so far of each
/// run.
fn too_large(
    row: &Row<'_>,
    run_bytes: usize,
    sizes: &mut HashMap<RunId, usize>,
) -> rusqlite::Result<Option<Unreadable>> {
    let Some(id) = row.get::<_, Option<[u8; 16]>>(1)? else { return Ok(None) };
    let run_id = RunId(Uuid::from_bytes(id));
    let size = sizes.entry(run_id).or_default();
    *size = size.saturating_add(row.get_ref(7)?.as_bytes()?.len());
    if *size <= run_bytes {
        return Ok(None);
    }
    let why = format!(
        "the entries of its run take more than {run_bytes} bytes; start with a larger `--max-replay-bytes` to take it up"
    );
    let (position, seq) = (Position(number(row, 0)?), Seq(number(row, 2)?));
    Ok(Some(Unreadable { position, run_id: Some(run_id), seq, why }))
}

/// The error for an entry whose parsing failed.
fn unreadable(row: &Row<'_>, why: String) -> StoreError {
    let read = || -> rusqlite::Result<Unreadable> {
        let id: Option<[u8; 16]> = row.get(1)?;
        let run_id = id.map(|id| RunId(Uuid::from_bytes(id)));
        Ok(Unreadable { position: Position(number(row, 0)?), run_id, seq: Seq(number(row, 2)?), why })
    };
    match read() {
        Ok(unreadable) => StoreError::Unreadable(Box::new(unreadable)),
        Err(error) => database("read an entry")(error),
    }
}

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
