//! What people may ask the hub.

use gleitzeit_run::id::{ComponentId, Slice};
use gleitzeit_workflow::id::{MethodName, QueueName};

use crate::hub::Hub;
use crate::hub::presence::Component;
use crate::wire::{Health, PresenceStatus, Role};

/// One component as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentView {
    /// New at each process start, kept over reconnects.
    pub component_id: ComponentId,
    /// What it does.
    pub role: Role,
    /// For people; empty if it has not connected since the hub started.
    pub name: String,
    /// Of its software.
    pub version: String,
    /// Connected or silent.
    pub status: PresenceStatus,
    /// How long ago it connected; absent if it has not since the hub started.
    pub connected_for_ms: Option<u64>,
    /// Engine: slots; provider: calls at once; 0 while it drains.
    pub capacity: u32,
    /// Engine: open attempts; provider: open calls.
    pub in_use: usize,
    /// Engine: the queues it works for; absent: all.
    pub queues: Option<Vec<QueueName>>,
    /// Provider: the methods it serves.
    pub methods: Vec<MethodName>,
    /// Provider: the protocols it named, as `name/version`.
    pub protocols: Vec<String>,
    /// What it says that it can do, in words of its own.
    pub capabilities: Vec<String>,
    /// Provider: whether it can do its work.
    pub health: Health,
    /// Provider: where the service is that it calls, without credentials; `*`: wherever its tasks say.
    pub address: Option<String>,
    /// What it owns.
    pub owned: Vec<Slice>,
}

impl Hub {
    /// Everyone who is connected or silent, by role, then name, then id.
    pub fn components(&self) -> Vec<ComponentView> {
        let mut views: Vec<ComponentView> = self.components.iter().map(|(id, it)| self.view(id, it)).collect();
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
