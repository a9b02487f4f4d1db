//! Method calls between engines and providers: JSON-RPC 2.0, with one or several calls in an event.

use gleitzeit_run::id::{Attempt, ComponentId, RunId};
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::{MethodName, TaskId};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::Priority;
use gleitzeit_workflow::tagged::problem_of;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::CallId;

/// The only supported version of JSON-RPC.
pub(super) const VERSION: &str = "2.0";

/// The context of a call that a provider receives besides the parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallMeta {
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The attempt's number, from 1.
    pub attempt: Attempt,
    /// The trace id of everything that belongs to the run.
    pub correlation_id: String,
    /// W3C trace context of the attempt.
    pub traceparent: String,
    /// How long the provider may work on it, in milliseconds.
    pub timeout_ms: u64,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodCall {
    /// Always `2.0`.
    #[serde(default = "version")]
    pub jsonrpc: String,
    /// The call's id; opaque to providers.
    pub id: CallId,
    /// The full name of the method.
    pub method: MethodName,
    /// The parameters: a JSON object.
    pub params: Payload,
    /// The run, task and attempt that the call belongs to.
    pub meta: CallMeta,
    /// Engine to hub only: the providers that may serve it at once. If none of them has room, the next one that serves
    /// the method and has room gets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<ComponentId>,
    /// Engine to hub only: the task's priority, which orders the calls that wait.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
}

fn version() -> String {
    VERSION.to_owned()
}

/// `execute_method`: engine → hub → provider. A single call is the body itself; several are `{calls: […]}`, which a
/// provider receives only if it asked for `batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecuteMethod {
    /// The calls, at least one.
    pub calls: Vec<MethodCall>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MethodOutcome {
    /// With a result: any JSON value.
    Result(Payload),
    /// With an error; its `data` may contain `{retryable, retry_after_ms, lost}`.
    Error(Failure),
}

impl MethodOutcome {
    /// The size of the result or error, in bytes.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Result(result) => result.size_bytes(),
            Self::Error(error) => error.size_bytes(),
        }
    }

    /// The outcome of a call that ended with a result; a result over the limit in bytes becomes an error.
    pub fn of_result(result: Payload, max_payload_bytes: usize) -> Self {
        match result.over(max_payload_bytes, "the result") {
            Some(message) => Self::Error(Failure::new(ErrorCode::TaskResultInvalid, message)),
            None => Self::Result(result),
        }
    }

    /// The same outcome within the limits: a result over `max_payload_bytes` becomes an error, and a large error is
    /// cut.
    #[must_use]
    pub fn bounded(self, max_payload_bytes: usize) -> Self {
        match self {
            Self::Result(result) => Self::of_result(result, max_payload_bytes),
            Self::Error(error) => Self::Error(error.bounded()),
        }
    }
}

/// The end of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEnd {
    /// The call's id.
    pub id: CallId,
    /// How it ended.
    pub outcome: MethodOutcome,
}

/// `method_result`: provider → hub → engine. A single end is the body itself; several are `{results: […]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodResult {
    /// The ends of the calls, at least one.
    pub results: Vec<CallEnd>,
}

/// `method_progress`: provider → hub → engine; may be dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodProgress {
    /// The call's id.
    pub id: CallId,
    /// The output: any JSON value.
    pub data: Payload,
}

/// `cancel_method`: engine → hub → provider; needs no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelMethod {
    /// The call's id.
    pub id: CallId,
}

/// `method_waiting`: provider → hub → engine. No provider works on these calls until `method_started` says so: they
/// wait for a provider that has room, or for room within theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodWaiting {
    /// The calls that wait.
    pub ids: Vec<CallId>,
}

/// `method_started`: provider → hub → engine. A provider now works on calls that waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodStarted {
    /// The calls that began.
    pub ids: Vec<CallId>,
}

// Raw JSON cannot pass through serde's untagged enums, so both shapes are read as one struct of optional fields.
// `answer` reads the answers.

/// A single item is the body itself; several are an object with them as its only field.
fn one_or_many<S: Serializer>(field: &'static str, items: &[impl Serialize], to: S) -> Result<S::Ok, S::Error> {
    match items {
        [one] => one.serialize(to),
        many => to.collect_map([(field, many)]),
    }
}

impl Serialize for ExecuteMethod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        one_or_many("calls", &self.calls, serializer)
    }
}

/// The `meta` of an event with several calls is not that of a call, so it is read only where it must belong to a call.
fn call_meta(meta: &Payload) -> Result<CallMeta, String> {
    serde_json::from_str(meta.get()).map_err(|error| match problem_of(meta.get(), &error) {
        problem if problem.starts_with("in `") => problem.replacen("in `", "in `meta.", 1),
        problem => format!("in `meta`: {problem}"),
    })
}

impl<'de> Deserialize<'de> for ExecuteMethod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Either {
            calls: Option<Vec<MethodCall>>,
            id: Option<CallId>,
            method: Option<MethodName>,
            params: Option<Payload>,
            meta: Option<Payload>,
            #[serde(default)]
            providers: Vec<ComponentId>,
            #[serde(default)]
            priority: Priority,
        }
        use serde::de::Error;
        let either = Either::deserialize(deserializer)?;
        if let Some(calls) = either.calls {
            return Ok(Self { calls });
        }
        let meta = either.meta.ok_or_else(|| Error::missing_field("meta"))?;
        Ok(Self {
            calls: vec![MethodCall {
                jsonrpc: version(),
                id: either.id.ok_or_else(|| Error::missing_field("id"))?,
                method: either.method.ok_or_else(|| Error::missing_field("method"))?,
                params: either.params.ok_or_else(|| Error::missing_field("params"))?,
                meta: call_meta(&meta).map_err(Error::custom)?,
                providers: either.providers,
                priority: either.priority,
            }],
        })
    }
}

#[derive(Serialize)]
struct WireEnd<'a> {
    jsonrpc: &'static str,
    id: &'a CallId,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
}

impl Serialize for CallEnd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (result, error) = match &self.outcome {
            MethodOutcome::Result(result) => (Some(result), None),
            MethodOutcome::Error(error) => (None, Some(error)),
        };
        WireEnd { jsonrpc: VERSION, id: &self.id, result, error }.serialize(serializer)
    }
}

impl Serialize for MethodResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        one_or_many("results", &self.results, serializer)
    }
}
