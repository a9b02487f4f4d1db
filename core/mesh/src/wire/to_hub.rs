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
        /// What the component is; may be repeated and then replaces what was said.
        RegisterComponent(Box<RegisterComponent>) = "register_component",
        /// The answer to `heartbeat`.
        HeartbeatResponse(HeartbeatResponse) = "heartbeat_response",
        /// Everything up to a position has been taken in.
        EventsAck(EventsAck) = "events_ack",
        /// Proposals to the journal.
        Append(Append) = "append",
        /// Attempts that the engine has taken.
        TaskTaken(TaskTaken) = "task_taken",
        /// Calls of an engine.
        ExecuteMethod(ExecuteMethod) = "execute_method",
        /// Calls that the provider has and cannot begin yet.
        MethodWaiting(MethodWaiting) = "method_waiting",
        /// Calls that waited at the provider and have begun.
        MethodStarted(MethodStarted) = "method_started",
        /// Output of a call while it runs.
        MethodProgress(MethodProgress) = "method_progress",
        /// The ends of calls.
        MethodResult(MethodResult) = "method_result",
        /// The engine no longer wants a call's answer.
        CancelMethod(CancelMethod) = "cancel_method",
        /// A reader of the whole journal; needs no registration.
        Watch(Watch) = "watch",
    }
}

/// See [`ToHub::RegisterComponent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterComponent {
    /// What it does.
    pub component_type: Role,
    /// Kept over reconnects; the hub makes one if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_id: Option<ComponentId>,
    /// What binds the id to the component: to be the same at each registration of the id. The hub makes one if it is left
    /// out the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// What it has seen of the journal; absent before its first registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Of the component's software.
    #[serde(default)]
    pub version: String,
    /// Free labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Queue, resolver: what it owned and how far it got.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owned: Vec<Owned>,
    /// Engine: the queues it works for; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<QueueName>>,
    /// Engine: its capacity; 0 while draining.
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
    /// Provider: how many calls it takes at once (default 1); 0 while draining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// Provider: several calls may come in one event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
    /// Engine, provider: its open calls; a provider that leaves it out is taken to hold what it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<Vec<CallId>>,
    /// Provider: whether it can do its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Provider: where the service is that it calls, without credentials: an address, or `*` if its tasks say where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// What an owner still holds when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// What.
    pub slice: Slice,
    /// Since when.
    pub epoch: Epoch,
    /// The last position it has taken in.
    pub position: Position,
}

/// See [`ToHub::HeartbeatResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeartbeatResponse {
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Open attempts, calls or owned slices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<u32>,
    /// Provider: whether it can do its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// See [`ToHub::EventsAck`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsAck {
    /// The last position taken in.
    pub position: Position,
}

/// See [`ToHub::Append`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Append {
    /// In the order in which they shall be decided.
    pub proposals: Vec<ProposalItem>,
    /// As in `events_ack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// One proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProposalItem {
    /// Chosen by the proposer; unique among its unanswered ones.
    pub proposal_id: ProposalId,
    /// Owners: under which ownership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// What.
    pub command: Command,
}

/// See [`ToHub::TaskTaken`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTaken {
    /// Which.
    pub attempts: Vec<AttemptRef>,
}

/// See [`ToHub::Watch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The first position wanted; 0: the oldest that is there. One that was removed with its run is an error.
    pub from_position: Position,
    /// The term in which what comes before was read, as `welcome` named it; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<TermId>,
}
