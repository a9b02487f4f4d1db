//! The loop that runs every role: it handles events of the line, the machine's deadline, reports of its work, and drain
//! requests.
//!
//! It waits for nothing but these and the line's bounded outbox. It ends when the machine is drained, when the hub
//! refuses the component for good, or when the line has ended.

use std::time::Duration;

use gleitzeit_link::SendError;
use gleitzeit_mesh::role::{Input, Output, may_pass};
use gleitzeit_mesh::wire::ToHub;
use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::time::Instant;
use tokio::sync::watch;
use tracing::{debug, error, info, trace, warn};

use super::clock::millis;
use super::{Clock, Event, Machine, Todo};
use crate::line::{Line, LineEvent};
use crate::roster::Member;

/// Requests a drain and says how long it may take.
pub(crate) type DrainSignal = watch::Receiver<Option<Duration>>;

/// How many events are handled together, and for how long they are gathered: attempts must be confirmed soon.
const MAX_TOGETHER: usize = 256;
const MAX_TOGETHER_MS: u64 = 10;

/// Runs one machine on its line.
pub(crate) struct Session<M> {
    machine: M,
    line: Line,
    clock: Clock,
    member: Member,
    last_tick: Option<Instant>,
}

impl<M: Machine> Session<M> {
    pub(crate) fn new(machine: M, line: Line, clock: Clock, member: Member) -> Self {
        Self { machine, line, clock, member, last_tick: None }
    }

    /// Runs until the end, then closes the line; the caller waits for the line's driver.
    ///
    /// # Errors
    /// The hub's failure, if it refused the component and a retry would not change that.
    pub(crate) async fn run(mut self, drain: DrainSignal) -> Result<(), Failure> {
        let result = self.serve(drain).await;
        self.member.left();
        self.line.close();
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
                event = self.line.recv() => match event {
                    Some(event) => match self.translate(event) {
                        Some(input) => Event::Hub(input),
                        None => continue,
                    },
                    // The line ends only after this side has closed it.
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
                perform(&mut self.line, &self.member, output).await?;
            }
            if todo.drained {
                return Ok(());
            }
            // Reports may be ready again and again; other tasks of this thread must get a turn too.
            tokio::task::consume_budget().await;
        }
    }

    /// Takes an event and whatever else is ready, so that the result of all of it fits into few messages.
    fn accept(&mut self, event: Event<M::Report>, todo: &mut Todo) {
        // What is owed to an old connection must not reach the next one: only messages and reports are batched.
        let mut together = !matches!(event, Event::Hub(Input::Connected | Input::Disconnected));
        let now = self.clock.now();
        self.machine.accept(now, event, todo);
        for _ in 1..MAX_TOGETHER {
            if !together || todo.drained || self.clock.now().ms_since(now) >= MAX_TOGETHER_MS {
                break;
            }
            if let Some(event) = self.line.try_recv() {
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

    fn translate(&self, event: LineEvent) -> Option<Input> {
        let component = self.member.id();
        match event {
            LineEvent::Connected => {
                debug!(component, "connected");
                Some(Input::Connected)
            }
            LineEvent::Disconnected { reason } => {
                self.member.away(&reason);
                Some(Input::Disconnected)
            }
            LineEvent::Refused { status, message } => {
                self.member.refused(status, &message);
                None
            }
            LineEvent::Unreachable(cause) => {
                self.member.unreachable(cause);
                None
            }
            LineEvent::Message(message) => {
                trace!(component, event = message.kind(), "message from the hub");
                Some(Input::Message(message))
            }
            LineEvent::Unreadable { event, error } => {
                warn!(component, event, error, "a message from the hub could not be parsed");
                None
            }
        }
    }
}

async fn perform(line: &mut Line, member: &Member, output: Output) -> Result<(), Failure> {
    let component = member.id();
    match output {
        Output::Send(message) => send(line, component, message).await,
        Output::Reconnect { reason } => {
            warn!(component, reason, "reconnecting");
            line.reconnect(&reason);
        }
        Output::Registered => member.registered(),
        Output::Rejected { error } if may_pass(&error) => {
            warn!(component, %error, "registration refused, retrying");
            line.reconnect("the registration was refused");
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

async fn send(line: &mut Line, component: &str, message: ToHub) {
    let event = message.kind();
    match line.send(message).await {
        Ok(()) => trace!(component, event, "sent"),
        // The machine will repeat this on the next connection; a notice that this one ended is on its way.
        Err(SendError::NotConnected | SendError::Closed) => {
            debug!(component, event, "not sent: the connection is gone");
        }
        Err(error @ (SendError::TooLarge { .. } | SendError::Encode(_) | SendError::Full)) => {
            error!(component, event, %error, "message lost");
        }
    }
}

/// Waits for the machine's deadline. A deadline that stays in the past must not make the loop spin.
async fn until(clock: Clock, deadline: Option<Instant>, last_tick: Option<Instant>) {
    let at = deadline.map(|at| last_tick.map_or(at, |last| at.max(last.plus_ms(1))));
    match at.and_then(|at| clock.to_tokio(at)) {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits for a drain request. If the sender is gone, the grace period is zero. Cancel-safe.
async fn wanted(drain: &mut DrainSignal) -> Duration {
    match drain.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        Err(_gone) => Duration::ZERO,
    }
}
