//! A test bench: a hub with a ledger behind it that commits at once, and sockets that the test controls.

use std::sync::Arc;

use gleitzeit_mesh::hub::{Batch, Config, Hub, Input, Output, SocketId, Start};
use gleitzeit_mesh::wire::{FromHub, ProtocolDefinition, ToHub};
use gleitzeit_run::ledger::Ledger;
use gleitzeit_run::{Entry, History, Limits, Position, Request, Term, Verdict};
use gleitzeit_workflow::{Instant, Timestamp};
use serde_json::{Value, json};

pub(crate) struct Bench {
    pub(crate) hub: Hub,
    pub(crate) ledger: Ledger,
    pub(crate) journal: Vec<Arc<Entry>>,
    pub(crate) now: Instant,
    /// Events sent since the last look: the socket, the event's name and its body.
    pub(crate) sent: Vec<(SocketId, &'static str, Value)>,
    pub(crate) closed: Vec<SocketId>,
    /// The kinds of what the hub requested since the last look, a list for each input in the order of the inputs.
    outputs: Vec<Vec<String>>,
    /// Whether the writer holds back its work.
    pub(crate) is_held: bool,
    held: Vec<Output>,
    sockets: u64,
    terms: Vec<Term>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            hub: Hub::new(config, Start::default(), Instant(0)),
            ledger: Ledger::new(Limits::default()),
            journal: Vec::new(),
            now: Instant(0),
            sent: Vec::new(),
            closed: Vec::new(),
            outputs: Vec::new(),
            is_held: false,
            held: Vec::new(),
            sockets: 0,
            terms: Vec::new(),
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.hub.handle(self.now, input, &mut out);
        self.act(out);
    }

    fn act(&mut self, out: Vec<Output>) {
        self.outputs.push(out.iter().map(kind).collect());
        for output in out {
            match output {
                Output::Send { socket, message } => self.note(socket, &message),
                Output::Close { socket, .. } => self.closed.push(socket),
                Output::Progress { .. } | Output::Log { .. } => {}
                work if self.is_held => self.held.push(work),
                work => self.write(work),
            }
        }
    }

    fn note(&mut self, socket: SocketId, message: &FromHub) {
        let body = serde_json::from_str(&message.body()).expect("JSON");
        self.sent.push((socket, message.kind(), body));
    }

    /// The writer processes an output of the hub.
    fn write(&mut self, work: Output) {
        match work {
            Output::Request { token, request } => {
                let (verdict, batch) = self.decide(&request);
                self.input(Input::Committed(Arc::new(Batch { answers: vec![(token, verdict)], ..batch })));
            }
            Output::QuerySlice { token, slice } => {
                let state = self.ledger.slice_state(&slice, Timestamp(0));
                self.input(Input::SliceState { token, state });
            }
            Output::QueryEngine { token, engine } => {
                let effects = self.ledger.outstanding(&engine, Timestamp(0));
                self.input(Input::EngineState { token, effects });
            }
            Output::EngineConnected { engine, slots } => self.ledger.engine_connected(engine, slots),
            Output::EngineGone { engine } => self.ledger.engine_gone(&engine),
            Output::ReadEntries { token, from, limit } => {
                let from = usize::try_from(from.0 - 1).expect("small");
                let entries = self.journal.iter().skip(from).take(limit).cloned().collect();
                self.input(Input::Entries { token, entries });
            }
            _ => {}
        }
    }

    fn decide(&mut self, request: &Request) -> (Verdict, Batch) {
        let outcome = self.ledger.propose(request, Timestamp(1_000)).expect("what is decided can be recorded");
        let entries: Vec<Arc<Entry>> = outcome.entries.into_iter().map(Arc::new).collect();
        self.journal.extend(entries.iter().cloned());
        (outcome.verdict, Batch { entries, effects: outcome.effects, answers: Vec::new() })
    }

    /// Records a request that did not come over the mesh.
    pub(crate) fn record(&mut self, request: &Request) -> Verdict {
        let (verdict, batch) = self.decide(request);
        self.input(Input::Committed(Arc::new(batch)));
        verdict
    }

    /// The writer continues with the work it held back.
    pub(crate) fn release(&mut self) {
        self.is_held = false;
        for work in std::mem::take(&mut self.held) {
            self.write(work);
        }
    }

