//! An attempt failed by itself; the owner of its queue decides what follows.

use crate::command::FailAttempt;
use crate::event::{Entry, StopReason, TaskAttemptFailed};
use crate::id::{AttemptRef, ComponentId};
use crate::state::State;
use crate::transition::lookup::Report;
use crate::transition::refusal::{ApplyError, Decision};

impl State {
    pub(super) fn decide_fail_attempt(&self, fail: &FailAttempt, engine: Option<&ComponentId>) -> Decision {
        let (at, lease) = self.held(&fail.at, engine, Report::Failure)?;
        if self.cancel.is_some() {
            return Ok(self.stopped(at, lease, StopReason::Cancelled, true));
        }
        let AttemptRef { task_id, attempt, .. } = fail.at.clone();
        Ok(vec![
            TaskAttemptFailed {
                task_id,
                attempt,
                error: fail.error.clone(),
                retryable: fail.retryable,
                retry_after_ms: fail.retry_after_ms,
                ran_ms: fail.ran_ms,
            }
            .into(),
        ])
    }

    pub(super) fn apply_attempt_failed(&mut self, entry: &Entry, event: &TaskAttemptFailed) -> Result<(), ApplyError> {
        let task = self.open_mut(entry, &event.task_id, event.attempt)?;
        task.start(entry.recorded_at.minus_ms(event.ran_ms));
        task.fail(event.error.clone(), event.retryable, event.retry_after_ms);
        self.open -= 1;
        Ok(())
    }
}
