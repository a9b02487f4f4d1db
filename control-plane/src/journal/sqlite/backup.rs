//! Copies of a store, made while it is in use, and stores made from copies. A copy is one moment of the journal: every
//! transaction up to it and nothing of a later one. It is read from end to end before it counts as made or restored.

use std::fs::File;
use std::path::{Path, PathBuf};

use gleitzeit_core::Position;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use crate::journal::{RunCounts, StoreError, new_term};

use super::mark::Mark;
use super::read::{COLUMNS, entry};
use super::state::State;
use super::{SqliteStore, Store, at, create_private, database};

/// What a copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its last entry.
    pub position: Position,
    /// How many entries.
    pub entries: u64,
    /// Runs by status.
    pub counts: RunCounts,
}

/// Copies a store, in use or not, into a new file. Whoever writes meanwhile is not kept waiting.
///
/// # Errors
/// If the store is not there or not whole, the file is there already, or cannot be written; then there is no copy.
pub fn backup(store: &Path, to: &Path) -> Result<Copied, StoreError> {
    if !store.is_file() {
        return Err(StoreError::Backup(format!("there is no store `{}`", store.display())));
    }
    if to.exists() {
        return Err(StoreError::Backup(format!("`{}` is there already; name a new file", to.display())));
    }
    let store = &store.canonicalize().map_err(|source| StoreError::Open { path: store.to_owned(), source })?;
    // Before the copy: what was marked by then must be in it.
    let acknowledged = File::open(beside(store, ".lock")).ok().and_then(|lock| Mark::new(lock).any());
    let part = Part::new(to)?;
    copy(store, &part.path).map_err(|error| at(store, error))?;
    finish(part, to, |copy| {
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
    // It is somebody else's: a log that is there stays there.
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&failed)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(&failed)?;
    Ok(())
}

/// Makes a store from a copy. A store that is in its place is kept beside it if `replace` is set; the returned path is
/// where.
///
/// # Errors
/// If the copy is not whole, or the store is in use, or there and not to be replaced; then nothing is changed.
pub fn restore(from: &Path, store: &Path, replace: bool) -> Result<(Copied, Option<PathBuf>), StoreError> {
    if !from.is_file() {
        return Err(StoreError::Backup(format!("there is no backup `{}`", from.display())));
    }
    // By its real name, as whoever uses it locks it.
    let store = &store.canonicalize().unwrap_or_else(|_| store.to_owned());
    let refused = |source| StoreError::Open { path: store.to_owned(), source };
    if let Some(folder) = store.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(refused)?;
    }
    // Held until the new store stands in the place of the old one.
    let lock = super::lock(store)?;
    if store.exists() && !replace {
        let text =
            format!("there is a store `{}`; it is kept beside the restored one with `--replace`", store.display());
        return Err(StoreError::Backup(text));
    }
    let part = Part::new(store)?;
    std::fs::copy(from, &part.path).map_err(refused)?;
    let copied = check(&part.path, |_| Ok(()))?;
    let old = store.exists().then(|| beside(store, &format!(".{}.old", Uuid::now_v7().simple())));
    if let Some(old) = &old {
        // Its log goes with it: beside another file it would be taken for that file's.
        for ending in ["-wal", "-shm", ""] {
            let log = beside(store, ending);
            if log.exists() {
                std::fs::rename(&log, beside(old, ending)).map_err(refused)?;
            }
        }
    }
    put(part, store)?;
    drop(lock);
    Ok((copied, old))
}

/// Checks a copy and gives it its name.
fn finish(part: Part, to: &Path, accept: impl FnOnce(&State) -> Result<(), StoreError>) -> Result<Copied, StoreError> {
    let copied = check(&part.path, accept)?;
    put(part, to)?;
    Ok(copied)
}

/// Forces a copy to the disk and gives it its name.
fn put(part: Part, to: &Path) -> Result<(), StoreError> {
    let refused = |source| StoreError::Open { path: to.to_owned(), source };
    File::open(&part.path).and_then(|file| file.sync_all()).map_err(refused)?;
    std::fs::rename(&part.path, to).map_err(refused)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused)
}

/// Reads every entry and tells how many there are. One that is as it was written and that this version cannot read is
/// copied all the same.
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

/// Reads all of a copy. It becomes a store of its own: what was marked beside the other says nothing about it.
fn check(path: &Path, accept: impl FnOnce(&State) -> Result<(), StoreError>) -> Result<Copied, StoreError> {
    let mut store = SqliteStore::open(path)?;
    accept(&store.state)?;
    store.begin_term(new_term())?;
    let reader = store.reader()?;
    let entries = read_all(&store.db)?;
    let copied = Copied { position: store.tail().position, entries, counts: reader.counts()? };
    drop(reader);
    let id = Uuid::now_v7().simple().to_string();
    store.db.execute("UPDATE state SET store_id = ?1", [id]).map_err(database("name the copy"))?;
    // With nothing left in a log of its own.
    store.db.execute_batch("PRAGMA journal_mode = DELETE").map_err(database("close the copy"))?;
    Ok(copied)
}

/// A file that is being made. It goes if it is not finished.
struct Part {
    path: PathBuf,
}

impl Part {
    fn new(of: &Path) -> Result<Self, StoreError> {
        let path = beside(of, &format!(".{}.part", Uuid::now_v7().simple()));
        create_private(&path).map_err(|source| StoreError::Open { path: path.clone(), source })?;
        Ok(Self { path })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Once it has its name there is nothing left but the lock.
        for ending in ["", "-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(beside(&self.path, ending));
        }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
