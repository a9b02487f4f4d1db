//! The checked workflow, which a run keeps as its snapshot. Its JSON form is stored, so fields are only ever added,
//! with defaults.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{MethodName, ProviderName, QueueName, TaskId};
use crate::template::Language;

/// A workflow that was checked: ids are unique, dependencies and references exist, there is no cycle, methods are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// The name shown in lists.
    pub name: String,
    /// Free text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The author's own version of this definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Labels for filtering lists.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
    /// Declared inputs and their defaults; `null` means required.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub inputs: IndexMap<String, Value>,
    /// Declared files: name to path, read by the client at submit.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, String>,
    /// Limit for the whole run in milliseconds; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The tasks, in the order of the file.
    pub tasks: Vec<Task>,
    /// The run's outputs: templates by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub outputs: IndexMap<String, Value>,
}

/// One node of a checked workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The task's id, unique in the workflow.
    pub id: TaskId,
    /// The method to call.
    pub method: MethodName,
    /// The name of the providers that may serve it; absent: any provider of the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// Version of the method's protocol chosen at submit (such as `v1`); it holds for the whole run.
    pub protocol_version: String,
    /// Decides which ready task is dispatched first.
    #[serde(default)]
    pub priority: Priority,
    /// The queue it waits in when it is ready.
    pub queue: QueueName,
    /// Limit for one attempt in milliseconds, measured from its start; absent: the method's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How failed attempts are retried.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Tasks that must complete first: the listed ones and those implied by references, without duplicates, in file
    /// order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<TaskId>,
    /// The parameters as written, references not yet resolved; always a JSON object.
    pub parameters: Value,
    /// The top-level parameters that are program text, so that references in them are inserted as data.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub code: IndexMap<String, Language>,
}

/// Higher goes first; `low` 1, `normal` 2, `high` 3, `urgent` 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(pub i32);

impl Default for Priority {
    fn default() -> Self {
        Self(2)
    }
}

impl Priority {
    /// Whether this is the priority of tasks that name none.
    pub fn is_normal(&self) -> bool {
        *self == Self::default()
    }
}

/// How the delay grows from failure to failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// `initial_delay` each time.
    Fixed,
    /// `initial_delay` × failures.
    Linear,
    /// `initial_delay` × 2^(failures−1).
    #[default]
    Exponential,
}

/// How failed attempts are retried. Losses (of an engine, provider or hub) never count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// The maximum number of attempts that fail by themselves, the first included; at least 1.
    pub max_attempts: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// Delay after the first failure, in milliseconds.
    pub initial_delay_ms: u64,
    /// Upper bound of the delay, in milliseconds.
    pub max_delay_ms: u64,
    /// The fraction of the delay, 0 to 0.5, by which it varies.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            backoff: Backoff::Exponential,
            initial_delay_ms: 1_000,
            max_delay_ms: 60_000,
            jitter: 0.0,
        }
    }
}
