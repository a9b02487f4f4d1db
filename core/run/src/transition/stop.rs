//! An attempt ended without an answer from the work. If the run is to end, its task ends too.

use crate::command::StopAttempt;
use crate::event::{Entry, Event, StopReason, TaskAttemptStopped, TaskCancelled};
use crate::id::ComponentId;
use crate::instance::Stop;
use crate::phase::Lease;
use crate::state::State;
use crate::transition::end;
use crate::transition::lookup::Report;
use crate::transition::refusal::{ApplyError, Decision};

impl State {
    pub(super) fn decide_stop(&self, stop: &StopAttempt, engine: Option<&ComponentId>) -> Decision {
        let (at, lease) = self.held(&stop.at, engine, Report::Other)?;
        let reason = match stop.reason {
            // The cancellation was recorded in a history that is lost. In the present one the engine has given the
            // attempt up.
            StopReason::Cancelled if self.cancel.is_none() => StopReason::EngineLost,
            reason => reason,
        };
        Ok(self.stopped(at, lease, reason, false))
    }

    /// The events for an open attempt that ends without an answer from the work. If the run is to end, the task ends
    /// too.
    pub(super) fn stopped(&self, at: usize, lease: &Lease, reason: StopReason, late_report: bool) -> Vec<Event> {
        let task_id = self.task(at).id.clone();
        let (attempt, engine) = (lease.attempt, lease.engine.clone());
        let stopped = TaskAttemptStopped { task_id: task_id.clone(), attempt, reason, engine, late_report };
        let mut events: Vec<Event> = vec![stopped.into()];
        if let Some(cancel) = &self.cancel {
            events.push(TaskCancelled { task_id }.into());
            if self.open == 1 {
                events.push(end::cancelled(self, cancel));
            }
        }
        events
    }

    pub(super) fn apply_attempt_stopped(
        &mut self,
        entry: &Entry,
        event: &TaskAttemptStopped,
    ) -> Result<(), ApplyError> {
        let stop = Stop { attempt: event.attempt, engine: event.engine.clone(), reason: event.reason };
        self.open_mut(entry, &event.task_id, event.attempt)?.stop(stop);
        self.open -= 1;
        Ok(())
    }
}
