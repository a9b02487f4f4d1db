//! The provider role: the session of one provider definition. The host runs the calls; this state machine keeps track
//! of them and of their answers.
//!
//! A call is started once, however often it is sent. Its answer is kept until it was sent, and for a while longer,
//! because a hub that crashes loses the answers that it was about to deliver.
//!
//! A call that may no longer be wanted is never started. It starts only after everything that arrived with it was read,
//! such as its cancel. After the process was suspended, no call starts until the hub has answered a registration that
//! lists the received calls: the cancels of calls that ended or were given to other providers in the meantime precede
//! that answer.

mod sent;

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::MethodName;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Instant;
use sent::{Sent, size};

use crate::frames::{FRAME_BYTES, Packer};
use crate::id::CallId;
use crate::role;
use crate::role::{Identity, Link, Past, earliest};
use crate::wire::{
    CallEnd, CancelMethod, FromHub, Health, HeartbeatResponse, MethodCall, MethodOutcome, MethodProgress, MethodResult,
    MethodStarted, MethodWaiting, ProtocolDefinition, Role, ToHub,
};

/// How many calls beyond `max_concurrency` are accepted, because the hub may not have seen an answer yet.
const MARGIN: usize = 16;

/// An input of the provider.
#[derive(Clone, Debug)]
pub enum Input {
    /// An event of its connection.
    Hub(role::Input),
    /// A call ended.
    Finished {
        /// The call.
        id: CallId,
        /// Its outcome.
        outcome: MethodOutcome,
    },
    /// A call cannot begin because earlier calls still occupy its place. Its time does not count.
    Waiting {
        /// The call.
        id: CallId,
    },
    /// A call that waited has begun.
    Started {
        /// The call.
        id: CallId,
    },
    /// A running call has output; dropped without a hub.
    Progress {
        /// The call.
        id: CallId,
        /// Any JSON value.
        data: Payload,
    },
    /// The provider's current health.
    Health(Health),
    /// The process was suspended for longer than a moment and continues.
    Woke,
    /// Take no new calls, finish within this time, and cancel the rest.
    Drain {
        /// The grace period in milliseconds.
        grace_ms: u64,
    },
}

/// An output of the provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// An action on its connection.
    Hub(role::Output),
    /// Run a call; answered by [`Input::Finished`].
    Start {
        /// The call.
        call: MethodCall,
    },
    /// Stop a call; its outcome is no longer wanted.
    Cancel {
        /// The call.
        id: CallId,
    },
    /// Every call has ended: disconnect.
    Drained,
}

/// The state of uncertainty about whether received calls are still wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// The hub must be asked.
    ToAsk,
    /// The hub was asked with a registration that it has not answered.
    Asked,
}

/// The configuration of a provider.
#[derive(Clone, Debug)]
pub struct Config {
    /// Methods whose protocols are known already.
    pub methods: Vec<MethodName>,
    /// Protocols with their schemas.
    pub protocols: Vec<ProtocolDefinition>,
    /// How many calls it runs at the same time.
    pub max_concurrency: u32,
    /// Its capabilities beyond its methods, as labels for lists.
    pub capabilities: Vec<String>,
    /// The address of the service it calls, see [`crate::wire::RegisterComponent::address`].
    pub address: Option<String>,
    /// How long it continues without a hub, in milliseconds. Then it stops its work, because others may have been given
    /// it by then.
    pub max_disconnected_ms: u64,
}

