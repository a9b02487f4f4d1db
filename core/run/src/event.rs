//! What has happened: the events of the journal, past tense. Their JSON is stored for years: fields are only ever
//! added, with defaults, and for each form ever released a golden JSON stays in the tree.

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

/// The version of the event format this code writes; an entry of a later one is refused.
pub const EVENT_VERSION: u32 = 1;

/// One event in its place in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Place in the whole journal, from 1, without gaps.
    pub position: Position,
    /// The run it belongs to; none for ownership and protocols.
    pub run_id: Option<RunId>,
    /// Place among the entries of its run, from 1, without gaps; 0 without a run.
    pub seq: Seq,
    /// The writer's clock when it was decided; never decreases along the journal.
    pub recorded_at: Timestamp,
    /// The queue of the task it speaks of, once that task was ready: the routing key of queue owners.
    pub queue: Option<QueueName>,
    /// What happened.
    pub event: Event,
}

tagged! {
    /// Something that happened.
    "event" Event {
        /// A workflow was accepted as a new run.
        WorkflowSubmitted(Arc<WorkflowSubmitted>) = "workflow_submitted",
        /// Somebody asked for the run to end, or its time is up.
        WorkflowCancelRequested(WorkflowCancelRequested) = "workflow_cancel_requested",
        /// A task's dependencies are done and its parameters resolved.
        TaskReady(TaskReady) = "task_ready",
        /// An attempt was given to an engine, which now holds its lease and one of its slots.
        TaskDispatched(TaskDispatched) = "task_dispatched",
        /// The attempt has been running for a while.
        TaskStarted(TaskStarted) = "task_started",
        /// The task has a result.
        TaskCompleted(TaskCompleted) = "task_completed",
        /// The attempt failed of itself.
        TaskAttemptFailed(TaskAttemptFailed) = "task_attempt_failed",
        /// The attempt ended without saying anything about the work: lost, drained, not taken, cancelled.
        TaskAttemptStopped(TaskAttemptStopped) = "task_attempt_stopped",
        /// A stopped attempt's task goes back to its queue at once.
        TaskRequeued(TaskRequeued) = "task_requeued",
        /// A failed attempt's task goes back to its queue after a delay.
        TaskRetryScheduled(TaskRetryScheduled) = "task_retry_scheduled",
        /// The task failed for good.
        TaskFailed(TaskFailed) = "task_failed",
        /// The task cannot run because one it depends on failed or was skipped.
        TaskSkipped(TaskSkipped) = "task_skipped",
        /// The task ended because its run was cancelled.
        TaskCancelled(TaskCancelled) = "task_cancelled",
        /// All tasks completed and the outputs were evaluated.
        WorkflowCompleted(WorkflowCompleted) = "workflow_completed",
        /// A task failed for good, the outputs could not be evaluated, or the run's time was up.
        WorkflowFailed(WorkflowFailed) = "workflow_failed",
        /// The run was cancelled and its last attempt has ended.
        WorkflowCancelled(WorkflowCancelled) = "workflow_cancelled",
        /// A component became the owner of a slice.
        OwnershipGranted(OwnershipGranted) = "ownership_granted",
        /// A protocol became known.
        ProtocolRegistered(ProtocolRegistered) = "protocol_registered",
        /// Protocols were in use, so that they are not removed although they were registered long ago.
        ProtocolsUsed(ProtocolsUsed) = "protocols_used",
        /// A protocol that nobody has used for long is not known any more.
        ProtocolRemoved(ProtocolRemoved) = "protocol_removed",
    }
}

/// Makes a submission idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestKey {
    /// Chosen by the caller.
    pub request_id: String,
    /// Hash of the request's body, so that another body under the same id is noticed.
    pub body_hash: String,
}

/// See [`Event::WorkflowSubmitted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowSubmitted {
    /// The run's own copy of the definition.
    pub workflow: Workflow,
    /// All inputs, defaults filled in: a JSON object.
    pub inputs: Payload,
    /// The files' contents by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, FileContent>,
    /// The environment variables the workflow refers to, as they were at submit.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// Labels of the definition, overlaid with those of the submission.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
    /// 32 hex digits: the trace id that everything about this run carries.
    pub correlation_id: String,
    /// The caller's W3C trace context, if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The run this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RunId>,
    /// The caller's request id, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestKey>,
    /// What follows from the fields above and takes long to make of a large workflow.
    #[serde(skip)]
    pub prepared: Prepared,
}

