//! A world in virtual time: the real hub, ledger and role state machines, scripted executors and clients, a network and
//! a disk that fail as the seed determines, and a checker that watches what becomes durable.
//!
//! In the first phase everything may fail. Then the faults stop, and every run has to end within bounded time. Files:
//! `agenda` and `chance` (time and randomness), `net` (sockets), `plane` and `shell` (the control plane), `worker` and
//! `working` (the roles), `clients`, `watcher`, `workload`, `faults`, `history`, and `checker`, `rules`, `spans` and
//! `times` (the rules that must hold).

mod agenda;
mod chance;
mod checker;
mod clients;
mod faults;
mod history;
mod net;
mod plane;
mod rules;
mod shell;
mod spans;
mod times;
mod watcher;
mod worker;
mod working;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use agenda::{Agenda, Time};
use chance::Chance;
use checker::{Checker, Verified};
use clients::Clients;
use faults::Fault;
use gleitzeit_mesh::hub::{Config, Token};
use gleitzeit_mesh::wire::{FromHub, Role};
use gleitzeit_run::Position;
use gleitzeit_workflow::Timestamp;
use history::Read;
use net::{Down, Far, Net, SocketId, Up};
use plane::{Plane, Question, Store};
use times::Times;
use worker::{Kind, ToMachine, Worker};

/// How soon after the last run's end all state that was kept for it must be gone.
const AFTERMATH: Time = 60_000;
/// The interval of the checks that are too expensive for every step.
const CHECK_EVERY: Time = 1_000;
/// The start of virtual time: 2026-01-01.
const EPOCH: Timestamp = Timestamp(1_767_225_600_000);
/// How many of the last steps a violation shows.
const SHOWN_STEPS: usize = 300;

/// An event of the simulation.
#[derive(Debug)]
enum SimEvent {
    ToHub(SocketId),
    ToFar(SocketId),
    HubHears(u64),
    HubTick(u64),
    HubFlush(u64),
    HubReads { generation: u64, token: Token, from: Position, limit: usize },
    WriterTakes(u64),
    Synced(u64),
    Answer { question: Question, verdict: gleitzeit_run::Verdict, losses: u64 },
    PlaneStart,
    WorkerStart(usize),
    Connect(usize, u64),
    WorkerTick(usize, u64),
    WorkerFlush(usize, u64),
    WorkerInput(usize, u64, Box<ToMachine>),
    CallEnds(usize, u64, gleitzeit_mesh::CallId),
    Thaw(usize, u64),
    WatcherConnects,
    StrangerConnects,
    Fault(Fault),
    Client(clients::ClientAction),
    DiskIsFast,
    Calm,
    Check,
}

/// The random settings of one simulation.
#[derive(Clone, Debug)]
struct Settings {
    /// Whether messages travel as JSON text.
    is_wired: bool,
    hub: Config,
    faults_until: Time,
    /// How many messages are delivered twice, in thousandths.
    repeats: u32,
    /// Whether the writer answers before it syncs: a bug that must be found.
    answers_early: bool,
}

/// A bug in the simulated shell, to show that it would be found; otherwise `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mistake {
    #[default]
    None,
    /// Clients are answered before their entries are durable.
    AnswerEarly,
}

/// Statistics of a simulation in which no rule was broken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) steps: u64,
    pub(crate) virtual_ms: Time,
    pub(crate) entries: usize,
    pub(crate) runs: usize,
    pub(crate) completed: usize,
    pub(crate) faults: BTreeMap<&'static str, usize>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { steps, virtual_ms, entries, runs, completed, faults } = self;
        writeln!(f, "{steps} steps, {} virtual minutes, {entries} entries", virtual_ms / 60_000)?;
        write!(f, "{runs} runs, {completed} of them completed")?;
        faults.iter().try_for_each(|(name, count)| write!(f, "\n{name}: {count}"))
    }
}

/// A rule was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    seed: u64,
    at: Time,
    rule: String,
    told: Vec<String>,
}

