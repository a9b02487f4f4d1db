//! Reads a store from end to end without changing it, and reports what is damaged and which runs cannot be replayed.
//! The store may be in use; the check then sees a snapshot of it.

use std::path::Path;

use gleitzeit_run::{Event, Position, RunId, RunStatus, Seq, State as Run};
use gleitzeit_workflow::ErrorCode;
use rusqlite::{Connection, OpenFlags};

use super::entries::{COLUMNS, entry};
use super::list_sums::Lists;
use super::state::State;
use super::{at, compare, database, migrate, real_path, run_tables, swap};
use crate::journal::StoreError;
use crate::journal::guard::guarded;

/// The most problems that are reported.
const MAX_WRONG: usize = 1_000;

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The position of the last entry.
    pub position: Position,
    /// How many entries were read.
    pub entries: u64,
    /// How many runs were replayed.
    pub runs: u64,
    /// Whether the lists are damaged. [`super::repair`] rebuilds them if the entries are intact.
    pub lists_damaged: bool,
    /// The first problem of each run, and the problems that belong to no run; at most 1,000.
    pub wrong: Vec<Wrong>,
}

/// A problem in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The run; `None` if the problem does not belong to one.
    pub run_id: Option<RunId>,
    /// The status of the run, if it is listed. A running one is set aside at each start; a finished one cannot be
    /// shown.
    pub status: Option<RunStatus>,
    /// What is wrong, and with which entry.
    pub why: String,
}

/// Reads a whole store.
///
/// # Errors
/// If it does not exist, is not a store of this version, or cannot be read at all.
pub fn check(store: &Path) -> Result<Checked, StoreError> {
    // If its folder does not exist, neither does the store.
    let store = &real_path(store).unwrap_or_else(|_| store.to_owned());
    swap::finish(store)?;
    if !store.is_file() {
        return Err(StoreError::Backup(format!("there is no store `{}`", store.display())));
    }
    read(store).map_err(|error| at(store, error))
}

fn read(store: &Path) -> Result<Checked, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(store, flags).map_err(database("open the file for reading"))?;
    let moment = db.transaction().map_err(database("read it"))?;
    migrate::is_current(&moment)?;
    let mut checked = Checked::default();
    let mut lists = Vec::new();
    match State::read(&moment, true) {
        Ok(Some(mut state)) => {
            checked.position = state.tail.position;
            lists.extend(Lists::found(&moment).and_then(|found| state.lists.compare_with(found)).err());
            match State::found(&moment).map(|found| state.compare_with(found)) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => checked.note(None, None, why),
                Err(error) => checked.note(None, None, error.to_string()),
            }
        }
        Ok(None) => checked.note(None, None, "it does not say where it ends".to_owned()),
        Err(error) => checked.note(None, None, error.to_string()),
    }
    replay(&moment, &mut checked)?;
    match compare::differences(&moment) {
        Ok(told) => lists.extend(told),
        // Lists cannot be derived from damaged entries.
        Err(error) => checked.note(None, None, error.to_string()),
    }
    lists.extend(compare::pages(&moment)?);
    for why in lists {
        checked.lists_damaged = true;
        checked.note(None, None, why);
    }
    Ok(checked)
}

impl Checked {
    fn note(&mut self, run_id: Option<RunId>, status: Option<RunStatus>, why: String) {
        if self.wrong.len() < MAX_WRONG {
            self.wrong.push(Wrong { run_id, status, why });
        }
    }
}

/// The run whose entries are being read.
struct Current {
    run_id: RunId,
    run: Option<Run>,
    last: Seq,
    why: Option<String>,
}

fn replay(db: &Connection, checked: &mut Checked) -> Result<(), StoreError> {
    let failed = database("read its entries");
    let sql = format!(
        "{COLUMNS} WHERE NOT EXISTS (SELECT 1 FROM pruning p WHERE p.run_id = entries.run_id) ORDER BY run_id, seq"
    );
    let mut statement = db.prepare(&sql).map_err(&failed)?;
    let mut found = statement.query([]).map_err(&failed)?;
    let mut current: Option<Current> = None;
    while let Some(row) = found.next().map_err(&failed)? {
        checked.entries += 1;
        let id: Option<[u8; 16]> = row.get(1).map_err(&failed)?;
        let run_id = id.map(|id| RunId(uuid::Uuid::from_bytes(id)));
        let read = guarded(|| entry(row)).unwrap_or_else(|why| Err(StoreError::Run(why))).map(|(entry, _)| entry);
        let Some(run_id) = run_id else {
            if let Err(error) = read {
                checked.note(None, None, error.to_string());
            }
            continue;
        };
        if current.as_ref().is_none_or(|current| current.run_id != run_id) {
            finish(db, current.take(), checked);
            current = Some(Current { run_id, run: None, last: Seq(0), why: None });
        }
        let Some(of) = current.as_mut().filter(|of| of.why.is_none()) else { continue };
        of.why = match (read, &mut of.run) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(entry), _) if entry.seq != of.last.next() => {
                Some(format!("entry {}: there is no entry {} of the run before it", entry.position, of.last.next()))
            }
            (Ok(entry), None) => {
                if let Event::WorkflowSubmitted(submitted) = &entry.event {
                    let mut run = Run::new(run_id, submitted.clone(), entry.recorded_at);
                    (run.seq, of.last) = (entry.seq, entry.seq);
                    of.run = Some(run);
                    None
                } else {
                    Some(format!("entry {}: the run does not begin with its submission", entry.position))
                }
            }
            (Ok(entry), Some(run)) => {
                of.last = entry.seq;
                guarded(|| run.apply(&entry)).and_then(|applied| applied.map_err(|error| error.to_string())).err()
            }
        };
    }
    finish(db, current, checked);
    Ok(())
}

fn finish(db: &Connection, read: Option<Current>, checked: &mut Checked) {
    let Some(Current { run_id, run, why, .. }) = read else { return };
    checked.runs += 1;
    // A damaged row is reported together with the lists.
    let Ok(row) = run_tables::one(db, run_id) else {
        if let Some(why) = why {
            checked.note(Some(run_id), None, why);
        }
        return;
    };
    let status = row.as_ref().map(|row| row.status);
    let was_ended = row.as_ref().and_then(|row| row.error.as_ref()).and_then(gleitzeit_workflow::Failure::known)
        == Some(ErrorCode::PersistenceIntegrityError);
    match (why, run, status) {
        // The run was already set aside and ended by force.
        (Some(_), _, Some(RunStatus::Cancelled)) if was_ended => {}
        (Some(why), ..) => checked.note(Some(run_id), status, why),
        (None, Some(run), Some(status)) if run.status != status => {
            let why = format!("it is listed as {status:?} and its entries end with it {:?}", run.status);
            checked.note(Some(run_id), Some(status), why);
        }
        (None, Some(_), None) => checked.note(Some(run_id), None, "it is not listed".to_owned()),
        _ => {}
    }
}
