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
        /// The registration was refused, and why.
        RegistrationRejected(RegistrationRejected) = "registration_rejected",
        /// Asks the component whether it is still there.
        Heartbeat(Heartbeat) = "heartbeat",
        /// A slice was granted or taken away.
        Ownership(Ownership) = "ownership",
        /// A page of a granted slice's state.
        State(StatePage) = "state",
        /// Entries in order.
        Events(Events) = "events",
        /// The verdicts on proposals.
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
        /// Calls of an engine that no provider works on so far.
        MethodWaiting(MethodWaiting) = "method_waiting",
        /// Calls that waited and that a provider works on now.
        MethodStarted(MethodStarted) = "method_started",
        /// A call that the provider may stop.
        CancelMethod(CancelMethod) = "cancel_method",
        /// The status of an engine or provider.
        ComponentStatus(ComponentStatus) = "component_status",
        /// Something was refused.
        MeshError(MeshError) = "mesh_error",
    }
}

/// See [`FromHub::Welcome`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Welcome {
    /// The version of the hub's software.
    pub version: String,
    /// The journal's current term; entries that are read now belong to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<TermId>,
}

/// See [`FromHub::ComponentRegistered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentRegistered {
    /// The id that the component asked for, or the one that the hub made.
    pub component_id: ComponentId,
    /// The component's name, for people.
    pub name: String,
    /// The interval of `heartbeat`, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// The secret that the component must present from now on, if it brought none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// The journal's current term; positions that are learnt from now on belong to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<TermId>,
    /// Whether what the component has seen is not in this journal, so that it must forget all of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub starts_anew: bool,
}

impl ComponentRegistered {
    /// The answer of a hub that sends neither terms nor secrets.
    pub fn new(component_id: ComponentId, name: impl Into<String>, heartbeat_interval_ms: u64) -> Self {
        Self { component_id, name: name.into(), heartbeat_interval_ms, secret: None, term: None, starts_anew: false }
    }
}

/// See [`FromHub::RegistrationRejected`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationRejected {
    /// Why the registration was refused.
    pub error: Failure,
}

/// See [`FromHub::Heartbeat`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {}

/// Whether a slice was granted or revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnershipStatus {
    /// The component owns it now; its `state` follows unless the component had it already.
    Granted,
    /// The component no longer owns it.
    Revoked,
}

/// See [`FromHub::Ownership`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// Whether it was granted or revoked.
    pub status: OwnershipStatus,
    /// The slice.
    pub slice: Slice,
    /// The epoch of the ownership, which proposals must carry.
    pub epoch: Epoch,
    /// Entries up to this position are in the slice's `state` and are not sent again.
    pub position: Position,
    /// Whether `state` pages follow; false if the component continues with the state it had.
    #[serde(default)]
    pub state_follows: bool,
}

/// See [`FromHub::State`]. Each item is the JSON of a [`gleitzeit_run::ledger::SliceItem`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePage {
    /// The slice.
    pub slice: Slice,
    /// The epoch of the ownership.
    pub epoch: Epoch,
    /// Complete items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Payload>,
    /// A part of an item that is too large for a frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Whether this is the last page.
    pub last: bool,
}

/// See [`FromHub::Events`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// The entries, in the order of their positions.
    pub entries: Vec<EventsItem>,
}

/// The verdict on a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProposalVerdict {
    /// It was recorded.
    Ok,
    /// The same was recorded before.
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
    /// The proposal's id.
    pub proposal_id: ProposalId,
    /// The verdict.
    pub verdict: ProposalVerdict,
    /// The position of its first entry, if it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Why it is invalid; otherwise absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// See [`FromHub::AppendResult`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendResult {
    /// The results; each is sent after the `events` that it is about.
    pub results: Vec<ProposalResult>,
}

/// See [`FromHub::Protocols`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocols {
    /// New protocols. The schemas of a name and version never change unless it was removed in the meantime.
    pub protocols: Vec<ProtocolDefinition>,
    /// Protocols that were removed because they were unused for long. Receivers must forget them before they take the
    /// new ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ProtocolName>,
}

/// See [`FromHub::ExecuteTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteTask {
    /// The attempts; sent again after a reconnect until they are taken.
    pub tasks: Vec<Assignment>,
}

/// See [`FromHub::CancelTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelTask {
    /// The attempts. The engine answers each with a `stop_attempt` proposal, even one that it does not know.
    pub attempts: Vec<AttemptRef>,
}

/// See [`FromHub::ComponentStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// The component's id.
    pub component_id: ComponentId,
    /// Engine or provider.
    pub role: Role,
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its status, as the hub sees it.
    pub status: PresenceStatus,
    /// Provider: the methods it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<MethodName>,
    /// Engine: the queues it works for; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<gleitzeit_workflow::id::QueueName>>,
    /// Engine: slots; provider: concurrent calls.
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
    /// What was refused, and what to do.
    pub message: String,
    /// The `meta.id` of the event that was refused, or its name if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
}

impl MeshError {
    /// An error with a code of the table.
    pub fn new(code: ErrorCode, message: impl Into<String>, in_reply_to: Option<String>) -> Self {
        Self { code: code.code(), name: code.name().to_owned(), message: message.into(), in_reply_to }
    }
}
