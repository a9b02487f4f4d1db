//! The hub's state machine: presence, ownership and delivery of messages. It makes no choices about work and keeps no
//! truth: everything durable in it follows from committed entries.
//!
//! Like every state machine in this crate it is synchronous: [`Hub::handle`] takes an input and returns what to do.
//! The hub routes each input to its parts and turns what they return into outputs. A part's fields are private to it:
//! `session`, `pending` and `timers` are files; of `stream`, `presence`, `leases`, `ownership` and `calls`, the module
//! `state` is the part, and the file above it has the hub's side.
//!
//! Files: `session` (sockets), `pending` (requests to the writer), `timers` (deadlines), `register`, `binding`,
//! `protocols` and `presence` (components), `history` (journals that were replaced), `ownership` (who owns which slice), `stream` (entries to
//! owners and watchers), `leases` (attempts to engines), `calls` (method calls to providers), `calls::answers`,
//! `calls::resume` (calls of an engine or provider that disconnected), `call_ids` (their ids) and `call_lines` (those
//! that no provider has room for), `view` and `why_waiting` (answers to people's questions).

mod binding;
mod call_ids;
mod call_lines;
mod calls;
mod config;
mod history;
mod io;
mod leases;
mod ownership;
mod pending;
mod presence;
mod protocols;
mod register;
mod session;
mod stream;
mod timers;
mod view;
mod why_waiting;

use std::sync::Arc;

use gleitzeit_run::command::{FailAttempt, FailTask};
use gleitzeit_run::event::StopReason;
use gleitzeit_run::id::{ComponentId, Position, TermId};
use gleitzeit_run::term::History;
use gleitzeit_run::{Command, Event, Request, Verdict};
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::time::Instant;

use crate::wire::{AppendResult, FromHub, MeshError, ProposalResult, ProposalVerdict, Role, ToHub, Welcome};

pub use config::{Config, Start};
pub use io::{Batch, Input, Output, SocketId, Token};
pub use view::ComponentView;
use why_waiting::Departures;
pub use why_waiting::Present;

use calls::Calls;
use leases::Leases;
use ownership::Ownerships;
use pending::{Pending, Requests};
use presence::Presence;
use protocols::Known;
use session::{MAX_UNANSWERED, Sessions};
use stream::Stream;
use timers::{Timer, Timers};

/// The hub's state machine.
#[derive(Debug)]
pub struct Hub {
    config: Config,
    /// The journal's terms, which show what part of a component's past is in this journal.
    history: History,
    /// The seed of the secrets that the hub gives out.
    seed: [u8; 32],
    secrets_given: u64,
    now: Instant,
    /// Whether the hub is about to stop: nothing new is begun.
    is_stopping: bool,
    out: Vec<Output>,
    /// The error with which the current input was refused, if it was.
    refused: Option<MeshError>,
    pending: Requests,
    sessions: Sessions,
    presence: Presence,
    departures: Departures,
    ownerships: Ownerships,
    stream: Stream,
    leases: Leases,
    calls: Calls,
    known: Known,
    timers: Timers,
}

impl Hub {
    /// A hub without sockets. Every component that the journal names counts as silent from now on, except for roles in
    /// the process of an earlier hub: that process has ended, and they with it.
    pub fn new(config: Config, start: Start, now: Instant) -> Self {
        let mut hub = Self {
            presence: Presence::new(&config),
            calls: Calls::new(now, config.orphan_timeout_ms),
            stream: Stream::new(start.position, start.pruned, config.kept_bytes),
            history: start.history,
            seed: start.seed,
            secrets_given: 0,
            config,
            now,
            is_stopping: false,
            out: Vec::new(),
            refused: None,
            pending: Requests::default(),
            sessions: Sessions::default(),
            departures: Departures::default(),
            ownerships: Ownerships::new(start.owners, start.queues),
            leases: Leases::default(),
            known: Known::new(start.protocols),
            timers: Timers::default(),
        };
        for lease in start.open {
            let (at, engine) = (lease.at.clone(), lease.engine.clone());
            hub.leases.restore(lease);
            if engine.is_within_hub() {
                hub.stop_lease(at, StopReason::EngineLost);
            } else {
                hub.await_reconnect(&engine, Role::Engine);
            }
        }
        for (owner, role) in hub.ownerships.owners_by_role() {
            if !owner.is_within_hub() {
                hub.await_reconnect(&owner, role);
            }
        }
        hub
    }

