//! Presence of components. Only the hub declares a component lost, by its own monotonic clock; nothing of this is
//! stored.

use std::collections::BTreeSet;

use gleitzeit_run::id::ComponentId;
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::secret::Proof;
use gleitzeit_workflow::id::{MethodName, ProtocolName, QueueName};
use gleitzeit_workflow::time::Instant;

use crate::hub::session::Session;
use crate::hub::{Hub, Output, SocketId, Timer};
use crate::wire::{ComponentStatus, FromHub, Health, Heartbeat, HeartbeatResponse, PresenceStatus, Role};

/// A component that is connected or silent; lost ones are removed.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) version: String,
    /// The proof of the secret that it must present; `None` until it has registered since the hub started.
    pub(super) proof: Option<Proof>,
    pub(super) socket: Option<SocketId>,
    pub(super) connected_at: Option<Instant>,
    /// When it became silent; `None` while it is connected.
    pub(super) silent_since: Option<Instant>,
    /// Engine: the queues it works for; `None` means all.
    pub(super) queues: Option<Vec<QueueName>>,
    /// Provider: the methods it serves, sorted.
    pub(super) methods: Vec<MethodName>,
    /// Provider: its protocols as `name/version`.
    pub(super) protocols: Vec<String>,
    /// The protocols it can be called for; they are not removed while it is connected or silent.
    pub(super) served: BTreeSet<ProtocolName>,
    /// Free-form labels.
    pub(super) capabilities: Vec<String>,
    /// Engine: slots; provider: concurrent calls.
    pub(super) capacity: u32,
    /// Provider: whether it accepts several calls in one event.
    pub(super) batch: bool,
    /// Provider: its health.
    pub(super) health: Health,
    /// Provider: the address of the service it calls.
    pub(super) address: Option<String>,
}

impl Component {
    pub(super) fn is_connected(&self) -> bool {
        self.socket.is_some() && self.silent_since.is_none()
    }

