//! Each role's decisions as a pure state machine that speaks mesh messages: inputs in, outputs out.
//!
//! Nothing here keeps anything that cannot be rebuilt from the journal; hosts only move bytes and time.

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

/// How long a component waits for the answer to its registration before it drops the socket.
const REGISTRATION_TIMEOUT_MS: u64 = 10_000;
/// How long proposals may go unanswered before the socket is dropped; they are sent again on the next one.
const ANSWER_TIMEOUT_MS: u64 = 60_000;
/// Without a hub for so long, engines and providers stop their work, so that it does not overlap its successor for long.
pub const ALONE_LIMIT_MS: u64 = 10_000;

/// Who a component is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// New at each process start, kept over reconnects.
    pub component_id: ComponentId,
    /// What binds the id to this component; new with it.
    pub secret: Secret,
    /// For people.
    pub name: String,
    /// Of the software.
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

/// How much of which journal a component has seen.
#[derive(Debug, Default)]
struct Past {
    /// As the hub named it last.
    term: Option<TermId>,
    position: Position,
}

impl Past {
    /// It heard of the entry at a position.
    fn see(&mut self, position: Position) {
        self.position = self.position.max(position);
    }

    fn seen(&self) -> Option<Seen> {
        self.term.clone().map(|term| Seen { term, position: self.position })
    }

    /// The hub's answer to a registration. True if everything that came from the journal must be forgotten; then an
    /// operator hears why.
    #[must_use]
    fn registered(&mut self, answer: &ComponentRegistered, out: &mut Vec<Output>) -> bool {
        if answer.starts_anew {
            let position = std::mem::take(&mut self.position);
            let term = self.term.as_ref().map_or("?", TermId::as_str);
            let detail = format!("it had seen entry {position} of term {term}");
            let message = "what this component has seen is not in the control plane's journal: a backup was restored, or \
                           the store was removed; it starts anew";
            out.push(Output::Log { warning: true, message, detail });
        }
        // A hub without terms says nothing of the one that was before.
        if answer.term.is_some() {
            self.term.clone_from(&answer.term);
        }
        answer.starts_anew
    }
}

/// What happens to every role. Roles with more to hear have an input type of their own that contains it.
#[derive(Clone, Debug)]
pub enum Input {
    /// `welcome` arrived on a new socket.
    Connected,
    /// The socket is gone.
    Disconnected,
    /// The hub sent an event.
    Message(FromHub),
    /// `next_deadline` has come.
    Tick,
}

/// What every role wants done. Roles with more to say have an output type of their own that contains it.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send an event to the hub.
    Send(ToHub),
    /// Drop the socket and connect again.
    Reconnect {
        /// For the log.
        reason: String,
    },
    /// The hub accepted the registration.
    Registered,
    /// The hub refused the registration: the host decides whether to give up.
    Rejected {
        /// Why.
        error: Failure,
    },
    /// Something an operator should see.
    Log {
        /// Whether something was lost or refused, rather than life cycle.
        warning: bool,
        /// A constant sentence.
        message: &'static str,
        /// What it is about.
        detail: String,
    },
}

impl Output {
    /// The hub refused what this component sent: for the log.
    fn refused(error: &MeshError) -> Self {
        let detail = format!("{}: {}", error.name, error.message);
        Self::Log { warning: true, message: "the hub refused an event", detail }
    }
}

/// Whether the same registration may be accepted later: its component is not at fault.
pub fn may_pass(error: &Failure) -> bool {
    error.known().is_some_and(|code| {
        let of_the_store = matches!(
            code,
            ErrorCode::InternalError
                | ErrorCode::SystemNotInitialized
                | ErrorCode::SystemShutdown
                | ErrorCode::PersistenceWriteFailed
                | ErrorCode::PersistenceReadFailed
                | ErrorCode::PersistenceTransactionFailed
        );
        of_the_store || code.is_retryable()
    })
}

/// Where a component stands with the hub.
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

    /// Drops the socket if the registration was not answered.
    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.deadline().is_some_and(|at| at <= now) {
            *self = Self::Down;
            out.push(Output::Reconnect { reason: "the registration was not answered".to_owned() });
        }
    }
}

fn earliest(deadlines: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}
