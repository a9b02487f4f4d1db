//! The run is to end: its idle tasks end at once, and its open attempts are stopped first.

use gleitzeit_workflow::error::{ErrorCode, Failure};

use crate::command::CancelWorkflow;
use crate::event::{Entry, Event, TaskCancelled, WorkflowCancelRequested};
use crate::phase::Outcome;
use crate::state::State;
use crate::transition::end;
use crate::transition::refusal::{ApplyError, Decision, Refusal};

impl State {
    pub(super) fn decide_cancel(&self, cancel: &CancelWorkflow) -> Decision {
        if self.status.is_final() {
            return Err(Refusal::Invalid(Failure::new(
                ErrorCode::WorkflowInvalidState,
                format!("run {} has already ended", self.run_id),
            )));
        }
        if self.cancel.is_some() {
            return Err(Refusal::Duplicate);
        }
        let requested = WorkflowCancelRequested { cause: cancel.cause, reason: cancel.reason.clone() };
        let mut events: Vec<Event> = vec![requested.clone().into()];
        events.extend(
            self.tasks
                .iter()
                .enumerate()
                .filter(|(_, task)| !task.is_final() && task.open().is_none())
                .map(|(at, _)| TaskCancelled { task_id: self.task(at).id.clone() }.into()),
        );
        if self.open == 0 {
            events.push(end::cancelled(self, &requested));
        }
        Ok(events)
    }

    /// The first request counts.
    pub(super) fn apply_cancel(&mut self, event: &WorkflowCancelRequested) {
        self.cancel.get_or_insert_with(|| event.clone());
    }

    pub(super) fn apply_task_cancelled(&mut self, entry: &Entry, event: &TaskCancelled) -> Result<(), ApplyError> {
        self.finish(entry, &event.task_id, Outcome::Cancelled).map(drop)
    }
}
