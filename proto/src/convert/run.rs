//! Runs and tasks on the wire, as clients show them.

use gleitzeit_mesh::hub::Present;
use gleitzeit_run::{Outcome, State, TaskStatus};
use gleitzeit_workflow::{ErrorCode, Failure};
use prost::Message as _;

use crate::convert::{error, run_status, task_status, timestamp, waiting};
use crate::v1;

/// How much of a run is wanted.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions<'a> {
    /// Which components are connected, to say what tasks wait for.
    pub present: &'a Present,
    /// Whether tasks include their results.
    pub include_results: bool,
    /// The largest message in bytes: beyond it, first results and then tasks are left out.
    pub max_bytes: usize,
}

/// A run on the wire. Whatever does not fit is marked as omitted: first results, then tasks.
pub fn run(state: &State, options: &RunOptions<'_>) -> v1::Run {
    let mut run = v1::Run {
        run_id: state.run_id.to_string(),
        correlation_id: state.submitted.correlation_id.clone(),
        name: state.workflow().name.clone(),
        status: run_status(state.status).into(),
        submitted_at: Some(timestamp(state.submitted_at)),
        finished_at: state.finished_at.map(timestamp),
        outputs_json: outputs(state),
        error: state.error.as_ref().map(error),
        tasks: Vec::new(),
        tasks_truncated: false,
        task_count: u32::try_from(state.tasks.len()).unwrap_or(u32::MAX),
        labels: state.submitted.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        retry_of: state.submitted.retry_of.map(|id| id.to_string()).unwrap_or_default(),
        seq: state.seq.0,
    };
    let mut bytes = run.encoded_len();
    for at in 0..state.tasks.len() {
        let mut task = task_run(state, at, options.present, options.include_results);
        // A field's key and length take a few more bytes.
        let mut size = task.encoded_len() + 8;
        if bytes + size > options.max_bytes && task.result_json.take().is_some() {
            task.result_omitted = true;
            size = task.encoded_len() + 8;
        }
        if bytes + size > options.max_bytes {
            run.tasks_truncated = true;
            break;
        }
        bytes += size;
        run.tasks.push(task);
    }
    run
}

fn outputs(state: &State) -> Option<String> {
    let outputs = state.outputs.as_ref()?.get();
    (outputs != "null").then(|| outputs.to_owned())
}

/// One task of a run, by its index in the workflow.
pub fn task_run(state: &State, at: usize, present: &Present, include_results: bool) -> v1::TaskRun {
    let (definition, task) = (state.task(at), &state.tasks[at]);
    let result = task.result().filter(|_| include_results);
    // While an attempt is running, the task waits for nothing but its work.
    let waits = (task.status() != TaskStatus::Running).then(|| present.waiting(state, at)).flatten();
    v1::TaskRun {
        id: definition.id.to_string(),
        status: task_status(task.status()).into(),
        attempt: task.attempt(),
        result_json: result.map(|result| result.get().to_owned()),
        result_omitted: false,
        error: failure_of(state, at).as_ref().map(error),
        waiting: waits.as_ref().map(waiting),
        started_at: task.started_at().map(timestamp),
        finished_at: task.finished_at().map(timestamp),
        method: definition.method.to_string(),
        queue: task.queue().unwrap_or(&definition.queue).to_string(),
        engine: task.engine().map(ToString::to_string).unwrap_or_default(),
        dependencies: Vec::new(),
        provider: definition.provider.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// The ids of the tasks that a task depends on, in the order of the workflow.
pub fn dependencies(state: &State, at: usize) -> Vec<String> {
    state.graph().dependencies(at).iter().map(|&of| state.task(of).id.to_string()).collect()
}

/// Why a task is in its state: without its result, but with what it waits for even while it is running.
pub fn explained(state: &State, at: usize, present: &Present) -> v1::TaskRun {
    let waits = present.waiting(state, at);
    v1::TaskRun { waiting: waits.as_ref().map(waiting), ..task_run(state, at, present, false) }
}

fn failure_of(state: &State, at: usize) -> Option<Failure> {
    let task = &state.tasks[at];
    if let Some(error) = task.error() {
        return Some(error.clone());
    }
    let Some(Outcome::Skipped { because }) = task.outcome() else { return None };
    Some(Failure::new(ErrorCode::TaskDependencyFailed, format!("task `{because}` failed, on which it depends")))
}
