//! Leases of attempts: each attempt is sent to its engine until the engine takes it, cancelled when its run is to end,
//! and ended when its engine is lost.
//!
//! `state` owns the leases. Here the hub sends what they lead to.

mod state;

use std::collections::BTreeMap;

use gleitzeit_run::command::StopAttempt;
use gleitzeit_run::event::StopReason;
use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_run::ledger::{Effect, OpenLease};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::{Request, Verdict};

use crate::frames::frames;
use crate::hub::pending::Pending;
use crate::hub::{Hub, Output, SocketId, Timer, Token};
use crate::wire::{CancelTask, ComponentRegistered, ExecuteTask, FromHub};

pub(super) use state::Leases;

impl Hub {
    /// Processes an effect of a committed entry.
    pub(super) fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Execute { engine, assignment } => {
                self.leases.open(OpenLease {
                    at: assignment.at.clone(),
                    engine: engine.clone(),
                    dispatched: assignment.dispatched,
                    provider: assignment.provider.clone(),
                });
                if self.socket_of(engine).is_some() {
                    self.leases.execute(engine, assignment.clone());
                } else if !self.presence.contains(engine) {
                    // The attempt was dispatched before the journal recorded that the engine is lost.
                    self.stop_lease(assignment.at.clone(), StopReason::EngineLost);
                }
            }
            Effect::Cancel { engine, at } => self.cancel_lease(engine, at),
            Effect::Ended { engine, at } => {
                self.leases.close(at);
                self.attempt_ended(engine, at);
            }
        }
    }

    fn cancel_lease(&mut self, engine: &ComponentId, at: &AttemptRef) {
        let is_connected = self.socket_of(engine).is_some();
        self.leases.cancel(engine, at, is_connected);
    }

    /// An engine is connected: asks the writer what it is owed. `answer` is sent after that.
    pub(super) fn engine_is_there(
        &mut self,
        socket: SocketId,
        engine: &ComponentId,
        slots: u32,
        answer: Option<ComponentRegistered>,
    ) {
        self.out.push(Output::EngineConnected { engine: engine.clone(), slots });
        let token = self.token(Pending::Engine { engine: engine.clone(), socket, answer });
        self.out.push(Output::QueryEngine { token, engine: engine.clone() });
    }

    pub(super) fn taken(&mut self, engine: &ComponentId, attempts: Vec<AttemptRef>) {
        attempts.into_iter().for_each(|at| self.leases.take(engine, at));
    }

    /// The writer's answer: the messages that an engine is owed.
    pub(super) fn engine_state(&mut self, token: Token, effects: Vec<Effect>) {
        let Some(Pending::Engine { engine, socket, answer }) = self.pending.take(token) else { return };
        if self.socket_of(&engine) != Some(socket) {
            return;
        }
        for effect in effects {
            match effect {
                Effect::Execute { assignment, .. } => self.leases.execute_unsent(&engine, assignment),
                Effect::Cancel { at, .. } => self.cancel_lease(&engine, &at),
                Effect::Ended { .. } => {}
            }
        }
        if let Some(answer) = answer {
            self.leases.answer_after(socket, answer);
        }
    }

    /// Sends the collected messages.
    pub(super) fn flush_leases(&mut self) {
        let accept = self.config.accept_timeout_ms;
        let until = self.now.plus_ms(accept);
        // Attempts that a stopping hub was about to hand out are handed out by the next one.
        let execute = if self.is_stopping { BTreeMap::new() } else { self.leases.take_execute() };
        for (engine, assignments) in execute {
            let Some(socket) = self.socket_of(&engine) else { continue };
            for assignment in &assignments {
                self.leases.sent(&assignment.at, until);
                self.timers.set(until, Timer::Accept(assignment.at.clone()));
            }
            for tasks in frames(assignments, |it| it.parameters.size_bytes()) {
                self.send(socket, FromHub::ExecuteTask(ExecuteTask { tasks }));
            }
        }
        for (engine, attempts) in self.leases.take_cancel() {
            let Some(socket) = self.socket_of(&engine) else { continue };
            for at in &attempts {
                if self.leases.cancel_sent(&engine, at, until) {
                    self.timers.set(until, Timer::Accept(at.clone()));
                }
            }
            self.send(socket, FromHub::CancelTask(CancelTask { attempts }));
        }
        for (socket, answer) in self.leases.take_answers() {
            self.send(socket, FromHub::ComponentRegistered(answer));
        }
    }

    /// The deadline for taking or stopping an attempt has passed.
    pub(super) fn check_accepted(&mut self, at: &AttemptRef) {
        let Some(engine) = self.leases.overdue(at, self.now).cloned() else { return };
        if planted_bugs::is(Bug::NoAcceptTimer) {
            return;
        }
        self.log(true, "an attempt was not taken or stopped in time", format!("{at} on {engine}"));
        self.stop_lease(at.clone(), StopReason::NotTaken);
        if let Some(socket) = self.presence.socket(&engine) {
            self.close(socket, "it did not take or stop an attempt in time");
        }
    }

    pub(super) fn stop_lease(&mut self, at: AttemptRef, reason: StopReason) {
        if self.leases.stop(&at) {
            let stop = StopAttempt { at: at.clone(), reason };
            self.request(Pending::Stop { at }, Request::HubStop { stop });
        }
    }

    pub(super) fn stop_answered(&mut self, at: &AttemptRef, verdict: &Verdict) {
        // If it was recorded, its `Ended` came in the same batch. If not, the attempt had already ended, and that
        // effect has come too.
        if !matches!(verdict, Verdict::Ok { .. }) {
            self.leases.close(at);
        }
    }

    pub(super) fn engine_lost(&mut self, engine: &ComponentId) {
        let attempts: Vec<AttemptRef> = self.leases.of(engine).cloned().collect();
        for at in attempts {
            self.stop_lease(at, StopReason::EngineLost);
        }
    }
}
