//! Removes finished runs in steps that occupy the writer for a few milliseconds. First a run is taken off the lists and
//! noted; then its entries are removed, the last ones first; finally the room is returned to the disk. A crash during a
//! step either keeps or undoes all of it, and noted runs are removed later.

use gleitzeit_run::{Position, RunId};
use gleitzeit_workflow::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::entries::run_id;
use super::state::State;
use super::sum::loaded;
use super::{number, run_row, run_tables, signed};
use crate::journal::Pruned;

/// How many entries one step removes.
const STEP_ENTRIES: usize = 500;
/// How many runs one step takes off the lists.
const STEP_RUNS: usize = 100;
/// How many pages one step returns to the disk.
const STEP_PAGES: u32 = 128;

/// One step. Nothing of it is in the file before the transaction is committed.
pub(super) fn step(db: &Transaction<'_>, state: &mut State, ended: Timestamp) -> rusqlite::Result<Pruned> {
    let mut done = Pruned::default();
    let mut room = STEP_ENTRIES;
    loop {
        let next = "SELECT run_id FROM pruning LIMIT 1";
        if let Some(id) = db.prepare_cached(next)?.query_row([], |row| run_id(row, 0)).optional()? {
            let removed = remove_entries(db, id, room)?;
            done.entries += u64::try_from(removed).unwrap_or(u64::MAX);
            if removed == room {
                done.more = true;
                break;
            }
            room -= removed;
            db.prepare_cached("DELETE FROM pruning WHERE run_id = ?1")?.execute([id.0.into_bytes()])?;
        } else if done.runs.len() == STEP_RUNS {
            done.more = true;
            break;
        } else if !unlist(db, state, ended, &mut done)? {
            break;
        }
    }
    if done.entries > 0 || !done.runs.is_empty() {
        state.write(db)?;
    }
    Ok(done)
}

/// Removes the last entries of a run first, so that a concurrent reader sees its beginning.
fn remove_entries(db: &Connection, run_id: RunId, limit: usize) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM entries WHERE position IN
      (SELECT position FROM entries WHERE run_id = ?1 ORDER BY seq DESC LIMIT ?2)";
    db.prepare_cached(sql)?.execute(params![run_id.0.into_bytes(), i64::try_from(limit).unwrap_or(i64::MAX)])
}

/// Takes the run that ended first off the lists; false if none ended long enough ago.
fn unlist(db: &Connection, state: &mut State, ended: Timestamp, done: &mut Pruned) -> rusqlite::Result<bool> {
    let oldest = "SELECT run_id, status FROM runs WHERE finished_at <= ?1 ORDER BY finished_at LIMIT 1";
    let found = db.prepare_cached(oldest)?.query_row([ended.0], |row| Ok((run_id(row, 0)?, run_row::status(row, 1)?)));
    let Some((id, status)) = found.optional()? else { return Ok(false) };
    let last = "SELECT position FROM entries WHERE run_id = ?1 ORDER BY seq DESC LIMIT 1";
    let bytes = id.0.into_bytes();
    let last = db.prepare_cached(last)?.query_row([bytes], |row| number(row, 0)).optional()?.unwrap_or(0);
    db.prepare_cached("INSERT OR IGNORE INTO pruning VALUES (?1)")?.execute([bytes])?;
    run_tables::remove(db, id, &mut state.lists)?;
    state.forget(Position(last));
    done.runs.push((id, status));
    Ok(true)
}

/// Removes entries that belong to no run; returns how many of them existed.
pub(super) fn remove(db: &Transaction<'_>, state: &mut State, positions: &[Position]) -> rusqlite::Result<u64> {
    let mut removed = 0;
    for position in positions {
        let sql = "DELETE FROM entries WHERE position = ?1 AND run_id IS NULL RETURNING checksum";
        let sum = db.prepare_cached(sql)?.query_row([signed(position.0)], |row| row.get(0)).optional()?;
        if let Some(sum) = sum {
            state.forget_entry(*position, loaded(sum));
            removed += 1;
        }
    }
    if removed > 0 {
        state.write(db)?;
    }
    Ok(removed)
}

/// Returns free pages to the disk; true if there are more. Stores of an earlier format keep their free pages and reuse
/// them.
pub(super) fn give_back(db: &Connection) -> rusqlite::Result<bool> {
    let free = || db.query_row("PRAGMA freelist_count", [], |row| row.get::<_, u32>(0));
    let before = free()?;
    if before == 0 {
        return Ok(false);
    }
    let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
    let mut pages = statement.query([])?;
    while pages.next()?.is_some() {}
    drop(pages);
    let after = free()?;
    Ok(after > 0 && after < before)
}
