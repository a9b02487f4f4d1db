//! Pieces that several events share.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use gleitzeit_run::event::{Entry, Event};
use gleitzeit_run::id::{Position, RunId, Seq};
use gleitzeit_workflow::id::QueueName;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::tagged::DecodeError;
use gleitzeit_workflow::time::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::ProposalId;

/// What a component does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Priorities, retries, dispatch.
    Queue,
    /// Readiness, references, the run's timeout.
    Resolver,
    /// Routes attempts to providers.
    Engine,
    /// Serves methods.
    Provider,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::Queue, Role::Resolver, Role::Engine, Role::Provider];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Resolver => "resolver",
            Self::Engine => "engine",
            Self::Provider => "provider",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No role has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown role `{0}`: expected `queue`, `resolver` (`deps`), `engine` (`exec`) or `provider`")]
pub struct RoleParseError(pub String);

impl FromStr for Role {
    type Err = RoleParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "queue" => Ok(Self::Queue),
            "resolver" | "deps" => Ok(Self::Resolver),
            "engine" | "exec" => Ok(Self::Engine),
            "provider" => Ok(Self::Provider),
            _ => Err(RoleParseError(text.to_owned())),
        }
    }
}

/// How the hub sees a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceStatus {
    /// It is there and registered.
    Connected,
    /// Its socket dropped or a heartbeat is overdue; it gets no new work.
    Silent,
    /// It said goodbye or was silent for too long.
    Lost,
}

/// Whether a provider can do its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It can.
    #[default]
    Healthy,
    /// It cannot; the reason says why.
    Unhealthy,
    /// It has not found out yet, or what it needs is still starting; what only it could serve waits.
    Starting,
    /// It is late with its answer, and nothing has refused. It gets work like a healthy one: each task's own timeout says
    /// how long is too long. On the wire it is `healthy` with `slow: true`, so that older hubs and engines go on too.
    Slow,
}

impl HealthState {
    /// Whether it gets work.
    pub fn works(self) -> bool {
        matches!(self, Self::Healthy | Self::Slow)
    }
}

/// A provider's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "HealthJson", into = "HealthJson")]
pub struct Health {
    /// Whether it can do its work.
    pub state: HealthState,
    /// Why not, what is slow, or what a healthy one has to do without.
    pub reason: Option<String>,
    /// Whether it stays so until a person changes something, such as a secret that the service refuses. Only an unhealthy
    /// provider says so.
    pub lasting: bool,
}

/// Health as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(expecting = "struct Health")]
struct HealthJson {
    state: HealthState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lasting: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    slow: bool,
}

impl From<Health> for HealthJson {
    fn from(health: Health) -> Self {
        let Health { state, reason, lasting } = health;
        match state {
            HealthState::Slow => Self { state: HealthState::Healthy, reason, lasting, slow: true },
            state => Self { state, reason, lasting, slow: false },
        }
    }
}

impl From<HealthJson> for Health {
    fn from(json: HealthJson) -> Self {
        let HealthJson { state, reason, lasting, slow } = json;
        let state = if slow && state == HealthState::Healthy { HealthState::Slow } else { state };
        Self { state, reason, lasting }
    }
}

impl Health {
    /// It cannot do its work; that may pass.
    pub fn unhealthy(reason: impl Into<String>) -> Self {
        Self { state: HealthState::Unhealthy, reason: Some(reason.into()), lasting: false }
    }

    /// It cannot do its work, and waiting does not help.
    pub fn broken(reason: impl Into<String>) -> Self {
        Self { lasting: true, ..Self::unhealthy(reason) }
    }

    /// It is late, but nothing has refused: it gets work.
    pub fn slow(reason: impl Into<String>) -> Self {
        Self { state: HealthState::Slow, reason: Some(reason.into()), lasting: false }
    }

    /// It does not know yet, and says what it waits for.
    pub fn starting(reason: impl Into<String>) -> Self {
        Self { state: HealthState::Starting, reason: Some(reason.into()), lasting: false }
    }
}

/// A protocol as it is registered and handed around: `methods` is an object of full method names to
/// `{description?, parameters?, returns?, timeout?}`, opaque to the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolDefinition {
    /// Such as `math`.
    pub name: String,
    /// Such as `v1`.
    pub version: String,
    /// By full name.
    pub methods: Payload,
}

/// A piece of a JSON text that is too large for one frame; the receiver joins the pieces in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which piece, from 0.
    pub part: u32,
    /// How many there are.
    pub of: u32,
    /// The piece.
    pub text: String,
}

/// One item of `events`: an entry in full, a piece of one, or (for the proposer's own) only its place and proposal id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventsItem {
    /// Place in the journal.
    pub position: Position,
    /// The proposal of the receiver that caused it; then nothing else follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal_id: Option<ProposalId>,
    /// A piece of the JSON text of an item; joined, it is an `EventsItem` in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// How many pieces there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// The piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Place in the run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seq: Seq,
    /// The writer's clock.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recorded_at: Timestamp,
    /// The task's queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// Name of the event.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Body of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
    /// The entry as it is, handed over within a process; then nothing else follows. It is never written.
    #[serde(skip)]
    pub whole: Option<Arc<Entry>>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl EventsItem {
    /// An entry in full.
    pub fn full(entry: &Entry) -> Self {
        Self {
            run_id: entry.run_id,
            seq: entry.seq,
            recorded_at: entry.recorded_at,
            queue: entry.queue.clone(),
            kind: Some(entry.event.kind().to_owned()),
            data: Some(entry.event.payload()),
            ..Self::empty(entry.position)
        }
    }

    /// An entry as it is, for a receiver in the same process: nothing of it is copied, written or read.
    pub fn whole(entry: Arc<Entry>) -> Self {
        Self { whole: Some(entry.clone()), ..Self::empty(entry.position) }
    }

    /// The receiver's own entry, without its body.
    pub fn own(position: Position, proposal_id: ProposalId) -> Self {
        Self { proposal_id: Some(proposal_id), ..Self::empty(position) }
    }

    /// A piece of an item.
    pub fn piece(position: Position, part: Part) -> Self {
        Self { part: Some(part.part), of: Some(part.of), text: Some(part.text), ..Self::empty(position) }
    }

    /// The entry, if this item is one in full.
    ///
    /// # Errors
    /// If its event is unknown or malformed.
    pub fn entry(&self) -> Result<Option<Entry>, DecodeError> {
        if let Some(entry) = &self.whole {
            return Ok(Some(Entry::clone(entry)));
        }
        let (Some(kind), Some(data)) = (&self.kind, &self.data) else { return Ok(None) };
        Ok(Some(Entry {
            position: self.position,
            run_id: self.run_id,
            seq: self.seq,
            recorded_at: self.recorded_at,
            queue: self.queue.clone(),
            event: Event::decode(kind, data.get())?,
        }))
    }

    fn empty(position: Position) -> Self {
        Self {
            position,
            proposal_id: None,
            part: None,
            of: None,
            text: None,
            run_id: None,
            seq: Seq::default(),
            recorded_at: Timestamp::default(),
            queue: None,
            whole: None,
            kind: None,
            data: None,
        }
    }
}
