//! Entries as rows of a store.

use gleitzeit_run::event::EVENT_VERSION;
use gleitzeit_run::{Entry, Event, Position, RunId, Seq};
use gleitzeit_workflow::{QueueName, Timestamp};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::sum::{Checksum, Sum, loaded, stored};
use super::{database, number, signed};
use crate::journal::{StoreError, Unreadable};

/// The columns that [`entry`] reads.
pub(super) const COLUMNS: &str = "SELECT position, run_id, seq, recorded_at, queue, version, type, body,
  checksum FROM entries";

/// An entry and the size of its body.
pub(super) fn entry(row: &Row<'_>) -> Result<(Entry, usize), StoreError> {
    let failed = database("read an entry");
    let position = number(row, 0).map_err(&failed)?;
    let version: u32 = row.get(5).map_err(&failed)?;
    if version > EVENT_VERSION {
        let why = format!("it has version {version}, this version reads up to {EVENT_VERSION}");
        return Err(StoreError::Entry { position, why });
    }
    if sum_of(row).map_err(&failed)? != loaded(row.get(8).map_err(&failed)?) {
        return Err(damaged(position, "it is not as it was written: the file is damaged"));
    }
    let run_id: Option<[u8; 16]> = row.get(1).map_err(&failed)?;
    let queue: Option<String> = row.get(4).map_err(&failed)?;
    let text = |at| row.get_ref(at).and_then(|value| Ok(value.as_str()?)).map_err(&failed);
    let (kind, body) = (text(6)?, text(7)?);
    let (position, run_id) = (Position(position), run_id.map(|id| RunId(Uuid::from_bytes(id))));
    let seq = Seq(number(row, 2).map_err(&failed)?);
    let event = Event::decode(kind, body).map_err(|error| {
        StoreError::Unreadable(Box::new(Unreadable { position, run_id, seq, why: error.to_string() }))
    })?;
    let recorded_at = Timestamp(row.get(3).map_err(&failed)?);
    let entry = Entry { position, run_id, seq, recorded_at, queue: queue.map(QueueName::from), event };
    Ok((entry, body.len()))
}

/// Writes an entry as a row, and returns its checksum.
pub(super) fn write(db: &Connection, entry: &Entry) -> rusqlite::Result<Checksum> {
    let run_id = entry.run_id.map(|id| id.0.into_bytes());
    let queue = entry.queue.as_ref().map(QueueName::as_str);
    let kind = entry.event.kind();
    let prepared = if let Event::WorkflowSubmitted(submitted) = &entry.event { submitted.take_text() } else { None };
    let body = prepared.unwrap_or_else(|| entry.event.body());
    let sum = Sum::new()
        .number(signed(entry.position.0))
        .maybe(run_id.as_ref().map(<[u8; 16]>::as_slice))
        .number(signed(entry.seq.0))
        .number(entry.recorded_at.0)
        .maybe(queue.map(str::as_bytes))
        .number(i64::from(EVENT_VERSION))
        .bytes(kind.as_bytes())
        .bytes(body.as_bytes())
        .value();
    db.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(params![
        signed(entry.position.0),
        run_id,
        signed(entry.seq.0),
        entry.recorded_at.0,
        queue,
        EVENT_VERSION,
        kind,
        body,
        stored(sum),
    ])?;
    Ok(sum)
}

/// The checksum of an entry as it is stored, computed as [`write`] does.
pub(super) fn sum_of(row: &Row<'_>) -> rusqlite::Result<Checksum> {
    let bytes = |at| -> rusqlite::Result<Option<&[u8]>> { Ok(row.get_ref(at)?.as_bytes_or_null()?) };
    let sum = Sum::new().number(row.get(0)?).maybe(bytes(1)?).number(row.get(2)?).number(row.get(3)?).maybe(bytes(4)?);
    let sum = sum.number(row.get(5)?).bytes(row.get_ref(6)?.as_bytes()?).bytes(row.get_ref(7)?.as_bytes()?);
    Ok(sum.value())
}

pub(super) fn damaged(position: u64, why: &str) -> StoreError {
    StoreError::Entry { position, why: why.to_owned() }
}

pub(super) fn run_id(row: &Row<'_>, at: usize) -> rusqlite::Result<RunId> {
    row.get(at).map(|id: [u8; 16]| RunId(Uuid::from_bytes(id)))
}
