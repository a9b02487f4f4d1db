//! The task that owns the hub's state machine and the sockets that it writes to.

mod learn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use gleitzeit_mesh::hub::{Batch, Config, Hub, Input, Output, SocketId, Start, Token};
use gleitzeit_mesh::wire::{FromHub, Meta, MethodResult, ToHub};
use gleitzeit_protocols::Registry;
use gleitzeit_workflow::Instant;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant as Clock, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::hub::compile::Compiling;
use crate::hub::inbox::Entrance;
use crate::hub::message::{Incoming, ToMachine};
use crate::hub::packet::AckId;
use crate::hub::peer::{Handle, NotSent, Peer};
use crate::hub::so_far::ProgressSoFar;
use crate::hub::{HubHandle, PROGRESS_KEPT, Progress};
use crate::journal::{HubPort, Journal, Work, wall_clock};
use crate::metrics::{Metrics, Way};

/// The most inputs that are processed before their outputs are sent.
const MAX_ROUND: usize = 256;
/// How long a hub that is shutting down still passes on events in flight if attempts are open: a call that ends with
/// the hub would have to start over.
const LAST_CALLS: Duration = Duration::from_millis(250);
/// How often to retry closing a socket whose buffer was full.
const CLOSE_AGAIN: Duration = Duration::from_millis(100);
/// After this time, a socket that cannot be closed is left to its heartbeat timeout.
const GIVE_UP_CLOSING: Duration = Duration::from_secs(60);

/// The task that owns the hub's state machine. How it learns protocols stands in `learn`.
#[derive(Debug)]
pub(crate) struct HubTask {
    machine: Hub,
    started: Clock,
    journal: Journal,
    port: HubPort,
    /// Bounded by what each socket may have waiting, which it counts itself, and by the open calls of the API.
    inbox: mpsc::UnboundedReceiver<ToMachine>,
    to_self: mpsc::UnboundedSender<ToMachine>,
    peers: BTreeMap<SocketId, Peer>,
    /// Work for the writer, in order, while its channel is full. Bounded by the unanswered proposals of all sessions.
    for_writer: VecDeque<Work>,
    closing: Vec<(Box<dyn Handle>, Clock)>,
    close_again_at: Option<Clock>,
    progress: broadcast::Sender<Arc<Progress>>,
    so_far: Arc<Mutex<ProgressSoFar>>,
    /// Batches of this round: progress that came before the end of an attempt is passed on before it is dropped.
    recorded: Vec<Arc<Batch>>,
    metrics: Option<Metrics>,
    registry: Arc<RwLock<Registry>>,
    compiling: Compiling,
    message_number: u64,
    out: Vec<Output>,
}

