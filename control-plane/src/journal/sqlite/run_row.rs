//! A run as a row of the list: what is written into it, with its sums, and how it is read again.

use gleitzeit_run::{RunId, RunStatus};
use gleitzeit_workflow::{Failure, Timestamp};
use rusqlite::Row;
use serde_json::Error as JsonError;

use super::entries::run_id;
use super::sum::{Checksum, Sum, stored};
use crate::journal::RunRow;

/// The values of a new row.
pub(super) struct StartedRow<'a> {
    pub(super) run_id: &'a [u8],
    pub(super) name: &'a str,
    pub(super) correlation_id: &'a str,
    pub(super) submitted_at: i64,
    pub(super) labels: Option<&'a str>,
    pub(super) task_count: u32,
    pub(super) retry_of: Option<&'a [u8]>,
}

pub(super) fn start_sum(row: &StartedRow<'_>) -> Checksum {
    let sum = Sum::new().bytes(row.run_id).bytes(row.name.as_bytes()).bytes(row.correlation_id.as_bytes());
    let sum = sum.number(row.submitted_at).maybe(row.labels.map(str::as_bytes)).number(row.task_count.into());
    sum.maybe(row.retry_of).value()
}

pub(super) fn end_sum(run_id: &[u8], status: &str, finished_at: i64, error: Option<&str>) -> Checksum {
    let sum = Sum::new().bytes(run_id).bytes(status.as_bytes()).number(finished_at);
    sum.maybe(error.map(str::as_bytes)).value()
}

/// Whether a row is as it was written.
fn is_whole(row: &Row<'_>) -> rusqlite::Result<bool> {
    let text = |at| -> rusqlite::Result<Option<&str>> { Ok(row.get_ref(at)?.as_str_or_null()?) };
    let blob = |at| -> rusqlite::Result<Option<&[u8]>> { Ok(row.get_ref(at)?.as_blob_or_null()?) };
    let (id, status) = (row.get_ref(0)?.as_blob()?, row.get_ref(2)?.as_str()?);
    let start = start_sum(&StartedRow {
        run_id: id,
        name: row.get_ref(1)?.as_str()?,
        correlation_id: row.get_ref(3)?.as_str()?,
        submitted_at: row.get(4)?,
        labels: text(6)?,
        task_count: row.get(8)?,
        retry_of: blob(9)?,
    });
    let end = match row.get::<_, Option<i64>>(5)? {
        Some(finished_at) => Some(stored(end_sum(id, status, finished_at, text(7)?))),
        None => None,
    };
    let running = status == name(RunStatus::Running);
    Ok(row.get::<_, i64>(10)? == stored(start) && row.get::<_, Option<i64>>(11)? == end && running == end.is_none())
}

/// Reads a row with the columns that `list_runs` selects.
pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    if !is_whole(row)? {
        return Err(not_as_written());
    }
    let finished_at: Option<i64> = row.get(5)?;
    let labels: Option<String> = row.get(6)?;
    let error: Option<String> = row.get(7)?;
    let retry_of: Option<[u8; 16]> = row.get(9)?;
    Ok(RunRow {
        run_id: run_id(row, 0)?,
        name: row.get(1)?,
        status: status(row, 2)?,
        correlation_id: row.get(3)?,
        submitted_at: Timestamp(row.get(4)?),
        finished_at: finished_at.map(Timestamp),
        labels: labels.map(|json| serde_json::from_str(&json)).transpose().map_err(unreadable(6))?.unwrap_or_default(),
        error: error.map(|json| serde_json::from_str::<Failure>(&json)).transpose().map_err(unreadable(7))?,
        task_count: row.get(8)?,
        retry_of: retry_of.map(|id| RunId(uuid::Uuid::from_bytes(id))),
    })
}

pub(super) fn name(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "running",
        RunStatus::Completed => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
    }
}

pub(super) fn status(row: &Row<'_>, at: usize) -> rusqlite::Result<RunStatus> {
    let text = row.get_ref(at)?.as_str()?;
    let all = [RunStatus::Running, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled];
    all.into_iter().find(|status| name(*status) == text).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, format!("no status: {text}").into())
    })
}

pub(super) fn not_as_written() -> rusqlite::Error {
    let why = "a row of the list is not as it was written: the file is damaged";
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, why.into())
}

fn unreadable(at: usize) -> impl Fn(JsonError) -> rusqlite::Error {
    move |error| rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, error.into())
}
