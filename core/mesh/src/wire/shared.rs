//! Types that several events share.

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

/// The role of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Owns queues: priorities, retries, dispatch.
    Queue,
    /// Owns shards of runs: readiness, references, the run's timeout.
    Resolver,
    /// Executes attempts by calling providers.
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

/// The error for text that is not the name of a role.
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

/// The status of a component, as the hub sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceStatus {
    /// It is connected and registered.
    Connected,
    /// Its socket was lost or a heartbeat is overdue; it gets no new work.
    Silent,
    /// It left, or was silent for too long.
    Lost,
}

/// Whether a provider can do its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It can.
    #[default]
    Healthy,
    /// It cannot; `reason` says why.
    Unhealthy,
    /// It does not know yet, or something it needs is still starting. Tasks that only it could serve wait.
    Starting,
    /// It answers late, but nothing was refused. It gets work like a healthy provider: each task's own timeout decides
    /// how long is too long. On the wire it is `healthy` with `slow: true`, so that older hubs and engines continue to
    /// work.
    Slow,
}

impl HealthState {
    /// Whether a provider in this state gets work.
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
    /// Why it is unhealthy, what is slow, or what a healthy provider has to do without.
    pub reason: Option<String>,
    /// Whether it stays unhealthy until a person changes something, such as a secret that the service refuses. Only an
    /// unhealthy provider sets it.
    pub lasting: bool,
}

/// The JSON form of health.
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
    /// A provider that cannot do its work; that may pass.
    pub fn unhealthy(reason: impl Into<String>) -> Self {
        Self { state: HealthState::Unhealthy, reason: Some(reason.into()), lasting: false }
    }

    /// A provider that cannot do its work, and waiting does not help.
    pub fn broken(reason: impl Into<String>) -> Self {
        Self { lasting: true, ..Self::unhealthy(reason) }
    }

    /// A provider that answers late although nothing was refused: it gets work.
    pub fn slow(reason: impl Into<String>) -> Self {
        Self { state: HealthState::Slow, reason: Some(reason.into()), lasting: false }
    }

    /// A provider that does not know yet whether it can work, with what it waits for.
    pub fn starting(reason: impl Into<String>) -> Self {
        Self { state: HealthState::Starting, reason: Some(reason.into()), lasting: false }
    }
}

/// A protocol as it is registered and distributed: `methods` is an object of full method names to `{description?,
/// parameters?, returns?, timeout?}`, opaque to the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolDefinition {
    /// The protocol's name, such as `math`.
    pub name: String,
    /// The version, such as `v1`.
    pub version: String,
    /// The methods by full name: a JSON object.
    pub methods: Payload,
}

/// A part of a JSON text that is too large for one frame; the receiver joins the parts in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The number of this part, from 0.
    pub part: u32,
    /// The number of parts.
    pub of: u32,
    /// The text of this part.
    pub text: String,
}

/// One item of `events`: a complete entry, a part of one, or (for the proposer's own entries) only position and
/// proposal id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventsItem {
    /// The position in the journal.
    pub position: Position,
    /// The receiver's proposal that caused the entry; all other fields are then absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal_id: Option<ProposalId>,
    /// The number of this part of an item's JSON text; the joined parts are a complete `EventsItem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// The number of parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// The text of this part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The entry's number in its run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seq: Seq,
    /// When the entry was recorded, by the writer's clock.
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
    /// The entry itself, passed within a process; all other fields are then absent. It is never serialized.
    #[serde(skip)]
    pub whole: Option<Arc<Entry>>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl EventsItem {
    /// An item with a complete entry.
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

    /// An item with the entry itself, for a receiver in the same process: nothing is copied, serialized or parsed.
    pub fn whole(entry: Arc<Entry>) -> Self {
        Self { whole: Some(entry.clone()), ..Self::empty(entry.position) }
    }

    /// An item for the receiver's own entry, without its body.
    pub fn own(position: Position, proposal_id: ProposalId) -> Self {
        Self { proposal_id: Some(proposal_id), ..Self::empty(position) }
    }

    /// An item with a part of an item.
    pub fn piece(position: Position, part: Part) -> Self {
        Self { part: Some(part.part), of: Some(part.of), text: Some(part.text), ..Self::empty(position) }
    }

    /// The entry, if this item is a complete one.
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
