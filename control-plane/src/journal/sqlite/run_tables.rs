//! The tables beside the entries: one row per run for lists, and the request ids. Both are caches that are written in
//! the same transaction as the entries they derive from, and rebuilt whenever `ROWS_VERSION` changes.

use gleitzeit_run::event::RequestKey;
use gleitzeit_run::{Entry, Event, RunId, RunStatus};
use gleitzeit_workflow::{ErrorCode, Failure, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Error as JsonError, Value};

use super::database;
use super::entries::{self, entry, run_id};
use super::list_sums::{Lists, request_sum};
use super::run_row::{StartedRow, end_sum, name, not_as_written, start_sum, status};
use super::sum::stored;
use crate::journal::{RunCounts, RunRow, StoreError, Unreadable, ending};

/// The version of these tables, raised with each change; 0 means there are none yet.
pub(super) const ROWS_VERSION: u32 = 4;

const TABLES: &str = "
DROP TABLE IF EXISTS main.runs;
DROP TABLE IF EXISTS main.requests;
CREATE TABLE main.runs (run_id BLOB PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, correlation_id TEXT NOT NULL,
  submitted_at INTEGER NOT NULL, finished_at INTEGER, labels TEXT, error TEXT, task_count INTEGER NOT NULL, retry_of BLOB,
  start_sum INTEGER NOT NULL, end_sum INTEGER) WITHOUT ROWID;
