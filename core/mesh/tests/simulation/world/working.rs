//! The shell of the workers: links, clocks, validation and executors, all scripted.

use std::sync::Arc;

use gleitzeit_mesh::CallId;
use gleitzeit_mesh::role::{self, engine, provider};
use gleitzeit_mesh::wire::{CallMeta, FromHub, HeartbeatResponse, MethodCall, MethodOutcome, ToHub};
use gleitzeit_run::AttemptRef;
use gleitzeit_run::ledger::Assignment;
use gleitzeit_workflow::{ErrorCode, Failure, Instant, Payload, ProtocolName};
use serde_json::json;

use super::agenda::Time;
use super::checker::Verified;
use super::net::{Down, Far, SocketId, Up};
use super::worker::{Execution, Freeze, FromMachine, Machine, ToMachine, Worker};
use super::workload;
use super::{SimEvent, World};

impl World {
    pub(super) fn start_worker(&mut self, number: usize) {
        if self.workers[number].alive {
            return;
        }
        self.workers[number].restart(number);
        let incarnation = self.workers[number].incarnation;
        self.later(0, SimEvent::Connect(number, incarnation));
    }

    fn worker(&mut self, number: usize, incarnation: u64) -> Option<&mut Worker> {
        self.workers.get_mut(number).filter(|worker| worker.alive && worker.incarnation == incarnation)
    }

    pub(super) fn connect(&mut self, number: usize, incarnation: u64) {
        let (now, has_plane) = (self.agenda.now(), self.plane.is_some());
        let Some(worker) = self.worker(number, incarnation).filter(|worker| worker.socket.is_none()) else { return };
        if !has_plane || worker.frozen.is_some() || worker.unreachable_until > now {
            let after = self.chance.within(10..2_000);
            return self.later(after, SimEvent::Connect(number, incarnation));
        }
        let socket = self.net.open(Far::Worker(number, incarnation));
        self.workers[number].socket = Some(socket);
        self.send_up(socket, Up::Open);
    }

    pub(super) fn worker_receives(
        &mut self,
        socket: SocketId,
        number: usize,
        incarnation: u64,
        down: Down,
    ) -> Verified {
        let Some(worker) = self.worker(number, incarnation) else { return Ok(()) };
        let Some(Freeze { heartbeats, .. }) = worker.frozen else { return self.link_receives(socket, number, down) };
        match &down {
            Down::Message(message) if heartbeats && matches!(**message, FromHub::Heartbeat(_)) => {
                let response = ToHub::HeartbeatResponse(HeartbeatResponse::default());
                self.send_up(socket, Up::Message(response));
            }
            _ => worker.stuck.push_back((socket, down)),
        }
        Ok(())
    }

    pub(super) fn thaw(&mut self, number: usize, incarnation: u64) -> Verified {
        let Some(worker) = self.worker(number, incarnation) else { return Ok(()) };
        worker.frozen = None;
        let now = self.agenda.now();
        self.times.something_failed(now);
        if matches!(self.workers[number].machine, Machine::Provider(_)) {
            // The host notices that the process was suspended.
            self.feed(number, ToMachine::Provider(provider::Input::Woke))?;
        }
        let Some(worker) = self.worker(number, incarnation) else { return Ok(()) };
        for (socket, down) in std::mem::take(&mut worker.stuck) {
            self.link_receives(socket, number, down)?;
        }
        // Its timers have long been due.
        self.flush_worker(number)
    }

    /// A worker's link receives a message; messages from a socket that it has given up are ignored.
    fn link_receives(&mut self, socket: SocketId, number: usize, down: Down) -> Verified {
        if self.workers[number].socket != Some(socket) {
            return Ok(());
        }
        let input = match down {
            Down::Message(message) => match Arc::unwrap_or_clone(message) {
                FromHub::Welcome(_) => role::Input::Connected,
                message => {
                    if let FromHub::ComponentRegistered(answer) = &message {
                        self.workers[number].term.clone_from(&answer.term);
                    }
                    role::Input::Message(message)
                }
            },
            Down::Closed => {
                self.lose_link(number);
                role::Input::Disconnected
            }
        };
        self.feed(number, ToMachine::Hub(input))
    }

    fn lose_link(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.socket = None;
        let incarnation = worker.incarnation;
        let after = self.chance.within(0..2_000);
        self.later(after, SimEvent::Connect(number, incarnation));
    }

    pub(super) fn feed(&mut self, number: usize, input: ToMachine) -> Verified {
        let now = self.agenda.now();
        let worker = &mut self.workers[number];
        let mut out = Vec::new();
        worker.accept(now, input, &mut out);
        let incarnation = worker.incarnation;
        self.worker_did(number, out)?;
        let Some(worker) = self.worker(number, incarnation) else { return Ok(()) };
        if worker.flush_planned {
            return Ok(());
        }
        if self.chance.permille(300) {
            self.workers[number].flush_planned = true;
            self.later(0, SimEvent::WorkerFlush(number, incarnation));
            return Ok(());
        }
        self.flush_worker(number)
    }

