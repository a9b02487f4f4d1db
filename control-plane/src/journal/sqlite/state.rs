//! The state of the store, in rows that are written with each transaction: its end, what a start must find, and how
//! many runs it lists. At each start all of it is compared with what is there, so that a loss through a damaged page or
//! a truncated log is detected.

use std::collections::HashMap;
use std::path::Path;

use gleitzeit_run::{Entry, Position, RunId};
use gleitzeit_workflow::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::entries::run_id;
use super::list_sums::Lists;
use super::sum::{Checksum, Sum, loaded, stored};
use super::watermark::Mark;
use super::{database, number, signed};
use crate::journal::{StoreError, Tail, ending};

/// The second row contains the checksums of the lists ([`Lists`]): a separate table would be one more page in each
/// transaction, a third more to write.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS state (only_row INTEGER PRIMARY KEY,
  store_id TEXT NOT NULL, position INTEGER NOT NULL, recorded_at INTEGER NOT NULL, live INTEGER NOT NULL,
  runs INTEGER NOT NULL, pruned INTEGER NOT NULL);";

/// Widens the table of a store that had room for one row.
const WIDER: &str = "ALTER TABLE state RENAME TO state_of_one_row;
  CREATE TABLE state (only_row INTEGER PRIMARY KEY, store_id TEXT NOT NULL, position INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL, live INTEGER NOT NULL, runs INTEGER NOT NULL, pruned INTEGER NOT NULL);
  INSERT INTO state SELECT * FROM state_of_one_row;
  DROP TABLE state_of_one_row;";

/// Creates the table, or widens it for a second row.
pub(super) fn make_table(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(TABLE)?;
    let narrow = "SELECT 1 FROM sqlite_master WHERE name = 'state' AND sql LIKE '%CHECK%'";
    match db.query_row(narrow, [], |_| Ok(())).optional()? {
        Some(()) => db.execute_batch(WIDER),
        None => Ok(()),
    }
}

/// The checksums of the entries that a start must read, found with indexes alone.
const SUMS: &str = "SELECT e.run_id, e.checksum FROM runs r JOIN entries e ON e.run_id = r.run_id
    WHERE r.status = 'running' UNION ALL SELECT NULL, checksum FROM entries WHERE run_id IS NULL";

/// The state, and the sums it is computed from.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) store_id: String,
    pub(super) tail: Tail,
    /// Entries up to this position may have been removed with their runs.
    pub(super) pruned: Position,
    /// The sum over all entries that a start must read.
    live: Checksum,
    /// How many runs are listed.
    runs: u64,
    /// The checksums of the lists.
    pub(super) lists: Lists,
    /// The sum over the entries of each unfinished run.
    of_runs: HashMap<RunId, Checksum>,
}

/// The part of the state that pruning changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pruned: Position,
    live: Checksum,
    runs: u64,
    lists: Lists,
}

impl State {
    /// Counts an entry that was written.
    pub(super) fn count(&mut self, entry: &Entry, sum: Checksum) {
        self.tail = Tail { position: entry.position, recorded_at: entry.recorded_at };
        self.live = self.live.plus(sum);
        let Some(run_id) = entry.run_id else { return };
        if matches!(entry.event, gleitzeit_run::Event::WorkflowSubmitted(_)) {
            self.runs += 1;
        }
        let of_run = self.of_runs.entry(run_id).or_default();
        *of_run = of_run.plus(sum);
        if ending(&entry.event).is_some() {
            let of_run = self.of_runs.remove(&run_id).unwrap_or_default();
            self.live = self.live.minus(of_run);
        }
    }

    /// Saves the part of the state that pruning changes.
    pub(super) fn counted(&self) -> Counted {
        Counted { pruned: self.pruned, live: self.live, runs: self.runs, lists: self.lists }
    }

    /// Undoes the changes of a pruning step that was rolled back.
    pub(super) fn take_back(&mut self, before: Counted) {
        let Counted { pruned, live, runs, lists } = before;
        (self.pruned, self.live, self.runs, self.lists) = (pruned, live, runs, lists);
    }

    /// Counts the removal of a finished run, given the position of its last entry.
    pub(super) fn forget(&mut self, last: Position) {
        self.runs = self.runs.saturating_sub(1);
        self.pruned = self.pruned.max(last);
    }

    /// Counts the removal of an entry that belongs to no run, given its checksum.
    pub(super) fn forget_entry(&mut self, position: Position, sum: Checksum) {
        self.live = self.live.minus(sum);
        self.pruned = self.pruned.max(position);
    }

