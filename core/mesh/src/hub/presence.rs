//! Presence of components. Only the hub declares a component lost, by its own monotonic clock; nothing of this is
//! stored.
//!
//! `state` owns who is connected or silent. Here the hub tells the others of a change.

mod state;

use gleitzeit_run::id::ComponentId;
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_workflow::time::Instant;

use crate::hub::{Hub, Output, SocketId, Timer};
use crate::wire::{ComponentStatus, FromHub, Heartbeat, HeartbeatResponse, PresenceStatus, Role};

pub(super) use state::{Component, Presence};

use state::{Back, Fell, Silence};

impl Hub {
    /// Adds a component that the journal names and that has not connected since the hub started.
    pub(super) fn await_reconnect(&mut self, component_id: &ComponentId, role: Role) {
        if let Some(until) = self.presence.expect(component_id, role, self.now) {
            self.timers.set(until, Timer::Silence(component_id.clone()));
        }
    }

    pub(super) fn disconnected(&mut self, socket: SocketId, clean: bool, reason: Option<&str>) {
        let Some(component_id) = self.end_session(socket) else { return };
        if !self.presence.unplug(&component_id, socket) {
            return;
        }
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
        let Some(component) = self.presence.get(component_id) else { return };
        let is_patient = self.presence.silence_limit_ms(component.role) > self.config.heartbeat_interval_ms;
        self.mark_silent(component_id, if is_patient { asked } else { self.now });
    }

    fn mark_silent(&mut self, component_id: &ComponentId, since: Instant) {
        let Some(Fell { role, until }) = self.presence.fall_silent(component_id, since) else { return };
        if let Some(until) = until {
            self.timers.set(until, Timer::Silence(component_id.clone()));
            self.announce(component_id);
        }
        if role == Role::Engine {
            self.out.push(Output::EngineGone { engine: component_id.clone() });
        }
        self.ownerships.plan_again();
    }

    pub(super) fn check_silence(&mut self, component_id: &ComponentId) {
        match self.presence.silence(component_id, self.now) {
            Some(Silence::Until(until)) => {
                self.timers.set(until, Timer::Silence(component_id.clone()));
                return;
            }
            Some(Silence::Over(Role::Engine)) if planted_bugs::is(Bug::NoLoss) => return,
            Some(Silence::Over(_)) => {}
            None => return,
        }
        self.log(true, "component is lost", component_id.to_string());
        self.lose(component_id);
    }

    /// In how many milliseconds a silent component is declared lost; `None` if it is not silent.
    pub(super) fn lost_in_ms(&self, component: &Component) -> Option<u64> {
        self.presence.lost_at(component).map(|until| until.ms_since(self.now))
    }

    /// Removes a component; its leases, calls and slices go to others.
    fn lose(&mut self, component_id: &ComponentId) {
        let Some(component) = self.presence.remove(component_id) else { return };
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
        self.ownerships.plan_again();
    }

    /// Sends a component's status to queues and engines.
    pub(super) fn announce(&mut self, component_id: &ComponentId) {
        if let Some(status) = self.presence.status(component_id) {
            self.broadcast_status(component_id, status.role, status);
        }
    }

    fn broadcast_status(&mut self, component_id: &ComponentId, role: Role, status: ComponentStatus) {
        if !matches!(role, Role::Engine | Role::Provider) {
            return;
        }
        let listeners = self.presence.listeners(component_id);
        let message = std::sync::Arc::new(FromHub::ComponentStatus(status));
        let sends = listeners.into_iter().map(|socket| Output::Send { socket, message: message.clone() });
        self.out.extend(sends);
    }

    /// Sends a queue or engine the status of every component.
    pub(super) fn send_all_statuses(&mut self, socket: SocketId, listener: &ComponentId) {
        for status in self.presence.statuses(listener) {
            self.send(socket, FromHub::ComponentStatus(status));
        }
    }

    /// Closes a socket that was admitted but neither registers nor watches.
    pub(super) fn check_unregistered(&mut self, socket: SocketId) {
        let is_idle = self.sessions.component(socket).is_none() && !self.sessions.is_registering(socket);
        if is_idle && !self.stream.is_reader(socket) {
            self.close(socket, "it neither registered nor watched in time");
        }
    }

    /// Sends a heartbeat, after checking that the previous one was answered.
    pub(super) fn heartbeat(&mut self, socket: SocketId) {
        let Some((component_id, missed)) = self.sessions.heartbeat(socket, self.now) else { return };
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
        self.sessions.heartbeat_answered(socket);
        let (Some(component_id), Some(health)) = (component_id, response.health) else { return };
        if self.presence.set_health(&component_id, health) {
            self.announce(&component_id);
            self.provider_changed(&component_id);
        }
    }

    /// A silent component whose socket is still open has sent something: it is connected again.
    pub(super) fn mark_connected(&mut self, component_id: &ComponentId) {
        let Some(Back { role, capacity, socket }) = self.presence.hear(component_id) else { return };
        self.log(false, "component is back", component_id.to_string());
        self.announce(component_id);
        self.ownerships.plan_again();
        match (role, socket) {
            (Role::Engine, Some(socket)) => {
                self.engine_is_there(socket, component_id, capacity, None);
                self.deliver_kept(component_id);
            }
            (Role::Provider, _) => self.provider_changed(component_id),
            _ => {}
        }
    }
}