    /// Advances the time; timers fire when they are due.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while let Some(at) = self.hub.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let mut out = Vec::new();
            self.hub.tick(self.now, &mut out);
            self.act(out);
        }
        self.now = until;
    }

    /// Restarts the hub in a new term, on the part of the journal up to a position.
    pub(crate) fn begin(&mut self, term: &str, after: Position) {
        self.journal.retain(|entry| entry.position <= after);
        self.terms.retain(|term| term.after <= after);
        self.ledger = Ledger::new(Limits::default());
        for entry in &self.journal {
            self.ledger.apply(entry).expect("the journal can be replayed");
        }
        let number = u64::try_from(self.terms.len()).expect("few") + 1;
        self.terms.push(Term { number, id: term.into(), after });
        self.restart();
    }

    /// Restarts the hub from the journal: all sockets and everything else it knew are gone.
    pub(crate) fn restart(&mut self) {
        let start = Start {
            owners: self.ledger.owners().map(|(slice, owner, epoch)| (slice.clone(), owner.clone(), epoch)).collect(),
            open: self.ledger.leases().collect(),
            queues: self.ledger.queues().cloned().collect(),
            protocols: self
                .ledger
                .protocols()
                .map(|(name, version, methods)| ProtocolDefinition {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    methods: methods.clone(),
                })
                .collect(),
            position: self.ledger.position(),
            pruned: Position(0),
            seed: [7; 32],
            history: History::new(self.terms.clone()),
        };
        self.hub = Hub::new(Config::default(), start, self.now);
        self.sent.clear();
    }

    pub(crate) fn connect(&mut self) -> SocketId {
        self.sockets += 1;
        let socket = SocketId(self.sockets);
        self.input(Input::Connected { socket, is_within: false });
        socket
    }

    pub(crate) fn send(&mut self, socket: SocketId, kind: &str, body: &Value) {
        let message = ToHub::decode(kind, &body.to_string()).expect("a valid event");
        self.input(Input::Received { socket, message, message_id: None });
    }

    /// Connects and registers a component; `rest` is the rest of its registration as JSON.
    pub(crate) fn join(&mut self, role: &str, id: &str, rest: Value) -> SocketId {
        let socket = self.connect();
        self.register(socket, role, id, rest);
        socket
    }

    pub(crate) fn register(&mut self, socket: SocketId, role: &str, id: &str, rest: Value) {
        let mut body = json!({"component_type": role, "component_id": id, "secret": format!("what only {id} knows")});
        body.as_object_mut().expect("an object").extend(rest.as_object().cloned().unwrap_or_default());
        self.send(socket, "register_component", &body);
    }

    pub(crate) fn leave(&mut self, socket: SocketId, clean: bool) {
        self.input(Input::Disconnected { socket, clean, reason: None });
    }

    /// The bodies of the events of one kind that a socket was sent since the last look.
    pub(crate) fn take_sent(&mut self, socket: SocketId, kind: &str) -> Vec<Value> {
        let (of_it, rest) =
            std::mem::take(&mut self.sent).into_iter().partition(|(to, it, _)| *to == socket && *it == kind);
        self.sent = rest;
        let of_it: Vec<(SocketId, &str, Value)> = of_it;
        of_it.into_iter().map(|(_, _, body)| body).collect()
    }

    /// The names of the events that a socket was sent and that were not looked at yet.
    pub(crate) fn order(&self, socket: SocketId) -> Vec<&'static str> {
        self.sent.iter().filter(|(to, ..)| *to == socket).map(|(_, kind, _)| *kind).collect()
    }

    /// What the hub requested since the last look, a list for each input that led to something.
    pub(crate) fn take_outputs(&mut self) -> Vec<Vec<String>> {
        let outputs = std::mem::take(&mut self.outputs);
        outputs.into_iter().filter(|of_input| !of_input.is_empty()).collect()
    }

    pub(crate) fn head(&self) -> Position {
        self.journal.last().map_or(Position(0), |entry| entry.position)
    }
}

/// An output in a few words.
fn kind(output: &Output) -> String {
    match output {
        Output::Send { socket, message } => format!("{socket} < {}", message.kind()),
        Output::Close { socket, for_good, .. } => {
            format!("{socket} closed{}", if *for_good { " for good" } else { "" })
        }
        Output::Request { request, .. } => {
            let request = format!("{request:?}");
            let end = request.find(|c: char| !c.is_alphanumeric()).unwrap_or(request.len());
            format!("request {}", &request[..end])
        }
        Output::QuerySlice { .. } => "query slice".to_owned(),
        Output::QueryEngine { engine, .. } => format!("query engine {engine}"),
        Output::EngineConnected { engine, slots } => format!("engine {engine} has {slots} slots"),
        Output::EngineGone { engine } => format!("engine {engine} is gone"),
        Output::ReadEntries { from, .. } => format!("read from {from}"),
        Output::Progress { .. } => "progress".to_owned(),
        Output::Log { message, .. } => format!("log: {message}"),
    }
}
