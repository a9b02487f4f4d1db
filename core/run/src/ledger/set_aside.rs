//! Runs that cannot be replayed. Such a run must not keep the others from starting. It is kept apart under its id,
//! without a state, until it is cancelled.

use gleitzeit_workflow::error::{ErrorCode, Failure};

use crate::event::WorkflowCancelled;
use crate::id::{RunId, Seq};
use crate::ledger::Ledger;
use crate::{Entry, Event, Verdict};

/// A run that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAsideRun {
    /// The number of its last known entry.
    pub seq: Seq,
    /// Which entry is wrong, and why.
    pub why: String,
}

impl Ledger {
    /// Applies an entry of a run at startup. If the entry cannot follow the earlier ones, the run is set aside with all
    /// its later entries.
    pub fn replay(&mut self, run_id: RunId, entry: &Entry) {
        if let Some(aside) = self.aside.get_mut(&run_id) {
            aside.seq = aside.seq.max(entry.seq);
            self.resume_at(entry.position, entry.recorded_at);
        } else if let Err(error) = self.apply(entry) {
            self.set_aside(run_id, entry.seq, error.to_string());
        }
    }

    /// Sets an unfinished run aside: no component is sent anything about it from now on. `seq` is the number of its
    /// last entry. If the run is already set aside, the first reason is kept.
    pub fn set_aside(&mut self, run_id: RunId, seq: Seq, why: String) {
        if let Some(state) = self.runs.remove(&run_id)
            && let Some(request) = &state.submitted.request
        {
            self.requests.remove(&request.request_id);
        }
        for tasks in self.queues.values_mut() {
            tasks.forget(run_id);
        }
        self.open.retain(|_, attempts| {
            attempts.retain(|attempt| attempt.run_id != run_id);
            !attempts.is_empty()
        });
        let aside = self.aside.entry(run_id).or_insert(SetAsideRun { seq, why });
        aside.seq = aside.seq.max(seq);
    }

    /// The runs that were set aside.
    pub fn aside(&self) -> impl Iterator<Item = (RunId, &SetAsideRun)> {
        self.aside.iter().map(|(run_id, aside)| (*run_id, aside))
    }

    /// The event that ends a run that was set aside.
    pub(super) fn decide_cancel_set_aside(&self, run_id: RunId, reason: &str) -> Result<Event, Verdict> {
        let Some(aside) = self.aside.get(&run_id) else {
            let message = format!("run {run_id} is not set aside");
            return Err(Verdict::Invalid(Failure::new(ErrorCode::WorkflowInvalidState, message)));
        };
        let reason = format!("{reason}; it was set aside because it could not be replayed: {}", aside.why);
        Ok(WorkflowCancelled { reason, set_aside: true }.into())
    }
}