/// What follows from a submission alone, made once and ahead of those who must not be held up by it. It is no part of the
/// submission: two are equal without it, and a copy begins without a text, since its fields may be changed.
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
    /// Who depends on whom: made at the first call, shared by all that ask. The workflow must not change after that.
    pub fn graph(&self) -> Arc<Graph> {
        self.prepared.graph.get_or_init(|| Arc::new(Graph::new(&self.workflow))).clone()
    }

    /// Makes what the writer and the resolver would have to make while everybody waits for them. Nothing may be changed
    /// after that.
    pub fn prepare(&self) {
        self.graph();
        // A struct of strings, numbers and raw JSON: serializing it cannot fail.
        let text = serde_json::to_string(self).expect("a submission is serializable");
        *self.prepared.text() = Some(text);
    }

    /// Its JSON as it was prepared; once, so that it does not take room for as long as the run goes on.
    pub fn take_text(&self) -> Option<String> {
        self.prepared.text().take()
    }
}

/// Why a run is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelCause {
    /// Somebody asked for it: the run ends `cancelled`.
    Requested,
    /// The run's time is up: it ends `failed` with `WORKFLOW_TIMEOUT`.
    Timeout,
}

/// See [`Event::WorkflowCancelRequested`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowCancelRequested {
    /// Who or what asked for it.
    pub cause: CancelCause,
    /// Free text, shown to the user.
    pub reason: String,
}

/// See [`Event::TaskReady`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReady {
    /// The task.
    pub task_id: TaskId,
    /// What will be called.
    pub method: MethodName,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// The line it waits in.
    pub queue: QueueName,
    /// Higher goes first.
    pub priority: Priority,
    /// What happens after a failure.
    pub retry: RetryPolicy,
    /// The parameters with all references resolved: a JSON object.
    pub parameters: Payload,
}

/// See [`Event::TaskDispatched`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDispatched {
    /// The task.
    pub task_id: TaskId,
    /// The attempt's number, from 1.
    pub attempt: Attempt,
    /// Who holds the lease.
    pub engine: ComponentId,
    /// What is called, so that every queue owner can count the open attempts of a method.
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
    /// How long a provider had worked on it when the engine said so.
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
    /// How long a provider worked on it.
    #[serde(default)]
    pub ran_ms: u64,
    /// Whether it was carried over.
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
    /// What went wrong.
    pub error: Failure,
    /// Whether trying again can help.
    pub retryable: bool,
    /// A lower bound for the delay, named by the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// How long a provider worked on it.
    #[serde(default)]
    pub ran_ms: u64,
}

/// Why an attempt ended without an answer of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The hub declared the engine lost, or the engine gave it up for what a lost history said.
    EngineLost,
    /// The provider that worked on it was lost, or the engine was without a hub for too long.
    ProviderLost,
    /// No connected provider could be named.
    NoProvider,
    /// The engine did not take it in time.
    NotTaken,
    /// The engine is going away.
    Drain,
    /// The run was cancelled or its time was up.
    Cancelled,
}

impl StopReason {
    /// For people.
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
    /// Which engine held the lease.
    pub engine: ComponentId,
    /// The attempt had reported a result or failure, which came after the run was to end and was dropped.
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
    /// From the recording of this entry.
    pub delay_ms: u64,
}

/// See [`Event::TaskFailed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailed {
    /// The task.
    pub task_id: TaskId,
    /// The last attempt; 0 if there was none.
    pub attempt: Attempt,
    /// Why.
    pub error: Failure,
}

/// See [`Event::TaskSkipped`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSkipped {
    /// The task.
    pub task_id: TaskId,
    /// The failed task it depends on, directly or not.
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
    /// Why.
    pub error: Failure,
}

/// See [`Event::WorkflowCancelled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowCancelled {
    /// The reason of the first cancel.
    pub reason: String,
    /// The run was set aside, since its entries cannot be replayed: this is its end all the same, and the reason says
    /// what is wrong with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set_aside: bool,
}

impl WorkflowCancelled {
    /// What the run shows as its error.
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
    /// What is owned.
    pub slice: Slice,
    /// The new owner.
    pub component_id: ComponentId,
    /// One more than the slice's last.
    pub epoch: Epoch,
}

/// See [`Event::ProtocolRegistered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRegistered {
    /// Such as `math`.
    pub name: String,
    /// Such as `v1`.
    pub version: String,
    /// Methods by full name with their schemas: a JSON object, opaque here.
    pub methods: Payload,
}

/// See [`Event::ProtocolsUsed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolsUsed {
    /// Which, in order; the time of the entry counts as that of their last use.
    pub protocols: Vec<ProtocolName>,
}

/// See [`Event::ProtocolRemoved`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRemoved {
    /// Such as `math`.
    pub name: String,
    /// Such as `v1`.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_submission_is_written_as_it_would_be_and_a_copy_is_written_anew() {
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
