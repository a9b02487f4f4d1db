//! A task fails for good, and everything behind it is skipped in the same transaction: nearest first, and with the failed
//! task as the reason.

use crate::command::FailTask;
use crate::event::{Entry, Event, TaskFailed, TaskSkipped};
use crate::phase::{Outcome, Phase};
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::state::State;
use crate::transition::end;
use crate::transition::refusal::{ApplyError, Decision, Refusal, invalid};

impl State {
    pub(super) fn decide_fail(&self, fail: &FailTask) -> Decision {
        let at = if fail.attempt == 0 {
            let (at, task) = self.live(&fail.task_id)?;
            match task.phase() {
                Phase::Waiting if self.dependencies.are_met(at) => at,
                Phase::Waiting => {
                    return Err(invalid(format!("`{}` has dependencies that are not done", fail.task_id)));
                }
                Phase::Final { outcome: Outcome::Failed { .. }, .. } => return Err(Refusal::Duplicate),
                Phase::Queued { .. } | Phase::Open(_) | Phase::Ended(_) | Phase::Final { .. } => {
                    return Err(Refusal::Fenced);
                }
            }
        } else {
            self.undecided(&fail.task_id, fail.attempt)?.0
        };
        let failed = TaskFailed { task_id: fail.task_id.clone(), attempt: fail.attempt, error: fail.error.clone() };
        let skipped = self.dependencies.doomed(at);
        let left = self.unfinished - 1 - skipped.len();
        let mut events: Vec<Event> = vec![failed.into()];
        events.extend(
            skipped
                .into_iter()
                .map(|task| TaskSkipped { task_id: self.task(task).id.clone(), because: fail.task_id.clone() }.into()),
        );
        if left == 0 && !planted_bugs::is(Bug::NoEnd) {
            events.push(end::failed(self, Some((at, &fail.error))));
        }
        Ok(events)
    }

    /// The first task that failed names the run's error.
    pub(super) fn apply_failed(&mut self, entry: &Entry, event: &TaskFailed) -> Result<(), ApplyError> {
        let at = self.finish(entry, &event.task_id, Outcome::Failed { error: event.error.clone() })?;
        self.failed.get_or_insert(at);
        Ok(())
    }

    pub(super) fn apply_skipped(&mut self, entry: &Entry, event: &TaskSkipped) -> Result<(), ApplyError> {
        self.finish(entry, &event.task_id, Outcome::Skipped { because: event.because.clone() }).map(drop)
    }
}