    /// Takes an input and returns what to do about it.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.accept(now, input);
        self.flush(out);
    }

    /// Takes an input. Several inputs that are available at once may be accepted before one [`Hub::flush`], so that
    /// their consequences share messages.
    pub fn accept(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        self.refused = None;
        match input {
            Input::Connected { socket, is_within } => {
                self.sessions.open(socket, is_within);
                let welcome = Welcome { version: self.config.version.clone(), term: self.term() };
                self.send(socket, FromHub::Welcome(welcome));
                self.set_timer(self.config.unregistered_ms, Timer::Unregistered(socket));
            }
            Input::Received { socket, message, message_id } => self.received(socket, message, message_id),
            Input::Malformed { socket, in_reply_to, message } => {
                if self.sessions.contains(socket) {
                    self.log(true, "an event could not be read", format!("{}: {message}", self.label(socket)));
                    self.refuse(socket, ErrorCode::InvalidRequest, message, in_reply_to);
                }
            }
            Input::Unregistrable { socket, error } => self.reject(socket, error),
            Input::Disconnected { socket, clean, reason } => self.disconnected(socket, clean, reason),
            Input::Committed(batch) => self.committed(&batch),
            Input::SliceState { token, state } => self.slice_state(token, &state),
            Input::EngineState { token, effects } => self.engine_state(token, effects),
            Input::Pruned { through } => self.stream.prune(through),
            Input::Entries { token, entries } => self.entries(token, entries),
            Input::Stopping => self.is_stopping = true,
        }
    }

    /// The error with which the last input was refused, if it was refused at once.
    pub fn take_refusal(&mut self) -> Option<MeshError> {
        self.refused.take()
    }

    /// Must be called at the time that [`Hub::next_deadline`] gives.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        while let Some(timer) = self.timers.take_due(self.now) {
            match timer {
                Timer::Silence(component) => self.check_silence(&component),
                Timer::Heartbeat(socket) => self.heartbeat(socket),
                Timer::Accept(at) => self.check_accepted(&at),
                Timer::Orphan(call) => self.check_orphan(&call),
                Timer::Slow(socket) => self.check_slow(socket),
                Timer::Unregistered(socket) => self.check_unregistered(socket),
            }
        }
        self.flush(out);
    }

    /// When [`Hub::tick`] must be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether attempts are open, so that calls and answers may be in transit.
    pub fn has_open_attempts(&self) -> bool {
        !self.leases.is_empty()
    }

    /// The id of the current term.
    fn term(&self) -> Option<TermId> {
        self.history.current().map(|term| term.id.clone())
    }

    /// The position of the last entry that the hub has received.
    pub fn position(&self) -> Position {
        self.stream.head()
    }

    /// Returns what to do about all accepted inputs.
    pub fn flush(&mut self, out: &mut Vec<Output>) {
        self.plan();
        self.flush_leases();
        self.flush_calls();
        for socket in self.stream.take_due() {
            self.pump(socket);
        }
        out.append(&mut self.out);
    }

    fn received(&mut self, socket: SocketId, message: ToHub, message_id: Option<String>) {
        if !self.sessions.hear(socket) {
            return;
        }
        let component = self.sessions.component(socket).cloned();
        if let Some(component_id) = &component {
            self.mark_connected(component_id);
        }
        let in_reply_to = message_id.or_else(|| Some(message.kind().to_owned()));
        let role = component.as_ref().and_then(|id| self.presence.get(id)).map(|component| component.role);
        match (message, component, role) {
            (ToHub::RegisterComponent(register), _, _) => self.register(socket, register),
            (ToHub::HeartbeatResponse(response), component, _) => self.heartbeat_answered(socket, component, response),
            (ToHub::EventsAck(ack), _, _) => self.confirm(socket, ack.position),
            (ToHub::Watch(watch), None, _) => self.watch(socket, watch),
            (ToHub::Watch(_), Some(_), _) => {
                let message = "a registered component cannot watch; open another socket for that";
                self.refuse(socket, ErrorCode::InvalidRequest, message, in_reply_to);
            }
            // The id of a call determines where its answer goes, even before its provider has registered again.
            (ToHub::MethodResult(ends), component, _) => {
                for end in ends.results {
                    self.call_answered(socket, component.as_ref(), end, in_reply_to.clone());
                }
            }
            (ToHub::Append(append), Some(component_id), Some(Role::Queue | Role::Resolver | Role::Engine)) => {
                if let Some(position) = append.position {
                    self.confirm(socket, position);
                }
                self.append(socket, &component_id, append.proposals, in_reply_to);
            }
            (ToHub::TaskTaken(taken), Some(engine), Some(Role::Engine)) => self.taken(&engine, taken.attempts),
            (ToHub::ExecuteMethod(execute), Some(engine), Some(Role::Engine)) => {
                for call in execute.calls {
                    self.call(socket, &engine, call, in_reply_to.clone());
                }
            }
            (ToHub::MethodWaiting(waiting), Some(provider), Some(Role::Provider)) => {
                self.provider_turned(&provider, waiting.ids, true);
            }
            (ToHub::MethodStarted(started), Some(provider), Some(Role::Provider)) => {
                self.provider_turned(&provider, started.ids, false);
            }
            (ToHub::CancelMethod(cancel), Some(engine), Some(Role::Engine)) => self.cancel_call(&engine, &cancel.id),
            (ToHub::MethodProgress(progress), Some(provider), Some(Role::Provider)) => {
                self.call_progress(socket, &provider, progress, in_reply_to);
            }
            (message, None, _) => {
                let text = format!("`{}` came before `register_component` was accepted", message.kind());
                self.refuse(socket, ErrorCode::InvalidRequest, text, in_reply_to);
            }
            (message, Some(_), role) => {
                let role = role.map_or("component", Role::as_str);
                let text = format!("a {role} does not send `{}`", message.kind());
                self.refuse(socket, ErrorCode::InvalidRequest, text, in_reply_to);
            }
        }
    }

    fn append(
        &mut self,
        socket: SocketId,
        component_id: &ComponentId,
        proposals: Vec<crate::wire::ProposalItem>,
        in_reply_to: Option<String>,
    ) {
        if self.sessions.unanswered(socket) + proposals.len() > MAX_UNANSWERED {
            let text = format!("more than {MAX_UNANSWERED} proposals are unanswered");
            self.refuse(socket, ErrorCode::RateLimitExceeded, text, in_reply_to);
            return self.close(socket, "too many unanswered proposals");
        }
        for proposal in proposals {
            let proposal_id = proposal.proposal_id;
            if let Some(error) = self.oversized(&proposal.command) {
                let result = ProposalResult {
                    proposal_id,
                    verdict: ProposalVerdict::Invalid,
                    position: None,
                    error: Some(error),
                };
                self.answer(socket, self.stream.head(), result);
                continue;
            }
            let component_id = component_id.clone();
            let request =
                Request::Component { component_id, fence: proposal.fence, command: bounded(proposal.command) };
            let token = self.request(Pending::Proposal { socket, proposal_id }, request);
            self.sessions.proposed(socket, token);
        }
    }

    /// Enforces a limit that components check before sending. Errors that are too large are cut, see [`bounded`].
    fn oversized(&self, command: &Command) -> Option<gleitzeit_workflow::error::Failure> {
        let (what, payload) = command.carried()?;
        let message = payload.over(self.config.max_payload_bytes, what)?;
        Some(gleitzeit_workflow::error::Failure::new(ErrorCode::TaskResultInvalid, message))
    }

    fn committed(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            match &entry.event {
                Event::OwnershipGranted(granted) => self.granted(granted),
                Event::ProtocolRegistered(protocol) => self.protocol_registered(protocol),
                Event::ProtocolRemoved(protocol) => self.protocol_removed(protocol),
                Event::TaskReady(ready) => self.ownerships.name_queue(&ready.queue),
                Event::WorkflowSubmitted(_)
                | Event::WorkflowCancelRequested(_)
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
                | Event::WorkflowCancelled(_)
                | Event::ProtocolsUsed(_) => {}
            }
            self.stream.push(entry.clone());
        }
        for effect in &batch.effects {
            self.effect(effect);
        }
        for (token, verdict) in &batch.answers {
            self.answered(*token, verdict);
        }
        self.stream.set_all_due();
    }

    fn answered(&mut self, token: Token, verdict: &Verdict) {
        match self.pending.take_verdict(token) {
            Some(Pending::Proposal { socket, proposal_id }) => {
                if !self.sessions.decided(socket, token) {
                    return;
                }
                if let Verdict::Ok { position } = verdict {
                    self.stream.recorded(socket, *position, proposal_id.clone());
                }
                let result = proposal_result(proposal_id, verdict);
                self.answer(socket, self.stream.head(), result);
            }
            Some(Pending::Grant { slice }) => {
                self.ownerships.grant_answered(&slice);
            }
            Some(Pending::Protocol { socket }) => self.protocol_answered(socket, verdict),
            Some(Pending::Restored) => self.protocol_restored(verdict),
            Some(Pending::Stop { at }) => self.stop_answered(&at, verdict),
            // The others are answered by inputs of their own.
            Some(Pending::Slice { .. } | Pending::Engine { .. } | Pending::Read { .. }) | None => {}
        }
    }

    /// Answers a proposal. If the socket receives entries, the answer follows the entries up to `after`.
    fn answer(&mut self, socket: SocketId, after: Position, result: ProposalResult) {
        if self.sessions.answer(socket, after, result) {
            self.stream.set_due(socket);
        }
    }

    fn request(&mut self, pending: Pending, request: Request) -> Token {
        let token = self.token(pending);
        self.out.push(Output::Request { token, request });
        token
    }

    fn token(&mut self, pending: Pending) -> Token {
        self.pending.add(pending)
    }

    fn send(&mut self, socket: SocketId, message: FromHub) {
        self.out.push(Output::Send { socket, message: Arc::new(message) });
    }

    fn refuse(&mut self, socket: SocketId, code: ErrorCode, message: impl Into<String>, in_reply_to: Option<String>) {
        let error = MeshError::new(code, message, in_reply_to);
        self.refused = Some(error.clone());
        self.send(socket, FromHub::MeshError(error));
        self.count_refusal(socket);
    }

    /// Counts a refused event. A socket that sends only refused events is closed.
    fn count_refusal(&mut self, socket: SocketId) {
        if self.sessions.count_refusal(socket) {
            self.close(socket, "it keeps sending events that are refused");
        }
    }

    /// Closes a socket on the hub's initiative: its component is silent from now on.
    fn close(&mut self, socket: SocketId, reason: &str) {
        if self.sessions.contains(socket) {
            self.out.push(Output::Close { socket, for_good: false, reason: reason.to_owned() });
            self.disconnected(socket, false, None);
        }
    }

    /// Forgets a socket. Returns the component that had registered on it.
    fn end_session(&mut self, socket: SocketId) -> Option<ComponentId> {
        self.stream.forget(socket);
        self.sessions.close(socket)
    }

    fn log(&mut self, warning: bool, message: &'static str, detail: String) {
        self.out.push(Output::Log { warning, message, detail });
    }

    fn set_timer(&mut self, after_ms: u64, timer: Timer) {
        self.timers.set(self.now.plus_ms(after_ms), timer);
    }

    /// The socket of a component that may be given work.
    fn socket_of(&self, component_id: &ComponentId) -> Option<SocketId> {
        self.presence.socket_of(component_id)
    }
}

