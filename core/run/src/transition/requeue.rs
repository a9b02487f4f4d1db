//! The task of an attempt that was lost or stopped returns to its queue at once.

use crate::command::RequeueTask;
use crate::event::{Entry, TaskRequeued};
use crate::phase::Ending;
use crate::state::State;
use crate::transition::refusal::{ApplyError, Decision, invalid};

/// After this many lost or stopped attempts a task fails instead of being requeued.
pub const MAX_LOSSES: u32 = 10;

impl State {
    pub(super) fn decide_requeue(&self, requeue: &RequeueTask) -> Decision {
        let RequeueTask { task_id, attempt, .. } = requeue;
        let (_, task, ended) = self.undecided(task_id, *attempt)?;
        if ended.how != Ending::Stopped {
            return Err(invalid(format!("attempt {attempt} of `{task_id}` was not stopped")));
        }
        let losses = task.losses();
        if losses >= MAX_LOSSES {
            return Err(invalid(format!("`{task_id}` was lost {losses} times and must fail")));
        }
        Ok(vec![TaskRequeued { task_id: task_id.clone(), attempt: *attempt }.into()])
    }

    pub(super) fn apply_requeued(&mut self, entry: &Entry, event: &TaskRequeued) -> Result<(), ApplyError> {
        self.idle_mut(entry, &event.task_id)?.requeue(None);
        Ok(())
    }
}
