//! A control plane, its components and its providers.

use gleitzeit_sdk::{
    Component, ComponentCounts, HealthState, PresenceStatus, Provider, Role, RunCounts, Status, Timestamp,
};
use serde::Serialize;

/// The status of a control plane.
#[derive(Serialize)]
pub(crate) struct StatusDocument<'a> {
    hub_url: &'a str,
    version: &'a str,
    started_at: Option<Timestamp>,
    ready: bool,
    journal_position: u64,
    runs: Runs,
    components: Components,
}

#[derive(Serialize)]
struct Runs {
    running: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
}

#[derive(Serialize)]
struct Components {
    queue: u32,
    resolver: u32,
    engine: u32,
    provider: u32,
}

impl<'a> StatusDocument<'a> {
    pub(crate) fn new(hub_url: &'a str, status: &'a Status) -> Self {
        let RunCounts { running, completed, failed, cancelled } = status.runs;
        let ComponentCounts { queue, resolver, engine, provider } = status.components;
        Self {
            hub_url,
            version: &status.version,
            started_at: status.started_at,
            ready: status.ready,
            journal_position: status.journal_position,
            runs: Runs { running, completed, failed, cancelled },
            components: Components { queue, resolver, engine, provider },
        }
    }
}

/// A component in a list.
#[derive(Serialize)]
pub(crate) struct ComponentItem {
    component_id: String,
    role: Role,
    name: String,
    version: String,
    status: PresenceStatus,
    connected_since: Option<Timestamp>,
    capacity: u32,
    in_use: u32,
    queues: Vec<String>,
    methods: Vec<String>,
    owned_shards: Vec<u32>,
    owned_queues: Vec<String>,
    capabilities: Vec<String>,
}

impl From<Component> for ComponentItem {
    fn from(component: Component) -> Self {
        Self {
            component_id: component.component_id,
            role: component.role,
            name: component.name,
            version: component.version,
            status: component.status,
            connected_since: component.connected_since,
            capacity: component.capacity,
            in_use: component.in_use,
            queues: component.queues,
            methods: component.methods,
            owned_shards: component.owned_shards,
            owned_queues: component.owned_queues,
            capabilities: component.capabilities,
        }
    }
}

/// A provider in a list.
#[derive(Serialize)]
pub(crate) struct ProviderItem {
    name: String,
    component_id: String,
    status: PresenceStatus,
    health: HealthState,
    health_reason: Option<String>,
    protocols: Vec<String>,
    methods: Vec<String>,
    in_flight: u32,
    capacity: u32,
    capabilities: Vec<String>,
    address: Option<String>,
}

impl From<Provider> for ProviderItem {
    fn from(provider: Provider) -> Self {
        Self {
            name: provider.name,
            component_id: provider.component_id,
            status: provider.status,
            health: provider.health,
            health_reason: provider.health_reason,
            protocols: provider.protocols,
            methods: provider.methods,
            in_flight: provider.in_flight,
            capacity: provider.capacity,
            capabilities: provider.capabilities,
            address: provider.address,
        }
    }
}