/// Prints the last steps before it, or with `{:#}` all steps if they were recorded.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if f.alternate() { usize::MAX } else { SHOWN_STEPS };
        for line in &self.told[self.told.len().saturating_sub(shown)..] {
            writeln!(f, "{line}")?;
        }
        write!(f, "seed {}: broken after {} virtual ms: {}", self.seed, self.at, self.rule)
    }
}

/// Simulates one seed.
pub(crate) fn simulate(seed: u64, mistake: Mistake, is_told: bool) -> Result<Report, Violation> {
    let mut world = World::new(seed, mistake, is_told);
    let lived = world.live();
    match lived {
        Ok(()) => Ok(world.report()),
        Err(rule) => Err(Violation { seed, at: world.agenda.now(), rule, told: world.told }),
    }
}

struct World {
    chance: Chance,
    agenda: Agenda<SimEvent>,
    settings: Settings,
    net: Net,
    store: Store,
    plane: Option<Plane>,
    generation: u64,
    workers: Vec<Worker>,
    clients: Clients,
    checker: Checker,
    times: Times,
    watcher: Read,
    watching: Option<SocketId>,
    disk_is_slow: bool,
    is_calm: bool,
    faults_stopped_at: Time,
    ended_at: Option<Time>,
    /// When work for an ended attempt was first seen to continue.
    overlapping: BTreeMap<(usize, gleitzeit_mesh::CallId), Time>,
    /// When an attempt became overdue to be taken or stopped, by the control plane's generation.
    overdue: BTreeMap<(u64, gleitzeit_run::AttemptRef), Time>,
    steps: u64,
    faults: BTreeMap<&'static str, usize>,
    is_told: bool,
    told: Vec<String>,
}

impl World {
    fn new(seed: u64, mistake: Mistake, is_told: bool) -> Self {
        let mut chance = Chance::new(seed);
        let settings = settings(&mut chance, mistake);
        let workers = choose_workers(&mut chance)
            .into_iter()
            .enumerate()
            .map(|(number, kind)| Worker::new(number, kind))
            .collect();
        let mut world = Self {
            chance,
            agenda: Agenda::new(),
            settings,
            net: Net::default(),
            store: Store::default(),
            plane: None,
            generation: 0,
            workers,
            clients: Clients::default(),
            checker: Checker::new(),
            times: Times::default(),
            watcher: Read::default(),
            watching: None,
            disk_is_slow: false,
            is_calm: false,
            faults_stopped_at: 0,
            ended_at: None,
            overlapping: BTreeMap::new(),
            overdue: BTreeMap::new(),
            steps: 0,
            faults: BTreeMap::new(),
            is_told,
            told: Vec::new(),
        };
        world.begin();
        world
    }

    /// Starts all workers in any order, and plans the seed's faults and client actions.
    fn begin(&mut self) {
        self.later(0, SimEvent::PlaneStart);
        for number in 0..self.workers.len() {
            let after = self.chance.within(0..2_000);
            self.later(after, SimEvent::WorkerStart(number));
        }
        self.later(0, SimEvent::WatcherConnects);
        self.later(CHECK_EVERY, SimEvent::Check);
        let busy = self.plan_actions();
        self.plan_faults(&busy);
        let until = self.settings.faults_until;
        self.later(until, SimEvent::Calm);
    }

    fn live(&mut self) -> Verified {
        while !self.is_over() {
            let Some(happening) = self.agenda.pop() else { return Err("nothing will ever happen again".to_owned()) };
            self.steps += 1;
            if !matches!(happening, SimEvent::Check) {
                self.tell(|| format!("{happening:?}"));
            }
            self.happen(happening)?;
            if self.is_calm {
                self.check_end()?;
            }
        }
        self.check_aftermath()
    }

    fn is_over(&self) -> bool {
        self.ended_at.is_some_and(|at| self.agenda.now() >= at + AFTERMATH)
    }