    pub(super) fn worker_flushes(&mut self, number: usize, incarnation: u64) -> Verified {
        let Some(worker) = self.worker(number, incarnation) else { return Ok(()) };
        if let Some(Freeze { until, .. }) = worker.frozen {
            self.at(until, SimEvent::WorkerFlush(number, incarnation));
            return Ok(());
        }
        self.flush_worker(number)
    }

    fn flush_worker(&mut self, number: usize) -> Verified {
        let now = self.agenda.now();
        let worker = &mut self.workers[number];
        worker.flush_planned = false;
        let mut out = Vec::new();
        worker.flush(now, &mut out);
        let incarnation = worker.incarnation;
        self.worker_did(number, out)?;
        let Some(worker) = self.worker(number, incarnation) else { return Ok(()) };
        if let Machine::Queue(queue) = &worker.machine {
            // Everything that could be dispatched was dispatched: the rest is held back for a reason that can be named.
            let unexplained =
                queue.ready().find(|(run_id, task_id)| queue.waiting_reason(Instant(now), *run_id, task_id).is_none());
            if let Some((run_id, task_id)) = unexplained {
                return Err(format!("{} holds back `{task_id}` of {run_id} without a reason", worker.id));
            }
        }
        self.plan_worker_tick(number);
        Ok(())
    }

    fn plan_worker_tick(&mut self, number: usize) {
        let now = self.agenda.now();
        let worker = &mut self.workers[number];
        let Some(at) = worker.next_deadline().map(|at| at.max(now)) else { return };
        if worker.tick_at.is_none_or(|planned| at < planned) {
            worker.tick_at = Some(at);
            let incarnation = worker.incarnation;
            let late = if self.chance.permille(100) { self.chance.within(0..20) } else { 0 };
            self.at(at + late, SimEvent::WorkerTick(number, incarnation));
        }
    }

    pub(super) fn worker_ticks(&mut self, number: usize, incarnation: u64) -> Verified {
        let Some(worker) = self.worker(number, incarnation) else { return Ok(()) };
        if let Some(Freeze { until, .. }) = worker.frozen {
            self.at(until, SimEvent::WorkerTick(number, incarnation));
            return Ok(());
        }
        worker.tick_at = None;
        self.feed(number, ToMachine::Hub(role::Input::Tick))?;
        if self.worker(number, incarnation).is_some() {
            self.plan_worker_tick(number);
        }
        Ok(())
    }

    pub(super) fn worker_takes_input(&mut self, number: usize, incarnation: u64, input: ToMachine) -> Verified {
        let Some(worker) = self.worker(number, incarnation) else { return Ok(()) };
        if let Some(Freeze { until, .. }) = worker.frozen {
            self.at(until, SimEvent::WorkerInput(number, incarnation, Box::new(input)));
            return Ok(());
        }
        if let ToMachine::Provider(provider::Input::Started { id }) = &input
            && let Some(at) = worker.executions.get(id).map(|execution| execution.at.clone())
        {
            let now = self.agenda.now();
            self.times.began(&at, now);
        }
        self.feed(number, input)
    }