    fn status(&self, component_id: &ComponentId, status: PresenceStatus) -> ComponentStatus {
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

impl Hub {
    /// Adds a component that the journal names and that has not connected since the hub started.
    pub(super) fn await_reconnect(&mut self, component_id: &ComponentId, role: Role) {
        if self.components.contains_key(component_id) {
            return;
        }
        let component = Component {
            role,
            name: String::new(),
            version: String::new(),
            proof: None,
            socket: None,
            connected_at: None,
            silent_since: Some(self.now),
            queues: None,
            methods: Vec::new(),
            protocols: Vec::new(),
            served: BTreeSet::new(),
            capabilities: Vec::new(),
            capacity: 0,
            batch: false,
            health: Health::default(),
            address: None,
        };
        self.components.insert(component_id.clone(), component);
        self.set_timer(self.silence_limit_ms(role), Timer::Silence(component_id.clone()));
    }

    fn silence_limit_ms(&self, role: Role) -> u64 {
        match role {
            Role::Queue | Role::Resolver => self.config.owner_silence_ms,
            Role::Provider => self.config.provider_silence_ms,
            Role::Engine => self.config.engine_silence_ms,
        }
    }

    pub(super) fn disconnected(&mut self, socket: SocketId, clean: bool, reason: Option<&str>) {
        let Some(Session { component, .. }) = self.end_session(socket) else { return };
        let Some(component_id) = component else { return };
        let Some(component) = self.components.get_mut(&component_id) else { return };
        if component.socket != Some(socket) {
            return;
        }
        component.socket = None;
        if clean {
            self.log(false, "component left", component_id.to_string());
            self.lose(&component_id);
        } else {
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            self.log(true, "component is silent", format!("{component_id}{reason}"));
            self.mark_silent(&component_id, self.now);
        }
    }

    /// A component did not answer its heartbeat. If its silence limit is longer than the heartbeat interval, its
    /// silence began when the heartbeat was sent. Otherwise it begins now, so that the component has its whole limit in
    /// case it was only busy.
    fn missed_heartbeat(&mut self, component_id: &ComponentId, asked: Instant) {
        let Some(component) = self.components.get(component_id) else { return };
        let is_patient = self.silence_limit_ms(component.role) > self.config.heartbeat_interval_ms;
        self.mark_silent(component_id, if is_patient { asked } else { self.now });
    }

    fn mark_silent(&mut self, component_id: &ComponentId, since: Instant) {
        let Some(component) = self.components.get_mut(component_id) else { return };
        let role = component.role;
        if component.silent_since.is_none() {
            component.silent_since = Some(since);
            let until = since.plus_ms(self.silence_limit_ms(role));
            self.timers.insert((until, Timer::Silence(component_id.clone())));
            self.announce(component_id);
        }
        if role == Role::Engine {
            self.out.push(Output::EngineGone { engine: component_id.clone() });
        }
        self.replan = true;
    }

    pub(super) fn check_silence(&mut self, component_id: &ComponentId) {
        let Some(component) = self.components.get(component_id) else { return };
        let Some(since) = component.silent_since else { return };
        let until = since.plus_ms(self.silence_limit_ms(component.role));
        if until > self.now {
            self.timers.insert((until, Timer::Silence(component_id.clone())));
            return;
        }
        if component.role == Role::Engine && planted_bugs::is(Bug::NoLoss) {
            return;
        }
        self.log(true, "component is lost", component_id.to_string());
        self.lose(component_id);
    }

    /// In how many milliseconds a silent component is declared lost; `None` if it is not silent.
    pub(super) fn lost_in_ms(&self, component: &Component) -> Option<u64> {
        let until = component.silent_since?.plus_ms(self.silence_limit_ms(component.role));
        Some(until.ms_since(self.now))
    }

    /// Removes a component; its leases, calls and slices go to others.
    fn lose(&mut self, component_id: &ComponentId) {
        let Some(component) = self.components.remove(component_id) else { return };
        self.departures.note(&component, self.now);
        self.known.left(component.served.clone(), self.now);
        if let Some(socket) = component.socket {
            self.end_session(socket);
            self.out.push(Output::Close {
                socket,
                for_good: false,
                reason: "its component was silent for too long".to_owned(),
            });
        }
        self.broadcast_status(component_id, component.role, component.status(component_id, PresenceStatus::Lost));
        match component.role {
            Role::Engine => {
                self.out.push(Output::EngineGone { engine: component_id.clone() });
                self.engine_lost(component_id);
            }
            Role::Provider => self.provider_lost(component_id),
            Role::Queue | Role::Resolver => {}
        }
        self.replan = true;
    }

    /// Sends a component's status to queues and engines.
    pub(super) fn announce(&mut self, component_id: &ComponentId) {
        if let Some(component) = self.components.get(component_id) {
            let status = component.status(component_id, component.presence());
            self.broadcast_status(component_id, component.role, status);
        }
    }

    fn broadcast_status(&mut self, component_id: &ComponentId, role: Role, status: ComponentStatus) {
        if !matches!(role, Role::Engine | Role::Provider) {
            return;
        }
        let listeners: Vec<SocketId> = self
            .components
            .iter()
            .filter(|(id, it)| matches!(it.role, Role::Queue | Role::Engine) && *id != component_id)
            .filter_map(|(_, it)| it.socket)
            .collect();
        let message = std::sync::Arc::new(FromHub::ComponentStatus(status));
        let sends = listeners.into_iter().map(|socket| Output::Send { socket, message: message.clone() });
        self.out.extend(sends);
    }

    /// Sends a queue or engine the status of every component.
    pub(super) fn send_all_statuses(&mut self, socket: SocketId, listener: &ComponentId) {
        let known = self.components.iter().filter(|(id, _)| *id != listener);
        let known = known.filter(|(_, it)| matches!(it.role, Role::Engine | Role::Provider));
        let statuses: Vec<_> = known.map(|(id, it)| it.status(id, it.presence())).collect();
        for status in statuses {
            self.send(socket, FromHub::ComponentStatus(status));
        }
    }

    /// Closes a socket that was admitted but neither registers nor watches.
    pub(super) fn check_unregistered(&mut self, socket: SocketId) {
        let Some(session) = self.sessions.get(&socket) else { return };
        if session.component.is_none() && session.registering.is_none() && !self.stream.is_reader(socket) {
            self.close(socket, "it neither registered nor watched in time");
        }
    }

    /// Sends a heartbeat, after checking that the previous one was answered.
    pub(super) fn heartbeat(&mut self, socket: SocketId) {
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        let Some(component_id) = session.component.clone() else { return };
        let missed = session.unanswered_heartbeat.filter(|_| session.answers_heartbeats);
        session.unanswered_heartbeat.get_or_insert(self.now);
        session.refusals = 0;
        if let Some(asked) = missed {
            self.missed_heartbeat(&component_id, asked);
        }
        self.send(socket, FromHub::Heartbeat(Heartbeat {}));
        self.set_timer(self.config.heartbeat_interval_ms, Timer::Heartbeat(socket));
    }

    pub(super) fn heartbeat_answered(
        &mut self,
        socket: SocketId,
        component_id: Option<ComponentId>,
        response: HeartbeatResponse,
    ) {
        if let Some(session) = self.sessions.get_mut(&socket) {
            session.answers_heartbeats = true;
        }
        let (Some(component_id), Some(health)) = (component_id, response.health) else { return };
        let Some(component) = self.components.get_mut(&component_id) else { return };
        if component.role == Role::Provider && component.health != health {
            component.health = health;
            self.announce(&component_id);
            self.provider_changed(&component_id);
        }
    }

    /// A silent component whose socket is still open has sent something: it is connected again.
    pub(super) fn mark_connected(&mut self, component_id: &ComponentId) {
        let Some(component) = self.components.get_mut(component_id) else { return };
        if component.silent_since.take().is_none() {
            return;
        }
        let (role, slots, socket) = (component.role, component.capacity, component.socket);
        self.log(false, "component is back", component_id.to_string());
        self.announce(component_id);
        self.replan = true;
        match (role, socket) {
            (Role::Engine, Some(socket)) => {
                self.engine_is_there(socket, component_id, slots, None);
                self.deliver_kept(component_id);
            }
            (Role::Provider, _) => self.provider_changed(component_id),
            _ => {}
        }
    }
}
