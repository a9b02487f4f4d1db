//! The decisions of each role, as pure state machines that exchange mesh messages: inputs in, outputs out.
//!
//! Nothing here holds state that cannot be rebuilt from the journal; the hosts only move bytes and keep time.

pub mod engine;
mod outbox;
mod owner;
pub mod provider;
pub mod queue;
pub mod resolver;
mod turns;

use gleitzeit_run::id::{ComponentId, Position, TermId};
use gleitzeit_run::secret::Secret;
use gleitzeit_run::term::Seen;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::time::Instant;

use crate::wire::{ComponentRegistered, FromHub, MeshError, RegisterComponent, Role, ToHub};

pub use outbox::MAX_UNANSWERED;

/// How long a component waits for the answer to its registration before it drops the socket, in milliseconds.
const REGISTRATION_TIMEOUT_MS: u64 = 10_000;
/// How long proposals may remain unanswered before the socket is dropped, in milliseconds; they are sent again on the
/// next one.
const ANSWER_TIMEOUT_MS: u64 = 60_000;
/// How long engines and providers continue without a hub, in milliseconds. Then they stop their work, so that it does
/// not overlap its replacement for long.
pub const MAX_DISCONNECTED_MS: u64 = 10_000;

/// The identity of a component.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The component's id: new at each process start, kept over reconnects.
    pub component_id: ComponentId,
    /// The secret that binds the id to this component; made together with the id.
    pub secret: Secret,
    /// Its name, for people.
    pub name: String,
    /// The version of its software.
    pub version: String,
}

impl Identity {
    fn register(&self, role: Role, past: &Past) -> RegisterComponent {
        RegisterComponent {
            component_type: role,
            component_id: Some(self.component_id.clone()),
            secret: Some(self.secret.clone()),
            seen: past.seen(),
            name: self.name.clone(),
            version: self.version.clone(),
            capabilities: Vec::new(),
            owned: Vec::new(),
            queues: None,
            slots: None,
            attempts: Vec::new(),
            methods: Vec::new(),
            protocols: Vec::new(),
            max_concurrency: None,
            batch: false,
            calls: None,
            health: None,
            address: None,
        }
    }
}

/// What a component has seen of which journal.
#[derive(Debug, Default)]
struct Past {
    /// The term that the hub named last.
    term: Option<TermId>,
    position: Position,
}

impl Past {
    /// Records that the component received the entry at a position.
    fn see(&mut self, position: Position) {
        self.position = self.position.max(position);
    }

    fn seen(&self) -> Option<Seen> {
        self.term.clone().map(|term| Seen { term, position: self.position })
    }

    /// Processes the hub's answer to a registration. If everything from the journal must be forgotten, returns the log
    /// message that says why.
    #[must_use]
    fn registered(&mut self, answer: &ComponentRegistered) -> Option<Output> {
        let starts_anew = answer.starts_anew.then(|| {
            let position = std::mem::take(&mut self.position);
            let term = self.term.as_ref().map_or("?", TermId::as_str);
            let detail = format!("it had seen entry {position} of term {term}");
            let message = "what this component has seen is not in the control plane's journal: a backup was restored, or \
                           the store was removed; it starts anew";
            Output::Log { warning: true, message, detail }
        });
        // A hub without terms says nothing about the journal of an earlier hub.
        if answer.term.is_some() {
            self.term.clone_from(&answer.term);
        }
        starts_anew
    }
}

/// An input of every role. Roles with further inputs have an input type of their own that contains this one.
#[derive(Clone, Debug)]
pub enum Input {
    /// `welcome` arrived on a new socket.
    Connected,
    /// The socket is gone.
    Disconnected,
    /// The hub sent an event.
    Message(FromHub),
    /// The deadline of `next_deadline` has passed.
    Tick,
}

/// An output of every role. Roles with further outputs have an output type of their own that contains this one.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send an event to the hub.
    Send(ToHub),
    /// Drop the socket and connect again.
    Reconnect {
        /// The reason, for the log.
        reason: String,
    },
    /// The hub accepted the registration.
    Registered,
    /// The hub refused the registration: the host decides whether to give up.
    Rejected {
        /// Why the registration was refused.
        error: Failure,
    },
    /// A log message for the operator.
    Log {
        /// Whether something was lost or refused, rather than a life cycle event.
        warning: bool,
        /// A constant sentence.
        message: &'static str,
        /// Details: which component, and what.
        detail: String,
    },
}

impl Output {
    /// The log entry for an event of this component that the hub refused.
    fn refused(error: &MeshError) -> Self {
        let detail = format!("{}: {}", error.name, error.message);
        Self::Log { warning: true, message: "the hub refused an event", detail }
    }
}

/// Whether the same registration may be accepted later because the component is not at fault.
pub fn may_pass(error: &Failure) -> bool {
    error.known().is_some_and(|code| {
        let of_the_store = matches!(
            code,
            ErrorCode::InternalError
                | ErrorCode::SystemNotInitialized
                | ErrorCode::SystemShutdown
                | ErrorCode::PersistenceWriteFailed
                | ErrorCode::PersistenceReadFailed
        );
        of_the_store || code.is_retryable()
    })
}

/// The state of a component's connection to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    Registering { since: Instant },
    Up,
}

impl Link {
    fn is_up(self) -> bool {
        self == Self::Up
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Registering { since } => Some(since.plus_ms(REGISTRATION_TIMEOUT_MS)),
            Self::Down | Self::Up => None,
        }
    }

    /// Drops the socket if the registration was not answered in time.
    fn tick(&mut self, now: Instant) -> Option<Output> {
        self.deadline().filter(|at| *at <= now)?;
        *self = Self::Down;
        Some(Output::Reconnect { reason: "the registration was not answered".to_owned() })
    }
}

fn earliest(deadlines: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}
