//! The faults, and how each of them ends.

use gleitzeit_mesh::role::provider;
use gleitzeit_mesh::wire::{
    Append, FromHub, Health, HealthState, HeartbeatResponse, ProposalItem, RegisterComponent, Role, ToHub,
};
use gleitzeit_run::command::{
    CompleteAttempt, DispatchTask, FailAttempt, FailTask, ReadyTask, RequeueTask, ScheduleRetry, StopAttempt,
};
use gleitzeit_run::event::StopReason;
use gleitzeit_run::{AttemptRef, Command, Epoch, Fence, Slice};
use gleitzeit_workflow::{ErrorCode, Failure, Payload};

use super::agenda::Time;
use super::checker::Verified;
use super::net::{Down, Far, SocketId, Up};
use super::worker::{Freeze, ToMachine};
use super::{SimEvent, World};

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    CrashWorker,
    CrashPlane,
    CrashEverything,
    LoseHistory,
    CutSocket,
    CutAllSockets,
    Partition,
    Freeze,
    Deafen,
    Drain,
    SlowDisk,
    Unhealthy,
    Intruder,
}

const FAULTS: [(Fault, &str, u64); 13] = [
    (Fault::CrashWorker, "a worker crashed", 24),
    (Fault::CrashPlane, "the control plane crashed", 8),
    (Fault::CrashEverything, "everything crashed", 2),
    (Fault::LoseHistory, "history was lost", 3),
    (Fault::CutSocket, "a socket was cut", 24),
    (Fault::CutAllSockets, "all sockets were cut", 3),
    (Fault::Partition, "a worker was cut off", 6),
    (Fault::Freeze, "a worker froze", 12),
    (Fault::Deafen, "a worker was deaf", 6),
    (Fault::Drain, "a worker left", 10),
    (Fault::SlowDisk, "the disk was slow", 5),
    (Fault::Unhealthy, "a provider was unhealthy", 6),
    (Fault::Intruder, "a stranger forged proposals", 8),
];

impl World {
    /// Plans the faults: half of them around the times when there is work.
    pub(super) fn plan_faults(&mut self, busy: &[Time]) {
        let until = self.settings.faults_until;
        let total: u64 = FAULTS.iter().map(|(_, _, weight)| weight).sum();
        // From few faults to several a second.
        let between = [20_000, 4_000, 1_000, 300][self.chance.index(4)];
        let mut at = 0;
        loop {
            at += self.chance.within(1..2 * between);
            if at >= until {
                return;
            }
            let around = self.chance.pick(busy).filter(|_| self.chance.permille(500));
            let at = around.map_or(at, |busy| (busy + self.chance.within(0..3_000)).saturating_sub(1_000));
            let mut left = self.chance.within(0..total);
            for (fault, _, weight) in &FAULTS {
                if left < *weight {
                    self.at(at, SimEvent::Fault(fault.clone()));
                    break;
                }
                left -= weight;
            }
        }
    }

    pub(super) fn fail(&mut self, fault: Fault) -> Verified {
        if self.is_calm {
            return Ok(());
        }
        let name = FAULTS.iter().find(|(it, _, _)| std::mem::discriminant(it) == std::mem::discriminant(&fault));
        *self.faults.entry(name.map_or("?", |(_, name, _)| name)).or_default() += 1;
        let number = self.chance.index(self.workers.len());
        match fault {
            Fault::CrashWorker => self.crash_worker(number),
            Fault::CrashPlane => {
                self.crash_plane()?;
                self.restart_plane();
            }
            Fault::CrashEverything => {
                self.crash_plane()?;
                self.restart_plane();
                for number in 0..self.workers.len() {
                    self.crash_worker(number);
                }
            }
            Fault::LoseHistory => self.lose_history()?,
            Fault::CutSocket => self.cut_worker(number),
            Fault::CutAllSockets => (0..self.workers.len()).for_each(|number| self.cut_worker(number)),
            Fault::Partition => {
                // Prefers a worker that is busy.
                let busy = self.workers.iter().enumerate().filter(|(_, it)| !it.executions.is_empty());
                let busy: Vec<usize> = busy.map(|(number, _)| number).collect();
                let number = self.chance.pick(&busy).unwrap_or(number);
                self.cut_worker(number);
                let after = self.chance.within(1_000..90_000);
                self.workers[number].unreachable_until = self.agenda.now() + after;
            }
            Fault::Freeze => self.freeze(number, false),
            Fault::Deafen => {
                let engines = self.workers.iter().enumerate().filter(|(_, it)| it.kind.role == Role::Engine);
                let engines: Vec<usize> = engines.map(|(number, _)| number).collect();
                if let Some(number) = self.chance.pick(&engines) {
                    self.freeze(number, true);
                }
            }
            Fault::Drain => return self.drain(number),
            Fault::SlowDisk => {
                self.disk_is_slow = true;
                let after = self.chance.within(100..6_000);
                self.later(after, SimEvent::DiskIsFast);
            }
            Fault::Unhealthy => return self.toggle_health(number),
            Fault::Intruder => self.later(0, SimEvent::StrangerConnects),
        }
        Ok(())
    }