    fn happen(&mut self, happening: SimEvent) -> Verified {
        match happening {
            SimEvent::ToHub(socket) => return self.hub_receives(socket),
            SimEvent::ToFar(socket) => return self.far_receives(socket),
            SimEvent::HubHears(generation) => return self.hub_hears(generation),
            SimEvent::HubTick(generation) => return self.hub_ticks(generation),
            SimEvent::HubFlush(generation) => return self.hub_flushes(generation),
            SimEvent::HubReads { generation, token, from, limit } => {
                return self.hub_reads(generation, token, from, limit);
            }
            SimEvent::WriterTakes(generation) => return self.writer_takes(generation),
            SimEvent::Synced(generation) => return self.synced(generation),
            // An acknowledgement whose entries were lost before it arrives is dropped; the client asks again.
            SimEvent::Answer { losses, .. } if losses != self.store.losses() => {}
            SimEvent::Answer { question, verdict, .. } => return self.answered(question, &verdict),
            SimEvent::PlaneStart if self.plane.is_none() => return self.start_plane(),
            SimEvent::PlaneStart => {}
            SimEvent::WorkerStart(number) => self.start_worker(number),
            SimEvent::Connect(number, incarnation) => self.connect(number, incarnation),
            SimEvent::WorkerTick(number, incarnation) => return self.worker_ticks(number, incarnation),
            SimEvent::WorkerFlush(number, incarnation) => return self.worker_flushes(number, incarnation),
            SimEvent::WorkerInput(number, incarnation, input) => {
                return self.worker_takes_input(number, incarnation, *input);
            }
            SimEvent::CallEnds(number, incarnation, id) => return self.call_ends(number, incarnation, id),
            SimEvent::Thaw(number, incarnation) => return self.thaw(number, incarnation),
            SimEvent::WatcherConnects => self.watcher_connects(),
            SimEvent::StrangerConnects => self.intruder_connects(),
            SimEvent::Fault(fault) => return self.fail(fault),
            SimEvent::Client(action) => self.act(action),
            SimEvent::DiskIsFast => self.disk_is_slow = false,
            SimEvent::Calm => return self.stop_faults(),
            SimEvent::Check => return self.check(),
        }
        Ok(())
    }

    fn later(&mut self, after: Time, happening: SimEvent) {
        let at = self.agenda.now() + after;
        self.agenda.at(&mut self.chance, at, happening);
    }

    fn at(&mut self, at: Time, happening: SimEvent) {
        self.agenda.at(&mut self.chance, at, happening);
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.is_told {
            self.told.push(format!("{:>8} {}", self.agenda.now(), line()));
        }
    }

    /// Sends to the hub, if the socket is intact.
    fn send_up(&mut self, socket: SocketId, up: Up) {
        let latency = self.chance.latency();
        let repeats = self.settings.repeats;
        let is_repeated = match &up {
            Up::Message(message) => Net::may_repeat_up(message) && self.chance.permille(repeats),
            _ => false,
        };
        let Some(it) = self.net.sockets.get_mut(&socket).filter(|it| !it.cut) else { return };
        it.last_up = it.last_up.max(self.agenda.now() + latency);
        let at = it.last_up;
        if is_repeated {
            it.up.push_back(up.clone());
            self.at(at, SimEvent::ToHub(socket));
        }
        if let Some(it) = self.net.sockets.get_mut(&socket) {
            it.up.push_back(up);
        }
        self.at(at, SimEvent::ToHub(socket));
    }

    fn send_down(&mut self, socket: SocketId, down: Down) {
        let latency = self.chance.latency();
        let repeats = self.settings.repeats;
        let is_repeated = match &down {
            Down::Message(message) => Net::may_repeat_down(message) && self.chance.permille(repeats),
            Down::Closed => false,
        };
        let Some(it) = self.net.sockets.get_mut(&socket).filter(|it| !it.cut) else { return };
        it.last_down = it.last_down.max(self.agenda.now() + latency);
        let at = it.last_down;
        for _ in 0..=usize::from(is_repeated) {
            if let Some(it) = self.net.sockets.get_mut(&socket) {
                it.down.push_back(down.clone());
            }
            self.at(at, SimEvent::ToFar(socket));
        }
    }

