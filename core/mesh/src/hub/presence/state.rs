//! The components that are connected or silent, and since when.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::id::ComponentId;
use gleitzeit_run::secret::Proof;
use gleitzeit_workflow::id::{MethodName, ProtocolName, QueueName};
use gleitzeit_workflow::time::Instant;

use crate::hub::{Config, SocketId};
use crate::wire::{ComponentStatus, Health, PresenceStatus, Role};

/// A component that is connected or silent; lost ones are removed.
#[derive(Clone, Debug)]
pub(in crate::hub) struct Component {
    pub(in crate::hub) role: Role,
    pub(in crate::hub) name: String,
    pub(in crate::hub) version: String,
    /// The proof of the secret that it must present; `None` until it has registered since the hub started.
    pub(in crate::hub) proof: Option<Proof>,
    pub(in crate::hub) socket: Option<SocketId>,
    pub(in crate::hub) connected_at: Option<Instant>,
    /// When it became silent; `None` while it is connected.
    pub(in crate::hub) silent_since: Option<Instant>,
    /// Engine: the queues it works for; `None` means all.
    pub(in crate::hub) queues: Option<Vec<QueueName>>,
    /// Provider: the methods it serves, sorted.
    pub(in crate::hub) methods: Vec<MethodName>,
    /// Provider: its protocols as `name/version`.
    pub(in crate::hub) protocols: Vec<String>,
    /// The protocols it can be called for; they are not removed while it is connected or silent.
    pub(in crate::hub) served: BTreeSet<ProtocolName>,
    /// Free-form labels.
    pub(in crate::hub) capabilities: Vec<String>,
    /// Engine: slots; provider: concurrent calls.
    pub(in crate::hub) capacity: u32,
    /// Provider: whether it accepts several calls in one event.
    pub(in crate::hub) batch: bool,
    /// Provider: its health.
    pub(in crate::hub) health: Health,
    /// Provider: the address of the service it calls.
    pub(in crate::hub) address: Option<String>,
}

impl Component {
    /// One that the journal names and that has not connected since the hub started.
    fn expected(role: Role, now: Instant) -> Self {
        Self {
            role,
            name: String::new(),
            version: String::new(),
            proof: None,
            socket: None,
            connected_at: None,
            silent_since: Some(now),
            queues: None,
            methods: Vec::new(),
            protocols: Vec::new(),
            served: BTreeSet::new(),
            capabilities: Vec::new(),
            capacity: 0,
            batch: false,
            health: Health::default(),
            address: None,
        }
    }

    pub(in crate::hub) fn is_connected(&self) -> bool {
        self.socket.is_some() && self.silent_since.is_none()
    }

    pub(super) fn status(&self, component_id: &ComponentId, status: PresenceStatus) -> ComponentStatus {
        ComponentStatus {
            component_id: component_id.clone(),
            role: self.role,
            name: self.name.clone(),
            status,
            methods: self.methods.clone(),
            queues: self.queues.clone(),
            capacity: self.capacity,
            health: self.health.clone(),
        }
    }

    fn presence(&self) -> PresenceStatus {
        if self.is_connected() { PresenceStatus::Connected } else { PresenceStatus::Silent }
    }
}

/// What a component's silence has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Silence {
    /// It may come back until then.
    Until(Instant),
    /// A component of this role was silent for too long.
    Over(Role),
}

/// A component that fell silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) struct Fell {
    pub(in crate::hub) role: Role,
    /// When it is to be declared lost, if it was not silent before.
    pub(in crate::hub) until: Option<Instant>,
}

/// A component that was silent and is connected again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) struct Back {
    pub(in crate::hub) role: Role,
    pub(in crate::hub) capacity: u32,
    pub(in crate::hub) socket: Option<SocketId>,
}

/// Everyone who is connected or silent. Others read it; only its own methods change it.
#[derive(Debug)]
pub(in crate::hub) struct Presence {
    components: BTreeMap<ComponentId, Component>,
    /// How long an owner, a provider and an engine may be silent, in milliseconds.
    owner_silence_ms: u64,
    provider_silence_ms: u64,
    engine_silence_ms: u64,
}

impl Presence {
    pub(in crate::hub) fn new(config: &Config) -> Self {
        Self {
            components: BTreeMap::new(),
            owner_silence_ms: config.owner_silence_ms,
            provider_silence_ms: config.provider_silence_ms,
            engine_silence_ms: config.engine_silence_ms,
        }
    }

    pub(in crate::hub) fn get(&self, id: &ComponentId) -> Option<&Component> {
        self.components.get(id)
    }

    pub(in crate::hub) fn contains(&self, id: &ComponentId) -> bool {
        self.components.contains_key(id)
    }

    /// All components by id.
    pub(in crate::hub) fn iter(&self) -> impl Iterator<Item = (&ComponentId, &Component)> {
        self.components.iter()
    }

