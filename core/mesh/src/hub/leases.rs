//! Leases of attempts: each attempt is sent to its engine until the engine takes it, cancelled when its run is to end,
//! and ended when its engine is lost.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::command::StopAttempt;
use gleitzeit_run::event::StopReason;
use gleitzeit_run::id::{AttemptRef, ComponentId, Position};
use gleitzeit_run::ledger::{Assignment, Effect, OpenLease};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::{Request, Verdict};
use gleitzeit_workflow::id::ProviderName;
use gleitzeit_workflow::time::Instant;

use crate::frames::frames;
use crate::hub::pending::Pending;
use crate::hub::{Hub, Output, SocketId, Timer, Token};
use crate::wire::{CancelTask, ComponentRegistered, ExecuteTask, FromHub};

/// The state of an open attempt with regard to its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its engine is not connected, or the attempt has not been sent yet.
    Unsent,
    /// Sent on this socket; the engine must take it by this deadline.
    Sent {
        until: Instant,
    },
    Taken,
    /// Cancelled; the engine must stop it by this deadline.
    Cancelling {
        until: Instant,
    },
    /// The journal has been asked to end it.
    Stopping,
}

#[derive(Debug)]
struct Lease {
    engine: ComponentId,
    /// The position of its `task_dispatched` entry.
    dispatched: Position,
    /// The name of the providers that may serve it; absent: any.
    provider: Option<ProviderName>,
    stage: Stage,
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: BTreeMap<AttemptRef, Lease>,
    by_engine: BTreeMap<ComponentId, BTreeSet<AttemptRef>>,
    /// Attempts that were open when the hub started: their calls may have been made before.
    restored: BTreeSet<AttemptRef>,
    /// Sent at the end of this input.
    execute: BTreeMap<ComponentId, Vec<Assignment>>,
    cancel: BTreeMap<ComponentId, Vec<AttemptRef>>,
    /// Answers to engines that drain, sent after the attempts that were in transit.
    answers: Vec<(SocketId, ComponentRegistered)>,
}

impl Leases {
    pub(super) fn open(&mut self, lease: OpenLease) {
        let OpenLease { at, engine, dispatched, provider } = lease;
        self.by_engine.entry(engine.clone()).or_default().insert(at.clone());
        self.leases.insert(at, Lease { engine, dispatched, provider, stage: Stage::Unsent });
    }

    /// Restores an attempt that was open when the hub started.
    pub(super) fn restore(&mut self, lease: OpenLease) {
        self.restored.insert(lease.at.clone());
        self.open(lease);
    }

    /// The position of an open attempt's `task_dispatched` entry.
    pub(super) fn dispatched(&self, at: &AttemptRef) -> Option<Position> {
        self.leases.get(at).map(|lease| lease.dispatched)
    }

    /// The name of the providers that may serve an open attempt; `None`: any, or the attempt is not open.
    pub(super) fn provider(&self, at: &AttemptRef) -> Option<&ProviderName> {
        self.leases.get(at)?.provider.as_ref()
    }

    pub(super) fn is_restored(&self, at: &AttemptRef) -> bool {
        self.restored.contains(at)
    }

    fn close(&mut self, at: &AttemptRef) {
        self.restored.remove(at);
        let Some(lease) = self.leases.remove(at) else { return };
        if let Some(of_engine) = self.by_engine.get_mut(&lease.engine) {
            of_engine.remove(at);
            if of_engine.is_empty() {
                self.by_engine.remove(&lease.engine);
            }
        }
    }

    /// Whether the engine holds the lease of an attempt.
    pub(super) fn holds(&self, engine: &ComponentId, at: &AttemptRef) -> bool {
        self.leases.get(at).is_some_and(|lease| lease.engine == *engine)
    }

    /// The engine that holds the lease of an attempt, and whether it has taken it.
    pub(super) fn holder(&self, at: &AttemptRef) -> Option<(&ComponentId, bool)> {
        let lease = self.leases.get(at)?;
        Some((&lease.engine, !matches!(lease.stage, Stage::Unsent | Stage::Sent { .. })))
    }

    /// The open attempts of an engine.
    pub(super) fn of(&self, engine: &ComponentId) -> impl Iterator<Item = &AttemptRef> {
        self.by_engine.get(engine).into_iter().flatten()
    }

