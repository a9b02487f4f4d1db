//! The events of the journal, in the past tense. Their JSON is stored for years: fields are only ever added, with
//! defaults, and for each released form a golden JSON file stays in the tree. The table `meaning` says
//! what each `Event` means to whom.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::graph::Graph;
use gleitzeit_workflow::id::{MethodName, ProtocolName, ProviderName, QueueName, TaskId};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::{Priority, RetryPolicy, Workflow};
use gleitzeit_workflow::tagged;
use gleitzeit_workflow::template::FileContent;
use gleitzeit_workflow::time::Timestamp;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::id::{Attempt, ComponentId, Epoch, Position, RunId, Seq, Slice};

/// The version of the event format that this code writes. An entry of a later version is refused.
pub const EVENT_VERSION: u32 = 1;

/// One event with its position in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Position in the whole journal, from 1, without gaps.
    pub position: Position,
    /// The run it belongs to; absent for ownerships and protocols.
    pub run_id: Option<RunId>,
    /// Number among the entries of its run, from 1, without gaps; 0 without a run.
    pub seq: Seq,
    /// When it was decided, by the writer's clock; never decreases along the journal.
    pub recorded_at: Timestamp,
    /// The queue of the event's task, once that task was ready. It is the routing key for queue owners.
    pub queue: Option<QueueName>,
    /// The event.
    pub event: Event,
}

tagged! {
    /// An event of the journal.
    "event" Event {
        /// A workflow was accepted as a new run.
        WorkflowSubmitted(Arc<WorkflowSubmitted>) = "workflow_submitted",
        /// The run was asked to end, or exceeded its timeout.
        WorkflowCancelRequested(WorkflowCancelRequested) = "workflow_cancel_requested",
        /// The task's dependencies are completed and its parameters resolved.
        TaskReady(TaskReady) = "task_ready",
        /// An attempt was dispatched to an engine, which now holds its lease and one of its slots.
        TaskDispatched(TaskDispatched) = "task_dispatched",
        /// A provider has been working on the attempt for a while.
        TaskStarted(TaskStarted) = "task_started",
        /// The task has a result.
        TaskCompleted(TaskCompleted) = "task_completed",
        /// The attempt failed by itself.
        TaskAttemptFailed(TaskAttemptFailed) = "task_attempt_failed",
        /// The attempt ended without a statement about the work: lost, drained, not taken or cancelled.
        TaskAttemptStopped(TaskAttemptStopped) = "task_attempt_stopped",
        /// The task of a stopped attempt returned to its queue at once.
        TaskRequeued(TaskRequeued) = "task_requeued",
        /// The task of a failed attempt returns to its queue after a delay.
        TaskRetryScheduled(TaskRetryScheduled) = "task_retry_scheduled",
        /// The task failed for good.
        TaskFailed(TaskFailed) = "task_failed",
        /// The task cannot run because a task that it depends on failed or was skipped.
        TaskSkipped(TaskSkipped) = "task_skipped",
        /// The task ended because its run was cancelled.
        TaskCancelled(TaskCancelled) = "task_cancelled",
        /// All tasks completed and the outputs were evaluated.
        WorkflowCompleted(WorkflowCompleted) = "workflow_completed",
        /// A task failed for good, the outputs could not be evaluated, or the run exceeded its timeout.
        WorkflowFailed(WorkflowFailed) = "workflow_failed",
        /// The run was cancelled and its last attempt has ended.
        WorkflowCancelled(WorkflowCancelled) = "workflow_cancelled",
        /// A component became the owner of a slice.
        OwnershipGranted(OwnershipGranted) = "ownership_granted",
        /// A protocol was registered.
        ProtocolRegistered(ProtocolRegistered) = "protocol_registered",
        /// Protocols were in use. They are therefore kept although they were registered long ago.
        ProtocolsUsed(ProtocolsUsed) = "protocols_used",
        /// A protocol was removed because it had not been used for long.
        ProtocolRemoved(ProtocolRemoved) = "protocol_removed",
    }
}

/// Makes a submission idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestKey {
    /// The request id, chosen by the caller.
    pub request_id: String,
    /// A hash of the request's body, to detect another body under the same id.
    pub body_hash: String,
}

