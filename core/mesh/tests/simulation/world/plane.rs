//! The control plane: the real hub and ledger, and between them a writer and a store in memory that lose everything
//! that was not synced, like the real ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use gleitzeit_mesh::hub::{Batch, Config, Hub, Input, Output, Start, Token};
use gleitzeit_mesh::wire::ProtocolDefinition;
use gleitzeit_run::ledger::{Effect, Ledger};
use gleitzeit_run::{Entry, Event, History, Limits, Position, Request, RunId, State, Term, TermId, Verdict};
use gleitzeit_workflow::{Instant, Timestamp};

use super::agenda::Time;

/// Identifies a client's request.
pub(crate) type Question = u64;

/// The data that survives a crash.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) finished: BTreeMap<RunId, Arc<State>>,
    /// Request ids, their runs and the hashes of their bodies.
    pub(crate) requests: BTreeMap<String, (RunId, String)>,
    terms: Vec<Term>,
    /// Terms whose last entries are lost.
    torn: BTreeSet<TermId>,
    /// How often the last entries were lost, and for each entry the value of that count when it was written.
    losses: u64,
    born: Vec<u64>,
    /// The last entry of each transaction.
    ends: Vec<Position>,
}

/// Names one of the entries that have stood at a position over time.
pub(crate) fn tag(position: Position, born: u64) -> String {
    format!("{position}.{born}")
}

impl Store {
    fn append(&mut self, entries: &[Arc<Entry>]) {
        entries.iter().for_each(|entry| self.note_request(entry));
        self.entries.extend(entries.iter().cloned());
        self.born.resize(self.entries.len(), self.losses);
        self.ends.extend(entries.last().map(|last| last.position));
    }

    /// Loses everything after an entry, as when a backup or an outdated copy is restored. Terms that began right there
    /// are lost with it if `with_terms`.
    pub(crate) fn lose(&mut self, after: Position, with_terms: bool) {
        self.losses += 1;
        self.ends.retain(|end| *end <= after);
        let kept = usize::try_from(after.0).unwrap_or(usize::MAX);
        self.entries.truncate(kept);
        self.born.truncate(kept);
        self.terms.retain(|term| term.after < after || term.after == after && !with_terms);
        self.torn.extend(self.terms.last().map(|term| term.id.clone()));
        let ended = self.ended();
        self.finished.retain(|run_id, _| ended.contains(run_id));
        let entries = std::mem::take(&mut self.entries);
        self.requests.clear();
        entries.iter().for_each(|entry| self.note_request(entry));
        self.entries = entries;
    }

    /// The last positions of all transactions.
    pub(crate) fn ends(&self) -> &[Position] {
        &self.ends
    }

    pub(crate) fn losses(&self) -> u64 {
        self.losses
    }

    /// The tag of the entry that stands at a position now.
    pub(crate) fn tag(&self, position: Position) -> String {
        let at = usize::try_from(position.0.saturating_sub(1)).unwrap_or(usize::MAX);
        tag(position, self.born.get(at).copied().unwrap_or(u64::MAX))
    }

    pub(crate) fn has_term(&self, id: &TermId) -> bool {
        self.terms.iter().any(|term| term.id == *id)
    }

    /// Whether a component that has seen entries of a term may be told that they are lost, because some of that term's
    /// are.
    pub(crate) fn may_be_lost(&self, id: &TermId) -> bool {
        !self.has_term(id) || self.torn.contains(id)
    }

    fn ended(&self) -> BTreeSet<RunId> {
        self.entries.iter().filter(|it| is_end(&it.event)).filter_map(|it| it.run_id).collect()
    }

    fn note_request(&mut self, entry: &Entry) {
        if let (Event::WorkflowSubmitted(submitted), Some(run_id)) = (&entry.event, entry.run_id)
            && let Some(request) = &submitted.request
        {
            self.requests.insert(request.request_id.clone(), (run_id, request.body_hash.clone()));
        }
    }

    pub(crate) fn position(&self) -> Position {
        self.entries.last().map_or(Position(0), |entry| entry.position)
    }

