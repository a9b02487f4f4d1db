//! Rebuilds lists that do not match the entries. The damaged file is not changed: a new file is made from the entries,
//! each of which is checked, and replaces the old one, which is kept.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use crate::journal::StoreError;

use super::backup::close_copy;
use super::claim::Claim;
use super::entries::{COLUMNS, entry};
use super::part_file::{Part, sweep};
use super::state::State;
use super::swap::{Swap, resume};
use super::{SqliteStore, at, compare, database, lock, migrate, real_path, run_tables, terms};

/// Copies the row of an entry.
const COPY: &str = "INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// Makes a new store from the entries of the existing one and puts it in its place. Returns the path where the old one
/// is kept.
///
/// # Errors
/// If the store is in use, or its entries are damaged: entries cannot be rebuilt from anything else. Then nothing is
/// changed.
pub fn repair(store: &Path) -> Result<PathBuf, StoreError> {
    let store = &real_path(store)?;
    let mut mark = lock(store)?;
    resume(store, &mut mark)?;
    sweep(store);
    if !store.is_file() {
        return Err(StoreError::Backup(format!("there is no store `{}`", store.display())));
    }
    let claim = Claim::of_any(store)?;
    let part = Part::new(store)?;
    let state = {
        let mut new = SqliteStore::open(&part.path)?;
        copy(store, &mut new).map_err(|error| at(store, error).about(store))?;
        new.state.check_mark(&mut mark, store)?;
        close_copy(&new.db)?;
        (new.state.store_id.clone(), new.state.tail.position)
    };
    drop(claim);
    let kept = Swap::put(part, store, state, &mut mark)?;
    kept.ok_or_else(|| StoreError::Backup(format!("`{}` was removed in the meantime", store.display())))
}

fn copy(store: &Path, new: &mut SqliteStore) -> Result<(), StoreError> {
    let failed = database("copy its entries");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut old = Connection::open_with_flags(store, flags).map_err(database("open the file for reading"))?;
    old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&failed)?;
    let old = old.transaction().map_err(&failed)?;
    let sealed = migrate::is_readable(&old)?;
    let written = State::read(&old, sealed)?;
    let mut state = written.ok_or_else(|| StoreError::Run("it does not say where it ends".to_owned()))?;
    let transaction = new.db.transaction().map_err(&failed)?;
    let mut statement = old.prepare(&format!("{COLUMNS} NOT INDEXED ORDER BY position")).map_err(&failed)?;
    let mut found = statement.query([]).map_err(&failed)?;
    while let Some(row) = found.next().map_err(&failed)? {
        match entry(row) {
            Ok(_) | Err(StoreError::Unreadable(_)) => {}
            Err(error) => return Err(error),
        }
        let values = (0..9).map(|at| row.get::<_, rusqlite::types::Value>(at)).collect::<Result<Vec<_>, _>>();
        let mut write = transaction.prepare_cached(COPY).map_err(&failed)?;
        write.execute(params_from_iter(values.map_err(&failed)?)).map_err(&failed)?;
    }
    let mut statement = old.prepare("SELECT run_id FROM pruning").map_err(&failed)?;
    let mut pruning = statement.query([]).map_err(&failed)?;
    while let Some(row) = pruning.next().map_err(&failed)? {
        let run_id: [u8; 16] = row.get(0).map_err(&failed)?;
        transaction.execute("INSERT INTO pruning VALUES (?1)", [run_id]).map_err(&failed)?;
    }
    terms::copy(&old, &transaction).map_err(&failed)?;
    state.lists = run_tables::rebuild(&transaction, "main")?.0;
    let there = State::found(&transaction)?;
    let incomplete = |why| StoreError::Incomplete { path: store.to_owned(), why };
    state.compare_with(there).map_err(incomplete)?;
    state.write(&transaction).map_err(&failed)?;
    if let Some(why) = compare::differences(&transaction)?.pop() {
        return Err(StoreError::Run(why));
    }
    transaction.commit().map_err(&failed)?;
    new.state = state;
    Ok(())
}
