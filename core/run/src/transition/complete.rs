//! An attempt has a result, which may end the run.

use crate::command::CompleteAttempt;
use crate::event::{Entry, Event, StopReason, TaskCompleted};
use crate::id::{AttemptRef, ComponentId};
use crate::payload_limit::Limits;
use crate::phase::Outcome;
use crate::state::State;
use crate::transition::end;
use crate::transition::lookup::Report;
use crate::transition::refusal::{ApplyError, Decision, Refusal};

impl State {
    pub(super) fn decide_complete(
        &self,
        complete: &CompleteAttempt,
        engine: Option<&ComponentId>,
        limits: Limits,
    ) -> Decision {
        let (at, lease) = self.held(&complete.at, engine, Report::Result)?;
        if self.cancel.is_some() {
            return Ok(self.stopped(at, lease, StopReason::Cancelled, true));
        }
        limits.check("the result", &complete.result).map_err(Refusal::Invalid)?;
        let AttemptRef { task_id, attempt, .. } = complete.at.clone();
        let result = complete.result.clone();
        let completed = TaskCompleted { task_id, attempt, result, ran_ms: complete.ran_ms, carried: false };
        let mut events: Vec<Event> = vec![];
        if self.unfinished == 1 {
            events.push(match self.failed {
                Some(_) => end::failed(self, None),
                None => end::completed(self, Some((at, &complete.result)), limits),
            });
        }
        events.insert(0, completed.into());
        Ok(events)
    }

    pub(super) fn apply_completed(&mut self, entry: &Entry, event: &TaskCompleted) -> Result<(), ApplyError> {
        if event.carried {
            self.idle_mut(entry, &event.task_id)?;
        } else {
            let started_at = entry.recorded_at.minus_ms(event.ran_ms);
            self.open_mut(entry, &event.task_id, event.attempt)?.start(started_at);
        }
        self.finish(entry, &event.task_id, Outcome::Completed { result: event.result.clone() })?;
        Ok(())
    }
}