    /// The entries from a position on.
    pub(crate) fn read(&self, from: Position, limit: usize) -> Vec<Arc<Entry>> {
        let skipped = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped).take(limit).cloned().collect()
    }

    /// The state that a writer replays when it starts: entries of finished runs are left out.
    pub(crate) fn replay(&self) -> Result<Ledger, String> {
        let ended = self.ended();
        let mut ledger = Ledger::new(Limits::default());
        for entry in self.entries.iter().filter(|it| it.run_id.is_none_or(|run_id| !ended.contains(&run_id))) {
            ledger.apply(entry).map_err(|error| format!("the journal cannot be replayed: {error}"))?;
        }
        let recorded_at = self.entries.last().map_or(Timestamp(0), |entry| entry.recorded_at);
        ledger.resume_at(self.position(), recorded_at);
        Ok(ledger)
    }
}

pub(crate) fn is_end(event: &Event) -> bool {
    matches!(event, Event::WorkflowCompleted(_) | Event::WorkflowFailed(_) | Event::WorkflowCancelled(_))
}

/// Work that waits for the writer.
#[derive(Debug)]
pub(crate) enum Work {
    Hub(Output),
    Propose { question: Question, request: Box<Request> },
}

/// An entry with the request that caused it, for the checker.
#[derive(Clone, Debug)]
pub(crate) struct Caused {
    pub(crate) entry: Arc<Entry>,
    pub(crate) request: Arc<Request>,
    /// For a dispatch: how many slots its engine had when it was decided, 0 if it was not connected.
    pub(crate) slots: u32,
}

/// The transaction that is being synced.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    batch: Batch,
    pub(crate) caused: Vec<Caused>,
    pub(crate) answers: Vec<(Question, Verdict)>,
}

/// The control plane's process.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) hub: Hub,
    pub(crate) ledger: Ledger,
    pub(crate) to_writer: VecDeque<Work>,
    pub(crate) to_hub: VecDeque<Input>,
    pub(crate) syncing: Option<Pending>,
    pub(crate) generation: u64,
    pub(crate) tick_at: Option<Time>,
    pub(crate) flush_planned: bool,
    pub(crate) writing_planned: bool,
    slots: BTreeMap<gleitzeit_run::ComponentId, u32>,
    clock: Timestamp,
    since: Time,
}

impl Plane {
    /// Starts on a store, with a wall clock that may have been adjusted.
    pub(crate) fn start(
        store: &mut Store,
        config: Config,
        generation: u64,
        now: Time,
        wall: Timestamp,
    ) -> Result<Self, String> {
        let ledger = store.replay()?;
        let number = u64::try_from(store.terms.len()).unwrap_or(u64::MAX) + 1;
        let id = format!("term-{generation}").into();
        store.terms.push(Term { number, id, after: store.position() });
        let start = Start {
            owners: ledger.owners().map(|(slice, owner, epoch)| (slice.clone(), owner.clone(), epoch)).collect(),
            open: ledger.leases().collect(),
            queues: ledger.queues().cloned().collect(),
            protocols: ledger
                .protocols()
                .map(|(name, version, methods)| ProtocolDefinition {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    methods: methods.clone(),
                })
                .collect(),
            position: ledger.position(),
            pruned: Position(0),
            seed: [7; 32],
            history: History::new(store.terms.clone()),
        };
        Ok(Self {
            hub: Hub::new(config, start, Instant(now)),
            clock: wall.max(ledger.recorded_at()),
            ledger,
            to_writer: VecDeque::new(),
            to_hub: VecDeque::new(),
            syncing: None,
            generation,
            tick_at: None,
            flush_planned: false,
            writing_planned: false,
            slots: BTreeMap::new(),
            since: now,
        })
    }

    pub(crate) fn clock(&self, now: Time) -> Timestamp {
        self.clock.plus_ms(now - self.since)
    }

    /// Does some of the writer's waiting work. Afterwards there may be something to sync, or something to tell the hub.
    pub(crate) fn write(&mut self, store: &Store, limit: usize, now: Time) -> Result<(), String> {
        let mut pending = Pending::default();
        for _ in 0..limit {
            let has_entries = !pending.caused.is_empty();
            match self.to_writer.front() {
                None => break,
                // Queries of the state are answered from what is durable.
                Some(Work::Hub(Output::QuerySlice { .. } | Output::QueryEngine { .. })) if has_entries => break,
                Some(_) => {}
            }
            match self.to_writer.pop_front() {
                Some(Work::Propose { question, request }) => {
                    let verdict = self.decide(store, &mut pending, *request, now)?;
                    pending.answers.push((question, verdict));
                }
                Some(Work::Hub(output)) => self.work(store, &mut pending, output, now)?,
                None => {}
            }
        }
        self.syncing = Some(pending);
        Ok(())
    }

