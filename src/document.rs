//! The documents that commands print, a stable interface for programs: fields are only ever added.

mod protocols;
mod trace;

use std::collections::BTreeMap;

use gleitzeit_sdk::{
    Component, ComponentCounts, Explanation, Failure, HealthState, Note, Payload, PresenceStatus, Provider, Role, Run,
    RunCounts, RunEvent, RunHandle, RunStatus, RunSummary, Status, Task, TaskStatus, Timestamp, Waiting,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub(crate) use protocols::{MethodItem, ProtocolItem};
pub(crate) use trace::TraceDocument;

/// One page of a list.
#[derive(Serialize)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_page_token: Option<String>,
}

/// The result of a submission.
#[derive(Serialize)]
pub(crate) struct Submitted<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) correlation_id: &'a str,
    pub(crate) status: RunStatus,
    /// Notes on parts of the workflow that are allowed but probably not meant, if a workflow was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notes: Option<&'a [Note]>,
}

impl<'a> Submitted<'a> {
    pub(crate) fn of(run: &'a RunHandle) -> Self {
        Self { run_id: run.id(), correlation_id: run.correlation_id(), status: run.status(), notes: None }
    }
}

/// The result of `prune`.
#[derive(Serialize)]
pub(crate) struct Pruned {
    pub(crate) runs: u64,
    pub(crate) entries: u64,
    /// How many stores of `gleitzeit run` were removed.
    pub(crate) run_stores: u64,
    /// How many registered protocols were removed that were unused for as long.
    pub(crate) protocols: u64,
}

/// The result of `backup` and `restore`.
#[derive(Serialize)]
pub(crate) struct Copy {
    pub(crate) file: String,
    pub(crate) journal_position: u64,
    pub(crate) entries: u64,
    pub(crate) runs: u64,
    /// Where the previous store was moved to.
    pub(crate) replaced: Option<String>,
}

/// The result of `store check`.
#[derive(Serialize)]
pub(crate) struct StoreCheck {
    pub(crate) file: String,
    pub(crate) journal_position: u64,
    pub(crate) entries: u64,
    pub(crate) runs: u64,
    /// Whether no problem was found.
    pub(crate) whole: bool,
    /// Whether `--repair` may help.
    pub(crate) lists_damaged: bool,
    /// Where the store was moved that `--repair` replaced.
    pub(crate) replaced: Option<String>,
    pub(crate) wrong: Vec<StoreWrong>,
}

/// One problem of a store.
#[derive(Serialize)]
pub(crate) struct StoreWrong {
    pub(crate) run_id: Option<String>,
    pub(crate) status: Option<RunStatus>,
    pub(crate) why: String,
}

/// A run in full.
#[derive(Serialize)]
pub(crate) struct RunDocument<'a> {
    run_id: &'a str,
    correlation_id: &'a str,
    name: &'a str,
    status: RunStatus,
    submitted_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    outputs: Option<&'a Payload>,
    error: Option<&'a Failure>,
    /// Present only if true: the run has not ended and no process works on it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
    tasks: Tasks<'a>,
}

/// The tasks by id, in the order of the workflow.
struct Tasks<'a>(&'a [Task]);

#[derive(Serialize)]
struct TaskDocument<'a> {
    status: TaskStatus,
    attempt: u32,
    result: Option<&'a Payload>,
    error: Option<&'a Failure>,
    waiting: Option<WaitingDocument<'a>>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct WaitingDocument<'a> {
    reason: &'a str,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    remedy: Option<&'a str>,
}

impl<'a> From<&'a Run> for RunDocument<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            run_id: &run.run_id,
            correlation_id: &run.correlation_id,
            name: &run.name,
            status: run.status,
            submitted_at: run.submitted_at,
            finished_at: run.finished_at,
            outputs: run.outputs.as_ref(),
            error: run.error.as_ref(),
            interrupted: run.is_interrupted(),
            tasks: Tasks(&run.tasks),
        }
    }
}

impl Serialize for Tasks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for task in self.0 {
            map.serialize_entry(&task.id, &TaskDocument::from(task))?;
        }
        map.end()
    }
}

impl<'a> From<&'a Task> for TaskDocument<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            status: task.status,
            attempt: task.attempt,
            result: task.result.as_ref(),
            error: task.error.as_ref(),
            waiting: task.waiting.as_ref().map(WaitingDocument::from),
            started_at: task.started_at,
            finished_at: task.finished_at,
        }
    }
}

impl<'a> From<&'a Waiting> for WaitingDocument<'a> {
    fn from(waiting: &'a Waiting) -> Self {
        Self { reason: &waiting.reason, since: waiting.since, until: waiting.until, remedy: waiting.remedy.as_deref() }
    }
}

/// The result of `explain`.
#[derive(Serialize)]
pub(crate) struct ExplainDocument<'a> {
    run_id: &'a str,
    name: &'a str,
    status: RunStatus,
    waiting: Option<WaitingDocument<'a>>,
    error: Option<&'a Failure>,
    tasks: Vec<ExplainedTask<'a>>,
    more_tasks: u32,
    dependent_tasks: u32,
}

#[derive(Serialize)]
struct ExplainedTask<'a> {
    id: &'a str,
    status: TaskStatus,
    attempt: u32,
    error: Option<&'a Failure>,
    waiting: Option<WaitingDocument<'a>>,
}

impl<'a> From<&'a Explanation> for ExplainDocument<'a> {
    fn from(it: &'a Explanation) -> Self {
        let task = |task: &'a Task| ExplainedTask {
            id: &task.id,
            status: task.status,
            attempt: task.attempt,
            error: task.error.as_ref(),
            waiting: task.waiting.as_ref().map(WaitingDocument::from),
        };
        Self {
            run_id: &it.run_id,
            name: &it.name,
            status: it.status,
            waiting: it.waiting.as_ref().map(WaitingDocument::from),
            error: it.error.as_ref(),
            tasks: it.tasks.iter().map(task).collect(),
            more_tasks: it.more_tasks,
            dependent_tasks: it.dependent_tasks,
        }
    }
}

