//! Sums over the lists of runs and request ids, kept beside them in each transaction. At each start the lists and each of
//! their indexes are added up and compared: a request id that is missing would let its workflow run twice, and a run that
//! is missing from an index would be missing from some answers and not from others.

use std::cell::Cell;

use rusqlite::{Connection, OptionalExtension};

use super::database;
use super::sum::{Checksum, Sum, loaded, stored};
use crate::journal::StoreError;

/// The checksums of all rows, independent of their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    runs: Checksum,
    requests: Checksum,
}

/// The parts of the lists, each with the index that contains it.
const STATUS: i64 = 1;
const NAME: i64 = 2;
const END: i64 = 3;
const REQUEST: i64 = 4;

/// The checksum of a text column. SQLite sorts by type first, so a value of another type is an error rather than
/// another checksum.
fn text(what: i64, run_id: &[u8], text: &str) -> Checksum {
    Sum::new().number(what).bytes(run_id).bytes(text.as_bytes()).value()
}

fn end(run_id: &[u8], at: Option<i64>) -> Checksum {
    at.map_or(Checksum::default(), |at| Sum::new().number(END).bytes(run_id).number(at).value())
}

/// The checksum of a row of the request id list, which is stored in the row.
pub(super) fn request_sum(request_id: &str, run_id: &[u8], body_hash: &str) -> Checksum {
    Sum::new().bytes(request_id.as_bytes()).bytes(run_id).bytes(body_hash.as_bytes()).value()
}

impl Lists {
    /// Adds a run to the lists.
    pub(super) fn add_run(&mut self, run_id: &[u8], name: &str, status: &str, finished_at: Option<i64>) {
        self.runs = self.runs.plus(text(NAME, run_id, name));
        self.add_status(run_id, status, finished_at);
    }

    /// Removes a run from the lists.
    pub(super) fn remove_run(&mut self, run_id: &[u8], name: &str, status: &str, finished_at: Option<i64>) {
        self.runs = self.runs.minus(text(NAME, run_id, name));
        self.remove_status(run_id, status, finished_at);
    }

    /// Adds the status and end of a run.
    pub(super) fn add_status(&mut self, run_id: &[u8], status: &str, finished_at: Option<i64>) {
        let sum = text(STATUS, run_id, status).plus(end(run_id, finished_at));
        self.runs = self.runs.plus(sum);
    }

    /// Removes the status and end of a run.
    pub(super) fn remove_status(&mut self, run_id: &[u8], status: &str, finished_at: Option<i64>) {
        let sum = text(STATUS, run_id, status).plus(end(run_id, finished_at));
        self.runs = self.runs.minus(sum);
    }

    /// Adds a request id, given the checksum of its row.
    pub(super) fn add_request(&mut self, sum: Checksum) {
        self.requests = self.requests.plus(sum);
    }

    /// Removes a request id, given the checksum of its row.
    pub(super) fn remove_request(&mut self, sum: Checksum) {
        self.requests = self.requests.minus(sum);
    }

    /// The sums as they are stored in the second row of the state: of runs and of request ids.
    pub(super) fn stored(self) -> [i64; 2] {
        [stored(self.runs), stored(self.requests)]
    }

    /// The stored sums, and the stored checksum of the state; `None` if none were ever stored.
    pub(super) fn read(db: &Connection) -> Result<Option<(Self, Checksum)>, StoreError> {
        let read = db.query_row("SELECT position, recorded_at, live FROM state WHERE only_row = 2", [], |row| {
            Ok((Self { runs: loaded(row.get(0)?), requests: loaded(row.get(1)?) }, loaded(row.get(2)?)))
        });
        read.optional().map_err(database("read its sums"))
    }

