//! A trace of a run: where its time went.

use gleitzeit_proto::v1;
use gleitzeit_workflow::Timestamp;
use serde_json::{Map, Value};

use crate::convert;
use crate::error::{Error, Result};

/// A span of a run's time: the run, one of its tasks, or a stage of a task (`resolve`, `queue`, `attempt 1`, `decide`,
/// `backoff`). The stages together fill the task's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// 32 hexadecimal digits: the run's correlation id.
    pub trace_id: String,
    /// 16 hexadecimal digits that identify the span.
    pub span_id: String,
    /// The id of the parent span; `None` for a run whose caller sent no trace context.
    pub parent_span_id: Option<String>,
    /// A name such as `task essay`, `queue`, `attempt 2`.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; `None` while it is open.
    pub end: Option<Timestamp>,
    /// The error that it ended with, if it did.
    pub error: Option<String>,
    /// Attributes, named `gleitzeit.*` or by OpenTelemetry's conventions.
    pub attributes: Map<String, Value>,
}

pub(crate) fn span(span: v1::Span) -> Result<Span> {
    let start = convert::time("start", span.start)?.ok_or_else(|| Error::answer("a span has no start"))?;
    let attributes = serde_json::from_str(&span.attributes_json)
        .map_err(|error| Error::answer(format!("the attributes of a span are not a JSON object: {error}")))?;
    Ok(Span {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent_span_id: Some(span.parent_span_id).filter(|id| !id.is_empty()),
        name: span.name,
        start,
        end: convert::time("end", span.end)?,
        error: span.error,
        attributes,
    })
}
