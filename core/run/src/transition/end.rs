//! How a run ends: the events that `decide` adds when the last task becomes final.

use std::borrow::Cow;
use std::collections::BTreeSet;

use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::json;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::template::{self, Budget, Root};
use serde_json::{Map, Value};

use crate::event::{
    CancelCause, Entry, Event, WorkflowCancelRequested, WorkflowCancelled, WorkflowCompleted, WorkflowFailed,
};
use crate::payload_limit::Limits;
use crate::scope::RunScope;
use crate::state::{RunStatus, State};

/// All tasks are completed and the outputs are evaluated. `last` is the result that is being recorded.
pub(super) fn completed(state: &State, last: Option<(usize, &Payload)>, limits: Limits) -> Event {
    match outputs(state, last, limits) {
        Ok(outputs) => match limits.check("`outputs`", &outputs) {
            Ok(()) => WorkflowCompleted { outputs }.into(),
            Err(error) => WorkflowFailed { error }.into(),
        },
        Err(error) => WorkflowFailed { error }.into(),
    }
}

/// A task has failed for good; the run fails with the first such failure. `last` is the failure that is being recorded.
pub(super) fn failed(state: &State, last: Option<(usize, &Failure)>) -> Event {
    let first = state.failed.and_then(|at| Some((at, state.tasks[at].error()?))).or(last);
    let error = match first {
        Some((_, error)) if error.known() == Some(ErrorCode::WorkflowTimeout) => error.clone(),
        Some((at, error)) => Failure::new(
            ErrorCode::WorkflowExecutionFailed,
            format!("task `{}` failed: {}", state.task(at).id, error.message),
        ),
        None => Failure::new(ErrorCode::WorkflowExecutionFailed, "a task failed"),
    };
    WorkflowFailed { error }.into()
}

/// The last open attempt of a run that was asked to end has ended.
pub(super) fn cancelled(state: &State, cancel: &WorkflowCancelRequested) -> Event {
    match cancel.cause {
        CancelCause::Requested => WorkflowCancelled { reason: cancel.reason.clone(), set_aside: false }.into(),
        CancelCause::Timeout => {
            let limit = state.workflow().timeout_ms.unwrap_or(0);
            let message = format!("the run did not end within its timeout of {limit} ms");
            WorkflowFailed { error: Failure::new(ErrorCode::WorkflowTimeout, message) }.into()
        }
    }
}

fn outputs(state: &State, last: Option<(usize, &Payload)>, limits: Limits) -> Result<Payload, Failure> {
    let declared = &state.workflow().outputs;
    if declared.is_empty() {
        return Ok(Payload::null());
    }
    let inputs = state.submitted.inputs.to_value();
    let mut scope = RunScope::new(state.run_id, &state.submitted, &inputs);
    for at in referenced(state) {
        let result = match last {
            Some((last, result)) if last == at => Some(result),
            _ => state.tasks[at].result(),
        };
        if let Some(result) = result {
            scope.add_result(state.task(at).id.as_str(), Cow::Owned(result.to_value()));
        }
    }
    let mut outputs = Map::new();
    let mut budget = Budget::new(limits.max_payload_bytes);
    for (name, template) in declared {
        let value = template::resolve(template, &scope, &mut budget).map_err(|error| {
            Failure::new(ErrorCode::TaskParameterError, format!("output `{name}`: {}", error.message))
        })?;
        outputs.insert(name.clone(), value);
    }
    let outputs = Value::Object(outputs);
    json::check_value(&outputs)
        .map_err(|problem| Failure::new(ErrorCode::TaskParameterError, format!("output {}", problem.in_value())))?;
    Ok(Payload::from_value(&outputs))
}

/// The tasks that the outputs refer to.
fn referenced(state: &State) -> BTreeSet<usize> {
    let mut tasks = BTreeSet::new();
    for template in state.workflow().outputs.values() {
        template::references(template, &mut |_, reference| {
            if let Ok(reference) = reference
                && let Root::Task(id) = &reference.root
            {
                tasks.extend(state.index_of(id));
            }
        });
    }
    tasks
}

impl State {
    /// The event that ends a run whose tasks are all completed.
    pub(crate) fn completion(&self, limits: Limits) -> Event {
        completed(self, None, limits)
    }

    pub(super) fn apply_run_completed(&mut self, entry: &Entry, event: &WorkflowCompleted) {
        self.outputs = Some(event.outputs.clone());
        self.end(entry, RunStatus::Completed);
    }

    pub(super) fn apply_run_failed(&mut self, entry: &Entry, event: &WorkflowFailed) {
        self.error = Some(event.error.clone());
        self.end(entry, RunStatus::Failed);
    }

    pub(super) fn apply_run_cancelled(&mut self, entry: &Entry, event: &WorkflowCancelled) {
        self.error = Some(event.failure());
        self.end(entry, RunStatus::Cancelled);
    }

    fn end(&mut self, entry: &Entry, status: RunStatus) {
        self.status = status;
        self.finished_at = Some(entry.recorded_at);
    }
}