CREATE INDEX main.runs_by_status ON runs (status, run_id);
CREATE INDEX main.runs_by_name ON runs (name, run_id);
CREATE INDEX main.runs_by_end ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE main.requests (request_id TEXT PRIMARY KEY, run_id BLOB NOT NULL, body_hash TEXT NOT NULL,
  sum INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX main.requests_of_run ON requests (run_id);
";

/// Rebuilds the tables from the entries, in the schema `main` or, for a comparison, in `temp`, whose tables take
/// precedence over others of the same name.
///
/// A run is listed even if this version cannot read its submission or end: otherwise it could neither be shown nor set
/// aside. Its row contains what can be read; these runs are returned.
pub(super) fn rebuild(db: &Connection, schema: &str) -> Result<(Lists, Vec<RunId>), StoreError> {
    let failed = database("rebuild its tables");
    db.execute_batch(&TABLES.replace("main.", &format!("{schema}."))).map_err(&failed)?;
    let (mut lists, mut unread) = (Lists::default(), Vec::new());
    let ends = "type IN ('workflow_submitted', 'workflow_completed', 'workflow_failed', 'workflow_cancelled')";
    // A run that is being removed is no longer listed.
    let sql = format!(
        "{} WHERE {ends} AND NOT EXISTS (SELECT 1 FROM pruning p WHERE p.run_id = entries.run_id) ORDER BY position",
        entries::COLUMNS
    );
    let mut statement = db.prepare(&sql).map_err(&failed)?;
    let mut found = statement.query([]).map_err(&failed)?;
    while let Some(row) = found.next().map_err(&failed)? {
        let recorded = match entry(row) {
            Ok((entry, _)) => record(db, &entry, &mut lists),
            Err(StoreError::Unreadable(unreadable)) => {
                unread.extend(unreadable.run_id);
                record_unreadable(db, row, &unreadable, &mut lists)
            }
            Err(error) => return Err(error),
        };
        match recorded {
            // A second submission of the same run or request id: the replay reports it.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {}
            recorded => recorded.map_err(&failed)?,
        }
    }
    Ok((lists, unread))
}

/// Records what can be read from an entry that is not readable as a whole.
fn record_unreadable(
    db: &Connection,
    row: &Row<'_>,
    unreadable: &Unreadable,
    lists: &mut Lists,
) -> rusqlite::Result<()> {
    let Some(run_id) = unreadable.run_id else { return Ok(()) };
    let (recorded_at, kind) = (Timestamp(row.get(3)?), row.get_ref(6)?.as_str()?);
    let status = match kind {
        "workflow_completed" => RunStatus::Completed,
        "workflow_failed" => RunStatus::Failed,
        "workflow_cancelled" => RunStatus::Cancelled,
        _ => {
            // Whatever is readable is listed, so that the run can be found; it is set aside and shown as such.
            let body: Value = serde_json::from_str(row.get_ref(7)?.as_str()?).unwrap_or_default();
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let listed = RunRow {
                run_id,
                name: text(&body["workflow"]["name"]).unwrap_or_else(|| "unreadable".to_owned()),
                status: RunStatus::Running,
                correlation_id: text(&body["correlation_id"]).unwrap_or_else(|| run_id.correlation_id()),
                submitted_at: recorded_at,
                finished_at: None,
                labels: indexmap::IndexMap::default(),
                error: None,
                task_count: body["workflow"]["tasks"]
                    .as_array()
                    .and_then(|it| u32::try_from(it.len()).ok())
                    .unwrap_or(0),
                retry_of: None,
            };
            let request = text(&body["request"]["request_id"]).zip(text(&body["request"]["body_hash"]));
            let request = request.map(|(request_id, body_hash)| RequestKey { request_id, body_hash });
            return record_start(db, &listed, request.as_ref(), lists);
        }
    };
    let error = Failure::new(ErrorCode::PersistenceIntegrityError, unreadable.to_string());
    record_end(db, run_id, status, Some(&error).filter(|_| status != RunStatus::Completed), recorded_at, lists)
}

/// Records the consequences of an entry.
pub(super) fn record(db: &Connection, entry: &Entry, lists: &mut Lists) -> rusqlite::Result<()> {
    if let (Some((status, error)), Some(run_id)) = (ending(&entry.event), entry.run_id) {
        return record_end(db, run_id, status, error.as_ref(), entry.recorded_at, lists);
    }
    let (Event::WorkflowSubmitted(submitted), Some(row)) = (&entry.event, RunRow::submitted(entry)) else {
        return Ok(());
    };
    record_start(db, &row, submitted.request.as_ref(), lists)
}

fn record_end(
    db: &Connection,
    run_id: RunId,
    status: RunStatus,
    error: Option<&Failure>,
    at: Timestamp,
    lists: &mut Lists,
) -> rusqlite::Result<()> {
    let id = run_id.0.into_bytes();
    let error = error.map(serde_json::to_string).transpose().map_err(unwritable)?;
    let sum = end_sum(&id, name(status), at.0, error.as_deref());
    let mut end = |before: &str, finished_at: Option<i64>| -> rusqlite::Result<bool> {
        let sql =
            "UPDATE runs SET status = ?2, finished_at = ?3, error = ?4, end_sum = ?5 WHERE run_id = ?1 AND status = ?6";
        let changed = db.prepare_cached(sql)?.execute(params![id, name(status), at.0, error, stored(sum), before])?;
        if changed > 0 {
            lists.remove_status(&id, before, finished_at);
            lists.add_status(&id, name(status), Some(at.0));
        }
        Ok(changed > 0)
    };
    // The run was nearly always running, so its old status need not be looked up.
    if !end(name(RunStatus::Running), None)?
        && let Some((_, before, finished_at)) = listed(db, &id)?
    {
        end(&before, finished_at)?;
    }
    Ok(())
}

fn record_start(
    db: &Connection,
    row: &RunRow,
    request: Option<&RequestKey>,
    lists: &mut Lists,
) -> rusqlite::Result<()> {
    let id = row.run_id.0.into_bytes();
    let labels = Some(&row.labels).filter(|labels| !labels.is_empty());
    let labels = labels.map(serde_json::to_string).transpose().map_err(unwritable)?;
    let retry_of = row.retry_of.map(|id| id.0.into_bytes());
    let sum = start_sum(&StartedRow {
        run_id: &id,
        name: &row.name,
        correlation_id: &row.correlation_id,
        submitted_at: row.submitted_at.0,
        labels: labels.as_deref(),
        task_count: row.task_count,
        retry_of: retry_of.as_ref().map(<[u8; 16]>::as_slice),
    });
    let sql = "INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6, NULL, ?7, ?8, ?9, NULL)";
    db.prepare_cached(sql)?.execute(params![
        id,
        row.name,
        name(row.status),
        row.correlation_id,
        row.submitted_at.0,
        labels,
        row.task_count,
        retry_of,
        stored(sum),
    ])?;
    lists.add_run(&id, &row.name, name(row.status), None);
    if let Some(key) = request {
        let sum = request_sum(&key.request_id, &id, &key.body_hash);
        db.prepare_cached("INSERT INTO requests VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            key.request_id,
            id,
            key.body_hash,
            stored(sum),
        ])?;
        lists.add_request(sum);
    }
    Ok(())
}

