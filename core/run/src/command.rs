//! Commands: requests in the imperative. The journal accepts or refuses each of them; a refusal is not recorded.

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
    /// A command of a component, as it is sent in an `append` proposal.
    "command" Command {
        /// Resolver: the run has exceeded its timeout.
        CancelWorkflow(CancelWorkflow) = "cancel_workflow",
        /// Resolver: the task's dependencies are completed; here are its resolved parameters.
        ReadyTask(ReadyTask) = "ready_task",
        /// Resolver (attempt 0) or queue owner (an ended attempt): the task fails for good.
        FailTask(FailTask) = "fail_task",
        /// Queue owner: dispatch the next attempt to an engine.
        DispatchTask(DispatchTask) = "dispatch_task",
        /// Queue owner: requeue the task of a stopped attempt at once.
        RequeueTask(RequeueTask) = "requeue_task",
        /// Queue owner: requeue the task of a failed attempt after a delay.
        ScheduleRetry(ScheduleRetry) = "schedule_retry",
        /// Engine: a provider has been working on the attempt for a while.
        StartAttempt(StartAttempt) = "start_attempt",
        /// Engine: the attempt has a result.
        CompleteAttempt(CompleteAttempt) = "complete_attempt",
        /// Engine: the attempt failed by itself.
        FailAttempt(FailAttempt) = "fail_attempt",
        /// Engine or hub: the attempt ended without an answer from the work.
        StopAttempt(StopAttempt) = "stop_attempt",
    }
}

impl Command {
    /// The run that the command is about.
    pub fn run_id(&self) -> RunId {
        match self {
            Self::CancelWorkflow(command) => command.run_id,
            Self::ReadyTask(command) => command.run_id,
            Self::FailTask(command) => command.run_id,
            Self::DispatchTask(command) => command.run_id,
            Self::RequeueTask(command) => command.run_id,
            Self::ScheduleRetry(command) => command.run_id,
            Self::StartAttempt(command) => command.at.run_id,
            Self::CompleteAttempt(command) => command.at.run_id,
            Self::FailAttempt(command) => command.at.run_id,
            Self::StopAttempt(command) => command.at.run_id,
        }
    }

    /// The attempt that it ends, if it does.
    pub fn ended_attempt(&self) -> Option<&AttemptRef> {
        match self {
            Self::CompleteAttempt(command) => Some(&command.at),
            Self::FailAttempt(command) => Some(&command.at),
            Self::StopAttempt(command) => Some(&command.at),
            Self::CancelWorkflow(_)
            | Self::ReadyTask(_)
            | Self::FailTask(_)
            | Self::DispatchTask(_)
            | Self::RequeueTask(_)
            | Self::ScheduleRetry(_)
            | Self::StartAttempt(_) => None,
        }
    }

    /// The parameters or the result that it carries, with the name of the field.
    pub fn carried(&self) -> Option<(&'static str, &Payload)> {
        match self {
            Self::ReadyTask(command) => Some(("`parameters`", &command.parameters)),
            Self::CompleteAttempt(command) => Some(("`result`", &command.result)),
            Self::CancelWorkflow(_)
            | Self::FailTask(_)
            | Self::DispatchTask(_)
            | Self::RequeueTask(_)
            | Self::ScheduleRetry(_)
            | Self::StartAttempt(_)
            | Self::FailAttempt(_)
            | Self::StopAttempt(_) => None,
        }
    }
}

/// See [`Command::CancelWorkflow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelWorkflow {
    /// The run to end.
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
    /// The task that becomes ready.
    pub task_id: TaskId,
    /// The queue it is to wait in.
    pub queue: QueueName,
    /// Tasks with a higher priority go first.
    pub priority: Priority,
    /// The parameters with all references resolved: a JSON object.
    pub parameters: Payload,
}

/// See [`Command::FailTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailTask {
    /// The run.
    pub run_id: RunId,
    /// The task that fails.
    pub task_id: TaskId,
    /// The ended attempt; 0 if there was none.
    pub attempt: Attempt,
    /// Why the task fails.
    pub error: Failure,
}

/// See [`Command::DispatchTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchTask {
    /// The run.
    pub run_id: RunId,
    /// The task to dispatch.
    pub task_id: TaskId,
    /// The number of the new attempt: the last one's plus one.
    pub attempt: Attempt,
    /// The engine that gets the lease.
    pub engine: ComponentId,
}

/// See [`Command::RequeueTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequeueTask {
    /// The run.
    pub run_id: RunId,
    /// The task to requeue.
    pub task_id: TaskId,
    /// The attempt that was stopped.
    pub attempt: Attempt,
}

