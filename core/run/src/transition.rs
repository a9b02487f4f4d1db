//! The transitions of a run: which events a command leads to, and what each event changes.
//!
//! Each file holds one transition, from the command to its effect on the tasks behind: `decide_…` takes the state and a
//! command and returns events, or refuses; `apply_…` records what has happened and fails only on a corrupt journal.
//!
//! | file | command | events |
//! | --- | --- | --- |
//! | `cancel` | `cancel_workflow` | `workflow_cancel_requested`, `task_cancelled` |
//! | `ready` | `ready_task` | `task_ready` |
//! | `dispatch` | `dispatch_task` | `task_dispatched` |
//! | `start` | `start_attempt` | `task_started` |
//! | `complete` | `complete_attempt` | `task_completed`; what a stop leads to, if the run is to end |
//! | `fail_attempt` | `fail_attempt` | `task_attempt_failed`; what a stop leads to, if the run is to end |
//! | `stop` | `stop_attempt` | `task_attempt_stopped`, and `task_cancelled` if the run is to end |
//! | `requeue` | `requeue_task` | `task_requeued` |
//! | `schedule_retry` | `schedule_retry` | `task_retry_scheduled` |
//! | `fail` | `fail_task` | `task_failed`, `task_skipped` |
//! | `end` | the last of the others | `workflow_completed`, `workflow_failed`, `workflow_cancelled` |
//!
//! `lookup` finds the task that a transition is about, and `refusal` says why a command is refused or an entry not applied.

mod cancel;
mod complete;
mod dispatch;
mod end;
mod fail;
mod fail_attempt;
mod lookup;
mod ready;
mod refusal;
mod requeue;
mod schedule_retry;
mod start;
mod stop;

use gleitzeit_workflow::time::Timestamp;

use crate::command::Command;
use crate::event::{Entry, Event};
use crate::id::ComponentId;
use crate::payload_limit::Limits;
use crate::state::State;

pub use refusal::{ApplyError, Refusal};
pub use requeue::MAX_LOSSES;

impl State {
    /// The events that a command leads to, in order. They are recorded in one transaction, or not at all.
    ///
    /// `engine` is the component that proposes an engine's command; with `None`, the hub may stop any attempt.
    /// Ownership and slots are checked by the ledger, which tracks them.
    ///
    /// # Errors
    /// If the command is refused; the state is unchanged.
    pub fn decide(
        &self,
        command: &Command,
        engine: Option<&ComponentId>,
        now: Timestamp,
        limits: Limits,
    ) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::CancelWorkflow(cancel) => self.decide_cancel(cancel),
            Command::ReadyTask(ready) => self.decide_ready(ready, limits),
            Command::FailTask(fail) => self.decide_fail(fail),
            Command::DispatchTask(dispatch) => self.decide_dispatch(dispatch, now),
            Command::RequeueTask(requeue) => self.decide_requeue(requeue),
            Command::ScheduleRetry(retry) => self.decide_retry(retry),
            Command::StartAttempt(start) => self.decide_start(start, engine),
            Command::CompleteAttempt(complete) => self.decide_complete(complete, engine, limits),
            Command::FailAttempt(fail) => self.decide_fail_attempt(fail, engine),
            Command::StopAttempt(stop) => self.decide_stop(stop, engine),
        }
    }

    /// Applies an entry of this run (any entry but `workflow_submitted`, which creates the state).
    ///
    /// # Errors
    /// If the entry cannot follow this state. The journal is then corrupt and the state must not be used.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        if entry.seq != self.seq.next() {
            return Err(ApplyError::Sequence {
                run: self.run_id,
                expected: self.seq.next(),
                found: entry.seq,
                kind: entry.event.kind(),
            });
        }
        self.seq = entry.seq;
        self.record(entry)
    }

    fn record(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        match &entry.event {
            Event::WorkflowCancelRequested(event) => self.apply_cancel(event),
            Event::TaskReady(event) => self.apply_ready(entry, event)?,
            Event::TaskDispatched(event) => self.apply_dispatched(entry, event)?,
            Event::TaskStarted(event) => self.apply_started(entry, event)?,
            Event::TaskCompleted(event) => self.apply_completed(entry, event)?,
            Event::TaskAttemptFailed(event) => self.apply_attempt_failed(entry, event)?,
            Event::TaskAttemptStopped(event) => self.apply_attempt_stopped(entry, event)?,
            Event::TaskRequeued(event) => self.apply_requeued(entry, event)?,
            Event::TaskRetryScheduled(event) => self.apply_retry_scheduled(entry, event)?,
            Event::TaskFailed(event) => self.apply_failed(entry, event)?,
            Event::TaskSkipped(event) => self.apply_skipped(entry, event)?,
            Event::TaskCancelled(event) => self.apply_task_cancelled(entry, event)?,
            Event::WorkflowCompleted(event) => self.apply_run_completed(entry, event),
            Event::WorkflowFailed(event) => self.apply_run_failed(entry, event),
            Event::WorkflowCancelled(event) => self.apply_run_cancelled(entry, event),
            Event::WorkflowSubmitted(_)
            | Event::OwnershipGranted(_)
            | Event::ProtocolRegistered(_)
            | Event::ProtocolsUsed(_)
            | Event::ProtocolRemoved(_) => {
                let why = "it is not an event of a run that exists";
                return Err(refusal::contradiction(entry, why.to_owned()));
            }
        }
        Ok(())
    }
}
