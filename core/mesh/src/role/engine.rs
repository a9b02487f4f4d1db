//! The engine role: takes attempts, has them validated, names providers, enforces timeouts, reports ends.
//!
//! An attempt is kept until the hub acknowledges its end, over reconnects too; the end is reported once. The steps of
//! one attempt stand in `attempt`, for `Engine` and for `Work`.

mod attempt;

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::event::StopReason;
use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_run::ledger::Assignment;
use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::id::{MethodName, QueueName};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Instant;

use crate::id::CallId;
use crate::role;
use crate::role::outbox::Outbox;
use crate::role::{Identity, Link, MAX_DISCONNECTED_MS, Past, earliest};
use crate::wire::{
    ComponentRegistered, ComponentStatus, FromHub, HealthState, HeartbeatResponse, MethodCall, PresenceStatus,
    Protocols, Role, ToHub,
};

/// An attempt that a provider still works on after this time, in milliseconds, is reported as started.
const START_AFTER_MS: u64 = 50;
/// How long after a new connection the time of a waiting attempt stands still, in milliseconds. The new hub says
/// at once which calls wait, and by then it also knows what became of the calls that the previous hub held.
const RESTATED_MS: u64 = 10_000;
/// The timeout of an attempt, in milliseconds, if neither its task nor its method sets one.
pub const DEFAULT_TIMEOUT_MS: u64 = 600_000;
/// How long after a registration, in milliseconds, the providers' states may be incomplete, so that none is missed.
pub const SETTLE_MS: u64 = 1_000;
/// How long a drained engine waits for the hub's last answers after its grace period, in milliseconds.
const LAST_ANSWERS_MS: u64 = 5_000;

/// An input of the engine.
#[derive(Clone, Debug)]
pub enum Input {
    /// An event of its connection.
    Hub(role::Input),
    /// The answer to [`Output::Prepare`].
    Prepared {
        /// The attempt.
        at: AttemptRef,
        /// The parameters with defaults, valid, and the method's own timeout (ms); or what is wrong with them.
        result: Result<(Payload, Option<u64>), Failure>,
    },
    /// The answer to [`Output::CheckResult`].
    Checked {
        /// The attempt.
        at: AttemptRef,
        /// The result, or what is wrong with it.
        result: Result<Payload, Failure>,
    },
    /// Take no new attempts, finish within this time, and stop the rest.
    Drain {
        /// The grace period in milliseconds.
        grace_ms: u64,
    },
}

/// An output of the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// An action on its connection.
    Hub(role::Output),
    /// Fill in defaults and validate; answered by [`Input::Prepared`].
    Prepare {
        /// The attempt.
        assignment: Assignment,
    },
    /// Validate a result; answered by [`Input::Checked`].
    CheckResult {
        /// The attempt.
        at: AttemptRef,
        /// The method.
        method: MethodName,
        /// The version of its protocol.
        protocol_version: String,
        /// What the provider returned.
        result: Payload,
    },
    /// Protocol definitions to validate with, and those that were removed.
    Protocols(Protocols),
    /// The journal that everything came from is lost: pending validations and all definitions are void.
    Forget,
    /// Everything is reported and acknowledged: disconnect.
    Drained,
}

/// The configuration of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many attempts it holds at the same time.
    pub slots: u32,
    /// The queues it works for; `None`: all.
    pub queues: Option<Vec<QueueName>>,
    /// The largest result, as JSON text in bytes.
    pub max_payload_bytes: usize,
    /// How long after each registration, in milliseconds, providers may still be reconnecting, so that none is missed.
    pub settle_ms: u64,
    /// How long it continues to work without a hub, in milliseconds; after that, others may have been given its work.
    pub max_disconnected_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            slots: 64,
            queues: None,
            max_payload_bytes: 1024 * 1024,
            settle_ms: SETTLE_MS,
            max_disconnected_ms: MAX_DISCONNECTED_MS,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Preparing,
    /// The parameters are valid; a provider must be named.
    Prepared(Payload),
    Calling,
    Checking,
}

#[derive(Clone, Debug)]
struct Work {
    assignment: Assignment,
    /// How long a provider may work on it, in milliseconds.
    limit_ms: u64,
    /// When the run times out.
    run_ends: Option<Instant>,
    /// When a provider began to work on it, as far as known; `None` while it waits for a provider.
    began: Option<Instant>,
    /// When the provider answered.
    answered: Option<Instant>,
    /// Whether it was reported as started.
    is_started: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Start,
    Timeout,
}

#[derive(Clone, Copy, Debug)]
struct Drain {
    until: Instant,
    done: bool,
}

