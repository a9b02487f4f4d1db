//! The rules for running components: how long they may wait, when work must stop, what must end and what must be
//! forgotten.

use std::collections::BTreeMap;

use gleitzeit_run::ComponentId;

use super::agenda::Time;
use super::checker::Verified;
use super::{CHECK_EVERY, SimEvent, World};

/// Once nothing fails any more, every run must end within this time.
const PATIENCE: Time = 400_000;
/// Work for an attempt that has ended must stop within this time, if its process is not frozen.
const OVERLAP_LIMIT: Time = 35_000;
/// An attempt that its engine has not taken, or that is to be stopped, must end within this time of a running control
/// plane, …
const LEASE_LIMIT: Time = 45_000;
/// … and within this time if the engine is connected but does not react.
const DEAF_LIMIT: Time = 15_000;

impl World {
    /// Checks the rules that always hold but are too expensive for every step.
    pub(super) fn check(&mut self) -> Verified {
        self.later(CHECK_EVERY, SimEvent::Check);
        self.check_overlaps()?;
        self.check_leases()?;
        let Some(plane) = &self.plane else { return Ok(()) };
        let open: Vec<_> = plane.ledger.open_attempts().map(|(at, _)| at.clone()).collect();
        let present = plane.hub.present(&open, plane.ledger.recorded_at());
        for run in plane.ledger.runs() {
            let is_held_up = run.run_waiting().is_some() && run.blockers().next().is_some();
            if is_held_up == run.status.is_final() {
                return Err(format!("run {} cannot tell what it waits for", run.run_id));
            }
            for at in 0..run.tasks.len() {
                let is_final = run.tasks[at].status().is_final();
                if present.waiting(run, at).is_some_and(|waiting| !waiting.reason.is_empty()) == is_final {
                    return Err(format!("`{}` of {} cannot tell what it waits for", run.task(at).id, run.run_id));
                }
            }
        }
        Ok(())
    }

    /// Checks that work stops soon after its attempt has ended.
    fn check_overlaps(&mut self) -> Verified {
        let now = self.agenda.now();
        let mut overlapping = BTreeMap::new();
        for (number, worker) in self.workers.iter().enumerate().filter(|(_, worker)| worker.frozen.is_none()) {
            for (id, execution) in &worker.executions {
                if !self.checker.is_open(&execution.at) {
                    let since = self.overlapping.get(&(number, id.clone())).copied().unwrap_or(now);
                    if now > since + OVERLAP_LIMIT {
                        return Err(format!("{} works on call {id}, whose attempt ended long ago", worker.id));
                    }
                    overlapping.insert((number, id.clone()), since);
                }
            }
        }
        self.overlapping = overlapping;
        Ok(())
    }

    /// Checks that no attempt waits long for an engine that does not take or stop it.
    fn check_leases(&mut self) -> Verified {
        let now = self.agenda.now();
        let mut overdue = BTreeMap::new();
        let open = self.plane.iter().flat_map(|plane| plane.ledger.open_attempts().map(move |it| (plane, it)));
        for (plane, (at, engine)) in open {
            let has_taken = self.workers.iter().any(|it| it.alive && it.id == *engine && it.has_taken(at));
            let is_to_stop = plane.ledger.run(at.run_id).is_some_and(|run| run.cancel.is_some());
            if has_taken && !is_to_stop {
                continue;
            }
            let since = self.overdue.get(&(plane.generation, at.clone())).copied().unwrap_or(now);
            let limit = if self.is_deaf(engine) { DEAF_LIMIT } else { LEASE_LIMIT };
            if now > since + limit {
                return Err(format!("{at} stays open on {engine}; taken: {has_taken}, to be stopped: {is_to_stop}"));
            }
            overdue.insert((plane.generation, at.clone()), since);
        }
        self.overdue = overdue;
        Ok(())
    }

    /// Whether an engine is connected, but only its link still answers.
    fn is_deaf(&self, engine: &ComponentId) -> bool {
        let Some(worker) = self.workers.iter().find(|it| it.alive && it.id == *engine) else { return false };
        let socket = worker.socket.and_then(|socket| self.net.sockets.get(&socket));
        worker.frozen.is_some_and(|freeze| freeze.heartbeats) && socket.is_some_and(|socket| !socket.cut)
    }

    /// Checks that everything ends once there are no faults.
    pub(super) fn check_end(&mut self) -> Verified {
        if self.ended_at.is_some() {
            return Ok(());
        }
        let (unfinished, open) = (self.checker.unfinished(), self.clients.unanswered());
        if unfinished.is_empty() && open == 0 {
            self.ended_at = Some(self.agenda.now());
            return Ok(());
        }
        if self.agenda.now() < self.faults_stopped_at + PATIENCE {
            return Ok(());
        }
        let mut why = format!("{} runs never end, {open} clients are never answered", unfinished.len());
        for run_id in unfinished {
            let Some(run) = self.plane.as_ref().and_then(|plane| plane.ledger.run(run_id)) else { continue };
            for (at, owed) in run.outstanding() {
                why.push_str(&format!("\n  {run_id} `{}` {:?}: {owed:?}", run.task(at).id, run.tasks[at].status()));
            }
        }
        Err(why)
    }

    /// Checks that nothing is kept once everything is over.
    pub(super) fn check_aftermath(&mut self) -> Verified {
        self.clients.check_promises(&self.checker)?;
        if self.watcher.position != self.store.position() {
            return Err(format!("a watcher was left at {} of {}", self.watcher.position, self.store.position()));
        }
        for worker in self.workers.iter().filter(|worker| worker.alive && worker.frozen.is_none()) {
            let left = worker.leftovers();
            if !left.is_empty() {
                return Err(format!("{} still holds {}", worker.id, left.join(", ")));
            }
        }
        let Some(plane) = &self.plane else { return Err("no control plane runs".to_owned()) };
        if let Some((at, engine)) = plane.ledger.open_attempts().next() {
            return Err(format!("{at} is still open on {engine}"));
        }
        for component in plane.hub.components() {
            if component.in_use > 0 {
                return Err(format!("the hub still counts {} for {}", component.in_use, component.component_id));
            }
        }
        Ok(())
    }
}