/// See [`Event::WorkflowSubmitted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowSubmitted {
    /// The run's own copy of the definition.
    pub workflow: Workflow,
    /// All inputs, defaults filled in: a JSON object.
    pub inputs: Payload,
    /// The contents of the files by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, FileContent>,
    /// The environment variables that the workflow refers to, with their values at submission.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// Labels of the definition, overlaid with those of the submission.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
    /// 32 hex digits: the trace id of everything that belongs to the run.
    pub correlation_id: String,
    /// The caller's W3C trace context, if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The run that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RunId>,
    /// The caller's request id, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestKey>,
    /// Data derived from the fields above that is slow to compute for a large workflow.
    #[serde(skip)]
    pub prepared: Prepared,
}

/// Data derived from a submission, computed once and in advance so that it does not hold up the writer. It is not part
/// of the submission: equality ignores it, and a clone starts without the text because the clone's fields may be
/// changed.
#[derive(Default)]
pub struct Prepared {
    graph: OnceLock<Arc<Graph>>,
    text: Mutex<Option<String>>,
}

impl Prepared {
    fn text(&self) -> MutexGuard<'_, Option<String>> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Prepared {
    fn clone(&self) -> Self {
        Self { graph: self.graph.clone(), text: Mutex::default() }
    }
}

impl PartialEq for Prepared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("graph", &self.graph.get().is_some()).finish_non_exhaustive()
    }
}

impl WorkflowSubmitted {
    /// The dependency graph, built by the first call and shared by all callers. The workflow must not change
    /// afterwards.
    pub fn graph(&self) -> Arc<Graph> {
        self.prepared.graph.get_or_init(|| Arc::new(Graph::new(&self.workflow))).clone()
    }

    /// Computes everything that the writer and the resolver would otherwise compute while others wait for them. The
    /// submission must not change afterwards.
    pub fn prepare(&self) {
        self.graph();
        // A struct of strings, numbers and raw JSON always serializes.
        let text = serde_json::to_string(self).expect("a submission is serializable");
        *self.prepared.text() = Some(text);
    }

    /// Takes the JSON text that was prepared. It is returned only once, so that it does not occupy memory while the run
    /// lasts.
    pub fn take_text(&self) -> Option<String> {
        self.prepared.text().take()
    }
}

/// Why a run was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelCause {
    /// A caller asked for it: the run ends `cancelled`.
    Requested,
    /// The run exceeded its timeout: it ends `failed` with `WORKFLOW_TIMEOUT`.
    Timeout,
}

/// See [`Event::WorkflowCancelRequested`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowCancelRequested {
    /// Whether a caller or the timeout asked for it.
    pub cause: CancelCause,
    /// Free text, shown to the user.
    pub reason: String,
}

/// See [`Event::TaskReady`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReady {
    /// The task that became ready.
    pub task_id: TaskId,
    /// The method that will be called.
    pub method: MethodName,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// The queue it waits in.
    pub queue: QueueName,
    /// Tasks with a higher priority go first.
    pub priority: Priority,
    /// How failed attempts are retried.
    pub retry: RetryPolicy,
    /// The parameters with all references resolved: a JSON object.
    pub parameters: Payload,
}

/// See [`Event::TaskDispatched`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDispatched {
    /// The dispatched task.
    pub task_id: TaskId,
    /// The attempt's number, from 1.
    pub attempt: Attempt,
    /// The engine that holds the lease.
    pub engine: ComponentId,
    /// The method, so that every queue owner can count the open attempts of a method.
    pub method: MethodName,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
}

/// See [`Event::TaskStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStarted {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: Attempt,
    /// How long a provider had worked on it when the engine reported it, in milliseconds.
    #[serde(default)]
    pub ran_ms: u64,
}

/// See [`Event::TaskCompleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCompleted {
    /// The task.
    pub task_id: TaskId,
    /// The attempt; 0 if the result was carried over from the run that this one repeats.
    pub attempt: Attempt,
    /// The result: any JSON value.
    pub result: Payload,
    /// How long a provider worked on it, in milliseconds.
    #[serde(default)]
    pub ran_ms: u64,
    /// Whether the result was carried over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carried: bool,
}

/// See [`Event::TaskAttemptFailed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAttemptFailed {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: Attempt,
    /// The error.
    pub error: Failure,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// A lower bound for the delay in milliseconds, set by the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// How long a provider worked on it, in milliseconds.
    #[serde(default)]
    pub ran_ms: u64,
}

/// Why an attempt ended without an answer from the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The hub declared the engine lost, or the engine gave the attempt up because of an entry in a history that is
    /// lost.
    EngineLost,
    /// The provider that worked on it was lost, or the engine had no hub for too long.
    ProviderLost,
    /// There was no connected provider to name for the call.
    NoProvider,
    /// The engine did not take it in time.
    NotTaken,
    /// The engine is draining.
    Drain,
    /// The run was cancelled or exceeded its timeout.
    Cancelled,
}

