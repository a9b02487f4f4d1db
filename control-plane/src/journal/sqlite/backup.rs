//! Copies of a store, made while it is in use. A copy is a snapshot of the journal: it contains every transaction up to
//! one moment and none after it. It is read from end to end before it counts as made or restored.

use std::fs::File;
use std::path::Path;

use gleitzeit_run::Position;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::entries::{COLUMNS, entry};
use super::part_file::{Part, beside, sync_folder};
use super::state::State;
use super::watermark::Mark;
use super::{SqliteStore, Store, at, compare, database, real_path, swap};
use crate::journal::{RunCounts, StoreError, new_term};

/// The content of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The position of its last entry.
    pub position: Position,
    /// The number of entries.
    pub entries: u64,
    /// The number of runs by status.
    pub counts: RunCounts,
}

/// Copies a store, in use or not, into a new file. A concurrent writer is not blocked.
///
/// # Errors
/// If the store is missing or damaged, or the target exists already or cannot be written; then no copy is left.
pub fn backup(store: &Path, to: &Path) -> Result<Copied, StoreError> {
    // If its folder does not exist, neither does the store.
    let store = &real_path(store).unwrap_or_else(|_| store.to_owned());
    swap::finish(store)?;
    if !store.is_file() {
        return Err(StoreError::Backup(format!("there is no store `{}`", store.display())));
    }
    if to.exists() {
        return Err(StoreError::Backup(format!("`{}` exists already; name a new file", to.display())));
    }
    // Read before copying: the copy must contain everything that was acknowledged by then.
    let acknowledged = File::open(beside(store, ".lock")).ok().and_then(|lock| Mark::new(lock).read());
    let part = Part::new(to)?;
    copy(store, &part.path).map_err(|error| at(store, error))?;
    finish(&part, store, to, |copy| {
        match acknowledged.filter(|(of, there)| *of == copy.store_id && *there > copy.tail.position) {
            Some((_, there)) => Err(StoreError::Incomplete {
                path: store.clone(),
                why: format!("entries up to {there} were acknowledged and it ends with entry {}", copy.tail.position),
            }),
            None => Ok(()),
        }
    })
}

fn copy(store: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = database("copy it");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(store, flags).map_err(&failed)?;
    // The store may belong to another process, so its log stays as it is.
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&failed)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(&failed)?;
    Ok(())
}

/// Checks a copy, flushes it to the disk and gives it its final name.
fn finish(
    part: &Part,
    of: &Path,
    to: &Path,
    accept: impl FnOnce(&State) -> Result<(), StoreError>,
) -> Result<Copied, StoreError> {
    let copied = check(&part.path, accept).map_err(|error| error.about(of))?.0;
    let named = part.sync().and_then(|()| std::fs::rename(&part.path, to)).and_then(|()| sync_folder(to));
    named.map_err(|source| StoreError::Open { path: to.to_owned(), source })?;
    Ok(copied)
}

/// Reads every entry and returns their number. An intact entry that this version cannot read is counted too.
fn read_all(db: &Connection) -> Result<u64, StoreError> {
    let failed = database("read its entries");
    let mut statement = db.prepare(&format!("{COLUMNS} ORDER BY position")).map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    let mut entries = 0;
    while let Some(row) = rows.next().map_err(&failed)? {
        match entry(row) {
            Ok(_) | Err(StoreError::Unreadable(_)) => entries += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

/// Reads all of a copy and compares its lists with its entries. The copy becomes a store of its own, with the returned
/// id, because the mark of the original says nothing about it.
pub(super) fn check(
    path: &Path,
    accept: impl FnOnce(&State) -> Result<(), StoreError>,
) -> Result<(Copied, String), StoreError> {
    let mut store = SqliteStore::open(path)?;
    accept(&store.state)?;
    store.begin_term(new_term())?;
    let reader = store.reader()?;
    let entries = read_all(&store.db)?;
    let wrong = compare::differences(&store.db)?.into_iter().chain(compare::pages(&store.db)?).next();
    if let Some(why) = wrong {
        return Err(StoreError::Lists { path: path.to_owned(), why });
    }
    let copied = Copied { position: store.tail().position, entries, counts: reader.counts()? };
    drop(reader);
    store.state.store_id = Uuid::now_v7().simple().to_string();
    store.state.write(&store.db).map_err(database("name the copy"))?;
    close_copy(&store.db)?;
    Ok((copied, store.state.store_id.clone()))
}

/// Closes a copy so that no log file remains beside it.
pub(super) fn close_copy(db: &Connection) -> Result<(), StoreError> {
    db.execute_batch("PRAGMA journal_mode = DELETE").map_err(database("close the copy"))
}