/// The provider role's state machine.
#[derive(Debug)]
pub struct Provider {
    identity: Identity,
    config: Config,
    health: Health,
    /// The concurrency and health of the last registration.
    said: Option<(u32, Health)>,
    /// The number of registrations on this connection that are not answered yet.
    unanswered: u32,
    /// Its calls carry their own origin in their ids.
    past: Past,
    link: Link,
    down_since: Option<Instant>,
    running: BTreeSet<CallId>,
    /// Those that the host has not been given yet, in order of arrival.
    held: Vec<MethodCall>,
    doubt: Option<Doubt>,
    /// Those that have not begun because there was no place.
    waiting: BTreeSet<CallId>,
    /// Those for which the hub was told that they have not begun.
    said_waiting: BTreeSet<CallId>,
    /// Answers that were not sent yet.
    answers: BTreeMap<CallId, MethodOutcome>,
    sent: Sent,
    /// Whether sent answers are to be offered again once the hub has said which of them are not wanted.
    offers: bool,
    drain_until: Option<Instant>,
    drained: bool,
}

impl Provider {
    /// A provider without calls.
    pub fn new(identity: Identity, config: Config) -> Self {
        Self {
            identity,
            config,
            health: Health::default(),
            said: None,
            unanswered: 0,
            past: Past::default(),
            link: Link::Down,
            down_since: None,
            running: BTreeSet::new(),
            held: Vec::new(),
            doubt: None,
            waiting: BTreeSet::new(),
            said_waiting: BTreeSet::new(),
            answers: BTreeMap::new(),
            sent: Sent::default(),
            offers: false,
            drain_until: None,
            drained: false,
        }
    }