    fn worker_did(&mut self, number: usize, out: Vec<FromMachine>) -> Verified {
        for output in out {
            let name = self.workers[number].id.clone();
            self.tell(|| format!("  {name}: {output:?}"));
            match output {
                FromMachine::Hub(output)
                | FromMachine::Engine(engine::Output::Hub(output))
                | FromMachine::Provider(provider::Output::Hub(output)) => self.said(number, output)?,
                FromMachine::Engine(engine::Output::Prepare { assignment }) => {
                    self.check_protocol(number, &assignment)?;
                    let at = assignment.at;
                    let result = Ok((assignment.parameters, None));
                    self.soon(number, ToMachine::Engine(engine::Input::Prepared { at, result }));
                }
                FromMachine::Engine(engine::Output::CheckResult { at, result, .. }) => {
                    self.soon(number, ToMachine::Engine(engine::Input::Checked { at, result: Ok(result) }));
                }
                FromMachine::Engine(engine::Output::Protocols(told)) => {
                    let known = &mut self.workers[number].protocols;
                    known.retain(|name| !told.removed.contains(name));
                    known.extend(told.protocols.iter().map(|it| ProtocolName::new(&it.name, &it.version)));
                }
                FromMachine::Engine(engine::Output::Forget) => self.workers[number].protocols.clear(),
                FromMachine::Provider(provider::Output::Start { call }) => self.start_call(number, call)?,
                FromMachine::Provider(provider::Output::Cancel { id }) => {
                    self.workers[number].executions.remove(&id);
                }
                FromMachine::Engine(engine::Output::Drained) | FromMachine::Provider(provider::Output::Drained) => {
                    self.leave(number);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Checks that an engine can validate every attempt that it is given.
    fn check_protocol(&self, number: usize, assignment: &Assignment) -> Verified {
        let protocol = assignment.method.as_str().split('/').next().unwrap_or_default();
        let name = ProtocolName::new(protocol, &assignment.protocol_version);
        let worker = &self.workers[number];
        if worker.protocols.contains(&name) {
            return Ok(());
        }
        Err(format!("{} was given {} and does not know protocol `{name}`", worker.id, assignment.at))
    }

    fn said(&mut self, number: usize, output: role::Output) -> Verified {
        match output {
            role::Output::Send(message) => {
                if let Some(socket) = self.workers[number].socket {
                    self.send_up(socket, Up::Message(message));
                }
                Ok(())
            }
            role::Output::Reconnect { .. } => {
                if let Some(socket) = self.workers[number].socket {
                    let notice = self.notice();
                    self.cut(socket, notice, 0);
                    self.lose_link(number);
                }
                self.feed(number, ToMachine::Hub(role::Input::Disconnected))
            }
            role::Output::Rejected { error } => Err(format!("{} was rejected: {error}", self.workers[number].id)),
            role::Output::Registered | role::Output::Log { .. } => Ok(()),
        }
    }

    fn soon(&mut self, number: usize, input: ToMachine) {
        let (incarnation, after) = (self.workers[number].incarnation, self.chance.within(0..3));
        self.later(after, SimEvent::WorkerInput(number, incarnation, Box::new(input)));
    }

    /// Leaves after everything it has sent.
    pub(super) fn leave(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.alive = false;
        worker.executions.clear();
        if let Some(socket) = worker.socket.take() {
            self.send_up(socket, Up::Closed { clean: true });
        }
        let after = self.chance.within(0..10_000);
        self.later(after, SimEvent::WorkerStart(number));
    }

    /// A scripted executor: after some time it computes a result, fails, or never ends.
    fn start_call(&mut self, number: usize, call: MethodCall) -> Verified {
        let id = call.id.clone();
        let can_hang = call.meta.timeout_ms <= 30_000 && !self.is_calm;
        let CallMeta { run_id, task_id, attempt, .. } = call.meta.clone();
        let at = AttemptRef { run_id, task_id, attempt };
        self.checker.was_given(&at, self.workers[number].kind.name.unwrap_or_default())?;
        self.workers[number].executions.insert(id.clone(), Execution { at: at.clone(), call });
        let incarnation = self.workers[number].incarnation;
        // A cancelled call may still occupy its place.
        let mut after = 0;
        if self.chance.permille(30) {
            self.soon(number, ToMachine::Provider(provider::Input::Waiting { id: id.clone() }));
            after = self.chance.within(5..8_000);
            let input = Box::new(ToMachine::Provider(provider::Input::Started { id: id.clone() }));
            self.later(after, SimEvent::WorkerInput(number, incarnation, input));
        } else {
            let now = self.agenda.now();
            self.times.began(&at, now);
        }
        if can_hang && self.chance.permille(40) {
            return Ok(());
        }
        after += self.workers[number].kind.pace + self.call_time();
        self.later(after, SimEvent::CallEnds(number, incarnation, id));
        Ok(())
    }

    fn call_time(&mut self) -> Time {
        match self.chance.within(0..1_000) {
            0..700 => self.chance.within(0..20),
            700..940 => self.chance.within(20..1_000),
            940..990 => self.chance.within(1_000..8_000),
            _ if self.is_calm => 0,
            _ => self.chance.within(8_000..120_000),
        }
    }

    pub(super) fn call_ends(&mut self, number: usize, incarnation: u64, id: CallId) -> Verified {
        let Some(worker) = self.worker(number, incarnation) else { return Ok(()) };
        if let Some(Freeze { until, .. }) = worker.frozen {
            self.at(until, SimEvent::CallEnds(number, incarnation, id));
            return Ok(());
        }
        let Some(execution) = worker.executions.remove(&id) else { return Ok(()) };
        let outcome = self.outcome(&execution.call);
        self.feed(number, ToMachine::Provider(provider::Input::Finished { id, outcome }))
    }

    fn outcome(&mut self, call: &MethodCall) -> MethodOutcome {
        let troubles = if self.is_calm { 0 } else { 150 };
        if !self.chance.permille(troubles) {
            let result = workload::answer(&call.params.to_value().expect("JSON"));
            return MethodOutcome::Result(Payload::from_value(&result));
        }
        let advice = match self.chance.within(0..4) {
            0 => json!({"retryable": false}),
            1 => json!({"retry_after_ms": self.chance.within(0..2_000)}),
            _ => json!({}),
        };
        let error = Failure::new(ErrorCode::TaskExecutionFailed, "as scripted");
        MethodOutcome::Error(error.with_data(Payload::from_value(&advice)))
    }
}