    pub(super) fn restart_plane(&mut self) {
        let after =
            if self.chance.permille(300) { self.chance.within(5_000..25_000) } else { self.chance.within(0..3_000) };
        self.later(after, SimEvent::PlaneStart);
    }

    fn crash_worker(&mut self, number: usize) {
        if !std::mem::replace(&mut self.workers[number].alive, false) {
            return;
        }
        self.workers[number].executions.clear();
        self.cut_worker(number);
        let after =
            if self.chance.permille(300) { self.chance.within(5_000..25_000) } else { self.chance.within(0..3_000) };
        self.later(after, SimEvent::WorkerStart(number));
    }

    fn cut_worker(&mut self, number: usize) {
        if let Some(socket) = self.workers[number].socket {
            let (up, down) = (self.notice(), self.notice());
            self.cut(socket, up, down);
        }
    }

    fn freeze(&mut self, number: usize, heartbeats: bool) {
        let now = self.agenda.now();
        let time: Time = match self.chance.within(0..3) {
            0 => self.chance.within(10..1_000),
            1 => self.chance.within(1_000..8_000),
            _ => self.chance.within(8_000..100_000),
        };
        let worker = &mut self.workers[number];
        if worker.alive && worker.frozen.is_none() {
            let until = now + time;
            worker.frozen = Some(Freeze { until, heartbeats });
            let incarnation = worker.incarnation;
            self.times.something_failed(now);
            self.at(until, SimEvent::Thaw(number, incarnation));
        }
    }

    fn drain(&mut self, number: usize) -> Verified {
        let worker = &mut self.workers[number];
        if !worker.alive || worker.frozen.is_some() || std::mem::replace(&mut worker.leaving, true) {
            return Ok(());
        }
        match worker.kind.role {
            Role::Queue | Role::Resolver => {
                self.leave(number);
                Ok(())
            }
            Role::Engine | Role::Provider => {
                let grace_ms = self.chance.within(0..10_000);
                self.feed(number, ToMachine::Drain { grace_ms })
            }
        }
    }

    fn toggle_health(&mut self, number: usize) -> Verified {
        let worker = &mut self.workers[number];
        if !worker.alive || worker.frozen.is_some() || worker.kind.role != Role::Provider {
            return Ok(());
        }
        worker.health = match worker.health.state {
            HealthState::Healthy if number.is_multiple_of(2) => Health::unhealthy("as scripted"),
            HealthState::Healthy => Health::broken("as scripted, and waiting does not help"),
            HealthState::Unhealthy | HealthState::Starting | HealthState::Slow => Health::default(),
        };
        let health = worker.health.clone();
        self.feed(number, ToMachine::Provider(provider::Input::Health(health)))
    }

    /// From now on nothing fails, and all damage is repaired.
    pub(super) fn stop_faults(&mut self) -> Verified {
        self.is_calm = true;
        self.faults_stopped_at = self.agenda.now();
        self.disk_is_slow = false;
        if self.plane.is_none() {
            self.start_plane()?;
        }
        for number in 0..self.workers.len() {
            let worker = &mut self.workers[number];
            worker.unreachable_until = 0;
            if !worker.alive {
                self.start_worker(number);
            } else {
                let incarnation = worker.incarnation;
                self.thaw(number, incarnation)?;
                let worker = &self.workers[number];
                if worker.alive && worker.health.state == HealthState::Unhealthy {
                    self.toggle_health(number)?;
                }
            }
        }
        Ok(())
    }

