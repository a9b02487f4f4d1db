//! The journal's logic: everything the single writer needs to decide, apply and derive, without I/O.
//!
//! The ledger holds everything that is not finished: runs, ownerships, protocols, request ids. All of it is a fold of
//! the entries, except for the registry of connected engines, which is never stored.

mod assignment;
mod authority;
mod backlog;
mod decide;
mod derive;
mod protocols;
mod route;
mod set_aside;
mod slice;

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_workflow::id::QueueName;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Timestamp;

use crate::id::{AttemptRef, ComponentId, Epoch, Position, RunId, Seq, Slice};
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::{ApplyError, Entry, Event, Lease, Limits, Request, RunStatus, State, TaskStatus, Verdict};

pub use assignment::{Assignment, Effect, OpenLease};
pub use backlog::Backlog;
use backlog::QueueTasks;
use protocols::Protocols;
pub use route::{Audience, audience, without_payload};
pub use set_aside::SetAsideRun;
pub use slice::{AttemptEnd, OpenAttempt, QueueTask, QueueTaskStatus, RunHeader, SliceItem, SliceState, TaskFact};

/// The unfinished runs, the owners of slices and the registered protocols. Requests are authorized in `authority` and
/// decided in `decide`; `derive` tells what follows from the state, and `backlog` what waits; `protocols` and
/// `set_aside` are about protocols and runs that cannot be replayed.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    limits: Limits,
    runs: BTreeMap<RunId, State>,
    owners: BTreeMap<Slice, (ComponentId, Epoch)>,
    protocols: Protocols,
    requests: BTreeMap<String, (RunId, String)>,
    /// Open attempts by engine. The number of used slots is the size of a set, never a second counter.
    open: BTreeMap<ComponentId, BTreeSet<AttemptRef>>,
    queues: BTreeMap<QueueName, QueueTasks>,
    /// Connected engines and their slots. This is not a fold: the hub reports it after each start.
    roster: BTreeMap<ComponentId, u32>,
    /// Unfinished runs whose entries cannot be replayed. They are sent to nobody, and only their end is recorded.
    aside: BTreeMap<RunId, SetAsideRun>,
    position: Position,
    recorded_at: Timestamp,
}

