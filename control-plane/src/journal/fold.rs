//! A run that is no longer held, folded from its entries with the same `apply` that made it.

use gleitzeit_core::run::{Event, State};
use gleitzeit_core::{RunId, Seq};

use super::{Reader, StoreError};

/// How many entries are read at once.
const PAGE: usize = 1_000;

/// The run as its entries say; none if it has none.
pub(super) fn fold(reader: &dyn Reader, run_id: RunId) -> Result<Option<State>, StoreError> {
    let mut state: Option<State> = None;
    let mut next = Seq(1);
    loop {
        let page = reader.read_run(run_id, next, PAGE)?;
        let Some(last) = page.last() else { return Ok(state) };
        next = last.seq.next();
        for entry in page {
            let broken = |why| StoreError::Entry { position: entry.position.0, why };
            match (&mut state, &entry.event) {
                (None, Event::WorkflowSubmitted(submitted)) => {
                    let new = state.insert(State::new(run_id, submitted.clone(), entry.recorded_at));
                    new.seq = entry.seq;
                }
                (None, _) => return Err(broken(format!("run {run_id} does not begin with its submission"))),
                (Some(state), _) => state.apply(&entry).map_err(|error| broken(error.to_string()))?,
            }
        }
    }
}