    pub(super) fn count(&self, engine: &ComponentId) -> usize {
        self.by_engine.get(engine).map_or(0, BTreeSet::len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    fn set(&mut self, at: &AttemptRef, stage: Stage) {
        if let Some(lease) = self.leases.get_mut(at) {
            lease.stage = stage;
        }
    }

    fn stage(&self, at: &AttemptRef) -> Option<Stage> {
        self.leases.get(at).map(|lease| lease.stage)
    }
}

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
                    self.leases.execute.entry(engine.clone()).or_default().push(assignment.clone());
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
        if !self.leases.holds(engine, at) || self.leases.stage(at) == Some(Stage::Stopping) {
            return;
        }
        if let Some(waiting) = self.leases.execute.get_mut(engine) {
            waiting.retain(|assignment| assignment.at != *at);
        }
        if self.socket_of(engine).is_some() {
            self.leases.cancel.entry(engine.clone()).or_default().push(at.clone());
        }
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

    /// Attempts that an engine names when it registers count as taken; those that are not open are cancelled.
    pub(super) fn resume_leases(&mut self, engine: &ComponentId, attempts: Vec<AttemptRef>) {
        // Attempts that were sent on the previous socket and are not named did not arrive.
        let of_engine: Vec<AttemptRef> = self.leases.by_engine.get(engine).into_iter().flatten().cloned().collect();
        for at in of_engine {
            if !matches!(self.leases.stage(&at), Some(Stage::Stopping)) {
                self.leases.set(&at, Stage::Unsent);
            }
        }
        for at in attempts {
            self.take(engine, at);
        }
    }

    fn take(&mut self, engine: &ComponentId, at: AttemptRef) {
        // An attempt that is being ended without its engine must not be worked on either.
        if !self.leases.holds(engine, &at) || self.leases.stage(&at) == Some(Stage::Stopping) {
            self.leases.cancel.entry(engine.clone()).or_default().push(at);
        } else if matches!(self.leases.stage(&at), Some(Stage::Unsent | Stage::Sent { .. })) {
            self.leases.set(&at, Stage::Taken);
        }
    }

    pub(super) fn taken(&mut self, _socket: SocketId, engine: &ComponentId, attempts: Vec<AttemptRef>) {
        for at in attempts {
            self.take(engine, at);
        }
    }

    /// The writer's answer: the messages that an engine is owed.
    pub(super) fn engine_state(&mut self, token: Token, effects: Vec<Effect>) {
        let Some(Pending::Engine { engine, socket, answer }) = self.pending.remove(&token) else { return };
        if self.socket_of(&engine) != Some(socket) {
            return;
        }
        for effect in effects {
            match effect {
                Effect::Execute { assignment, .. } => {
                    if self.leases.stage(&assignment.at) == Some(Stage::Unsent) {
                        self.leases.execute.entry(engine.clone()).or_default().push(assignment);
                    }
                }
                Effect::Cancel { at, .. } => self.cancel_lease(&engine, &at),
                Effect::Ended { .. } => {}
            }
        }
        self.leases.answers.extend(answer.map(|answer| (socket, answer)));
    }

    /// Sends the collected messages.
    pub(super) fn flush_leases(&mut self) {
        let accept = self.config.accept_timeout_ms;
        let until = self.now.plus_ms(accept);
        // Attempts that a stopping hub was about to hand out are handed out by the next one.
        let execute = if self.is_stopping { BTreeMap::new() } else { std::mem::take(&mut self.leases.execute) };
        for (engine, assignments) in execute {
            let Some(socket) = self.socket_of(&engine) else { continue };
            for assignment in &assignments {
                self.leases.set(&assignment.at, Stage::Sent { until });
                self.timers.insert((until, Timer::Accept(assignment.at.clone())));
            }
            for tasks in frames(assignments, |it| it.parameters.size_bytes()) {
                self.send(socket, FromHub::ExecuteTask(ExecuteTask { tasks }));
            }
        }
        for (engine, attempts) in std::mem::take(&mut self.leases.cancel) {
            let Some(socket) = self.socket_of(&engine) else { continue };
            for at in &attempts {
                if self.leases.holds(&engine, at) && self.leases.stage(at) != Some(Stage::Stopping) {
                    self.leases.set(at, Stage::Cancelling { until });
                    self.timers.insert((until, Timer::Accept(at.clone())));
                }
            }
            self.send(socket, FromHub::CancelTask(CancelTask { attempts }));
        }
        for (socket, answer) in std::mem::take(&mut self.leases.answers) {
            self.send(socket, FromHub::ComponentRegistered(answer));
        }
    }

    /// The deadline for taking or stopping an attempt has passed.
    pub(super) fn check_accepted(&mut self, at: &AttemptRef) {
        let Some(lease) = self.leases.leases.get(at) else { return };
        let overdue = match lease.stage {
            Stage::Sent { until } | Stage::Cancelling { until } => until <= self.now,
            Stage::Unsent | Stage::Taken | Stage::Stopping => false,
        };
        if !overdue || planted_bugs::is(Bug::NoAcceptTimer) {
            return;
        }
        let engine = lease.engine.clone();
        self.log(true, "an attempt was not taken or stopped in time", format!("{at} on {engine}"));
        self.stop_lease(at.clone(), StopReason::NotTaken);
        if let Some(socket) = self.presence.socket(&engine) {
            self.close(socket, "it did not take or stop an attempt in time");
        }
    }

    pub(super) fn stop_lease(&mut self, at: AttemptRef, reason: StopReason) {
        if self.leases.stage(&at).is_none_or(|stage| stage == Stage::Stopping) {
            return;
        }
        self.leases.set(&at, Stage::Stopping);
        let stop = StopAttempt { at: at.clone(), reason };
        self.request(Pending::Stop { at }, Request::HubStop { stop });
    }

    pub(super) fn stop_answered(&mut self, at: &AttemptRef, verdict: &Verdict) {
        // If it was recorded, its `Ended` came in the same batch. If not, the attempt had already ended, and that
        // effect has come too.
        if !matches!(verdict, Verdict::Ok { .. }) {
            self.leases.close(at);
        }
    }

    pub(super) fn engine_lost(&mut self, engine: &ComponentId) {
        let attempts: Vec<AttemptRef> = self.leases.by_engine.get(engine).into_iter().flatten().cloned().collect();
        for at in attempts {
            self.stop_lease(at, StopReason::EngineLost);
        }
    }
}