/// The listed name, status and end of a run.
fn listed(db: &Connection, run_id: &[u8; 16]) -> rusqlite::Result<Option<(String, String, Option<i64>)>> {
    db.prepare_cached("SELECT name, status, finished_at FROM runs WHERE run_id = ?1")?
        .query_row([run_id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
}

/// The run of a request id, with the hash of the request body; an error if the row was changed.
pub(super) fn request(db: &Connection, request_id: &str) -> rusqlite::Result<Option<(RunId, String)>> {
    let read = |row: &Row<'_>| {
        let run_id = row.get_ref(0)?.as_blob()?;
        let sum = request_sum(request_id, run_id, row.get_ref(1)?.as_str()?);
        if row.get::<_, i64>(2)? != stored(sum) {
            return Err(not_as_written());
        }
        Ok((entries::run_id(row, 0)?, row.get(1)?))
    };
    let sql = "SELECT run_id, body_hash, sum FROM requests WHERE request_id = ?1";
    db.prepare_cached(sql)?.query_row([request_id], read).optional()
}

/// The row of a run; `None` if it is not listed.
pub(super) fn one(db: &Connection, run_id: RunId) -> Result<Option<RunRow>, StoreError> {
    let hex = run_id.to_string();
    let filter = crate::journal::RunFilter { id_prefix: hex, ..crate::journal::RunFilter::default() };
    Ok(super::list_runs::list(db, &filter, None, 1)?.pop())
}

/// Removes a run from both tables.
pub(super) fn remove(db: &Connection, run_id: RunId, lists: &mut Lists) -> rusqlite::Result<()> {
    let id = run_id.0.into_bytes();
    if let Some((name, status, finished_at)) = listed(db, &id)? {
        lists.remove_run(&id, &name, &status, finished_at);
    }
    let mut statement = db.prepare_cached("SELECT request_id, body_hash FROM requests WHERE run_id = ?1")?;
    let mut requests = statement.query([id])?;
    while let Some(row) = requests.next()? {
        let (request_id, body_hash) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        lists.remove_request(request_sum(request_id, &id, body_hash));
    }
    db.prepare_cached("DELETE FROM runs WHERE run_id = ?1")?.execute([id])?;
    db.prepare_cached("DELETE FROM requests WHERE run_id = ?1")?.execute([id])?;
    Ok(())
}

pub(super) fn ended_since(db: &Connection, from: Timestamp, limit: i64) -> Result<Vec<(RunId, Timestamp)>, StoreError> {
    let failed = database("list runs by their end");
    let sql = "SELECT run_id, finished_at FROM runs WHERE finished_at >= ?1 ORDER BY finished_at, run_id LIMIT ?2";
    let mut statement = db.prepare_cached(sql).map_err(&failed)?;
    let rows = statement.query_map(params![from.0, limit], |row| Ok((run_id(row, 0)?, Timestamp(row.get(1)?))));
    rows.map_err(&failed)?.collect::<Result<_, _>>().map_err(&failed)
}

pub(super) fn counts(db: &Connection) -> Result<RunCounts, StoreError> {
    let failed = database("count runs");
    let mut counts = RunCounts::default();
    let mut statement = db.prepare("SELECT status, count(*) FROM runs GROUP BY status").map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        *counts.of(status(row, 0).map_err(&failed)?) = super::number(row, 1).map_err(&failed)?;
    }
    Ok(counts)
}

fn unwritable(error: JsonError) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}