/// What a request led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The answer to the requester.
    pub verdict: Verdict,
    /// The entries to write, in one transaction with the rest of their batch.
    pub entries: Vec<Entry>,
    /// Messages for engines, to be sent once the entries are written.
    pub effects: Vec<Effect>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Decides a request and applies the resulting entries. The caller must make them durable before acting on them,
    /// and must drop this ledger if that fails.
    ///
    /// # Errors
    /// If an entry cannot be applied. No request can cause that; it means that a rule of `decide` is wrong.
    pub fn propose(&mut self, request: &Request, now: Timestamp) -> Result<Outcome, ApplyError> {
        let now = now.max(self.recorded_at);
        if let Request::PruneProtocols { served, .. } = request {
            self.note_served(served, now);
        }
        let (run_id, events) = match self.decide(request, now) {
            Ok(decided) => decided,
            Err(verdict) => return Ok(Outcome { verdict, entries: Vec::new(), effects: Vec::new() }),
        };
        let mut entries = Vec::with_capacity(events.len());
        let mut effects = Vec::new();
        let first = self.position.next();
        for event in events {
            let entry = self.number(run_id, event, now);
            self.apply(&entry)?;
            self.derive_effects(&entry, &mut effects);
            entries.push(entry);
        }
        Ok(Outcome { verdict: Verdict::Ok { position: first }, entries, effects })
    }

    /// Assigns an event its position in the journal and in its run.
    fn number(&self, run_id: Option<RunId>, event: Event, now: Timestamp) -> Entry {
        let state = run_id.and_then(|id| self.runs.get(&id));
        let queue = if let Event::TaskReady(ready) = &event {
            Some(ready.queue.clone())
        } else {
            let task = event.task_id().and_then(|id| state?.index_of(id)).zip(state);
            task.and_then(|(at, state)| state.tasks[at].queue().cloned())
        };
        let seq = match run_id {
            Some(run_id) => {
                let aside = self.aside.get(&run_id).map(|aside| aside.seq);
                state.map(|state| state.seq).or(aside).map_or(Seq(1), Seq::next)
            }
            None => Seq(0),
        };
        Entry { position: self.position.next(), run_id, seq, recorded_at: now, queue, event }
    }

    /// Applies an entry, live or during replay. A replay may leave out the entries of finished runs.
    ///
    /// # Errors
    /// If the entry cannot follow what was recorded. The journal is then corrupt and the ledger must not be used.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        self.position = self.position.max(entry.position);
        self.recorded_at = self.recorded_at.max(entry.recorded_at);
        match entry.run_id {
            Some(run_id) => self.apply_to_run(run_id, entry),
            None => self.apply_to_all(entry),
        }
    }

    fn apply_to_all(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        match &entry.event {
            Event::OwnershipGranted(granted) => {
                self.owners.insert(granted.slice.clone(), (granted.component_id.clone(), granted.epoch));
            }
            Event::ProtocolRegistered(protocol) => self.protocols.registered(entry, protocol),
            Event::ProtocolsUsed(used) => self.protocols.used(entry, used),
            Event::ProtocolRemoved(removed) => self.protocols.removed(entry, removed),
            Event::WorkflowSubmitted(_)
            | Event::WorkflowCancelRequested(_)
            | Event::TaskReady(_)
            | Event::TaskDispatched(_)
            | Event::TaskStarted(_)
            | Event::TaskCompleted(_)
            | Event::TaskAttemptFailed(_)
            | Event::TaskAttemptStopped(_)
            | Event::TaskRequeued(_)
            | Event::TaskRetryScheduled(_)
            | Event::TaskFailed(_)
            | Event::TaskSkipped(_)
            | Event::TaskCancelled(_)
            | Event::WorkflowCompleted(_)
            | Event::WorkflowFailed(_)
            | Event::WorkflowCancelled(_) => return Err(contradiction(entry, "it names no run".to_owned())),
        }
        Ok(())
    }

    fn apply_to_run(&mut self, run_id: RunId, entry: &Entry) -> Result<(), ApplyError> {
        if let Event::WorkflowSubmitted(submitted) = &entry.event {
            if self.runs.contains_key(&run_id) {
                return Err(contradiction(entry, format!("run {run_id} was submitted before")));
            }
            let mut state = State::new(run_id, submitted.clone(), entry.recorded_at);
            state.seq = entry.seq;
            if let Some(request) = &submitted.request {
                self.requests.insert(request.request_id.clone(), (run_id, request.body_hash.clone()));
            }
            self.runs.insert(run_id, state);
            return Ok(());
        }
        if let Event::WorkflowCancelled(cancelled) = &entry.event
            && cancelled.set_aside
        {
            self.aside.remove(&run_id);
            return Ok(());
        }
        let Some(state) = self.runs.get_mut(&run_id) else {
            return Err(contradiction(entry, format!("run {run_id} is not known")));
        };
        state.apply(entry)?;
        self.index(run_id, &entry.event);
        Ok(())
    }

    /// Updates the sets of open attempts and of tasks per queue to match a task's state.
    fn index(&mut self, run_id: RunId, event: &Event) {
        let Some(state) = self.runs.get(&run_id) else { return };
        let Some(at) = event.task_id().and_then(|id| state.index_of(id)) else { return };
        let task = &state.tasks[at];
        if let Some(queue) = task.queue() {
            let is_in_queue = !task.is_final();
            if !self.queues.contains_key(queue) {
                self.queues.insert(queue.clone(), QueueTasks::default());
            }
            let ready_at = task.ready_at().filter(|_| task.status() == TaskStatus::Ready);
            if let Some(of_queue) = self.queues.get_mut(queue) {
                of_queue.set((run_id, at), is_in_queue.then_some(ready_at));
            }
        }
        if let Some(Lease { engine, attempt, .. }) = task.latest() {
            let attempt = AttemptRef { run_id, task_id: state.task(at).id.clone(), attempt: *attempt };
            if task.open().is_some() {
                self.open.entry(engine.clone()).or_default().insert(attempt);
            } else if let Some(open) = self.open.get_mut(engine) {
                open.remove(&attempt);
                if open.is_empty() {
                    self.open.remove(engine);
                }
            }
        }
    }

    /// Sets the end of the journal after a replay that left out finished runs.
    pub fn resume_at(&mut self, position: Position, recorded_at: Timestamp) {
        self.position = self.position.max(position);
        self.recorded_at = self.recorded_at.max(recorded_at);
    }

    /// Removes a finished run from memory; its entries stay in the store.
    pub fn evict(&mut self, run_id: RunId) -> Option<State> {
        if !self.runs.get(&run_id)?.status.is_final() {
            return None;
        }
        let state = self.runs.remove(&run_id)?;
        self.protocols.note_run_use(&state, self.recorded_at);
        if let Some(request) = &state.submitted.request {
            self.requests.remove(&request.request_id);
        }
        Some(state)
    }

    /// An engine is connected with this many slots; 0 while it drains.
    pub fn engine_connected(&mut self, engine: ComponentId, slots: u32) {
        self.roster.insert(engine, slots);
    }

    /// An engine is no longer connected.
    pub fn engine_gone(&mut self, engine: &ComponentId) {
        self.roster.remove(engine);
        if planted_bugs::is(Bug::ForgottenLeases) {
            self.open.remove(engine);
        }
    }

    /// A run in memory: unfinished, or finished and not yet evicted.
    pub fn run(&self, run_id: RunId) -> Option<&State> {
        self.runs.get(&run_id)
    }

    /// All runs in memory, by id.
    pub fn runs(&self) -> impl Iterator<Item = &State> {
        self.runs.values()
    }

    /// The owner of each slice, with its epoch.
    pub fn owners(&self) -> impl Iterator<Item = (&Slice, &ComponentId, Epoch)> {
        self.owners.iter().map(|(slice, (component, epoch))| (slice, component, *epoch))
    }

    /// All open attempts, each with the engine that holds its lease.
    pub fn open_attempts(&self) -> impl Iterator<Item = (&AttemptRef, &ComponentId)> {
        self.open.iter().flat_map(|(engine, attempts)| attempts.iter().map(move |attempt| (attempt, engine)))
    }

    /// All open attempts with the details that the hub needs.
    pub fn leases(&self) -> impl Iterator<Item = OpenLease> {
        self.open_attempts().map(|(at, engine)| {
            let state = self.runs.get(&at.run_id);
            let task = state.and_then(|state| Some((state, state.index_of(at.task_id.as_str())?)));
            let lease = task.and_then(|(state, index)| state.tasks[index].open());
            OpenLease {
                at: at.clone(),
                engine: engine.clone(),
                dispatched: lease.map_or(Position(0), |lease| lease.position),
                provider: task.and_then(|(state, index)| state.task(index).provider.clone()),
            }
        })
    }

    /// How many slots of an engine are in use.
    pub fn used_slots(&self, engine: &ComponentId) -> usize {
        self.open.get(engine).map_or(0, BTreeSet::len)
    }

    /// Every queue that a task has named.
    pub fn queues(&self) -> impl Iterator<Item = &QueueName> {
        self.queues.keys()
    }

    /// The registered protocols: name, version and methods.
    pub fn protocols(&self) -> impl Iterator<Item = (&str, &str, &Payload)> {
        self.protocols.iter()
    }

    /// The position of the last entry.
    pub fn position(&self) -> Position {
        self.position
    }

    /// When the last entry was recorded.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// How many of the runs in memory have this status.
    pub fn count(&self, status: RunStatus) -> usize {
        self.runs.values().filter(|run| run.status == status).count()
    }
}

fn contradiction(entry: &Entry, why: String) -> ApplyError {
    ApplyError::Contradiction { position: entry.position, kind: entry.event.kind(), why }
}