    /// Cuts a socket: messages in transit are lost, and each side notices in its own time.
    fn cut(&mut self, socket: SocketId, notice_up: Time, notice_down: Time) {
        let Some(it) = self.net.sockets.get_mut(&socket).filter(|it| !it.cut) else { return };
        it.cut = true;
        self.times.something_failed(self.agenda.now());
        it.up.clear();
        it.down.clear();
        it.up.push_back(Up::Closed { clean: false });
        it.down.push_back(Down::Closed);
        let now = self.agenda.now();
        self.at(now + notice_up, SimEvent::ToHub(socket));
        self.at(now + notice_down, SimEvent::ToFar(socket));
    }

    /// How long one end of a broken socket takes to notice.
    fn notice(&mut self) -> Time {
        if self.chance.permille(150) { self.chance.within(50..20_000) } else { self.chance.latency() }
    }

    fn far_receives(&mut self, socket: SocketId) -> Verified {
        let Some(it) = self.net.sockets.get_mut(&socket) else { return Ok(()) };
        let Some(down) = it.down.pop_front() else { return Ok(()) };
        let down = match down {
            Down::Message(message) if self.settings.is_wired => {
                let read = FromHub::decode(message.kind(), &message.body());
                let read = read.map_err(|error| format!("`{}` cannot be read: {error}", message.kind()))?;
                Down::Message(Arc::new(read))
            }
            down => down,
        };
        match it.far {
            Far::Worker(number, incarnation) => self.worker_receives(socket, number, incarnation, down),
            Far::Watcher => self.watcher_receives(socket, &down),
            Far::Intruder => {
                self.intruder_receives(socket, &down);
                Ok(())
            }
        }
    }

    fn report(&self) -> Report {
        Report {
            steps: self.steps,
            virtual_ms: self.agenda.now(),
            entries: self.store.entries.len(),
            runs: self.store.finished.len(),
            completed: self
                .store
                .finished
                .values()
                .filter(|run| run.status == gleitzeit_run::RunStatus::Completed)
                .count(),
            faults: self.faults.clone(),
        }
    }
}

fn settings(chance: &mut Chance, mistake: Mistake) -> Settings {
    let mut hub = Config::default();
    if chance.permille(500) {
        hub.window_entries = usize::try_from(chance.within(1..50)).unwrap_or(1);
        hub.window_bytes = usize::try_from(chance.within(1..20_000)).unwrap_or(1);
        hub.kept_bytes = usize::try_from(chance.within(1..50_000)).unwrap_or(1);
    }
    Settings {
        is_wired: chance.permille(150),
        hub,
        faults_until: if chance.permille(150) { chance.within(60_000..180_000) } else { chance.within(5_000..60_000) },
        repeats: [0, 20, 100][chance.index(3)],
        answers_early: mistake == Mistake::AnswerEarly,
    }
}

/// The workers: one to three of each role.
fn choose_workers(chance: &mut Chance) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for role in Role::ALL {
        for number in 0..chance.within(1..4) {
            // The first of each role serves everything, so that every run can end.
            let is_picky = number > 0 && chance.permille(400);
            let is_slow = chance.permille(350);
            let methods = if is_picky { &[workload::COMMON][..] } else { &[workload::COMMON, workload::SPECIAL] };
            // Some tasks ask for the first one's name.
            let name = if number == 0 || chance.permille(300) { workload::NAMED } else { "other" };
            kinds.push(Kind {
                role,
                name: (role == Role::Provider).then_some(name),
                slots: u32::try_from(chance.within(1..7)).unwrap_or(1),
                queues: is_picky.then(|| vec![workload::QUEUES[chance.index(workload::QUEUES.len())].to_owned()]),
                methods: methods.iter().map(|it| (*it).to_owned()).collect(),
                max_concurrency: u32::try_from(chance.within(if is_slow { 1..3 } else { 1..6 })).unwrap_or(1),
                pace: if is_slow { chance.within(200..3_000) } else { 0 },
            });
        }
    }
    kinds
}