/// See [`Command::ScheduleRetry`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRetry {
    /// The run.
    pub run_id: RunId,
    /// The task to retry.
    pub task_id: TaskId,
    /// The attempt that failed.
    pub attempt: Attempt,
    /// The delay in milliseconds, counted from when the entry is recorded.
    pub delay_ms: u64,
}

/// See [`Command::StartAttempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartAttempt {
    /// The attempt that started.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// How long a provider has worked on it, in milliseconds.
    pub ran_ms: u64,
}

/// See [`Command::CompleteAttempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteAttempt {
    /// The attempt that completed.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// The result: any JSON value.
    pub result: Payload,
    /// How long a provider worked on it, in milliseconds.
    pub ran_ms: u64,
}

/// See [`Command::FailAttempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailAttempt {
    /// The attempt that failed.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// The error.
    pub error: Failure,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// A lower bound for the delay in milliseconds, set by the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// How long a provider worked on it, in milliseconds.
    pub ran_ms: u64,
}

/// See [`Command::StopAttempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopAttempt {
    /// The attempt that stopped.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// Why it ended.
    pub reason: StopReason,
}

/// A slice, and the epoch under which its owner makes a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The slice that the proposer owns.
    pub slice: Slice,
    /// The epoch of the ownership.
    pub epoch: Epoch,
}

/// Everything that the journal can be asked to record, and who asks. A component's identity comes from its session,
/// never from the body of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The API: start a run of a checked workflow.
    Submit {
        /// The new run's id.
        run_id: RunId,
        /// The first event of the run: workflow, inputs and everything else it was submitted with.
        submitted: Arc<WorkflowSubmitted>,
        /// The run that the store already has for this request id, with the hash of that request's body.
        known: Option<(RunId, String)>,
    },
    /// The API: repeat a finished run as a new one.
    Retry {
        /// The state of the finished run.
        old: Arc<crate::State>,
        /// The new run's id.
        run_id: RunId,
        /// Whether every task runs again; if not, completed tasks keep their results.
        all: bool,
        /// The new run's correlation id: 32 hex digits.
        correlation_id: String,
        /// The caller's W3C trace context.
        traceparent: Option<String>,
        /// The caller's request id.
        request: Option<RequestKey>,
        /// The run that the store already has for this request id, with the hash of that request's body.
        known: Option<(RunId, String)>,
    },
    /// The API: end a run.
    Cancel {
        /// The run, and why it is to end.
        cancel: CancelWorkflow,
    },
    /// The API: end a run that was set aside, whatever its entries say.
    CancelSetAside {
        /// The run that was set aside.
        run_id: RunId,
        /// Free text, shown to the user.
        reason: String,
    },
    /// A component's proposal.
    Component {
        /// The proposing component, from its session.
        component_id: ComponentId,
        /// For owners: the ownership under which they propose.
        fence: Option<Fence>,
        /// The proposed command.
        command: Command,
    },
    /// The hub: stop an attempt whose engine is lost or did not take it.
    HubStop {
        /// The attempt, and why it is stopped.
        stop: StopAttempt,
    },
    /// The hub: make a component the owner of a slice.
    Grant {
        /// The slice.
        slice: Slice,
        /// The new owner.
        component_id: ComponentId,
    },
    /// The hub: register a protocol.
    RegisterProtocol {
        /// The protocol.
        protocol: ProtocolRegistered,
    },
    /// A starting control plane: register a protocol that is built into the program. It replaces one with the same name
    /// and version that another release recorded in the journal.
    ShipProtocol {
        /// The protocol.
        protocol: ProtocolRegistered,
    },
    /// Retention: remove protocols that are not served, not needed by an unfinished run and not used for long, and
    /// record the use of others.
    PruneProtocols {
        /// How long a protocol must have been unused to be removed, in milliseconds.
        unused_ms: u64,
        /// When providers served which protocols.
        served: Vec<ProtocolUse>,
    },
}

/// When a protocol was last served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolUse {
    /// The protocol.
    pub protocol: ProtocolName,
    /// How many milliseconds ago it was last served; 0 if a provider serves it now.
    pub ago_ms: u64,
}

/// The journal's answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Recorded; `position` is that of the first entry it caused.
    Ok {
        /// The position of the first entry that was recorded.
        position: Position,
    },
    /// The same was recorded before; nothing new was recorded.
    Duplicate {
        /// For submissions: the id of the run that the first request created.
        run_id: Option<RunId>,
    },
    /// The proposer is not current: its epoch, attempt or lease is stale, or the run is ending.
    Fenced,
    /// The engine has no free slot or is not connected.
    NoSlot,
    /// It can never be recorded; the failure says why.
    Invalid(Failure),
}
