//! Events that the hub sends to components.

use gleitzeit_run::id::{AttemptRef, ComponentId, Epoch, Position, Slice, TermId};
use gleitzeit_run::ledger::Assignment;
use gleitzeit_run::secret::Secret;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::{MethodName, ProtocolName};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::tagged;
use serde::{Deserialize, Serialize};

use crate::id::ProposalId;
use crate::wire::{
    CancelMethod, EventsItem, ExecuteMethod, Health, MethodResult, MethodStarted, MethodWaiting, Part, PresenceStatus,
    ProtocolDefinition, Role,
};

tagged! {
    /// An event from the hub to a component.
    "mesh event" FromHub {
        /// The hub is ready for this socket.
        Welcome(Welcome) = "welcome",
        /// The component is registered.
        ComponentRegistered(ComponentRegistered) = "component_registered",
        /// It is not, and why.
        RegistrationRejected(RegistrationRejected) = "registration_rejected",
        /// Are you there?
        Heartbeat(Heartbeat) = "heartbeat",
        /// A slice was granted or taken away.
        Ownership(Ownership) = "ownership",
        /// A page of a granted slice's state.
        State(StatePage) = "state",
        /// Entries in order.
        Events(Events) = "events",
        /// What became of proposals.
        AppendResult(AppendResult) = "append_result",
        /// Protocol definitions.
        Protocols(Protocols) = "protocols",
        /// Attempts for an engine.
        ExecuteTask(ExecuteTask) = "execute_task",
        /// Attempts that an engine must stop.
        CancelTask(CancelTask) = "cancel_task",
        /// Calls for a provider.
        ExecuteMethod(ExecuteMethod) = "execute_method",
        /// The ends of an engine's calls.
        MethodResult(MethodResult) = "method_result",
        /// Calls of an engine that nobody works on so far.
        MethodWaiting(MethodWaiting) = "method_waiting",
        /// Calls that waited and are worked on now.
        MethodStarted(MethodStarted) = "method_started",
        /// The provider may stop a call.
        CancelMethod(CancelMethod) = "cancel_method",
        /// How an engine or provider is.
        ComponentStatus(ComponentStatus) = "component_status",
        /// Something was refused.
        MeshError(MeshError) = "mesh_error",
    }
}

/// See [`FromHub::Welcome`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Welcome {
    /// Of the hub's software.
    pub version: String,
    /// The journal's term; what is read in it is of this term.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<TermId>,
}

/// See [`FromHub::ComponentRegistered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentRegistered {
    /// The given id, or the one the hub made.
    pub component_id: ComponentId,
    /// The human label.
    pub name: String,
    /// How often `heartbeat` comes.
    pub heartbeat_interval_ms: u64,
    /// The secret that the component must bring from now on, if it brought none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// The journal's term: positions that are learnt from now on are of this term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<TermId>,
    /// Whether what the component has seen is not in this journal: it must forget all of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub starts_anew: bool,
}

impl ComponentRegistered {
    /// The answer of a hub that says nothing of terms and secrets.
    pub fn new(component_id: ComponentId, name: impl Into<String>, heartbeat_interval_ms: u64) -> Self {
        Self { component_id, name: name.into(), heartbeat_interval_ms, secret: None, term: None, starts_anew: false }
    }
}

/// See [`FromHub::RegistrationRejected`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationRejected {
    /// Why.
    pub error: Failure,
}

/// See [`FromHub::Heartbeat`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {}

/// Whether a slice was given or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnershipStatus {
    /// The component owns it now; its `state` follows unless the component had it already.
    Granted,
    /// The component does not own it any more.
    Revoked,
}

/// See [`FromHub::Ownership`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// Given or taken.
    pub status: OwnershipStatus,
    /// What.
    pub slice: Slice,
    /// The ownership's number, for proposals.
    pub epoch: Epoch,
    /// Entries up to here are in the slice's `state` and are not sent again.
    pub position: Position,
    /// Whether `state` pages follow; not if the component continues with what it had.
    #[serde(default)]
    pub state_follows: bool,
}

/// See [`FromHub::State`]. Each item is the JSON of a [`gleitzeit_run::ledger::SliceItem`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePage {
    /// Of which slice.
    pub slice: Slice,
    /// Under which ownership.
    pub epoch: Epoch,
    /// Whole items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Payload>,
    /// A piece of an item that is too large for a frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Whether this is the last page.
    pub last: bool,
}

/// See [`FromHub::Events`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// In the order of their positions.
    pub entries: Vec<EventsItem>,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProposalVerdict {
    /// Recorded.
    Ok,
    /// It stands already.
    Duplicate,
    /// The proposer is not current.
    Fenced,
    /// The engine has no free slot or is not connected.
    NoSlot,
    /// It can never be recorded; the error says why.
    Invalid,
}

/// The answer to one proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalResult {
    /// Which.
    pub proposal_id: ProposalId,
    /// What became of it.
    pub verdict: ProposalVerdict,
    /// Where its first entry stands, if it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Why it is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// See [`FromHub::AppendResult`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendResult {
    /// After the `events` they speak of.
    pub results: Vec<ProposalResult>,
}

/// See [`FromHub::Protocols`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocols {
    /// New ones; a name and version never changes its schemas, unless it was removed meanwhile.
    pub protocols: Vec<ProtocolDefinition>,
    /// Those that are not known any more, since nobody has used them for long; to be forgotten before new ones are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ProtocolName>,
}

/// See [`FromHub::ExecuteTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteTask {
    /// Repeated after a reconnect until taken.
    pub tasks: Vec<Assignment>,
}

/// See [`FromHub::CancelTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelTask {
    /// Which; the engine answers each with a `stop_attempt` proposal, also one it does not know.
    pub attempts: Vec<AttemptRef>,
}

/// See [`FromHub::ComponentStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Which.
    pub component_id: ComponentId,
    /// Engine or provider.
    pub role: Role,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// How the hub sees it.
    pub status: PresenceStatus,
    /// Provider: the methods it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<MethodName>,
    /// Engine: the queues it works for; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<gleitzeit_workflow::id::QueueName>>,
    /// Engine: slots; provider: calls at once.
    pub capacity: u32,
    /// Provider: whether it can do its work.
    #[serde(default)]
    pub health: Health,
}

/// See [`FromHub::MeshError`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshError {
    /// The stable integer.
    pub code: i32,
    /// Its name.
    pub name: String,
    /// What was refused and what to do.
    pub message: String,
    /// The `meta.id` of the event that was refused, or its name if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
}

impl MeshError {
    /// An error of the table.
    pub fn new(code: ErrorCode, message: impl Into<String>, in_reply_to: Option<String>) -> Self {
        Self { code: code.code(), name: code.name().to_owned(), message: message.into(), in_reply_to }
    }
}