    fn work(&mut self, store: &Store, pending: &mut Pending, output: Output, now: Time) -> Result<(), String> {
        match output {
            Output::Request { token, request } => {
                let verdict = self.decide(store, pending, request, now)?;
                pending.batch.answers.push((token, verdict));
            }
            Output::QuerySlice { token, slice } => {
                self.tell_so_far(pending);
                let state = self.ledger.slice_state(&slice, self.clock(now));
                self.to_hub.push_back(Input::SliceState { token, state });
            }
            Output::QueryEngine { token, engine } => {
                self.tell_so_far(pending);
                let effects = self.ledger.outstanding(&engine, self.clock(now));
                self.to_hub.push_back(Input::EngineState { token, effects });
            }
            Output::EngineConnected { engine, slots } => {
                self.slots.insert(engine.clone(), slots);
                self.ledger.engine_connected(engine, slots);
            }
            Output::EngineGone { engine } => {
                self.slots.remove(&engine);
                self.ledger.engine_gone(&engine);
            }
            _ => {}
        }
        Ok(())
    }

    /// Answers reach the hub in the order in which they were given.
    fn tell_so_far(&mut self, pending: &mut Pending) {
        let answers: Vec<(Token, Verdict)> = std::mem::take(&mut pending.batch.answers);
        if !answers.is_empty() {
            self.to_hub.push_back(Input::Committed(Arc::new(Batch { answers, ..Batch::default() })));
        }
    }

    fn decide(
        &mut self,
        store: &Store,
        pending: &mut Pending,
        mut request: Request,
        now: Time,
    ) -> Result<Verdict, String> {
        if let Request::Submit { submitted, known, .. } = &mut request
            && let Some(key) = &submitted.request
        {
            *known = store.requests.get(&key.request_id).cloned();
        }
        if let Request::Retry { request: Some(key), known, .. } = &mut request {
            *known = store.requests.get(&key.request_id).cloned();
        }
        let clock = self.clock(now);
        let outcome = self.ledger.propose(&request, clock);
        let outcome = outcome.map_err(|error| format!("{request:?} was decided and cannot be recorded: {error}"))?;
        let request = Arc::new(request);
        for entry in outcome.entries {
            let entry = Arc::new(entry);
            let slots = match &entry.event {
                Event::TaskDispatched(event) => self.slots.get(&event.engine).copied().unwrap_or(0),
                _ => 0,
            };
            pending.batch.entries.push(entry.clone());
            pending.caused.push(Caused { entry, request: request.clone(), slots });
        }
        let effects: Vec<Effect> = outcome.effects;
        pending.batch.effects.extend(effects);
        Ok(outcome.verdict)
    }

    /// The decisions are durable now: tells the hub.
    pub(crate) fn synced(&mut self, store: &mut Store) -> Option<Pending> {
        let mut pending = self.syncing.take()?;
        let batch = std::mem::take(&mut pending.batch);
        make_durable(store, &mut self.ledger, &batch.entries);
        if !batch.entries.is_empty() || !batch.answers.is_empty() {
            self.to_hub.push_back(Input::Committed(Arc::new(batch)));
        }
        Some(pending)
    }

    /// The process dies during a sync, which may have become durable all the same.
    pub(crate) fn crash(mut self, store: &mut Store, is_durable: bool) -> Vec<Caused> {
        let Some(pending) = self.syncing.take().filter(|_| is_durable) else { return Vec::new() };
        make_durable(store, &mut self.ledger, &pending.batch.entries);
        pending.caused
    }
}

fn make_durable(store: &mut Store, ledger: &mut Ledger, entries: &[Arc<Entry>]) {
    store.append(entries);
    for run_id in entries.iter().filter(|entry| is_end(&entry.event)).filter_map(|entry| entry.run_id) {
        if let Some(state) = ledger.evict(run_id) {
            store.finished.insert(run_id, Arc::new(state));
        }
    }
}
