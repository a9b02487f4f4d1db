//! What somebody wishes: commands, imperative. The journal accepts or refuses each; nothing is recorded of a refusal.

use std::sync::Arc;

use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::id::{ProtocolName, QueueName, TaskId};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::Priority;
use gleitzeit_workflow::tagged;
use serde::{Deserialize, Serialize};

use crate::event::{CancelCause, ProtocolRegistered, RequestKey, StopReason, WorkflowSubmitted};
use crate::id::{Attempt, AttemptRef, ComponentId, Epoch, Position, RunId, Slice};

tagged! {
    /// A wish of a component, as it stands in an `append` proposal.
    "command" Command {
        /// Resolver: the run's time is up.
        CancelWorkflow(CancelWorkflow) = "cancel_workflow",
        /// Resolver: dependencies are done, here are the parameters.
        ReadyTask(ReadyTask) = "ready_task",
        /// Resolver (attempt 0) or queue owner (the ended attempt): the task fails for good.
        FailTask(FailTask) = "fail_task",
        /// Queue owner: give the next attempt to an engine.
        DispatchTask(DispatchTask) = "dispatch_task",
        /// Queue owner: a stopped attempt's task goes back at once.
        RequeueTask(RequeueTask) = "requeue_task",
        /// Queue owner: a failed attempt's task goes back after a delay.
        ScheduleRetry(ScheduleRetry) = "schedule_retry",
        /// Engine: the attempt has been running for a while.
        StartAttempt(StartAttempt) = "start_attempt",
        /// Engine: the attempt has a result.
        CompleteAttempt(CompleteAttempt) = "complete_attempt",
        /// Engine: the attempt failed of itself.
        FailAttempt(FailAttempt) = "fail_attempt",
        /// Engine or hub: the attempt ended without an answer of the work.
        StopAttempt(StopAttempt) = "stop_attempt",
    }
}

/// See [`Command::CancelWorkflow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelWorkflow {
    /// The run.
    pub run_id: RunId,
    /// `requested` from the API, `timeout` from the shard's resolver.
    pub cause: CancelCause,
    /// Free text, shown to the user.
    pub reason: String,
}

/// See [`Command::ReadyTask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadyTask {
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The line it shall wait in.
    pub queue: QueueName,
    /// Higher goes first.
    pub priority: Priority,
    /// The parameters with all references resolved: a JSON object.
    pub parameters: Payload,
}

/// See [`Command::FailTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailTask {
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The ended attempt, or 0 before any.
    pub attempt: Attempt,
    /// Why.
    pub error: Failure,
}

/// See [`Command::DispatchTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchTask {
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The last attempt's number plus one.
    pub attempt: Attempt,
    /// Who shall have it.
    pub engine: ComponentId,
}

/// See [`Command::RequeueTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequeueTask {
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The attempt that was stopped.
    pub attempt: Attempt,
}

/// See [`Command::ScheduleRetry`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRetry {
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The attempt that failed.
    pub attempt: Attempt,
    /// From the recording of the entry.
    pub delay_ms: u64,
}

/// See [`Command::StartAttempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartAttempt {
    /// Which.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// How long it has been running.
    pub ran_ms: u64,
}

/// See [`Command::CompleteAttempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteAttempt {
    /// Which.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// Any JSON value.
    pub result: Payload,
    /// How long it ran.
    pub ran_ms: u64,
}

/// See [`Command::FailAttempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailAttempt {
    /// Which.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// What went wrong.
    pub error: Failure,
    /// Whether trying again can help.
    pub retryable: bool,
    /// A lower bound for the delay, named by the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// How long it ran.
    pub ran_ms: u64,
}

/// See [`Command::StopAttempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopAttempt {
    /// Which.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// Why.
    pub reason: StopReason,
}

/// A slice and the number of the ownership under which a proposal is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// What the proposer owns.
    pub slice: Slice,
    /// Since when.
    pub epoch: Epoch,
}

/// Everything the journal can be asked to record, with who asks. The identity of a component comes from its session,
/// never from a message's body.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The API: a checked workflow becomes a run.
    Submit {
        /// The new run's id.
        run_id: RunId,
        /// Everything about it.
        submitted: Arc<WorkflowSubmitted>,
        /// The run that the store already knows under this request id, with the hash of that request's body.
        known: Option<(RunId, String)>,
    },
    /// The API: a finished run is repeated as a new one.
    Retry {
        /// The finished run, folded.
        old: Arc<crate::State>,
        /// The new run's id.
        run_id: RunId,
        /// Whether all of it is done again; else completed tasks keep their results.
        all: bool,
        /// Of the new run.
        correlation_id: String,
        /// The caller's W3C trace context.
        traceparent: Option<String>,
        /// The caller's request id.
        request: Option<RequestKey>,
        /// The run that the store already knows under this request id, with the hash of that request's body.
        known: Option<(RunId, String)>,
    },
    /// The API: a run shall end.
    Cancel {
        /// Which, and why.
        cancel: CancelWorkflow,
    },
    /// The API: a run that was set aside shall end, whatever its entries say.
    CancelAside {
        /// Which.
        run_id: RunId,
        /// Why.
        reason: String,
    },
    /// A component's proposal.
    Component {
        /// Who asks, from its session.
        component_id: ComponentId,
        /// For owners: under which ownership.
        fence: Option<Fence>,
        /// What.
        command: Command,
    },
    /// The hub ends an attempt whose engine is lost or did not take it.
    HubStop {
        /// Which, and why.
        stop: StopAttempt,
    },
    /// The hub makes a component the owner of a slice.
    Grant {
        /// What.
        slice: Slice,
        /// To whom.
        component_id: ComponentId,
    },
    /// The hub makes a protocol known.
    RegisterProtocol {
        /// The protocol.
        protocol: ProtocolRegistered,
    },
    /// A control plane that starts makes a protocol known that comes with the program. It takes the place of the one of the
    /// same name and version that another release has left in the journal.
    ShipProtocol {
        /// The protocol.
        protocol: ProtocolRegistered,
    },
    /// Retention: protocols that nobody serves, no unfinished run needs and nobody has used for long are removed, and it is
    /// noted of others that they are in use.
    PruneProtocols {
        /// For how many milliseconds a protocol must not have been used.
        unused_ms: u64,
        /// When providers served which.
        served: Vec<ProtocolUse>,
    },
}

/// When a protocol was last served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolUse {
    /// Which.
    pub protocol: ProtocolName,
    /// How many milliseconds ago; 0: a provider that serves it is there.
    pub ago_ms: u64,
}

/// The journal's answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Recorded; `position` is that of the first entry it caused.
    Ok {
        /// Where it stands.
        position: Position,
    },
    /// It stands already; nothing was recorded.
    Duplicate {
        /// For submissions: the first run's id.
        run_id: Option<RunId>,
    },
    /// The proposer is not current: a stale epoch, attempt or lease, or the run is ending.
    Fenced,
    /// The engine has no free slot or is not connected.
    NoSlot,
    /// It can never be recorded; the reason.
    Invalid(Failure),
}