impl StopReason {
    /// The reason in words for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::EngineLost => "the engine was lost",
            Self::ProviderLost => "the provider was lost",
            Self::NoProvider => "no provider was connected",
            Self::NotTaken => "the engine did not take it",
            Self::Drain => "the engine was drained",
            Self::Cancelled => "the run was cancelled",
        }
    }
}

/// See [`Event::TaskAttemptStopped`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAttemptStopped {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: Attempt,
    /// Why it ended.
    pub reason: StopReason,
    /// The engine that held the lease.
    pub engine: ComponentId,
    /// Whether the attempt had reported a result or failure that was dropped because the run was already to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late_report: bool,
}

/// See [`Event::TaskRequeued`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRequeued {
    /// The task.
    pub task_id: TaskId,
    /// The attempt that was stopped.
    pub attempt: Attempt,
}

/// See [`Event::TaskRetryScheduled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRetryScheduled {
    /// The task.
    pub task_id: TaskId,
    /// The attempt that failed.
    pub attempt: Attempt,
    /// The delay in milliseconds, counted from when this entry was recorded.
    pub delay_ms: u64,
}

/// See [`Event::TaskFailed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailed {
    /// The task.
    pub task_id: TaskId,
    /// The last attempt; 0 if there was none.
    pub attempt: Attempt,
    /// Why the task failed.
    pub error: Failure,
}

/// See [`Event::TaskSkipped`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSkipped {
    /// The task.
    pub task_id: TaskId,
    /// The failed task that it depends on, directly or not.
    pub because: TaskId,
}

/// See [`Event::TaskCancelled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCancelled {
    /// The task.
    pub task_id: TaskId,
}

/// See [`Event::WorkflowCompleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowCompleted {
    /// The evaluated outputs: a JSON object; `null` if the workflow declares none.
    pub outputs: Payload,
}

/// See [`Event::WorkflowFailed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowFailed {
    /// Why the run failed.
    pub error: Failure,
}

/// See [`Event::WorkflowCancelled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowCancelled {
    /// The reason given by the first cancel request.
    pub reason: String,
    /// Whether the run was set aside because its entries cannot be replayed. It ends all the same, and the reason says
    /// what is wrong with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set_aside: bool,
}

impl WorkflowCancelled {
    /// The error that the run shows.
    pub fn failure(&self) -> Failure {
        if self.set_aside {
            return Failure::new(ErrorCode::PersistenceIntegrityError, self.reason.clone());
        }
        let reason = if self.reason.is_empty() { "no reason was given" } else { &self.reason };
        Failure::new(ErrorCode::WorkflowCancelled, format!("the run was cancelled: {reason}"))
    }
}

/// See [`Event::OwnershipGranted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipGranted {
    /// The slice that is owned.
    pub slice: Slice,
    /// The new owner.
    pub component_id: ComponentId,
    /// The slice's previous epoch plus one.
    pub epoch: Epoch,
}

/// See [`Event::ProtocolRegistered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRegistered {
    /// The protocol's name, such as `math`.
    pub name: String,
    /// The version, such as `v1`.
    pub version: String,
    /// Methods by full name with their schemas: a JSON object, opaque here.
    pub methods: Payload,
}

/// See [`Event::ProtocolsUsed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolsUsed {
    /// The protocols that were in use, in order. The time of the entry counts as their last use.
    pub protocols: Vec<ProtocolName>,
}

/// See [`Event::ProtocolRemoved`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRemoved {
    /// The protocol's name, such as `math`.
    pub name: String,
    /// The version, such as `v1`.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_submission_is_written_unchanged_and_a_copy_is_serialized_again() {
        let text = r#"{"workflow":{"name":"w","tasks":[]},"inputs":{"x":5},"correlation_id":"c"}"#;
        let submitted: WorkflowSubmitted = serde_json::from_str(text).expect("a submission");
        submitted.prepare();
        let copy = WorkflowSubmitted { correlation_id: "d".to_owned(), ..submitted.clone() };
        assert_eq!(copy.take_text(), None, "its fields may differ");
        let event = Event::WorkflowSubmitted(Arc::new(submitted));
        let Event::WorkflowSubmitted(submitted) = &event else { panic!("it was made here") };
        assert_eq!(submitted.take_text(), Some(event.body()));
        assert_eq!(submitted.take_text(), None, "it takes no room after that");
    }
}
