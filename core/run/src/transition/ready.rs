//! A task comes into its queue: its dependencies are completed and its parameters resolved.

use crate::command::ReadyTask;
use crate::event::{Entry, TaskReady};
use crate::instance::Entered;
use crate::payload_limit::Limits;
use crate::phase::{Outcome, Phase};
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::state::State;
use crate::transition::refusal::{ApplyError, Decision, Refusal, invalid};

impl State {
    pub(super) fn decide_ready(&self, ready: &ReadyTask, limits: Limits) -> Decision {
        let (at, task) = self.live(&ready.task_id)?;
        match task.phase() {
            Phase::Waiting => {}
            Phase::Final { outcome: Outcome::Skipped { .. }, .. } => return Err(Refusal::Fenced),
            Phase::Queued { .. } | Phase::Open(_) | Phase::Ended(_) | Phase::Final { .. } => {
                return Err(Refusal::Duplicate);
            }
        }
        if !self.dependencies.are_met(at) && !planted_bugs::is(Bug::EarlyReady) {
            return Err(invalid(format!("`{}` has dependencies that are not done", ready.task_id)));
        }
        limits.check("parameters", &ready.parameters).map_err(Refusal::Invalid)?;
        let definition = self.task(at);
        Ok(vec![
            TaskReady {
                task_id: ready.task_id.clone(),
                method: definition.method.clone(),
                provider: definition.provider.clone(),
                queue: ready.queue.clone(),
                priority: ready.priority,
                retry: definition.retry.clone(),
                parameters: ready.parameters.clone(),
            }
            .into(),
        ])
    }

    pub(super) fn apply_ready(&mut self, entry: &Entry, event: &TaskReady) -> Result<(), ApplyError> {
        self.idle_mut(entry, &event.task_id)?.make_ready(Entered {
            queue: event.queue.clone(),
            priority: event.priority,
            at: entry.recorded_at,
            position: entry.position,
            parameters: Some(event.parameters.clone()),
        });
        Ok(())
    }
}
