//! The task of an attempt that failed returns to its queue after a delay.

use crate::command::ScheduleRetry;
use crate::event::{Entry, TaskRetryScheduled};
use crate::phase::Ending;
use crate::state::State;
use crate::transition::refusal::{ApplyError, Decision, invalid};

impl State {
    pub(super) fn decide_retry(&self, retry: &ScheduleRetry) -> Decision {
        let ScheduleRetry { task_id, attempt, delay_ms, .. } = retry;
        let (_, _, ended) = self.undecided(task_id, *attempt)?;
        if ended.how == Ending::Stopped {
            return Err(invalid(format!("attempt {attempt} of `{task_id}` did not fail")));
        }
        Ok(vec![TaskRetryScheduled { task_id: task_id.clone(), attempt: *attempt, delay_ms: *delay_ms }.into()])
    }

    pub(super) fn apply_retry_scheduled(
        &mut self,
        entry: &Entry,
        event: &TaskRetryScheduled,
    ) -> Result<(), ApplyError> {
        let not_before = entry.recorded_at.plus_ms(event.delay_ms);
        self.idle_mut(entry, &event.task_id)?.requeue(Some(not_before));
        Ok(())
    }
}