/// A run in a list.
#[derive(Serialize)]
pub(crate) struct RunItem {
    run_id: String,
    correlation_id: String,
    name: String,
    status: RunStatus,
    submitted_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    error: Option<Failure>,
    task_count: u32,
    labels: BTreeMap<String, String>,
    retry_of: Option<String>,
    /// Present only if true: the run has not ended and no process works on it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
    /// Present if the list covers several places.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

impl RunItem {
    /// Sets the place of the run.
    pub(crate) fn at(self, place: Option<String>) -> Self {
        Self { place, ..self }
    }
}

impl From<RunSummary> for RunItem {
    fn from(run: RunSummary) -> Self {
        Self {
            interrupted: run.is_interrupted(),
            place: None,
            run_id: run.run_id,
            correlation_id: run.correlation_id,
            name: run.name,
            status: run.status,
            submitted_at: run.submitted_at,
            finished_at: run.finished_at,
            error: run.error,
            task_count: run.task_count,
            labels: run.labels,
            retry_of: run.retry_of,
        }
    }
}

/// One event of `watch`.
#[derive(Serialize)]
pub(crate) struct EventDocument<'a> {
    seq: u64,
    time: Option<Timestamp>,
    r#type: &'a str,
    task_id: Option<&'a str>,
    attempt: u32,
    payload: Option<&'a Payload>,
    payload_omitted: bool,
}

impl<'a> From<&'a RunEvent> for EventDocument<'a> {
    fn from(event: &'a RunEvent) -> Self {
        Self {
            seq: event.seq,
            time: event.time,
            r#type: &event.kind,
            task_id: event.task_id.as_deref(),
            attempt: event.attempt,
            payload: event.payload.as_ref(),
            payload_omitted: event.payload_omitted,
        }
    }
}

/// The result of a cancel request.
#[derive(Serialize)]
pub(crate) struct CancelDocument<'a> {
    run_id: &'a str,
    status: RunStatus,
    open_attempts: u32,
    tasks: BTreeMap<&'a str, CancelledTask>,
}

#[derive(Serialize)]
struct CancelledTask {
    status: TaskStatus,
    attempt: u32,
}

impl<'a> CancelDocument<'a> {
    /// `open_attempts` is the number of attempts that were open when the cancel was requested.
    pub(crate) fn new(run: &'a Run, open_attempts: u32) -> Self {
        let task = |task: &'a Task| (task.id.as_str(), CancelledTask { status: task.status, attempt: task.attempt });
        Self { run_id: &run.run_id, status: run.status, open_attempts, tasks: run.tasks.iter().map(task).collect() }
    }
}

/// The status of a control plane.
#[derive(Serialize)]
pub(crate) struct StatusDocument<'a> {
    hub_url: &'a str,
    version: &'a str,
    started_at: Option<Timestamp>,
    ready: bool,
    journal_position: u64,
    runs: Runs,
    components: Components,
}

#[derive(Serialize)]
struct Runs {
    running: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
}

#[derive(Serialize)]
struct Components {
    queue: u32,
    resolver: u32,
    engine: u32,
    provider: u32,
}

impl<'a> StatusDocument<'a> {
    pub(crate) fn new(hub_url: &'a str, status: &'a Status) -> Self {
        let RunCounts { running, completed, failed, cancelled } = status.runs;
        let ComponentCounts { queue, resolver, engine, provider } = status.components;
        Self {
            hub_url,
            version: &status.version,
            started_at: status.started_at,
            ready: status.ready,
            journal_position: status.journal_position,
            runs: Runs { running, completed, failed, cancelled },
            components: Components { queue, resolver, engine, provider },
        }
    }
}

/// A component in a list.
#[derive(Serialize)]
pub(crate) struct ComponentItem {
    component_id: String,
    role: Role,
    name: String,
    version: String,
    status: PresenceStatus,
    connected_since: Option<Timestamp>,
    capacity: u32,
    in_use: u32,
    queues: Vec<String>,
    methods: Vec<String>,
    owned_shards: Vec<u32>,
    owned_queues: Vec<String>,
    capabilities: Vec<String>,
}

impl From<Component> for ComponentItem {
    fn from(component: Component) -> Self {
        Self {
            component_id: component.component_id,
            role: component.role,
            name: component.name,
            version: component.version,
            status: component.status,
            connected_since: component.connected_since,
            capacity: component.capacity,
            in_use: component.in_use,
            queues: component.queues,
            methods: component.methods,
            owned_shards: component.owned_shards,
            owned_queues: component.owned_queues,
            capabilities: component.capabilities,
        }
    }
}

/// A provider in a list.
#[derive(Serialize)]
pub(crate) struct ProviderItem {
    name: String,
    component_id: String,
    status: PresenceStatus,
    health: HealthState,
    health_reason: Option<String>,
    protocols: Vec<String>,
    methods: Vec<String>,
    in_flight: u32,
    capacity: u32,
    capabilities: Vec<String>,
    address: Option<String>,
}

impl From<Provider> for ProviderItem {
    fn from(provider: Provider) -> Self {
        Self {
            name: provider.name,
            component_id: provider.component_id,
            status: provider.status,
            health: provider.health,
            health_reason: provider.health_reason,
            protocols: provider.protocols,
            methods: provider.methods,
            in_flight: provider.in_flight,
            capacity: provider.capacity,
            capabilities: provider.capabilities,
            address: provider.address,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
