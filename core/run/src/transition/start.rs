//! A provider has been working on an attempt for a while.

use crate::command::StartAttempt;
use crate::event::{Entry, TaskStarted};
use crate::id::{AttemptRef, ComponentId};
use crate::state::State;
use crate::transition::lookup::Report;
use crate::transition::refusal::{ApplyError, Decision, Refusal};

impl State {
    pub(super) fn decide_start(&self, start: &StartAttempt, engine: Option<&ComponentId>) -> Decision {
        let (_, lease) = self.held(&start.at, engine, Report::Other)?;
        if self.cancel.is_some() {
            return Err(Refusal::Fenced);
        }
        if lease.started_at.is_some() {
            return Err(Refusal::Duplicate);
        }
        let AttemptRef { task_id, attempt, .. } = start.at.clone();
        Ok(vec![TaskStarted { task_id, attempt, ran_ms: start.ran_ms }.into()])
    }

    pub(super) fn apply_started(&mut self, entry: &Entry, event: &TaskStarted) -> Result<(), ApplyError> {
        let started_at = entry.recorded_at.minus_ms(event.ran_ms);
        self.open_mut(entry, &event.task_id, event.attempt)?.start(started_at);
        Ok(())
    }
}
