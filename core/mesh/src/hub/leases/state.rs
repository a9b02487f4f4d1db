//! The open attempts, how far each has come with its engine, and what engines are sent at the end of an input.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::id::{AttemptRef, ComponentId, Position};
use gleitzeit_run::ledger::{Assignment, OpenLease};
use gleitzeit_workflow::id::ProviderName;
use gleitzeit_workflow::time::Instant;

use crate::hub::SocketId;
use crate::wire::ComponentRegistered;

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

/// The open attempts by engine, and what is to be sent about them.
#[derive(Debug, Default)]
pub(in crate::hub) struct Leases {
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
    pub(in crate::hub) fn open(&mut self, lease: OpenLease) {
        let OpenLease { at, engine, dispatched, provider } = lease;
        self.by_engine.entry(engine.clone()).or_default().insert(at.clone());
        self.leases.insert(at, Lease { engine, dispatched, provider, stage: Stage::Unsent });
    }

    /// Restores an attempt that was open when the hub started.
    pub(in crate::hub) fn restore(&mut self, lease: OpenLease) {
        self.restored.insert(lease.at.clone());
        self.open(lease);
    }

    /// The position of an open attempt's `task_dispatched` entry.
    pub(in crate::hub) fn dispatched(&self, at: &AttemptRef) -> Option<Position> {
        self.leases.get(at).map(|lease| lease.dispatched)
    }

    /// The name of the providers that may serve an open attempt; `None`: any, or the attempt is not open.
    pub(in crate::hub) fn provider(&self, at: &AttemptRef) -> Option<&ProviderName> {
        self.leases.get(at)?.provider.as_ref()
    }

    pub(in crate::hub) fn is_restored(&self, at: &AttemptRef) -> bool {
        self.restored.contains(at)
    }

    /// An attempt has ended.
    pub(in crate::hub) fn close(&mut self, at: &AttemptRef) {
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
    pub(in crate::hub) fn holds(&self, engine: &ComponentId, at: &AttemptRef) -> bool {
        self.leases.get(at).is_some_and(|lease| lease.engine == *engine)
    }

    /// The engine that holds the lease of an attempt, and whether it has taken it.
    pub(in crate::hub) fn holder(&self, at: &AttemptRef) -> Option<(&ComponentId, bool)> {
        let lease = self.leases.get(at)?;
        Some((&lease.engine, !matches!(lease.stage, Stage::Unsent | Stage::Sent { .. })))
    }

    /// The open attempts of an engine.
    pub(in crate::hub) fn of(&self, engine: &ComponentId) -> impl Iterator<Item = &AttemptRef> {
        self.by_engine.get(engine).into_iter().flatten()
    }

    pub(in crate::hub) fn count(&self, engine: &ComponentId) -> usize {
        self.by_engine.get(engine).map_or(0, BTreeSet::len)
    }

    pub(in crate::hub) fn is_empty(&self) -> bool {
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

    fn is_stopping(&self, at: &AttemptRef) -> bool {
        self.stage(at) == Some(Stage::Stopping)
    }

    /// An attempt is sent to its engine at the end of this input.
    pub(in crate::hub) fn execute(&mut self, engine: &ComponentId, assignment: Assignment) {
        self.execute.entry(engine.clone()).or_default().push(assignment);
    }

    /// An attempt is sent to its engine if it has not been sent yet.
    pub(in crate::hub) fn execute_unsent(&mut self, engine: &ComponentId, assignment: Assignment) {
        if self.stage(&assignment.at) == Some(Stage::Unsent) {
            self.execute(engine, assignment);
        }
    }

    /// An attempt is to end: its engine is not sent it any more, and is told if it is connected.
    pub(in crate::hub) fn cancel(&mut self, engine: &ComponentId, at: &AttemptRef, is_connected: bool) {
        if !self.holds(engine, at) || self.is_stopping(at) {
            return;
        }
        if let Some(waiting) = self.execute.get_mut(engine) {
            waiting.retain(|assignment| assignment.at != *at);
        }
        if is_connected {
            self.cancel.entry(engine.clone()).or_default().push(at.clone());
        }
    }

    /// Attempts that an engine names when it registers count as taken; those that are not open are cancelled.
    pub(in crate::hub) fn resume(&mut self, engine: &ComponentId, attempts: Vec<AttemptRef>) {
        // Attempts that were sent on the previous socket and are not named did not arrive.
        let of_engine: Vec<AttemptRef> = self.of(engine).cloned().collect();
        for at in of_engine {
            if !self.is_stopping(&at) {
                self.set(&at, Stage::Unsent);
            }
        }
        attempts.into_iter().for_each(|at| self.take(engine, at));
    }

    /// An engine has taken an attempt.
    pub(in crate::hub) fn take(&mut self, engine: &ComponentId, at: AttemptRef) {
        // An attempt that is being ended without its engine must not be worked on either.
        if !self.holds(engine, &at) || self.is_stopping(&at) {
            self.cancel.entry(engine.clone()).or_default().push(at);
        } else if matches!(self.stage(&at), Some(Stage::Unsent | Stage::Sent { .. })) {
            self.set(&at, Stage::Taken);
        }
    }

    /// An engine is answered at the end of this input, after its attempts.
    pub(in crate::hub) fn answer_after(&mut self, socket: SocketId, answer: ComponentRegistered) {
        self.answers.push((socket, answer));
    }

    /// The attempts to send, by engine.
    pub(in crate::hub) fn take_execute(&mut self) -> BTreeMap<ComponentId, Vec<Assignment>> {
        std::mem::take(&mut self.execute)
    }

    /// The attempts to cancel, by engine.
    pub(in crate::hub) fn take_cancel(&mut self) -> BTreeMap<ComponentId, Vec<AttemptRef>> {
        std::mem::take(&mut self.cancel)
    }

    /// The answers to engines that drain.
    pub(in crate::hub) fn take_answers(&mut self) -> Vec<(SocketId, ComponentRegistered)> {
        std::mem::take(&mut self.answers)
    }

    /// An attempt was sent; its engine must take it by this deadline.
    pub(in crate::hub) fn sent(&mut self, at: &AttemptRef, until: Instant) {
        self.set(at, Stage::Sent { until });
    }

    /// The cancel of an attempt was sent to an engine. Returns whether the engine must stop it by this deadline.
    pub(in crate::hub) fn cancel_sent(&mut self, engine: &ComponentId, at: &AttemptRef, until: Instant) -> bool {
        let is_due = self.holds(engine, at) && !self.is_stopping(at);
        if is_due {
            self.set(at, Stage::Cancelling { until });
        }
        is_due
    }

    /// The engine that should have taken or stopped the attempt by now, if it has not.
    pub(in crate::hub) fn overdue(&self, at: &AttemptRef, now: Instant) -> Option<&ComponentId> {
        let lease = self.leases.get(at)?;
        match lease.stage {
            Stage::Sent { until } | Stage::Cancelling { until } if until <= now => Some(&lease.engine),
            _ => None,
        }
    }

    /// The journal is asked to end an attempt. Returns whether it was not asked before.
    pub(in crate::hub) fn stop(&mut self, at: &AttemptRef) -> bool {
        let is_new = self.stage(at).is_some_and(|stage| stage != Stage::Stopping);
        if is_new {
            self.set(at, Stage::Stopping);
        }
        is_new
    }
}

#[cfg(test)]
mod tests;