impl HubTask {
    /// A hub that starts at the end of the journal, the API's handle to it, and the entrance for sockets.
    pub(crate) fn new(
        config: Config,
        journal: Journal,
        mut port: HubPort,
        metrics: Option<Metrics>,
    ) -> (Self, HubHandle, Entrance) {
        let start = Start { seed: rand::random(), ..std::mem::take(&mut port.start) };
        #[expect(
            clippy::disallowed_methods,
            reason = "a socket with too much waiting is closed; the rest are a few queries"
        )]
        let (to_self, inbox) = mpsc::unbounded_channel();
        let (progress, _) = broadcast::channel(PROGRESS_KEPT);
        let mut registry = Registry::new();
        // Includes what was registered after the port was made: the first component may already use it.
        let known = journal.protocols();
        for definition in known.iter() {
            learn::note(registry.learn(definition));
        }
        let registry = Arc::new(RwLock::new(registry));
        let so_far = Arc::<Mutex<ProgressSoFar>>::default();
        let handle = HubHandle {
            machine: to_self.clone(),
            progress: progress.clone(),
            so_far: so_far.clone(),
            registry: registry.clone(),
            is_none: false,
        };
        let entrance = Entrance::new(to_self.clone(), metrics.clone());
        let task = Self {
            machine: Hub::new(config, start, Instant(0)),
            started: Clock::now(),
            journal,
            port,
            inbox,
            to_self,
            peers: BTreeMap::new(),
            for_writer: VecDeque::new(),
            closing: Vec::new(),
            close_again_at: None,
            progress,
            so_far,
            recorded: Vec::new(),
            metrics,
            registry,
            compiling: Compiling::default(),
            message_number: 0,
            out: Vec::new(),
        };
        (task, handle, entrance)
    }

    /// Serves until `stop` is cancelled or the journal has stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        // Owners that the journal names may be away, so the machine plans at once.
        self.round();
        let writer = self.port.work.clone();
        let mut leave_at: Option<Clock> = None;
        while leave_at.is_none_or(|at| Clock::now() < at) {
            let deadline = leave_at.map_or_else(|| self.deadline(), |at| at.min(self.deadline()));
            tokio::select! {
                biased;
                () = stop.cancelled(), if leave_at.is_none() => {
                    if !self.machine.has_open_attempts() {
                        break;
                    }
                    leave_at = Some(Clock::now() + LAST_CALLS);
                    self.machine.accept(self.now(), Input::Stopping);
                }
                permit = writer.reserve(), if !self.for_writer.is_empty() => {
                    let Ok(permit) = permit else { break };
                    if let Some(work) = self.for_writer.pop_front() {
                        permit.send(work);
                    }
                    continue;
                }
                input = self.port.inputs.recv() => {
                    let Some(input) = input else { break };
                    self.receive_from_journal(input);
                }
                message = self.inbox.recv() => {
                    let Some(message) = message else { break };
                    self.receive_remote(message);
                }
                () = sleep_until(deadline) => {}
            }
            self.take_what_is_there();
            self.run_timers();
            self.round();
        }
        // Components reconnect once a hub listens here again.
        for peer in std::mem::take(&mut self.peers).into_values() {
            if !peer.cut()
                && let Peer::Socket(socket) = peer
            {
                socket.disconnect().ok();
            }
        }
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn deadline(&self) -> Clock {
        let of_machine = self.machine.next_deadline().map(|at| self.started + Duration::from_millis(at.0));
        // Without a deadline, the loop wakes up once an hour.
        let far = Clock::now() + Duration::from_secs(3_600);
        of_machine.into_iter().chain(self.close_again_at).min().unwrap_or(far)
    }

    fn take_what_is_there(&mut self) {
        for _ in 0..MAX_ROUND {
            if let Ok(input) = self.port.inputs.try_recv() {
                self.receive_from_journal(input);
            } else if let Ok(message) = self.inbox.try_recv() {
                self.receive_remote(message);
            } else {
                return;
            }
        }
    }

    fn receive_from_journal(&mut self, input: Input) {
        if let Input::Committed(batch) = &input {
            self.learn_protocols(batch);
            self.recorded.push(batch.clone());
        }
        self.machine.accept(self.now(), input);
    }

    fn receive_remote(&mut self, message: ToMachine) {
        let now = self.now();
        match message {
            ToMachine::Connected { socket, peer } => {
                let is_within = matches!(peer, Peer::Local(_));
                self.peers.insert(socket, peer);
                self.machine.accept(now, Input::Connected { socket, is_within });
            }
            ToMachine::Event { socket, incoming } => {
                // Events that still arrive from a closed socket are dropped.
                if self.peers.contains_key(&socket) {
                    self.receive_event(socket, incoming);
                }
            }
            ToMachine::Compiled { socket, incoming, outcome } => {
                let held = self.compiling.finish(socket);
                if !self.peers.contains_key(&socket) {
                    return;
                }
                match outcome {
                    Ok(compiled) => {
                        self.compiling.keep(compiled);
                        self.accept_event(socket, incoming);
                    }
                    Err(error) => {
                        self.machine.accept(now, Input::Unregistrable { socket, error });
                        self.acknowledge(socket, incoming.ack);
                    }
                }
                for incoming in held {
                    self.receive_event(socket, incoming);
                }
            }
            ToMachine::Flooded { socket } => self.drop_peer(socket),
            ToMachine::Gone { socket, clean, reason } => {
                self.compiling.finish(socket);
                if self.peers.remove(&socket).is_some() {
                    self.machine.accept(now, Input::Disconnected { socket, clean, reason });
                }
            }
            ToMachine::Entries { token, entries } => self.machine.accept(now, Input::Entries { token, entries }),
            // The caller may be gone.
            ToMachine::Components(reply) => drop(reply.send(self.machine.components())),
            ToMachine::Served(reply) => drop(reply.send(self.machine.served(now))),
            ToMachine::Present(attempts, reply) => drop(reply.send(self.machine.present(&attempts, wall_clock()))),
        }
    }

    /// Processes an event in its socket's order: it waits if an earlier registration of that socket is still being
    /// compiled.
    fn receive_event(&mut self, socket: SocketId, incoming: Incoming) {
        if let Some(incoming) = self.compiling.pass(socket, incoming, &self.registry, &self.to_self) {
            self.accept_event(socket, incoming);
        }
    }

    fn accept_event(&mut self, socket: SocketId, Incoming { place, ack, event }: Incoming) {
        drop(place);
        if let (Some(metrics), Ok((ToHub::RegisterComponent(register), _))) = (&self.metrics, &event) {
            metrics.registration(register.component_type);
        }
        let now = self.now();
        let mut ends = Vec::new();
        let input = match event {
            Ok((message, message_id)) => Input::Received { socket, message, message_id },
            Err(malformed) => {
                ends = malformed.ends;
                Input::Malformed { socket, in_reply_to: malformed.in_reply_to, message: malformed.message }
            }
        };
        self.machine.accept(now, input);
        self.acknowledge(socket, ack);
        if !ends.is_empty() {
            let message = MethodResult { results: ends }.into();
            self.machine.accept(now, Input::Received { socket, message, message_id: None });
        }
    }

    /// Acknowledges an event if its sender asked for that: it was taken, or refused at once. Its consequences are sent
    /// as events.
    fn acknowledge(&mut self, socket: SocketId, ack: Option<AckId>) {
        if let (Some(ack), Some(Peer::Socket(handle))) = (ack, self.peers.get(&socket)) {
            handle.acknowledge(ack, self.machine.take_refusal().as_ref());
        }
    }

    /// Carries out the machine's outputs until there are no more.
    fn round(&mut self) {
        loop {
            let mut out = std::mem::take(&mut self.out);
            self.machine.flush(&mut out);
            if out.is_empty() {
                break;
            }
            for output in out.drain(..) {
                self.act(output);
            }
        }
        if !self.recorded.is_empty() {
            let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
            self.recorded.drain(..).for_each(|batch| batch.entries.iter().for_each(|entry| so_far.recorded(entry)));
        }
        while let Some(work) = self.for_writer.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(work) | mpsc::error::TrySendError::Closed(work)) =
                self.port.work.try_send(work)
            {
                self.for_writer.push_front(work);
                break;
            }
        }
    }

    fn act(&mut self, output: Output) {
        let output = match Work::from_hub(output) {
            Ok(work) => return self.for_writer.push_back(work),
            Err(output) => output,
        };
        match output {
            Output::Send { socket, message } => self.send(socket, &message),
            Output::Close { socket, for_good, reason } => {
                tracing::info!(socket = socket.0, reason, "socket closed by the hub");
                match self.peers.remove(&socket) {
                    Some(peer) if for_good => self.dismiss(peer),
                    Some(peer) => self.drop_connection(peer),
                    None => {}
                }
            }
            Output::ReadEntries { token, from, limit } => self.read(token, from, limit),
            Output::Progress { at, data } => self.publish_progress(Progress { at, received_at: wall_clock(), data }),
            Output::Log { warning: true, message, detail } => tracing::warn!(detail, "{message}"),
            Output::Log { warning: false, message, detail } => tracing::info!(detail, "{message}"),
            // Handled above.
            Output::Request { .. }
            | Output::QuerySlice { .. }
            | Output::QueryEngine { .. }
            | Output::EngineConnected { .. }
            | Output::EngineGone { .. } => {}
        }
    }

    fn publish_progress(&self, progress: Progress) {
        let progress = Arc::new(progress);
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        so_far.add(progress.clone());
        // There may be no watchers.
        drop(self.progress.send(progress));
    }

    fn send(&mut self, socket: SocketId, message: &Arc<FromHub>) {
        let Some(peer) = self.peers.get(&socket) else { return };
        let number = &mut self.message_number;
        match peer.send(message, || meta(number)) {
            Ok(bytes) => {
                let Some(metrics) = &self.metrics else { return };
                metrics.message(Way::Out, bytes);
                if matches!(&**message, FromHub::State(page) if page.last) {
                    metrics.resync();
                }
            }
            Err(NotSent::Gone) => tracing::debug!(socket = socket.0, "a socket is already closed"),
            Err(NotSent::Slow(error)) => {
                tracing::warn!(socket = socket.0, event = message.kind(), error, "a socket is too slow and is closed");
                self.drop_peer(socket);
            }
        }
    }

    fn drop_peer(&mut self, socket: SocketId) {
        if let Some(peer) = self.peers.remove(&socket) {
            self.drop_connection(peer);
            self.machine.accept(self.now(), Input::Disconnected { socket, clean: false, reason: None });
        }
    }

    /// Drops the connection, so that the client reconnects. If it shares its connection, the socket is closed a little
    /// later instead.
    fn drop_connection(&mut self, peer: Peer) {
        peer.cut();
        if let Peer::Socket(socket) = peer {
            self.close_later(socket);
        }
    }

    /// Tells the client to disconnect for good.
    fn dismiss(&mut self, peer: Peer) {
        // A socket whose buffer is full cannot be closed at once.
        if let Peer::Socket(socket) = peer
            && socket.disconnect().is_err()
        {
            self.close_later(socket);
        }
    }

    fn close_later(&mut self, handle: Box<dyn Handle>) {
        if handle.is_connected() {
            self.closing.push((handle, Clock::now()));
            self.close_again_at.get_or_insert_with(|| Clock::now() + CLOSE_AGAIN);
        }
    }

    /// Runs in each turn, even under load: a lost component must be noticed then too.
    fn run_timers(&mut self) {
        let now = self.now();
        if self.machine.next_deadline().is_some_and(|at| at <= now) {
            self.machine.tick(now, &mut self.out);
        }
        if self.close_again_at.is_some_and(|at| at <= Clock::now()) {
            self.close_again();
        }
    }

    fn close_again(&mut self) {
        self.closing.retain(|(handle, since)| {
            since.elapsed() < GIVE_UP_CLOSING && handle.is_connected() && handle.disconnect().is_err()
        });
        self.close_again_at = (!self.closing.is_empty()).then(|| Clock::now() + CLOSE_AGAIN);
    }

    fn read(&self, token: Token, from: gleitzeit_run::Position, limit: usize) {
        let (journal, reply) = (self.journal.clone(), self.to_self.clone());
        // Ends on its own: the read is bounded, and its answer is dropped if the hub is gone.
        tokio::spawn(async move {
            let entries = journal.entries(from, limit).await.unwrap_or_else(|error| {
                tracing::error!(%error, "entries could not be read");
                Vec::new()
            });
            reply.send(ToMachine::Entries { token, entries }).ok();
        });
    }
}

/// The `meta` of the next message.
fn meta(number: &mut u64) -> Meta {
    *number += 1;
    let id = format!("hub-{number}");
    Meta { id: Some(id), source: Some("hub".to_owned()), timestamp: Some(wall_clock()), ..Meta::default() }
}