/// The engine role's state machine.
#[derive(Debug)]
pub struct Engine {
    identity: Identity,
    config: Config,
    past: Past,
    link: Link,
    down_since: Option<Instant>,
    settled_at: Option<Instant>,
    work: BTreeMap<AttemptRef, Work>,
    timers: BTreeSet<(Instant, AttemptRef, Timer)>,
    prepared: BTreeSet<AttemptRef>,
    outbox: Outbox,
    /// Attempts whose reported end is not acknowledged yet.
    reported: BTreeSet<AttemptRef>,
    /// Each with whether the hub has named it since the last registration.
    providers: BTreeMap<ComponentId, (ComponentStatus, bool)>,
    /// Those that have been healthy at some time since they became known.
    proven: BTreeSet<ComponentId>,
    drain: Option<Drain>,
    /// The number of registrations on this connection that are not answered yet.
    unanswered: u32,
    taken: Vec<AttemptRef>,
    calls: Vec<MethodCall>,
    cancels: Vec<CallId>,
}

impl Engine {
    /// An engine without work.
    pub fn new(identity: Identity, config: Config) -> Self {
        Self {
            identity,
            config,
            past: Past::default(),
            link: Link::Down,
            down_since: None,
            settled_at: None,
            work: BTreeMap::new(),
            timers: BTreeSet::new(),
            prepared: BTreeSet::new(),
            outbox: Outbox::default(),
            reported: BTreeSet::new(),
            providers: BTreeMap::new(),
            proven: BTreeSet::new(),
            drain: None,
            unanswered: 0,
            taken: Vec::new(),
            calls: Vec::new(),
            cancels: Vec::new(),
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
                self.down_since.get_or_insert(now);
                self.link = Link::Registering { since: now };
                self.unanswered = 0;
                self.register(out);
            }
            Input::Hub(role::Input::Disconnected) => self.drop_link(now),
            Input::Hub(role::Input::Tick) => self.tick_link(now, out),
            Input::Hub(role::Input::Message(message)) => {
                if self.link != Link::Down {
                    self.message(now, message, out);
                }
            }
            Input::Prepared { at, result } => self.on_prepared(now, &at, result),
            Input::Checked { at, result } => self.on_checked(now, &at, result),
            Input::Drain { grace_ms } => {
                if self.drain.is_none() {
                    self.drain = Some(Drain { until: now.plus_ms(grace_ms), done: false });
                    if self.link.is_up() {
                        self.register(out);
                    }
                }
            }
        }
    }

    /// Returns what follows from the inputs accepted so far.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.run_timers(now);
        self.name_providers(now);
        self.say(now, out);
    }

    /// When `Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let drain = self
            .drain
            .filter(|drain| !drain.done)
            .map(|drain| if self.work.is_empty() { drain.until.plus_ms(LAST_ANSWERS_MS) } else { drain.until });
        earliest([
            self.link.deadline(),
            self.outbox.deadline().filter(|_| self.link.is_up()),
            self.down_since
                .filter(|_| !self.work.is_empty())
                .map(|since| since.plus_ms(self.config.max_disconnected_ms)),
            self.settled_at,
            self.timers.first().map(|(at, _, _)| *at),
            drain,
        ])
    }

    /// The attempts it works on.
    pub fn working_on(&self) -> impl Iterator<Item = &AttemptRef> {
        self.work.keys()
    }

    /// The attempts whose end is not acknowledged yet.
    pub fn unanswered(&self) -> impl Iterator<Item = &AttemptRef> {
        self.reported.iter()
    }

    fn register(&mut self, out: &mut Vec<Output>) {
        self.unanswered += 1;
        let mut register = self.identity.register(Role::Engine, &self.past);
        register.queues.clone_from(&self.config.queues);
        register.slots = Some(if self.drain.is_some() { 0 } else { self.config.slots });
        register.attempts = self.work.keys().chain(&self.reported).cloned().collect();
        let calling = self.work.iter().filter(|(_, work)| work.stage == Stage::Calling);
        register.calls = Some(calling.map(|(at, _)| CallId::new(&self.identity.component_id, at)).collect());
        send(out, ToHub::RegisterComponent(Box::new(register)));
    }

    fn drop_link(&mut self, now: Instant) {
        self.link = Link::Down;
        self.settled_at = None;
        self.down_since.get_or_insert(now);
    }

    fn tick_link(&mut self, now: Instant, out: &mut Vec<Output>) {
        out.extend(self.link.tick(now).map(Output::Hub));
        if self.link.is_up() && self.outbox.deadline().is_some_and(|at| at <= now) {
            self.drop_link(now);
            let reason = "reports were not answered".to_owned();
            out.push(Output::Hub(role::Output::Reconnect { reason }));
        }
    }

    fn message(&mut self, now: Instant, message: FromHub, out: &mut Vec<Output>) {
        match message {
            FromHub::ComponentRegistered(answer) => self.registered(now, &answer, out),
            FromHub::RegistrationRejected(rejected) => {
                self.drop_link(now);
                out.push(Output::Hub(role::Output::Rejected { error: rejected.error }));
            }
            FromHub::Heartbeat(_) => {
                let load = u32::try_from(self.work.len()).ok();
                send(out, ToHub::HeartbeatResponse(HeartbeatResponse { load, ..HeartbeatResponse::default() }));
            }
            FromHub::ComponentStatus(status) if status.role == Role::Provider => self.provider_changed(status),
            FromHub::Protocols(protocols) => out.push(Output::Protocols(protocols)),
            FromHub::ExecuteTask(tasks) => {
                for assignment in tasks.tasks {
                    self.take(now, assignment, out);
                }
            }
            FromHub::CancelTask(cancel) => {
                for at in cancel.attempts {
                    self.stop(&at, StopReason::Cancelled);
                }
            }
            FromHub::MethodResult(ends) => {
                for end in ends.results {
                    self.call_ended(now, &end.id, end.outcome, out);
                }
            }
            FromHub::MethodWaiting(waiting) => {
                for id in waiting.ids {
                    self.call_turned(&id, None);
                }
            }
            FromHub::MethodStarted(started) => {
                for id in started.ids {
                    self.call_turned(&id, Some(now));
                }
            }
            FromHub::AppendResult(answer) => {
                for result in answer.results {
                    self.answered(now, result, out);
                }
            }
            FromHub::MeshError(error) => out.push(Output::Hub(role::Output::refused(&error))),
            _ => {}
        }
    }

    fn registered(&mut self, now: Instant, answer: &ComponentRegistered, out: &mut Vec<Output>) {
        if let Some(log) = self.past.registered(answer) {
            self.start_anew(out);
            out.push(Output::Hub(log));
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        if !self.link.is_up() {
            self.begin_session(now, out);
        }
        out.push(Output::Hub(role::Output::Registered));
    }

    /// Resumes the work on a new connection.
    fn begin_session(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.resume_time(now);
        self.link = Link::Up;
        self.down_since = None;
        self.settled_at = Some(now.plus_ms(self.config.settle_ms));
        self.outbox.rewind();
        for (_, named) in self.providers.values_mut() {
            *named = false;
        }
        // The request to drain may have come while the registration was in transit.
        if self.drain.is_some() {
            self.register(out);
        }
    }

    fn provider_changed(&mut self, status: ComponentStatus) {
        if status.status == PresenceStatus::Connected {
            if status.health.state == HealthState::Healthy {
                self.proven.insert(status.component_id.clone());
            }
            self.providers.insert(status.component_id.clone(), (status, true));
        } else {
            self.providers.remove(&status.component_id);
            self.proven.remove(&status.component_id);
        }
    }

    /// Forgets everything because the journal that its attempts came from is lost. Nobody waits for the attempts, so
    /// their ends are not reported.
    fn start_anew(&mut self, out: &mut Vec<Output>) {
        self.work.clear();
        self.timers.clear();
        self.prepared.clear();
        self.outbox.clear();
        self.reported.clear();
        self.taken.clear();
        self.calls.clear();
        self.cancels.clear();
        out.push(Output::Forget);
    }

    fn say(&mut self, now: Instant, out: &mut Vec<Output>) {
        let drained = self.drain.filter(|drain| !drain.done);
        if let Some(drain) = drained.filter(|drain| drain.until <= now) {
            let rest: Vec<AttemptRef> = self.work.keys().cloned().collect();
            rest.iter().for_each(|at| self.stop(at, StopReason::Drain));
            if drain.until.plus_ms(LAST_ANSWERS_MS) <= now {
                self.finish_drain(out);
            }
        }
        let (taken, calls) = (std::mem::take(&mut self.taken), std::mem::take(&mut self.calls));
        let cancels = std::mem::take(&mut self.cancels);
        if self.link.is_up() {
            attempt::send_all(taken, calls, cancels, out);
            let mut appends = Vec::new();
            self.outbox.flush(now, None, &mut appends);
            out.extend(appends.into_iter().map(Output::Hub));
        }
        if drained.is_some() && self.is_known() && self.work.is_empty() && self.outbox.len() == 0 {
            self.finish_drain(out);
        }
    }

    /// Whether the hub has answered every registration, or is disconnected. Until it knows that the engine drains,
    /// attempts may be in transit, and are worked on as well.
    fn is_known(&self) -> bool {
        self.link == Link::Down || (self.link.is_up() && self.unanswered == 0)
    }

    fn finish_drain(&mut self, out: &mut Vec<Output>) {
        if let Some(drain) = self.drain.as_mut().filter(|drain| !drain.done) {
            drain.done = true;
            out.push(Output::Drained);
        }
    }
}

fn send(out: &mut Vec<Output>, message: ToHub) {
    out.push(Output::Hub(role::Output::Send(message)));
}

#[cfg(test)]
mod tests;
