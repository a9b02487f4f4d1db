//! Folds a run that the writer no longer holds from its entries, with the same `apply` that made it.

use gleitzeit_run::{Event, RunId, Seq, State};

use super::guard::guarded;
use super::{Reader, RunFilter, RunRow, StoreError};

/// How many entries are read at once.
const PAGE: usize = 1_000;

/// The state of a run according to its entries; `None` if it is not listed.
pub(super) fn fold(reader: &dyn Reader, run_id: RunId) -> Result<Option<State>, StoreError> {
    if row(reader, run_id)?.is_none() {
        return Ok(None);
    }
    match checked(reader, run_id) {
        // The run was removed in the meantime.
        Err(_) if row(reader, run_id)?.is_none() => Ok(None),
        folded => folded.map(Some),
    }
}

pub(super) fn row(reader: &dyn Reader, run_id: RunId) -> Result<Option<RunRow>, StoreError> {
    let filter = RunFilter { id_prefix: run_id.to_string(), ..RunFilter::default() };
    Ok(reader.list_runs(&filter, None, 1)?.pop())
}

/// Folds a run and compares it with its row. Another process may be writing to the store.
fn checked(reader: &dyn Reader, run_id: RunId) -> Result<State, StoreError> {
    let state = entries(reader, run_id)?;
    // The run was removed in the meantime; it is answered as it was.
    let Some(listed) = row(reader, run_id)? else { return Ok(state) };
    let ended_meanwhile = listed.status.is_final() && !state.status.is_final();
    let state = if ended_meanwhile { entries(reader, run_id)? } else { state };
    if listed.status == state.status {
        return Ok(state);
    }
    let why = format!("run {run_id} is listed as {:?} and its entries end with it {:?}", listed.status, state.status);
    Err(StoreError::Run(why))
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
            if let Some(state) = &mut state {
                guarded(|| state.apply(&entry))
                    .and_then(|applied| applied.map_err(|error| error.to_string()))
                    .map_err(broken)?;
            } else if let Event::WorkflowSubmitted(submitted) = &entry.event {
                let new = state.insert(State::new(run_id, submitted.clone(), entry.recorded_at));
                new.seq = entry.seq;
            } else {
                return Err(broken(format!("run {run_id} does not begin with its submission")));
            }
        }
    }
}
