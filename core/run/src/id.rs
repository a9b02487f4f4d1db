//! Identifiers of runs, of their entries, and of the components that work on them, as newtypes. The shells, which have
//! clocks and randomness, create them; here they are only checked. Whether a component proves its id is checked in
//! `secret`.

use std::fmt;
use std::str::FromStr;

use gleitzeit_workflow::id::{QueueName, TaskId};
use gleitzeit_workflow::text_id;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The number of shards that runs are divided into.
pub const SHARDS: u8 = 64;

/// One submission of a workflow: a UUIDv7, so that ids sort by time of submission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl RunId {
    /// The default correlation id: the run id's 128 bits as 32 hex digits, a valid W3C trace id.
    pub fn correlation_id(self) -> String {
        self.0.simple().to_string()
    }

    /// The run's shard, taken from the random low bits of its id.
    pub fn shard(self) -> Shard {
        Shard(self.0.as_bytes()[15] % SHARDS)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// One of [`SHARDS`] slices of runs, each owned by one resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub u8);

impl Shard {
    /// All shards in order.
    pub fn all() -> impl Iterator<Item = Shard> {
        (0..SHARDS).map(Shard)
    }
}

text_id!(
    /// One instance of a connected role. A new one is made at each process start and kept over reconnects.
    ComponentId
);
text_id!(
    /// The random name of a term, see [`crate::term`].
    TermId
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// Position of an entry in the whole journal, from 1; 0 is before the first.
    Position
);
number!(
    /// Number of an entry among those of its run, from 1.
    Seq
);
number!(
    /// Number of an ownership of a slice. It grows at each change of owner, across restarts too.
    Epoch
);

/// Number of an execution of a task, from 1; 0 before the first.
pub type Attempt = u32;

/// The unit of ownership: a shard of runs (resolver) or a queue (queue role).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slice {
    /// `{"shard": 7}`
    Shard(Shard),
    /// `{"queue": "default"}`
    Queue(QueueName),
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slice::Shard(shard) => write!(f, "shard {}", shard.0),
            Slice::Queue(queue) => write!(f, "queue `{queue}`"),
        }
    }
}

/// Names one attempt of one task of one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptRef {
    /// The run.
    pub run_id: RunId,
    /// The task in the run.
    pub task_id: TaskId,
    /// The attempt's number, from 1.
    pub attempt: Attempt,
}

impl fmt::Display for AttemptRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.run_id, self.task_id, self.attempt)
    }
}