    /// Computes the sums from the lists and compares each index with its table; an error says what differs.
    pub(super) fn found(db: &Connection) -> Result<Self, String> {
        let unreadable = |error: rusqlite::Error| format!("they cannot be read: {error}");
        let (requests, pairs) = requests(db).map_err(unreadable)?;
        let found = Self { runs: runs(db).map_err(unreadable)?, requests };
        let (by_status, by_name, by_end) =
            (by_status(db).map_err(unreadable)?, by_name(db).map_err(unreadable)?, by_end(db).map_err(unreadable)?);
        if by_status.plus(by_name).plus(by_end) != found.runs {
            return Err("an index of the runs is not as it was written".to_owned());
        }
        if requests_of_runs(db).map_err(unreadable)? != pairs {
            return Err("the index of the request ids is not as it was written".to_owned());
        }
        Ok(found)
    }

    /// Compares the stored sums with the computed ones.
    pub(super) fn compare_with(self, found: Self) -> Result<(), String> {
        if self.runs != found.runs {
            return Err("the list of the runs is not as it was written".to_owned());
        }
        if self.requests != found.requests {
            return Err("the list of the request ids is not as it was written".to_owned());
        }
        Ok(())
    }
}

/// Each of these statements scans exactly one table or index.
pub(super) const SCANS: [&str; 6] = [
    "SELECT run_id, name, status, finished_at FROM runs NOT INDEXED",
    "SELECT run_id, status FROM runs INDEXED BY runs_by_status",
    "SELECT run_id, name FROM runs INDEXED BY runs_by_name",
    "SELECT run_id, finished_at FROM runs INDEXED BY runs_by_end WHERE finished_at IS NOT NULL",
    "SELECT request_id, run_id, body_hash, sum FROM requests NOT INDEXED",
    "SELECT request_id, run_id FROM requests INDEXED BY requests_of_run",
];

fn add_up(
    db: &Connection,
    scan: usize,
    each: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<Checksum>,
) -> rusqlite::Result<Checksum> {
    let mut statement = db.prepare(SCANS[scan])?;
    let mut rows = statement.query([])?;
    let mut sum = Checksum::default();
    while let Some(row) = rows.next()? {
        sum = sum.plus(each(row)?);
    }
    Ok(sum)
}

fn runs(db: &Connection) -> rusqlite::Result<Checksum> {
    add_up(db, 0, |row| {
        let run_id = row.get_ref(0)?.as_blob()?;
        let name = text(NAME, run_id, row.get_ref(1)?.as_str()?);
        let status = text(STATUS, run_id, row.get_ref(2)?.as_str()?);
        Ok(name.plus(status).plus(end(run_id, row.get(3)?)))
    })
}

fn by_status(db: &Connection) -> rusqlite::Result<Checksum> {
    add_up(db, 1, |row| Ok(text(STATUS, row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_str()?)))
}

fn by_name(db: &Connection) -> rusqlite::Result<Checksum> {
    add_up(db, 2, |row| Ok(text(NAME, row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_str()?)))
}

fn by_end(db: &Connection) -> rusqlite::Result<Checksum> {
    add_up(db, 3, |row| Ok(end(row.get_ref(0)?.as_blob()?, row.get(1)?)))
}

/// The sums of the rows, and of the pairs that the index contains.
fn requests(db: &Connection) -> rusqlite::Result<(Checksum, Checksum)> {
    let pairs = Cell::new(Checksum::default());
    let rows = add_up(db, 4, |row| {
        pairs.set(pairs.get().plus(request_pair(row)?));
        let text = |at| -> rusqlite::Result<&str> { Ok(row.get_ref(at)?.as_str()?) };
        let sum = request_sum(text(0)?, row.get_ref(1)?.as_blob()?, text(2)?);
        // The checksum in the row is compared whenever the row is used, so it must be right too.
        Ok(if loaded(row.get(3)?) == sum { sum } else { sum.altered() })
    })?;
    Ok((rows, pairs.get()))
}

fn request_pair(row: &rusqlite::Row<'_>) -> rusqlite::Result<Checksum> {
    Ok(text(REQUEST, row.get_ref(1)?.as_blob()?, row.get_ref(0)?.as_str()?))
}

fn requests_of_runs(db: &Connection) -> rusqlite::Result<Checksum> {
    add_up(db, 5, request_pair)
}
