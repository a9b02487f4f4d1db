//! Authorization of proposals: an owner acts under its epoch, and an engine only on its own leases.

use gleitzeit_workflow::error::{ErrorCode, Failure};

use crate::event::CancelCause;
use crate::id::{ComponentId, Slice};
use crate::ledger::Ledger;
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::{Command, Fence, State, Verdict};

impl Ledger {
    /// Checks whether a component may propose a command for a run. Returns the engine if the command is an engine's.
    pub(super) fn authorize<'a>(
        &self,
        state: &State,
        component_id: &'a ComponentId,
        fence: Option<&Fence>,
        command: &Command,
    ) -> Result<Option<&'a ComponentId>, Verdict> {
        let task_queue = |task_id: &gleitzeit_workflow::id::TaskId| {
            let at = state.index_of(task_id.as_str()).ok_or_else(|| {
                let message = format!("run {} has no task `{task_id}`", state.run_id);
                Verdict::Invalid(Failure::new(ErrorCode::TaskNotFound, message))
            })?;
            state.tasks[at].queue().cloned().map(Slice::Queue).ok_or(Verdict::Fenced)
        };
        let slice = match command {
            Command::CancelWorkflow(cancel) if cancel.cause != CancelCause::Timeout => {
                return Err(invalid("a component may end a run only after its timeout"));
            }
            Command::CancelWorkflow(_) | Command::ReadyTask(_) => Slice::Shard(state.run_id.shard()),
            Command::FailTask(fail) if fail.attempt == 0 => Slice::Shard(state.run_id.shard()),
            Command::FailTask(fail) => task_queue(&fail.task_id)?,
            Command::DispatchTask(dispatch) => task_queue(&dispatch.task_id)?,
            Command::RequeueTask(requeue) => task_queue(&requeue.task_id)?,
            Command::ScheduleRetry(retry) => task_queue(&retry.task_id)?,
            Command::StartAttempt(_)
            | Command::CompleteAttempt(_)
            | Command::FailAttempt(_)
            | Command::StopAttempt(_) => return Ok(Some(component_id)),
        };
        let Some(fence) = fence else {
            return Err(invalid("an owner's proposal needs `fence: {slice, epoch}`"));
        };
        if fence.slice != slice {
            return Err(invalid(&format!("the fence names {}, the command is about {slice}", fence.slice)));
        }
        match self.owners.get(&slice) {
            Some((owner, epoch)) if owner == component_id && *epoch == fence.epoch => Ok(None),
            _ if planted_bugs::is(Bug::NoFence) => Ok(None),
            _ => Err(Verdict::Fenced),
        }
    }
}

fn invalid(message: &str) -> Verdict {
    Verdict::Invalid(Failure::new(ErrorCode::InvalidRequest, message))
}