    /// Writes both rows in one statement, because this is part of each transaction.
    pub(super) fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO state VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6), (2, '', ?7, ?8, ?9, 0, 0)";
        let [runs, requests] = self.lists.stored();
        db.prepare_cached(sql)?.execute(params![
            self.store_id,
            signed(self.tail.position.0),
            self.tail.recorded_at.0,
            stored(self.live),
            signed(self.runs),
            signed(self.pruned.0),
            runs,
            requests,
            stored(self.sum()),
        ])?;
        Ok(())
    }

    fn sum(&self) -> Checksum {
        let sum = Sum::new().bytes(self.store_id.as_bytes()).number(signed(self.tail.position.0));
        let sum = sum.number(self.tail.recorded_at.0).number(stored(self.live)).number(signed(self.runs));
        sum.number(signed(self.pruned.0)).value()
    }

    /// The stored state; `None` in a new store. If it is `sealed`, it is compared with its own checksum; before the
    /// lists had checksums it was not.
    pub(super) fn read(db: &Connection, sealed: bool) -> Result<Option<Self>, StoreError> {
        let Some(mut state) = Self::read_row(db)? else { return Ok(None) };
        if sealed {
            let written = Lists::read(db)?.filter(|(_, sum)| *sum == state.sum());
            let why = "the record of its last entry does not match its checksum";
            (state.lists, _) = written.ok_or_else(|| StoreError::Run(why.to_owned()))?;
        }
        Ok(Some(state))
    }

    fn read_row(db: &Connection) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT store_id, position, recorded_at, live, runs, pruned FROM state WHERE only_row = 1";
        let read = db.query_row(sql, [], |row| {
            Ok(Self {
                store_id: row.get(0)?,
                tail: Tail { position: Position(number(row, 1)?), recorded_at: Timestamp(row.get(2)?) },
                live: loaded(row.get(3)?),
                runs: number(row, 4)?,
                pruned: Position(number(row, 5)?),
                lists: Lists::default(),
                of_runs: HashMap::new(),
            })
        });
        read.optional().map_err(database("read its state"))
    }

    /// Computes the state from the stored entries and lists, except `pruned`, which is stored only in the row.
    pub(super) fn found(db: &Connection) -> Result<Self, StoreError> {
        let failed = database("check its entries");
        let last = "SELECT position, recorded_at FROM entries ORDER BY position DESC LIMIT 1";
        let tail = db
            .query_row(last, [], |row| {
                Ok(Tail { position: Position(number(row, 0)?), recorded_at: Timestamp(row.get(1)?) })
            })
            .optional()
            .map_err(&failed)?
            .unwrap_or_default();
        let mut found = Self { tail, ..Self::default() };
        let mut statement = db.prepare(SUMS).map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let sum = loaded(row.get(1).map_err(&failed)?);
            found.live = found.live.plus(sum);
            if row.get_ref(0).map_err(&failed)? != rusqlite::types::ValueRef::Null {
                let of_run = found.of_runs.entry(run_id(row, 0).map_err(&failed)?).or_default();
                *of_run = of_run.plus(sum);
            }
        }
        let count = "SELECT count(*) FROM runs NOT INDEXED";
        found.runs = db.query_row(count, [], |row| number(row, 0)).map_err(&failed)?;
        Ok(found)
    }

    /// Adopts the computed state if it matches the stored one; otherwise says what is missing.
    pub(super) fn compare_with(&mut self, found: Self) -> Result<(), String> {
        let (written, there) = (self.tail.position, found.tail.position);
        // The last entries may have belonged to runs that were removed.
        if there > written || (there < written && written > self.pruned) {
            return Err(format!("it was written up to entry {written} but ends with entry {there}"));
        }
        if there == written && self.tail.recorded_at != found.tail.recorded_at {
            return Err("the time of its last entry has changed".to_owned());
        }
        if self.live != found.live {
            return Err("entries of unfinished runs or of ownerships and protocols are missing or changed".to_owned());
        }
        if self.runs != found.runs {
            return Err(format!("it has {} runs, but not all of them are listed", self.runs));
        }
        self.of_runs = found.of_runs;
        Ok(())
    }

    /// Compares the store with the mark beside its file.
    pub(super) fn check_mark(&self, mark: &mut Mark, path: &Path) -> Result<(), StoreError> {
        self.check_marked(mark.read(), path)
    }

    /// The same, with a mark that was read before the store was.
    pub(super) fn check_marked(&self, marked: Option<(String, Position)>, path: &Path) -> Result<(), StoreError> {
        let Some((of, written)) = marked else { return Ok(()) };
        let there = self.tail.position;
        if of != self.store_id && written.0 > 0 {
            return Err(missing(path, written, "it is not the store that was last used here"));
        }
        if of == self.store_id && written > there {
            return Err(missing(path, written, &format!("it ends with entry {there}")));
        }
        Ok(())
    }
}

/// The error for a store that lacks acknowledged entries, with the remedy if that is intended.
pub(super) fn missing(path: &Path, written: Position, what: &str) -> StoreError {
    let why = format!(
        "{what}, and entries up to {written} were acknowledged (to continue without them, remove `{}.lock`)",
        path.display()
    );
    StoreError::Incomplete { path: path.to_owned(), why }
}
