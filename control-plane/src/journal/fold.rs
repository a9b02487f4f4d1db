//! A run that is no longer held, folded from its entries with the same `apply` that made it.

use gleitzeit_core::run::{Event, State};
use gleitzeit_core::{RunId, Seq};

use super::guard::guarded;
use super::{Reader, RunFilter, RunRow, StoreError};

/// How many entries are read at once.
const PAGE: usize = 1_000;

/// The run as its entries say; none if it is not listed. It is not held any more, so it has ended.
pub(super) fn fold(reader: &dyn Reader, run_id: RunId) -> Result<Option<State>, StoreError> {
    if row(reader, run_id)?.is_none() {
        return Ok(None);
    }
    let folded = latest(reader, run_id).and_then(|state| match row(reader, run_id)? {
        Some(row) if row.status != state.status => {
            let why =
                format!("run {run_id} is listed as {:?} and its entries end with it {:?}", row.status, state.status);
            Err(StoreError::Run(why))
        }
        _ => Ok(state),
    });
    match folded {
        // It was removed meanwhile.
        Err(_) if row(reader, run_id)?.is_none() => Ok(None),
        folded => folded.map(Some),
    }
}

pub(super) fn row(reader: &dyn Reader, run_id: RunId) -> Result<Option<RunRow>, StoreError> {
    let filter = RunFilter { id_prefix: run_id.to_string(), ..RunFilter::default() };
    Ok(reader.list_runs(&filter, None, 1)?.pop())
}

/// The entries of a run that another process may be writing: one that ended while it was read is read again.
fn latest(reader: &dyn Reader, run_id: RunId) -> Result<State, StoreError> {
    let state = entries(reader, run_id)?;
    let has_ended = |row: Option<RunRow>| row.is_some_and(|row| row.status.is_final());
    if !state.status.is_final() && has_ended(row(reader, run_id)?) { entries(reader, run_id) } else { Ok(state) }
}

fn entries(reader: &dyn Reader, run_id: RunId) -> Result<State, StoreError> {
    let mut state: Option<State> = None;
    let mut next = Seq(1);
    loop {
        let page = reader.read_run(run_id, next, PAGE.into())?;
        if page.is_empty() {
            return state.ok_or_else(|| StoreError::Run(format!("run {run_id} is listed and has no entries")));
        }
        for entry in page {
            let broken = |why| StoreError::Entry { position: entry.position.0, why };
            if entry.seq != next {
                return Err(broken(format!("run {run_id} has no entry {next} before it")));
            }
            next = next.next();
            match (&mut state, &entry.event) {
                (None, Event::WorkflowSubmitted(submitted)) => {
                    let new = state.insert(State::new(run_id, submitted.clone(), entry.recorded_at));
                    new.seq = entry.seq;
                }
                (None, _) => return Err(broken(format!("run {run_id} does not begin with its submission"))),
                (Some(state), _) => guarded(|| state.apply(&entry))
                    .and_then(|applied| applied.map_err(|error| error.to_string()))
                    .map_err(broken)?,
            }
        }
    }
}
