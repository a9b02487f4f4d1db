//! Spans that show where a run's time went: a fold of its entries. Ids and times follow from the journal alone, so
//! every writer of a span produces the same one, and no crash can break a trace.

mod gen_ai;
mod parent;
mod recorder;

use serde_json::Value;

pub use gen_ai::{answered as gen_ai_answered, asked as gen_ai_asked, span_name as gen_ai_span_name};
pub use parent::{SAMPLED, TraceParent};
pub use recorder::Recorder;

use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::time::Timestamp;

use crate::id::{AttemptRef, RunId};

/// A W3C trace id; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

/// A W3C span id; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

impl TraceId {
    /// Reads a correlation id: 32 hexadecimal digits, not all 0.
    pub fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().filter(|id| text.len() == 32 && *id != 0).map(Self)
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::fmt::Display for SpanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl SpanId {
    /// The span of a run.
    pub fn of_run(run_id: RunId) -> Self {
        Self::of(&run_id.to_string())
    }

    /// The span of a task, from the end of its last dependency to its own end.
    pub fn of_task(run_id: RunId, task_id: &TaskId) -> Self {
        Self::of(&format!("{run_id}/{task_id}"))
    }

    /// The span of an attempt, which a provider gets as its parent.
    pub fn of_attempt(at: &AttemptRef) -> Self {
        Self::of(&at.to_string())
    }

    /// FNV-1a of a text that names the span.
    fn of(text: &str) -> Self {
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(hash.max(1))
    }
}

/// The W3C trace context that a provider gets with an attempt: in the run's trace, below the attempt's span.
/// `submitted` is the caller's trace context, whose sampling flag is kept.
pub fn traceparent(at: &AttemptRef, correlation_id: &str, submitted: Option<&str>) -> String {
    let flags = submitted.and_then(TraceParent::parse).map_or(SAMPLED, |caller| caller.flags);
    TraceParent { trace_id: correlation_id, span_id: &SpanId::of_attempt(at).to_string(), flags }.to_string()
}

/// How the subject of a span ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No success or failure is known.
    Unset,
    /// It succeeded.
    Ok,
    /// It failed, with a text for people.
    Error(String),
}

/// The maximum length of a text in a span, in characters: receivers refuse a span that is too large together with
/// everything sent with it.
const MAX_TEXT: usize = 1_000;
/// The maximum length of a list attribute.
const MAX_ITEMS: usize = 32;

/// Cuts a text to the length that a span may hold.
fn short(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    text.chars().take(MAX_TEXT - 1).chain(['…']).collect()
}

/// A piece of a run's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The run's correlation id.
    pub trace_id: TraceId,
    /// The span's id, derived from its subject.
    pub span_id: SpanId,
    /// Absent only for a run whose caller sent no trace context.
    pub parent: Option<SpanId>,
    /// Whether the parent is a span of the caller.
    pub is_remote: bool,
    /// The name, such as `task essay`, `queue`, `attempt 2`.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; absent while it is open.
    pub end: Option<Timestamp>,
    /// How it ended.
    pub outcome: Outcome,
    /// Attributes named `gleitzeit.*` or by OpenTelemetry's conventions: text, numbers and booleans.
    pub attributes: Vec<(&'static str, Value)>,
}

impl Span {
    /// Whether it is the span of a whole run.
    pub fn is_of_run(&self) -> bool {
        self.parent.is_none() || self.is_remote
    }
}