fn proposal_result(proposal_id: crate::id::ProposalId, verdict: &Verdict) -> ProposalResult {
    let (verdict, position, error) = match verdict {
        Verdict::Ok { position } => (ProposalVerdict::Ok, Some(*position), None),
        Verdict::Duplicate { .. } => (ProposalVerdict::Duplicate, None, None),
        Verdict::Fenced => (ProposalVerdict::Fenced, None, None),
        Verdict::NoSlot => (ProposalVerdict::NoSlot, None, None),
        Verdict::Invalid(failure) => (ProposalVerdict::Invalid, None, Some(failure.clone())),
    };
    ProposalResult { proposal_id, verdict, position, error }
}

fn append_result(results: Vec<ProposalResult>) -> FromHub {
    FromHub::AppendResult(AppendResult { results })
}

/// Cuts a failure that is too large. If it were refused, its task would never end.
fn bounded(mut command: Command) -> Command {
    match &mut command {
        Command::FailAttempt(FailAttempt { error, .. }) | Command::FailTask(FailTask { error, .. }) => {
            *error = error.clone().bounded();
        }
        Command::CancelWorkflow(_)
        | Command::ReadyTask(_)
        | Command::DispatchTask(_)
        | Command::RequeueTask(_)
        | Command::ScheduleRetry(_)
        | Command::StartAttempt(_)
        | Command::CompleteAttempt(_)
        | Command::StopAttempt(_) => {}
    }
    command
}
