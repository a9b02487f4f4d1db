//! The document of `trace`.

use gleitzeit_sdk::{Span, Timestamp};
use serde::Serialize;

/// The result of `trace`.
#[derive(Serialize)]
pub(crate) struct TraceDocument<'a> {
    run_id: &'a str,
    trace_id: &'a str,
    /// The link to the trace, if the address of a trace viewer is known.
    url: Option<&'a str>,
    spans: Vec<SpanDocument<'a>>,
}

#[derive(Serialize)]
struct SpanDocument<'a> {
    span_id: &'a str,
    parent_span_id: Option<&'a str>,
    name: &'a str,
    start: Timestamp,
    end: Option<Timestamp>,
    error: Option<&'a str>,
    attributes: &'a serde_json::Map<String, serde_json::Value>,
}

impl<'a> TraceDocument<'a> {
    pub(crate) fn new(run_id: &'a str, trace_id: &'a str, url: Option<&'a str>, spans: &'a [Span]) -> Self {
        let span = |span: &'a Span| SpanDocument {
            span_id: &span.span_id,
            parent_span_id: span.parent_span_id.as_deref(),
            name: &span.name,
            start: span.start,
            end: span.end,
            error: span.error.as_deref(),
            attributes: &span.attributes,
        };
        Self { run_id, trace_id, url, spans: spans.iter().map(span).collect() }
    }
}
