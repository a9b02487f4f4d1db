//! A control plane and what is connected to it, as a client sees them.

use std::time::Duration;

use gleitzeit_mesh::wire::{HealthState, PresenceStatus, Role};
use gleitzeit_workflow::spec::{Note, Problem};
use gleitzeit_workflow::{Payload, Timestamp};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Finished runs.
    pub runs: u64,
    /// Entries of the journal.
    pub entries: u64,
    /// Protocols that nobody serves, needs or has used for as long.
    pub protocols: u64,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; none: this is the last.
    pub next_page_token: Option<String>,
}

/// What the control plane found wrong with a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// In the order of the text; empty: the workflow is valid.
    pub problems: Vec<Problem>,
    /// How many there are, listed or not.
    pub problem_count: u32,
    /// What is allowed and probably not meant, in the order of the text; also of a workflow with problems.
    pub notes: Vec<Note>,
}

/// How a control plane is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Of its software.
    pub version: String,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// Whether its store is open and it serves gRPC and the mesh.
    pub ready: bool,
    /// Place of the latest entry in its journal.
    pub journal_position: u64,
    /// Runs by status.
    pub runs: RunCounts,
    /// Connected components by role.
    pub components: ComponentCounts,
}

/// How many runs there are in each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Not final yet.
    pub running: u64,
    /// Final.
    pub completed: u64,
    /// Final.
    pub failed: u64,
    /// Final.
    pub cancelled: u64,
}

/// How many components of each role are connected; silent ones do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComponentCounts {
    /// Queue roles.
    pub queue: u32,
    /// Resolvers.
    pub resolver: u32,
    /// Engines.
    pub engine: u32,
    /// Providers.
    pub provider: u32,
}

/// One connected role instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// New at each start of the process, kept over reconnects.
    pub component_id: String,
    /// What it does.
    pub role: Role,
    /// The label for people.
    pub name: String,
    /// Of its software, as it says.
    pub version: String,
    /// How the control plane sees it.
    pub status: PresenceStatus,
    /// When its present or last connection was made.
    pub connected_since: Option<Timestamp>,
    /// Engine: how many attempts it takes at once. Provider: how many calls.
    pub capacity: u32,
    /// Engine: its open attempts. Provider: its open calls.
    pub in_use: u32,
    /// Engine: the queues it works for; empty: all.
    pub queues: Vec<String>,
    /// Provider: the methods it serves.
    pub methods: Vec<String>,
    /// Resolver: the shards of runs it owns.
    pub owned_shards: Vec<u32>,
    /// Queue role: the queues it owns.
    pub owned_queues: Vec<String>,
    /// What it says that it can do, in words of its own.
    pub capabilities: Vec<String>,
}

/// Something that serves methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The label for people.
    pub name: String,
    /// The component that it is.
    pub component_id: String,
    /// How the control plane sees it.
    pub status: PresenceStatus,
    /// Protocols of its methods, such as `llm/v1`.
    pub protocols: Vec<String>,
    /// The methods it serves, by full name.
    pub methods: Vec<String>,
    /// Whether it can do its work.
    pub health: HealthState,
    /// Why not.
    pub health_reason: Option<String>,
    /// Its open calls.
    pub in_flight: u32,
    /// How many calls it takes at once; 0 while it drains.
    pub capacity: u32,
    /// What it says that it can do beyond its methods, such as `sandbox:strict`.
    pub capabilities: Vec<String>,
    /// Where the service is that it calls: an address, or `*` if its tasks say where.
    pub address: Option<String>,
}

/// A named and versioned set of methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Such as `llm`.
    pub name: String,
    /// Such as `v1`.
    pub version: String,
    /// In the protocol's order.
    pub methods: Vec<Method>,
}

/// One method of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// The full name, such as `llm/chat`.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// JSON Schema of the parameters; none: any object.
    pub parameters: Option<Payload>,
    /// JSON Schema of the result; none: any value.
    pub returns: Option<Payload>,
    /// Limit for an attempt whose task names none.
    pub timeout: Option<Duration>,
}
