//! Deciding: which events a command leads to, or why it is refused. Nothing here changes the state.

use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::time::Timestamp;

use crate::command::{
    CancelWorkflow, Command, CompleteAttempt, DispatchTask, FailAttempt, FailTask, ReadyTask, StartAttempt, StopAttempt,
};
use crate::end;
use crate::event::{
    Event, StopReason, TaskAttemptFailed, TaskAttemptStopped, TaskCancelled, TaskCompleted, TaskDispatched, TaskFailed,
    TaskReady, TaskRequeued, TaskRetryScheduled, TaskSkipped, TaskStarted, WorkflowCancelRequested,
};
use crate::id::{Attempt, AttemptRef, ComponentId};
use crate::payload_limit::Limits;
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::state::State;
use crate::task::{TaskState, TaskStatus};

/// After this many lost or stopped attempts a task fails instead of being requeued.
pub const MAX_LOSSES: u32 = 10;

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The same was recorded before.
    Duplicate,
    /// The proposer is not current: its attempt or lease is stale, or the run is ending.
    Fenced,
    /// The engine has no free slot or is not connected.
    NoSlot,
    /// It can never be recorded.
    Invalid(Failure),
}

type Decision = Result<Vec<Event>, Refusal>;

impl State {
    /// The events that a command leads to, in order. They are recorded in one transaction, or not at all.
    ///
    /// `engine` is the component that proposes an engine's command; with `None`, the hub may stop any attempt.
    /// Ownership and slots are checked by the ledger, which tracks them.
    ///
    /// # Errors
    /// If the command is refused; the state is unchanged.
    pub fn decide(&self, command: &Command, engine: Option<&ComponentId>, now: Timestamp, limits: Limits) -> Decision {
        match command {
            Command::CancelWorkflow(cancel) => self.decide_cancel(cancel),
            Command::ReadyTask(ready) => self.decide_ready(ready, limits),
            Command::FailTask(fail) => self.decide_fail_task(fail),
            Command::DispatchTask(dispatch) => self.decide_dispatch(dispatch, now),
            Command::RequeueTask(requeue) => {
                let (_, task) = self.undecided(&requeue.task_id, requeue.attempt)?;
                if task.stopped.is_none() {
                    return Err(invalid(format!(
                        "attempt {} of `{}` was not stopped",
                        requeue.attempt, requeue.task_id
                    )));
                }
                if task.losses >= MAX_LOSSES {
                    return Err(invalid(format!("`{}` was lost {} times and must fail", requeue.task_id, task.losses)));
                }
                Ok(vec![TaskRequeued { task_id: requeue.task_id.clone(), attempt: requeue.attempt }.into()])
            }
            Command::ScheduleRetry(retry) => {
                let (_, task) = self.undecided(&retry.task_id, retry.attempt)?;
                if task.stopped.is_some() {
                    return Err(invalid(format!("attempt {} of `{}` did not fail", retry.attempt, retry.task_id)));
                }
                let task_id = retry.task_id.clone();
                Ok(vec![TaskRetryScheduled { task_id, attempt: retry.attempt, delay_ms: retry.delay_ms }.into()])
            }
            Command::StartAttempt(start) => self.decide_start(start, engine),
            Command::CompleteAttempt(complete) => self.decide_complete(complete, engine, limits),
            Command::FailAttempt(fail) => self.decide_fail_attempt(fail, engine),
            Command::StopAttempt(stop) => self.decide_stop(stop, engine),
        }
    }

    fn decide_cancel(&self, cancel: &CancelWorkflow) -> Decision {
        if self.status.is_final() {
            return Err(Refusal::Invalid(Failure::new(
                ErrorCode::WorkflowInvalidState,
                format!("run {} has already ended", self.run_id),
            )));
        }
        if self.cancel.is_some() {
            return Err(Refusal::Duplicate);
        }
        let requested = WorkflowCancelRequested { cause: cancel.cause, reason: cancel.reason.clone() };
        let mut events: Vec<Event> = vec![requested.clone().into()];
        events.extend(
            self.tasks
                .iter()
                .enumerate()
                .filter(|(_, task)| !task.status.is_final() && !task.status.is_open())
                .map(|(at, _)| TaskCancelled { task_id: self.task(at).id.clone() }.into()),
        );
        if self.open == 0 {
            events.push(end::cancelled(self, &requested));
        }
        Ok(events)
    }

