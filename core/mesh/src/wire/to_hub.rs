//! Events that components send to the hub.

use gleitzeit_run::command::{Command, Fence};
use gleitzeit_run::id::{AttemptRef, ComponentId, Epoch, Position, Slice, TermId};
use gleitzeit_run::secret::Secret;
use gleitzeit_run::term::Seen;
use gleitzeit_workflow::id::{MethodName, QueueName};
use gleitzeit_workflow::tagged;
use serde::{Deserialize, Serialize};

use crate::id::{CallId, ProposalId};
use crate::wire::{
    CancelMethod, ExecuteMethod, Health, MethodProgress, MethodResult, MethodStarted, MethodWaiting,
    ProtocolDefinition, Role,
};

tagged! {
    /// An event from a component to the hub.
    "mesh event" ToHub {
        /// Registers the component; a repeated registration replaces the previous one.
        RegisterComponent(Box<RegisterComponent>) = "register_component",
        /// The answer to `heartbeat`.
        HeartbeatResponse(HeartbeatResponse) = "heartbeat_response",
        /// Entries up to a position have been processed.
        EventsAck(EventsAck) = "events_ack",
        /// Proposals to the journal.
        Append(Append) = "append",
        /// Attempts that the engine has taken.
        TaskTaken(TaskTaken) = "task_taken",
        /// Calls of an engine.
        ExecuteMethod(ExecuteMethod) = "execute_method",
        /// Calls that the provider has received and cannot begin yet.
        MethodWaiting(MethodWaiting) = "method_waiting",
        /// Calls that waited at the provider and have begun.
        MethodStarted(MethodStarted) = "method_started",
        /// Output of a call while it runs.
        MethodProgress(MethodProgress) = "method_progress",
        /// The ends of calls.
        MethodResult(MethodResult) = "method_result",
        /// The engine no longer wants a call's answer.
        CancelMethod(CancelMethod) = "cancel_method",
        /// Starts reading the whole journal; needs no registration.
        Watch(Watch) = "watch",
    }
}

/// See [`ToHub::RegisterComponent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterComponent {
    /// The component's role.
    pub component_type: Role,
    /// The component's id, kept over reconnects; the hub makes one if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_id: Option<ComponentId>,
    /// The secret that binds the id to the component. It must be the same at each registration of the id. The hub makes
    /// one if it is absent the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// What it has seen of the journal; absent before its first registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// The version of its software.
    #[serde(default)]
    pub version: String,
    /// Free-form labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Queue, resolver: the slices it owned and the position it reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owned: Vec<Owned>,
    /// Engine: the queues it works for; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<QueueName>>,
    /// Engine: the number of its slots; 0 while it drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Engine: the attempts it works on or has not reported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRef>,
    /// Provider: methods it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<MethodName>,
    /// Provider: protocols it serves, with their schemas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<ProtocolDefinition>,
    /// Provider: how many calls it runs at the same time (default 1); 0 while it drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// Provider: whether it accepts several calls in one event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
    /// Engine, provider: its open calls. If a provider leaves this out, it is assumed to hold the calls it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<Vec<CallId>>,
    /// Provider: whether it can do its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Provider: the address of the service it calls, without credentials, or `*` if its tasks choose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A slice that an owner still holds when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// The slice.
    pub slice: Slice,
    /// The epoch of the ownership.
    pub epoch: Epoch,
    /// The last position that the owner has processed.
    pub position: Position,
}

/// See [`ToHub::HeartbeatResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeartbeatResponse {
    /// The component's own description of its status; free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The number of open attempts, calls or owned slices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<u32>,
    /// Provider: whether it can do its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// See [`ToHub::EventsAck`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsAck {
    /// The last position that was processed.
    pub position: Position,
}

/// See [`ToHub::Append`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Append {
    /// The proposals, in the order in which they are to be decided.
    pub proposals: Vec<ProposalItem>,
    /// The last position that was processed, as in `events_ack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// One proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProposalItem {
    /// Chosen by the proposer; unique among its unanswered proposals.
    pub proposal_id: ProposalId,
    /// For owners: the ownership under which they propose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The proposed command.
    pub command: Command,
}

/// See [`ToHub::TaskTaken`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTaken {
    /// The attempts that were taken.
    pub attempts: Vec<AttemptRef>,
}

/// See [`ToHub::Watch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The first position wanted; 0 for the oldest that exists. A position that was removed with its run is an error.
    pub from_position: Position,
    /// The term in which earlier entries were read, as `welcome` named it; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<TermId>,
}
