//! Comparing a store's lists with its entries: they are made of the entries and of nothing else, so a check makes them once
//! more and compares them whole.

use rusqlite::Connection;

use super::{database, run_tables};
use crate::journal::StoreError;

/// The most differences that are reported.
const MAX_TOLD: usize = 100;

/// Rebuilds the lists from the entries in temporary tables and compares them with the stored ones row by row. Also
/// makes the database compare each index with its table. Changes nothing.
///
/// # Errors
/// If the entries cannot be read, or there is no room for the temporary tables.
pub(super) fn differences(db: &Connection) -> Result<Vec<String>, StoreError> {
    let failed = database("make its lists once more");
    let (_, unread) = run_tables::rebuild(db, "temp")?;
    // If another version wrote these runs, their rows may say more than can be read now.
    db.execute_batch("CREATE TABLE temp.unread (run_id BLOB PRIMARY KEY) WITHOUT ROWID").map_err(&failed)?;
    for run_id in unread {
        let id = run_id.0.into_bytes();
        db.execute("INSERT OR IGNORE INTO temp.unread VALUES (?1)", [id]).map_err(&failed)?;
    }
    let mut told = Vec::new();
    for (list, key) in [("runs", "lower(hex(run_id))"), ("requests", "request_id")] {
        let sql = format!(
            "SELECT {key} FROM (SELECT * FROM main.{list} NOT INDEXED EXCEPT SELECT * FROM temp.{list})
               WHERE run_id NOT IN (SELECT run_id FROM temp.unread)
             UNION SELECT {key} FROM (SELECT * FROM temp.{list} EXCEPT SELECT * FROM main.{list} NOT INDEXED)
               WHERE run_id NOT IN (SELECT run_id FROM temp.unread)
             LIMIT {MAX_TOLD}"
        );
        let read = db.prepare(&sql).and_then(|mut statement| {
            let keys =
                statement.query_map([], |row| Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned()))?;
            keys.collect::<rusqlite::Result<Vec<String>>>()
        });
        match read {
            Ok(keys) => told.extend(keys.into_iter().map(|key| format!("the list of {list} differs at `{key}`"))),
            Err(error) => told.push(format!("the list of {list} cannot be read: {error}")),
        }
    }
    db.execute_batch("DROP TABLE temp.runs; DROP TABLE temp.requests; DROP TABLE temp.unread").map_err(&failed)?;
    Ok(told)
}

/// The problems that the database finds in its pages, tables and indexes.
pub(super) fn pages(db: &Connection) -> Result<Vec<String>, StoreError> {
    let failed = database("check its pages");
    let mut statement = db.prepare(&format!("PRAGMA integrity_check({MAX_TOLD})")).map_err(&failed)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(&failed)?;
    let told = rows.collect::<rusqlite::Result<Vec<String>>>().map_err(&failed)?;
    Ok(told.into_iter().filter(|line| line != "ok").collect())
}
