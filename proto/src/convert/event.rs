//! Journal entries in the form that watchers of a run get.

use gleitzeit_run::{Entry, Event};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::convert::timestamp;
use crate::v1;

/// A payload larger than this, in bytes, is marked as omitted.
const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
/// Fields of an event that never leave the control plane.
const PRIVATE: &[&str] = &["workflow", "files", "env", "request"];

/// An entry of a run on the wire.
pub fn event(entry: &Entry) -> v1::RunEvent {
    let task = entry.event.meaning().task;
    let body = entry.event.body();
    let payload = if let Event::WorkflowSubmitted(_) = entry.event { public(&body) } else { body };
    let omitted = payload.len() > MAX_PAYLOAD_BYTES;
    v1::RunEvent {
        seq: entry.seq.0,
        time: Some(timestamp(entry.recorded_at)),
        r#type: entry.event.kind().to_owned(),
        task_id: task.map(|(id, _)| id.to_string()).unwrap_or_default(),
        attempt: task.map_or(0, |(_, attempt)| attempt),
        payload_json: (!omitted).then_some(payload),
        payload_omitted: omitted,
    }
}

fn public(body: &str) -> String {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: &'a RawValue,
    }
    // Values stay as they were written: only the top-level fields are examined.
    let mut fields: IndexMap<String, &RawValue> =
        serde_json::from_str(body).expect("the body of an event is an object");
    let named = fields.get("workflow").and_then(|workflow| serde_json::from_str::<Named<'_>>(workflow.get()).ok());
    fields.retain(|key, _| !PRIVATE.contains(&key.as_str()));
    if let Some(named) = named {
        fields.insert("name".to_owned(), named.name);
    }
    serde_json::to_string(&fields).expect("keys are strings and the values are JSON already")
}
