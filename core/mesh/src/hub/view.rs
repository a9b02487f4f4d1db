//! Views of the hub's components, for people.

use gleitzeit_run::id::{ComponentId, Slice};
use gleitzeit_workflow::id::{MethodName, QueueName};

use crate::hub::Hub;
use crate::hub::presence::Component;
use crate::wire::{Health, PresenceStatus, Role};

/// A component as shown to people.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentView {
    /// The component's id: new at each process start, kept over reconnects.
    pub component_id: ComponentId,
    /// What it does.
    pub role: Role,
    /// Its name, for people; empty if it has not connected since the hub started.
    pub name: String,
    /// The version of its software.
    pub version: String,
    /// Connected or silent.
    pub status: PresenceStatus,
    /// How long it has been connected, in milliseconds; absent if it has not connected since the hub started.
    pub connected_for_ms: Option<u64>,
    /// Engine: slots; provider: concurrent calls; 0 while it drains.
    pub capacity: u32,
    /// Engine: open attempts; provider: open calls.
    pub in_use: usize,
    /// Engine: the queues it works for; absent: all.
    pub queues: Option<Vec<QueueName>>,
    /// Provider: the methods it serves.
    pub methods: Vec<MethodName>,
    /// Provider: the protocols it named, as `name/version`.
    pub protocols: Vec<String>,
    /// Its capabilities, in its own words.
    pub capabilities: Vec<String>,
    /// Provider: whether it can do its work.
    pub health: Health,
    /// Provider: the address of the service it calls, without credentials; `*` if its tasks choose the address.
    pub address: Option<String>,
    /// The slices it owns.
    pub owned: Vec<Slice>,
}

impl Hub {
    /// All connected and silent components, by role, then name, then id.
    pub fn components(&self) -> Vec<ComponentView> {
        let mut views: Vec<ComponentView> = self.presence.iter().map(|(id, it)| self.view(id, it)).collect();
        views.sort_by(|a, b| (a.role, &a.name, &a.component_id).cmp(&(b.role, &b.name, &b.component_id)));
        views
    }

    fn view(&self, component_id: &ComponentId, component: &Component) -> ComponentView {
        let in_use = match component.role {
            Role::Engine => self.leases.count(component_id),
            Role::Provider => self.calls.count(component_id),
            Role::Queue | Role::Resolver => 0,
        };
        ComponentView {
            component_id: component_id.clone(),
            role: component.role,
            name: component.name.clone(),
            version: component.version.clone(),
            status: if component.is_connected() { PresenceStatus::Connected } else { PresenceStatus::Silent },
            connected_for_ms: component.connected_at.map(|at| self.now.ms_since(at)),
            capacity: component.capacity,
            in_use,
            queues: component.queues.clone(),
            methods: component.methods.clone(),
            protocols: component.protocols.clone(),
            capabilities: component.capabilities.clone(),
            health: component.health.clone(),
            address: component.address.clone(),
            owned: self.ownerships.owned_by(component_id).map(|(slice, _)| slice.clone()).collect(),
        }
    }
}
