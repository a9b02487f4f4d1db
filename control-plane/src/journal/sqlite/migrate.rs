//! Creates the tables and migrates those of earlier formats. Format 1 had neither checksums nor a state.

use std::path::Path;

use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;

use crate::journal::{FORMAT_VERSION, StoreError};

use super::database;
use super::entries::{COLUMNS, sum_of};
use super::list_sums::Lists;
use super::run_tables::{self, ROWS_VERSION};
use super::state::{self, State};
use super::sum::stored;

/// `rows_version` is the version of the tables in `run_tables`, which can be rebuilt from the entries.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (format_version INTEGER NOT NULL, rows_version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS entries (position INTEGER PRIMARY KEY, run_id BLOB, seq INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL, queue TEXT, version INTEGER NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL,
  checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pruning (run_id BLOB PRIMARY KEY) WITHOUT ROWID;
";

/// Each index contains the checksum, so that a start can compare it without reading the entries.
const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS entries_of_run ON entries (run_id, seq, checksum) WHERE run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS entries_of_no_run ON entries (position, checksum) WHERE run_id IS NULL;
";

/// Creates or migrates the tables, or refuses a store of a later version; then checks that nothing is missing. Lists of
/// another version are rebuilt.
pub(super) fn prepare(db: &Transaction<'_>, path: &Path) -> Result<State, StoreError> {
    let format = format(db)?;
    if let Some(found) = format.filter(|found| *found > FORMAT_VERSION) {
        return Err(StoreError::Format { found, known: FORMAT_VERSION });
    }
    if format == Some(1) {
        add_sums(db)?;
    }
    db.execute_batch(SCHEMA)
        .and_then(|()| db.execute_batch(INDEXES))
        .and_then(|()| state::make_table(db))
        .map_err(database("create its tables"))?;
    let failed = database("write its format");
    if format.is_none() {
        db.execute("INSERT INTO meta VALUES (?1, 0)", [FORMAT_VERSION]).map_err(&failed)?;
    }
    let rows_version: u32 =
        db.query_row("SELECT rows_version FROM meta", [], |row| row.get(0)).map_err(database("read its format"))?;
    let rebuilt = if rows_version == ROWS_VERSION { None } else { Some(run_tables::rebuild(db, "main")?.0) };
    db.execute("UPDATE meta SET format_version = ?1, rows_version = ?2", [FORMAT_VERSION, ROWS_VERSION])
        .map_err(&failed)?;
    let state = match State::read(db, rebuilt.is_none())? {
        Some(state) => check(db, state, rebuilt, path)?,
        None if format.is_none_or(|format| format == 1) => {
            let mut state = State::found(db)?;
            state.lists = rebuilt.unwrap_or_default();
            state.store_id = Uuid::now_v7().simple().to_string();
            state
        }
        None => return Err(incomplete(path, "it does not say where it ends".to_owned())),
    };
    state.write(db).map_err(&failed)?;
    Ok(state)
}

/// Whether nothing was ever stored there.
pub(super) fn is_new(db: &Transaction<'_>) -> Result<bool, StoreError> {
    format(db).map(|format| format.is_none())
}

/// The format of a store; `None` if it is new.
fn format(db: &Transaction<'_>) -> Result<Option<u32>, StoreError> {
    let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'";
    let found = db.query_row(sql, [], |_| Ok(())).optional().map_err(database("read its tables"))?;
    if found.is_none() {
        return Ok(None);
    }
    let found = db.query_row("SELECT format_version FROM meta", [], |row| row.get(0));
    found.optional().map_err(database("read its format"))
}

/// Refuses a file that is not a store, and one that would have to be migrated before it can be read.
pub(super) fn is_current(db: &Transaction<'_>) -> Result<(), StoreError> {
    if is_readable(db)? {
        return Ok(());
    }
    Err(StoreError::Backup("its lists have another version; a start of this version rebuilds them".to_owned()))
}

/// Refuses a store whose entries would have to be migrated before they can be read. Returns whether its lists have this
/// version.
pub(super) fn is_readable(db: &Transaction<'_>) -> Result<bool, StoreError> {
    match format(db)? {
        Some(FORMAT_VERSION) => {}
        Some(found) if found > FORMAT_VERSION => return Err(StoreError::Format { found, known: FORMAT_VERSION }),
        Some(found) => {
            let why = format!("it has format {found}; a start of this version converts it to {FORMAT_VERSION}");
            return Err(StoreError::Backup(why));
        }
        None => return Err(StoreError::Backup("it is not a store, or it is empty".to_owned())),
    }
    let rows: u32 =
        db.query_row("SELECT rows_version FROM meta", [], |row| row.get(0)).map_err(database("read its format"))?;
    Ok(rows == ROWS_VERSION)
}

/// Compares what is there with what was written. Lists that were just rebuilt are right.
fn check(db: &Transaction<'_>, mut state: State, rebuilt: Option<Lists>, path: &Path) -> Result<State, StoreError> {
    match rebuilt {
        Some(lists) => state.lists = lists,
        None => Lists::found(db)
            .and_then(|found| state.lists.compare_with(found))
            .map_err(|why| StoreError::Lists { path: path.to_owned(), why })?,
    }
    state.compare_with(State::found(db)?).map_err(|why| incomplete(path, why))?;
    Ok(state)
}

fn incomplete(path: &Path, why: String) -> StoreError {
    StoreError::Incomplete { path: path.to_owned(), why }
}

/// Migrates format 1 to 2.
fn add_sums(db: &Transaction<'_>) -> Result<(), StoreError> {
    let failed = database("bring it to the format of this version");
    db.execute_batch(
        "DROP INDEX IF EXISTS entries_of_run; DROP INDEX IF EXISTS entries_of_no_run;
         ALTER TABLE entries ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;",
    )
    .map_err(&failed)?;
    let mut read = db.prepare(&format!("{COLUMNS} WHERE position > ?1 ORDER BY position LIMIT 1")).map_err(&failed)?;
    let mut write = db.prepare("UPDATE entries SET checksum = ?2 WHERE position = ?1").map_err(&failed)?;
    let mut last = 0_i64;
    loop {
        let next = read.query_row([last], |row| Ok((row.get(0)?, sum_of(row)?))).optional().map_err(&failed)?;
        let Some((position, sum)) = next else { return Ok(()) };
        write.execute(params![position, stored(sum)]).map_err(&failed)?;
        last = position;
    }
}
