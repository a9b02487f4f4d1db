//! A control plane and its components, as a client sees them.

use std::time::Duration;

use gleitzeit_mesh::wire::{HealthState, PresenceStatus, Role};
use gleitzeit_workflow::spec::{Note, Problem};
use gleitzeit_workflow::{Payload, Timestamp};

/// What was removed, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The number of finished runs.
    pub runs: u64,
    /// The number of journal entries.
    pub entries: u64,
    /// The number of protocols that nobody served, needed, or had used for as long.
    pub protocols: u64,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// The token of the next page; `None` on the last page.
    pub next_page_token: Option<String>,
}

/// The result of checking a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// The problems in the order of the text; empty if the workflow is valid.
    pub problems: Vec<Problem>,
    /// How many problems there are, including those that are not listed.
    pub problem_count: u32,
    /// Notes on parts that are allowed but probably not meant, in the order of the text; an invalid workflow has them
    /// too.
    pub notes: Vec<Note>,
}

/// The status of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The version of its software.
    pub version: String,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// Whether its store is open and it serves gRPC and the mesh.
    pub ready: bool,
    /// The position of the latest entry in its journal.
    pub journal_position: u64,
    /// The number of runs by status.
    pub runs: RunCounts,
    /// The number of connected components by role.
    pub components: ComponentCounts,
}

/// How many runs there are in each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Runs that are not final yet.
    pub running: u64,
    /// Runs that completed.
    pub completed: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
}

/// How many components of each role are connected; silent ones are not counted.
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

/// A component: one connected instance of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The id, new at each start of the process and kept across reconnects.
    pub component_id: String,
    /// Its role.
    pub role: Role,
    /// A label for people.
    pub name: String,
    /// The version of its software, as it reports it.
    pub version: String,
    /// Its connection status at the control plane.
    pub status: PresenceStatus,
    /// When its current or last connection was made.
    pub connected_since: Option<Timestamp>,
    /// Engine: how many attempts it takes at once. Provider: how many calls.
    pub capacity: u32,
    /// Engine: the number of its open attempts. Provider: the number of its open calls.
    pub in_use: u32,
    /// Engine: the queues that it works for; empty means all.
    pub queues: Vec<String>,
    /// Provider: the methods that it serves.
    pub methods: Vec<String>,
    /// Resolver: the shards that it owns.
    pub owned_shards: Vec<u32>,
    /// Queue role: the queues that it owns.
    pub owned_queues: Vec<String>,
    /// The capabilities that it reports, as free text.
    pub capabilities: Vec<String>,
}

/// A provider: a component that serves methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// A label for people; tasks can name it.
    pub name: String,
    /// The id of its component.
    pub component_id: String,
    /// Its connection status at the control plane.
    pub status: PresenceStatus,
    /// The protocols of its methods, such as `llm/v1`.
    pub protocols: Vec<String>,
    /// The full names of the methods that it serves.
    pub methods: Vec<String>,
    /// Its health, as it reports it.
    pub health: HealthState,
    /// Why it is not healthy.
    pub health_reason: Option<String>,
    /// The number of its open calls.
    pub in_flight: u32,
    /// How many calls it takes at once; 0 while it drains.
    pub capacity: u32,
    /// Capabilities beyond its methods, such as `sandbox:strict`.
    pub capabilities: Vec<String>,
    /// The address of the service that it calls, or `*` if its tasks give the address.
    pub address: Option<String>,
}

/// A named and versioned set of methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The name, such as `llm`.
    pub name: String,
    /// The version, such as `v1`.
    pub version: String,
    /// The methods, in the protocol's order.
    pub methods: Vec<Method>,
}

/// One method of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// The full name, such as `llm/chat`.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// JSON Schema of the parameters; `None` means any object.
    pub parameters: Option<Payload>,
    /// JSON Schema of the result; `None` means any value.
    pub returns: Option<Payload>,
    /// The timeout of an attempt whose task sets none.
    pub timeout: Option<Duration>,
}
