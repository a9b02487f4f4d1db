//! The events of the mesh: their names and JSON bodies.
//!
//! Each event is `(name, one JSON object)`. The shells add and read the object's `meta` ([`with_meta`]). Unknown fields
//! are ignored, so that a newer peer can send more.

mod answer;
mod call;
mod from_hub;
mod local;
mod meta;
mod shared;
mod to_hub;

pub use answer::salvage;
pub use call::{
    CallEnd, CallMeta, CancelMethod, ExecuteMethod, MethodCall, MethodOutcome, MethodProgress, MethodResult,
    MethodStarted, MethodWaiting,
};
pub use from_hub::{
    AppendResult, CancelTask, ComponentRegistered, ComponentStatus, Events, ExecuteTask, FromHub, Heartbeat, MeshError,
    Ownership, OwnershipStatus, ProposalResult, ProposalVerdict, Protocols, RegistrationRejected, StatePage, Welcome,
};
pub use local::{LocalHub, LocalSocket};
pub use meta::{Meta, message_id, with_meta};
pub use shared::{EventsItem, Health, HealthState, Part, PresenceStatus, ProtocolDefinition, Role, RoleParseError};
pub use to_hub::{
    Append, EventsAck, HeartbeatResponse, Owned, ProposalItem, RegisterComponent, TaskTaken, ToHub, Watch,
};
