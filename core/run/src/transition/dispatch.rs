//! An engine gets a lease on a task of a queue.

use gleitzeit_workflow::time::Timestamp;

use crate::command::DispatchTask;
use crate::event::{Entry, TaskDispatched};
use crate::phase::{Lease, Phase};
use crate::state::State;
use crate::transition::refusal::{ApplyError, Decision, Refusal, invalid};

impl State {
    pub(super) fn decide_dispatch(&self, dispatch: &DispatchTask, now: Timestamp) -> Decision {
        let (at, task) = self.live(&dispatch.task_id)?;
        let latest = task.attempt();
        if latest >= dispatch.attempt {
            let same = latest == dispatch.attempt && task.engine() == Some(&dispatch.engine);
            return Err(if same { Refusal::Duplicate } else { Refusal::Fenced });
        }
        if dispatch.attempt != latest + 1 {
            let (next, id) = (dispatch.attempt, &dispatch.task_id);
            return Err(invalid(format!("attempt {next} of `{id}` cannot follow attempt {latest}")));
        }
        match task.phase() {
            Phase::Queued { not_before } => {
                if let Some(not_before) = not_before.filter(|not_before| *not_before > now) {
                    let left = not_before.ms_since(now);
                    return Err(invalid(format!("the delay of `{}` has {left} ms left", dispatch.task_id)));
                }
            }
            Phase::Waiting | Phase::Open(_) | Phase::Ended(_) | Phase::Final { .. } => return Err(Refusal::Fenced),
        }
        Ok(vec![
            TaskDispatched {
                task_id: dispatch.task_id.clone(),
                attempt: dispatch.attempt,
                engine: dispatch.engine.clone(),
                method: self.task(at).method.clone(),
                provider: self.task(at).provider.clone(),
            }
            .into(),
        ])
    }

    pub(super) fn apply_dispatched(&mut self, entry: &Entry, event: &TaskDispatched) -> Result<(), ApplyError> {
        self.idle_mut(entry, &event.task_id)?.dispatch(Lease {
            attempt: event.attempt,
            engine: event.engine.clone(),
            position: entry.position,
            dispatched_at: entry.recorded_at,
            started_at: None,
        });
        self.open += 1;
        Ok(())
    }
}