    /// Takes an input and returns what to do about it.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.accept(now, input, out);
        self.flush(now, out);
    }

    /// Takes one of several inputs; [`Self::flush`] returns what follows from all of them.
    pub fn accept(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Hub(role::Input::Connected) => {
                self.give_up_if_disconnected(now, out);
                self.down_since.get_or_insert(now);
                self.link = Link::Registering { since: now };
                self.unanswered = 0;
                self.sent.expire(now);
                self.offers = true;
                self.register(out);
                self.doubt = self.doubt.map(|_| Doubt::Asked);
            }
            Input::Hub(role::Input::Disconnected) => self.drop_link(now),
            Input::Hub(role::Input::Tick) => {
                out.extend(self.link.tick(now).map(Output::Hub));
            }
            Input::Hub(role::Input::Message(message)) => {
                if self.link != Link::Down {
                    self.message(now, message, out);
                }
            }
            Input::Finished { id, outcome } => {
                // The outcome of a cancelled call is not wanted.
                if self.running.remove(&id) {
                    self.answers.insert(id, outcome);
                }
            }
            Input::Waiting { id } => {
                if self.running.contains(&id) {
                    self.waiting.insert(id);
                }
            }
            Input::Started { id } => {
                self.waiting.remove(&id);
            }
            Input::Progress { id, data } => {
                if self.link.is_up() && self.running.contains(&id) {
                    send(out, ToHub::MethodProgress(MethodProgress { id, data }));
                }
            }
            Input::Woke => {
                self.doubt = Some(Doubt::ToAsk);
                self.ask(out);
            }
            Input::Health(health) => {
                if self.health != health {
                    self.health = health;
                    self.register_again(out);
                }
            }
            Input::Drain { grace_ms } => {
                if self.drain_until.is_none() {
                    self.drain_until = Some(now.plus_ms(grace_ms));
                    self.register_again(out);
                }
            }
        }
    }

    /// Returns what follows from the inputs accepted so far.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.run_timers(now, out);
        self.begin(out);
        self.say(now, out);
    }

    /// When `Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let is_alone = self.link == Link::Down && !self.running.is_empty();
        earliest([
            self.link.deadline(),
            self.down_since.filter(|_| is_alone).map(|since| since.plus_ms(self.config.max_disconnected_ms)),
            self.drain_until.filter(|_| !self.drained),
            self.sent.deadline(),
        ])
    }

    /// The calls that run.
    pub fn running(&self) -> impl Iterator<Item = &CallId> {
        self.running.iter()
    }

    /// Whether calls are held back until the hub has said which of them are wanted.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Asks the hub which calls are still wanted, with a registration that the hub must answer next.
    fn ask(&mut self, out: &mut Vec<Output>) {
        if self.doubt == Some(Doubt::ToAsk) && self.link.is_up() && self.unanswered == 0 {
            self.register(out);
            self.doubt = Some(Doubt::Asked);
        }
    }

    /// Gives the host the received calls, except for those cancelled in the meantime.
    fn begin(&mut self, out: &mut Vec<Output>) {
        if self.doubt.is_none() {
            out.extend(self.held.drain(..).map(|call| Output::Start { call }));
        }
    }

    /// Ends a call whose outcome is no longer wanted.
    fn stop(&mut self, id: CallId, out: &mut Vec<Output>) {
        match self.held.iter().position(|call| call.id == id) {
            Some(at) => drop(self.held.remove(at)),
            None => out.push(Output::Cancel { id }),
        }
    }

    fn stop_all(&mut self, out: &mut Vec<Output>) {
        for id in std::mem::take(&mut self.running) {
            self.stop(id, out);
        }
    }

    fn register(&mut self, out: &mut Vec<Output>) {
        self.unanswered += 1;
        let (capacity, health) = self.to_say();
        self.said = Some((capacity, health.clone()));
        let mut register = self.identity.register(Role::Provider, &self.past);
        register.methods.clone_from(&self.config.methods);
        register.protocols.clone_from(&self.config.protocols);
        register.capabilities.clone_from(&self.config.capabilities);
        register.address.clone_from(&self.config.address);
        register.max_concurrency = Some(capacity);
        register.batch = true;
        let offered = self.sent.ids().filter(|_| self.offers);
        register.calls = Some(self.running.iter().chain(self.answers.keys()).chain(offered).cloned().collect());
        register.health = Some(health);
        send(out, ToHub::RegisterComponent(Box::new(register)));
    }

    fn to_say(&self) -> (u32, Health) {
        let capacity = if self.drain_until.is_some() { 0 } else { self.config.max_concurrency };
        (capacity, self.health.clone())
    }

    /// Registers changes, at once or as soon as the previous registration is answered: the hub processes one at a time.
    fn register_again(&mut self, out: &mut Vec<Output>) {
        if self.link.is_up() && self.unanswered == 0 && self.said != Some(self.to_say()) {
            self.register(out);
        }
    }

    fn drop_link(&mut self, now: Instant) {
        self.link = Link::Down;
        self.down_since.get_or_insert(now);
    }

    fn message(&mut self, now: Instant, message: FromHub, out: &mut Vec<Output>) {
        match message {
            FromHub::ComponentRegistered(answer) => {
                if let Some(log) = self.past.registered(&answer) {
                    self.start_anew(out);
                    out.push(Output::Hub(log));
                }
                self.unanswered = self.unanswered.saturating_sub(1);
                self.link = Link::Up;
                self.down_since = None;
                if self.doubt == Some(Doubt::Asked) {
                    self.doubt = None;
                }
                self.ask(out);
                if std::mem::take(&mut self.offers) {
                    self.said_waiting.clear();
                    self.answers.extend(self.sent.take().map(|end| (end.id, end.outcome)));
                }
                out.push(Output::Hub(role::Output::Registered));
                self.register_again(out);
            }
            FromHub::RegistrationRejected(rejected) => {
                self.drop_link(now);
                out.push(Output::Hub(role::Output::Rejected { error: rejected.error }));
            }
            FromHub::Heartbeat(_) => {
                let (load, health) = (u32::try_from(self.running.len()).ok(), Some(self.health.clone()));
                send(out, ToHub::HeartbeatResponse(HeartbeatResponse { load, health, status: None }));
            }
            FromHub::ExecuteMethod(calls) => {
                for call in calls.calls {
                    self.take(call);
                }
            }
            FromHub::CancelMethod(CancelMethod { id }) => {
                self.answers.remove(&id);
                self.sent.remove(&id);
                if self.running.remove(&id) {
                    self.stop(id, out);
                }
            }
            FromHub::MeshError(error) => out.push(Output::Hub(role::Output::refused(&error))),
            _ => {}
        }
    }

    /// Forgets everything because the journal that its calls came from is lost.
    fn start_anew(&mut self, out: &mut Vec<Output>) {
        self.answers.clear();
        self.sent.clear();
        self.stop_all(out);
    }

    fn take(&mut self, call: MethodCall) {
        if self.running.contains(&call.id) || self.answers.contains_key(&call.id) {
            return;
        }
        // The engine asks again, so it has no answer. It may have restarted after it was answered.
        if let Some(end) = self.sent.remove(&call.id) {
            self.answers.insert(end.id, end.outcome);
            return;
        }
        let limit = usize::try_from(self.config.max_concurrency).unwrap_or(usize::MAX).saturating_add(MARGIN);
        if self.running.len() >= limit {
            let message = format!("provider `{}` has {} calls open", self.identity.name, self.running.len());
            let error = Failure::new(ErrorCode::ProviderOverloaded, message);
            self.answers.insert(call.id, MethodOutcome::Error(error));
        } else {
            self.running.insert(call.id.clone());
            self.held.push(call);
        }
    }

    /// Gives up its calls after being without a hub for long enough: they may already run elsewhere. This is not done
    /// between a registration and its answer, because the listed calls must be kept.
    fn give_up_if_disconnected(&mut self, now: Instant, out: &mut Vec<Output>) {
        let is_alone = self.link == Link::Down && !planted_bugs::is(Bug::NeverAlone);
        if is_alone && self.down_since.is_some_and(|since| since.plus_ms(self.config.max_disconnected_ms) <= now) {
            self.answers.clear();
            self.sent.clear();
            self.stop_all(out);
        }
    }

    fn run_timers(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.give_up_if_disconnected(now, out);
        self.sent.expire(now);
        if self.drain_until.is_some_and(|until| until <= now) {
            // Their engines are told when the provider leaves: lost, not failed.
            self.stop_all(out);
            self.finish_drain(out);
        }
    }

    fn say(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.waiting.retain(|id| self.running.contains(id));
        if self.link.is_up() {
            self.say_what_waits(out);
            let mut frame = Packer::new(FRAME_BYTES);
            for (id, outcome) in std::mem::take(&mut self.answers) {
                let end = CallEnd { id, outcome };
                if let Some(results) = frame.push(end.clone(), size(&end)) {
                    send(out, ToHub::MethodResult(MethodResult { results }));
                }
                self.sent.keep(now, end);
            }
            if let Some(results) = frame.take() {
                send(out, ToHub::MethodResult(MethodResult { results }));
            }
        }
        // Until the hub knows that the provider drains, calls may be in transit; they are served as well.
        let is_known = self.link == Link::Down || (self.link.is_up() && self.unanswered == 0);
        if self.drain_until.is_some() && is_known && self.running.is_empty() && self.answers.is_empty() {
            self.finish_drain(out);
        }
    }

    fn say_what_waits(&mut self, out: &mut Vec<Output>) {
        let ids: Vec<CallId> = self.waiting.difference(&self.said_waiting).cloned().collect();
        if !ids.is_empty() {
            send(out, ToHub::MethodWaiting(MethodWaiting { ids }));
        }
        let begun = self.said_waiting.iter().filter(|id| self.running.contains(*id) && !self.waiting.contains(*id));
        let ids: Vec<CallId> = begun.cloned().collect();
        if !ids.is_empty() {
            send(out, ToHub::MethodStarted(MethodStarted { ids }));
        }
        self.said_waiting.clone_from(&self.waiting);
    }

    fn finish_drain(&mut self, out: &mut Vec<Output>) {
        // Answers that are ready to be sent go out first; `say` runs last.
        if !self.drained && (self.answers.is_empty() || !self.link.is_up()) {
            self.drained = true;
            out.push(Output::Drained);
        }
    }
}

fn send(out: &mut Vec<Output>, message: ToHub) {
    out.push(Output::Hub(role::Output::Send(message)));
}

#[cfg(test)]
mod tests;