    /// The components of a role that may be given work.
    pub(in crate::hub) fn connected(&self, role: Role) -> impl Iterator<Item = &ComponentId> {
        self.components.iter().filter(move |(_, it)| it.role == role && it.is_connected()).map(|(id, _)| id)
    }

    /// A component's socket, even if the component is silent on it.
    pub(in crate::hub) fn socket(&self, id: &ComponentId) -> Option<SocketId> {
        self.components.get(id)?.socket
    }

    /// The socket of a component that may be given work.
    pub(in crate::hub) fn socket_of(&self, id: &ComponentId) -> Option<SocketId> {
        self.components.get(id).filter(|component| component.is_connected())?.socket
    }

    pub(in crate::hub) fn silence_limit_ms(&self, role: Role) -> u64 {
        match role {
            Role::Queue | Role::Resolver => self.owner_silence_ms,
            Role::Provider => self.provider_silence_ms,
            Role::Engine => self.engine_silence_ms,
        }
    }

    /// Adds a component that the journal names and that has not connected since the hub started. Returns when it is to
    /// be declared lost, unless it is known already.
    pub(in crate::hub) fn expect(&mut self, id: &ComponentId, role: Role, now: Instant) -> Option<Instant> {
        if self.contains(id) {
            return None;
        }
        self.components.insert(id.clone(), Component::expected(role, now));
        Some(now.plus_ms(self.silence_limit_ms(role)))
    }

    /// A component registered. Returns what it was before.
    pub(in crate::hub) fn insert(&mut self, id: ComponentId, component: Component) -> Option<Component> {
        self.components.insert(id, component)
    }

    /// A component left or was lost.
    pub(in crate::hub) fn remove(&mut self, id: &ComponentId) -> Option<Component> {
        self.components.remove(id)
    }

    /// A socket was closed. Returns whether it was the component's.
    pub(in crate::hub) fn unplug(&mut self, id: &ComponentId, socket: SocketId) -> bool {
        let component = self.components.get_mut(id).filter(|component| component.socket == Some(socket));
        component.is_some_and(|component| component.socket.take().is_some())
    }

    /// A component has been silent since then, unless it has been for longer.
    pub(in crate::hub) fn fall_silent(&mut self, id: &ComponentId, since: Instant) -> Option<Fell> {
        let role = self.components.get(id)?.role;
        let until = since.plus_ms(self.silence_limit_ms(role));
        let component = self.components.get_mut(id)?;
        let is_new = component.silent_since.is_none();
        component.silent_since.get_or_insert(since);
        Some(Fell { role, until: is_new.then_some(until) })
    }

    /// What has become of a component's silence; `None` if it is not silent.
    pub(in crate::hub) fn silence(&self, id: &ComponentId, now: Instant) -> Option<Silence> {
        let component = self.components.get(id)?;
        let until = self.lost_at(component)?;
        Some(if until > now { Silence::Until(until) } else { Silence::Over(component.role) })
    }

    /// When a silent component is to be declared lost; `None` if it is not silent.
    pub(in crate::hub) fn lost_at(&self, component: &Component) -> Option<Instant> {
        Some(component.silent_since?.plus_ms(self.silence_limit_ms(component.role)))
    }

    /// A component sent something: it is connected again if it was silent.
    pub(in crate::hub) fn hear(&mut self, id: &ComponentId) -> Option<Back> {
        let component = self.components.get_mut(id)?;
        component.silent_since.take()?;
        Some(Back { role: component.role, capacity: component.capacity, socket: component.socket })
    }

    /// Records a provider's health. Returns whether it is another one.
    pub(in crate::hub) fn set_health(&mut self, id: &ComponentId, health: Health) -> bool {
        let Some(component) = self.components.get_mut(id) else { return false };
        let is_new = component.role == Role::Provider && component.health != health;
        if is_new {
            component.health = health;
        }
        is_new
    }

    /// The sockets of the queues and engines, who hear of a component's status.
    pub(in crate::hub) fn listeners(&self, of: &ComponentId) -> Vec<SocketId> {
        let listeners =
            self.components.iter().filter(|(id, it)| matches!(it.role, Role::Queue | Role::Engine) && *id != of);
        listeners.filter_map(|(_, it)| it.socket).collect()
    }

    /// The status of every engine and provider other than the listener.
    pub(in crate::hub) fn statuses(&self, listener: &ComponentId) -> Vec<ComponentStatus> {
        let known = self.components.iter().filter(|(id, _)| *id != listener);
        let known = known.filter(|(_, it)| matches!(it.role, Role::Engine | Role::Provider));
        known.map(|(id, it)| it.status(id, it.presence())).collect()
    }

    /// A component's present status.
    pub(in crate::hub) fn status(&self, id: &ComponentId) -> Option<ComponentStatus> {
        self.components.get(id).map(|component| component.status(id, component.presence()))
    }
}

#[cfg(test)]
mod tests;
