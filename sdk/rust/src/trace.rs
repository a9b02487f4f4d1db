//! Where a run's time went.

use gleitzeit_proto::v1;
use gleitzeit_workflow::Timestamp;
use serde_json::{Map, Value};

use crate::convert;
use crate::error::{Error, Result};

/// A piece of a run's time: the run, a task of it, or what the task did meanwhile (`resolve`, `queue`, `attempt 1`,
/// `decide`, `backoff`), which together fill the task's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// 32 hexadecimal digits: the run's correlation id.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The span that this is a part of; none for a run whose caller sent no trace context.
    pub parent_span_id: Option<String>,
    /// Such as `task essay`, `queue`, `attempt 2`.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; none while it goes on.
    pub end: Option<Timestamp>,
    /// Why it ended badly, if it did.
    pub error: Option<String>,
    /// Under names of `gleitzeit.*`, or of OpenTelemetry's conventions.
    pub attributes: Map<String, Value>,
}

pub(crate) fn span(span: v1::Span) -> Result<Span> {
    let start = convert::time(span.start).ok_or_else(|| Error::answer("a span has no start"))?;
    let attributes = serde_json::from_str(&span.attributes_json)
        .map_err(|error| Error::answer(format!("the attributes of a span are no JSON object: {error}")))?;
    Ok(Span {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent_span_id: Some(span.parent_span_id).filter(|id| !id.is_empty()),
        name: span.name,
        start,
        end: convert::time(span.end),
        error: span.error,
        attributes,
    })
}