    fn decide_ready(&self, ready: &ReadyTask, limits: Limits) -> Decision {
        let (at, task) = self.live(&ready.task_id)?;
        if task.status != TaskStatus::Waiting {
            return Err(if matches!(task.status, TaskStatus::Skipped) { Refusal::Fenced } else { Refusal::Duplicate });
        }
        if task.missing_dependencies > 0 && !planted_bugs::is(Bug::EarlyReady) {
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

    fn decide_fail_task(&self, fail: &FailTask) -> Decision {
        let at = if fail.attempt == 0 {
            let (at, task) = self.live(&fail.task_id)?;
            match task.status {
                TaskStatus::Waiting if task.missing_dependencies == 0 => at,
                TaskStatus::Waiting => {
                    return Err(invalid(format!("`{}` has dependencies that are not done", fail.task_id)));
                }
                TaskStatus::Failed => return Err(Refusal::Duplicate),
                _ => return Err(Refusal::Fenced),
            }
        } else {
            self.undecided(&fail.task_id, fail.attempt)?.0
        };
        let failed = TaskFailed { task_id: fail.task_id.clone(), attempt: fail.attempt, error: fail.error.clone() };
        let skipped = self.graph.descendants(at, |task| !self.tasks[task].status.is_final());
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

    fn decide_dispatch(&self, dispatch: &DispatchTask, now: Timestamp) -> Decision {
        let (at, task) = self.live(&dispatch.task_id)?;
        if task.attempt >= dispatch.attempt {
            let same = task.attempt == dispatch.attempt && task.engine.as_ref() == Some(&dispatch.engine);
            return Err(if same { Refusal::Duplicate } else { Refusal::Fenced });
        }
        if dispatch.attempt != task.attempt + 1 {
            return Err(invalid(format!(
                "attempt {} of `{}` cannot follow attempt {}",
                dispatch.attempt, dispatch.task_id, task.attempt
            )));
        }
        match (task.status, task.not_before) {
            (TaskStatus::Ready, _) => {}
            (TaskStatus::Backoff, Some(not_before)) if not_before <= now => {}
            (TaskStatus::Backoff, Some(not_before)) => {
                let left = not_before.ms_since(now);
                return Err(invalid(format!("the delay of `{}` has {left} ms left", dispatch.task_id)));
            }
            _ => return Err(Refusal::Fenced),
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

    fn decide_start(&self, start: &StartAttempt, engine: Option<&ComponentId>) -> Decision {
        let (_, task) = self.held(&start.at, engine, None)?;
        if self.cancel.is_some() {
            return Err(Refusal::Fenced);
        }
        if task.status == TaskStatus::Running {
            return Err(Refusal::Duplicate);
        }
        let AttemptRef { task_id, attempt, .. } = start.at.clone();
        Ok(vec![TaskStarted { task_id, attempt, ran_ms: start.ran_ms }.into()])
    }

    fn decide_complete(&self, complete: &CompleteAttempt, engine: Option<&ComponentId>, limits: Limits) -> Decision {
        let (at, task) = self.held(&complete.at, engine, Some(TaskStatus::Completed))?;
        if self.cancel.is_some() {
            return Ok(self.stopped(at, task, StopReason::Cancelled, true));
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

    fn decide_fail_attempt(&self, fail: &FailAttempt, engine: Option<&ComponentId>) -> Decision {
        let (at, task) = self.held(&fail.at, engine, Some(TaskStatus::Backoff))?;
        if self.cancel.is_some() {
            return Ok(self.stopped(at, task, StopReason::Cancelled, true));
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

    fn decide_stop(&self, stop: &StopAttempt, engine: Option<&ComponentId>) -> Decision {
        let (at, task) = self.held(&stop.at, engine, None)?;
        let reason = match stop.reason {
            // The cancellation was recorded in a history that is lost. In the present one the engine has given the
            // attempt up.
            StopReason::Cancelled if self.cancel.is_none() => StopReason::EngineLost,
            reason => reason,
        };
        Ok(self.stopped(at, task, reason, false))
    }

    /// The events for an open attempt that ends without an answer from the work. If the run is to end, the task ends
    /// too.
    fn stopped(&self, at: usize, task: &TaskState, reason: StopReason, late_report: bool) -> Vec<Event> {
        let task_id = self.task(at).id.clone();
        let engine = task.engine.clone().unwrap_or_else(|| ComponentId::from(""));
        let mut events: Vec<Event> = vec![
            TaskAttemptStopped { task_id: task_id.clone(), attempt: task.attempt, reason, engine, late_report }.into(),
        ];
        if let Some(cancel) = &self.cancel {
            events.push(TaskCancelled { task_id }.into());
            if self.open == 1 {
                events.push(end::cancelled(self, cancel));
            }
        }
        events
    }

    fn find(&self, id: &TaskId) -> Result<(usize, &TaskState), Refusal> {
        match self.index_of(id.as_str()) {
            Some(at) => Ok((at, &self.tasks[at])),
            None => Err(Refusal::Invalid(Failure::new(
                ErrorCode::TaskNotFound,
                format!("run {} has no task `{id}`", self.run_id),
            ))),
        }
    }

    /// Looks up a task of a run that is not to end.
    fn live(&self, id: &TaskId) -> Result<(usize, &TaskState), Refusal> {
        let found = self.find(id)?;
        if self.status.is_final() || self.cancel.is_some() { Err(Refusal::Fenced) } else { Ok(found) }
    }

    /// Looks up a task whose latest attempt ended and whose owner has not decided the next step.
    fn undecided(&self, id: &TaskId, attempt: Attempt) -> Result<(usize, &TaskState), Refusal> {
        let (at, task) = self.live(id)?;
        if task.attempt != attempt {
            return Err(Refusal::Fenced);
        }
        match task.status {
            TaskStatus::Backoff if task.not_before.is_none() => Ok((at, task)),
            TaskStatus::Backoff | TaskStatus::Ready | TaskStatus::Failed => Err(Refusal::Duplicate),
            _ => Err(Refusal::Fenced),
        }
    }

    /// Looks up an open attempt whose lease `engine` holds. `end` is the status that this kind of report leaves the
    /// task in: repeating the same report for the same attempt is a duplicate, any other report is fenced.
    fn held(
        &self,
        at: &AttemptRef,
        engine: Option<&ComponentId>,
        end: Option<TaskStatus>,
    ) -> Result<(usize, &TaskState), Refusal> {
        let (index, task) = self.find(&at.task_id)?;
        let holds = |engine: &ComponentId| task.engine.as_ref() == Some(engine) || planted_bugs::is(Bug::NoLease);
        let current = task.attempt == at.attempt && engine.is_none_or(holds);
        if current && (task.status.is_open() || planted_bugs::is(Bug::NoDuplicateCheck)) {
            return Ok((index, task));
        }
        let was_stopped = task.stops.last().is_some_and(|(attempt, _, _)| *attempt == at.attempt);
        let stands = match end {
            Some(TaskStatus::Completed) => task.status == TaskStatus::Completed,
            Some(_) => task.failures > 0 && task.status != TaskStatus::Completed && !was_stopped,
            None => was_stopped,
        };
        Err(if current && stands { Refusal::Duplicate } else { Refusal::Fenced })
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::Invalid(Failure::new(ErrorCode::InvalidRequest, message))
}
