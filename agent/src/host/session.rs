//! The loop that every role runs in: events of the link, the machine's deadline, reports of its work, the wish to drain.
//!
//! It waits for nothing but these and the link's bounded outbox. It ends when the machine is drained, when the hub
//! refuses the component for good, or when the link has ended.

use std::time::Duration;

use gleitzeit_core::error::Failure;
use gleitzeit_core::mesh::{FromHub, ToHub};
use gleitzeit_core::role::{Input, Output, may_pass};
use gleitzeit_core::tagged::Body;
use gleitzeit_core::time::Instant;
use gleitzeit_link::{Link, LinkEvent, LinkEvents, SendError, is_json};
use tokio::sync::watch;
use tracing::{debug, error, info, trace, warn};

use super::clock::millis;
use super::{Clock, Event, Machine, Todo};
use crate::roster::Member;

/// Says when to drain and how long that may take.
pub(crate) type DrainSignal = watch::Receiver<Option<Duration>>;

/// How many events are taken together, and for how long they are gathered: attempts must be confirmed soon.
const MAX_TOGETHER: usize = 256;
const MAX_TOGETHER_MS: u64 = 10;

/// One machine on its link.
pub(crate) struct Session<M> {
    machine: M,
    link: Link,
    events: LinkEvents,
    clock: Clock,
    member: Member,
    last_tick: Option<Instant>,
}

impl<M: Machine> Session<M> {
    pub(crate) fn new(machine: M, link: Link, events: LinkEvents, clock: Clock, member: Member) -> Self {
        Self { machine, link, events, clock, member, last_tick: None }
    }

    /// Runs until the end, then closes the link; whoever runs the link's driver waits for that.
    ///
    /// # Errors
    /// With the hub's words if it refused the component in a way that trying again will not change.
    pub(crate) async fn run(mut self, drain: DrainSignal) -> Result<(), Failure> {
        let result = self.serve(drain).await;
        self.member.left();
        self.link.close();
        result
    }

    async fn serve(&mut self, mut drain: DrainSignal) -> Result<(), Failure> {
        tokio::select! {
            () = self.machine.prepare(self.clock.now()) => {}
            _ = wanted(&mut drain) => {}
        }
        let (mut draining, mut todo) = (false, Todo::default());
        loop {
            let deadline = self.machine.next_deadline();
            let event = tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => match self.translate(event) {
                        Some(input) => Event::Hub(input),
                        None => continue,
                    },
                    // Only whoever closed the link ends it.
                    None => return Ok(()),
                },
                report = self.machine.next_report() => Event::Report(report),
                () = until(self.clock, deadline, self.last_tick) => {
                    self.last_tick = Some(self.clock.now());
                    Event::Hub(Input::Tick)
                }
                grace = wanted(&mut drain), if !draining => {
                    draining = true;
                    self.member.left();
                    Event::Drain { grace_ms: millis(grace) }
                }
            };
            self.accept(event, &mut todo);
            for output in todo.outputs.drain(..) {
                perform(&self.link, &self.member, output).await?;
            }
            if todo.drained {
                return Ok(());
            }
            // Reports may be ready again and again: other tasks of this thread want their turn too.
            tokio::task::consume_budget().await;
        }
    }

    /// Takes an event, and with it what else is ready: what follows from all of it is said in few messages.
    fn accept(&mut self, event: Event<M::Report>, todo: &mut Todo) {
        // What is owed to an old connection must not reach the next one: only messages and reports come together.
        let mut together = !matches!(event, Event::Hub(Input::Connected | Input::Disconnected));
        let now = self.clock.now();
        self.machine.accept(now, event, todo);
        for _ in 1..MAX_TOGETHER {
            if !together || todo.drained || self.clock.now().ms_since(now) >= MAX_TOGETHER_MS {
                break;
            }
            if let Some(event) = self.events.try_recv() {
                let Some(input) = self.translate(event) else { continue };
                together = matches!(input, Input::Message(_));
                self.machine.accept(now, Event::Hub(input), todo);
            } else if let Some(report) = self.machine.try_report() {
                self.machine.accept(now, Event::Report(report), todo);
            } else {
                break;
            }
        }
        self.machine.flush(now, todo);
    }

    fn translate(&self, event: LinkEvent) -> Option<Input> {
        match event {
            LinkEvent::Connected { generation, .. } => {
                debug!(component = self.member.id(), generation, "connected");
                Some(Input::Connected)
            }
            LinkEvent::Disconnected { reason } => {
                self.member.away(&reason);
                Some(Input::Disconnected)
            }
            LinkEvent::Refused { status, message } => {
                self.member.refused(status, &message);
                None
            }
            LinkEvent::Message { event, body } => match FromHub::decode(&event, &body) {
                Ok(message) => {
                    trace!(component = self.member.id(), event, bytes = body.len(), "message of the hub");
                    Some(Input::Message(message))
                }
                // What it said is missing here: on a new connection it continues from where this component is.
                Err(_) if !is_json(&body) => {
                    warn!(component = self.member.id(), event, "a message of the hub is no JSON");
                    self.link.reconnect("a message could not be read");
                    None
                }
                // A newer hub may say more than is known here.
                Err(error) => {
                    warn!(component = self.member.id(), event, %error, "ignored a message of the hub");
                    None
                }
            },
        }
    }
}

async fn perform(link: &Link, member: &Member, output: Output) -> Result<(), Failure> {
    let component = member.id();
    match output {
        Output::Send(message) => send(link, component, &message).await,
        Output::Reconnect { reason } => {
            warn!(component, reason, "connecting anew");
            link.reconnect(&reason);
        }
        Output::Registered => member.registered(),
        Output::Rejected { error } if may_pass(&error) => {
            warn!(component, %error, "registration refused, trying again");
            link.reconnect("the registration was refused");
        }
        Output::Rejected { error } => {
            error!(component, %error, "registration refused");
            return Err(error);
        }
        Output::Log { warning: true, message, detail } => warn!(component, detail, "{message}"),
        Output::Log { warning: false, message, detail } => info!(component, detail, "{message}"),
    }
    Ok(())
}

async fn send(link: &Link, component: &str, message: &ToHub) {
    match link.send(message.kind(), &Body(message)).await {
        Ok(()) => trace!(component, event = message.kind(), "sent"),
        // The machine says it again on the next connection, of which it is about to hear.
        Err(SendError::NotConnected | SendError::Closed) => {
            debug!(component, event = message.kind(), "not sent: the connection is gone");
        }
        Err(error @ (SendError::TooLarge { .. } | SendError::Encode(_) | SendError::Full)) => {
            error!(component, event = message.kind(), %error, "message lost");
        }
    }
}

/// Waits for the machine's deadline; a deadline that stays in the past is not allowed to spin.
async fn until(clock: Clock, deadline: Option<Instant>, last_tick: Option<Instant>) {
    let at = deadline.map(|at| last_tick.map_or(at, |last| at.max(last.plus_ms(1))));
    match at.and_then(|at| clock.to_tokio(at)) {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits until a drain is wanted; if whoever could want it is gone, there is no time left. Cancel-safe.
async fn wanted(drain: &mut DrainSignal) -> Duration {
    match drain.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        Err(_gone) => Duration::ZERO,
    }
}