    /// A component registers and then makes proposals that it has no right to: all must be refused.
    pub(super) fn intruder_connects(&mut self) {
        if self.plane.is_some() {
            let socket = self.net.open(Far::Intruder);
            self.send_up(socket, Up::Open);
        }
    }

    pub(super) fn intruder_receives(&mut self, socket: SocketId, down: &Down) {
        let Down::Message(message) = down else { return };
        match &**message {
            FromHub::Welcome(_) => {
                let register = serde_json::json!({"component_type": "engine", "name": "stranger", "slots": 0});
                let register: Result<Box<RegisterComponent>, _> = serde_json::from_value(register);
                if let Ok(register) = register {
                    self.send_up(socket, Up::Message(ToHub::RegisterComponent(register)));
                }
            }
            FromHub::ComponentRegistered(_) => {
                let proposals = self.forgeries();
                self.send_up(socket, Up::Message(ToHub::Append(Append { proposals, position: None })));
            }
            FromHub::Heartbeat(_) => {
                let response = ToHub::HeartbeatResponse(HeartbeatResponse::default());
                self.send_up(socket, Up::Message(response));
                if self.chance.permille(500) {
                    self.send_up(socket, Up::Closed { clean: true });
                }
            }
            _ => {}
        }
    }

    /// For each unfinished task, every possible proposal about it, with the fence of its true owner.
    fn forgeries(&mut self) -> Vec<ProposalItem> {
        let Some(plane) = &self.plane else { return Vec::new() };
        let mut items = Vec::new();
        for run in plane.ledger.runs() {
            for at in (0..run.tasks.len()).filter(|at| !run.tasks[*at].status().is_final()) {
                let (run_id, task_id, attempt) = (run.run_id, run.task(at).id.clone(), run.tasks[at].attempt());
                let queue = run.task(at).queue.clone();
                let of = AttemptRef { run_id, task_id: task_id.clone(), attempt };
                let error = Failure::new(ErrorCode::TaskExecutionFailed, "forged");
                let engine = run.tasks[at].engine().cloned().unwrap_or_else(|| "stranger".into());
                let (shard, line) = (Slice::Shard(run_id.shard()), Slice::Queue(queue.clone()));
                let priority = run.task(at).priority;
                let parameters = Payload::null();
                let next = attempt + 1;
                let commands: [(Option<&Slice>, Command); 9] = [
                    (Some(&shard), ReadyTask { run_id, task_id: task_id.clone(), queue, priority, parameters }.into()),
                    (
                        Some(&shard),
                        FailTask { run_id, task_id: task_id.clone(), attempt: 0, error: error.clone() }.into(),
                    ),
                    (Some(&line), DispatchTask { run_id, task_id: task_id.clone(), attempt: next, engine }.into()),
                    (Some(&line), RequeueTask { run_id, task_id: task_id.clone(), attempt }.into()),
                    (Some(&line), ScheduleRetry { run_id, task_id: task_id.clone(), attempt, delay_ms: 0 }.into()),
                    (Some(&line), FailTask { run_id, task_id, attempt, error: error.clone() }.into()),
                    (None, CompleteAttempt { at: of.clone(), result: Payload::null(), ran_ms: 0 }.into()),
                    (None, StopAttempt { at: of.clone(), reason: StopReason::Drain }.into()),
                    (None, FailAttempt { at: of, error, retryable: false, retry_after_ms: None, ran_ms: 0 }.into()),
                ];
                for (slice, command) in commands {
                    let epoch =
                        |slice: &Slice| plane.ledger.owners().find(|(it, _, _)| *it == slice).map(|(_, _, it)| it);
                    let fence = slice.map(|slice| {
                        let (slice, epoch) = (slice.clone(), epoch(slice).unwrap_or(Epoch(1)));
                        Fence { slice, epoch }
                    });
                    items.push(ProposalItem { proposal_id: items.len().to_string().into(), fence, command });
                }
            }
        }
        items.truncate(900);
        items
    }
}
