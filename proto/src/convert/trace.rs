//! Trace spans on the wire.

use gleitzeit_run::trace::{Outcome, Span};
use serde_json::{Map, Value};

use super::timestamp;
use crate::v1;

/// A span on the wire.
pub fn span(span: &Span) -> v1::Span {
    let attributes: Map<String, Value> =
        span.attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    v1::Span {
        trace_id: span.trace_id.to_string(),
        span_id: span.span_id.to_string(),
        parent_span_id: span.parent.map(|id| id.to_string()).unwrap_or_default(),
        name: span.name.clone(),
        start: Some(timestamp(span.start)),
        end: span.end.map(timestamp),
        error: match &span.outcome {
            Outcome::Error(message) => Some(message.clone()),
            Outcome::Unset | Outcome::Ok => None,
        },
        attributes_json: Value::Object(attributes).to_string(),
    }
}
