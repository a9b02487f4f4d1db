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
    let payload = match &entry.event {
        Event::WorkflowSubmitted(_) => public(&entry.event.body()),
        other => other.body(),
    };
    let omitted = payload.len() > MAX_PAYLOAD_BYTES;
    v1::RunEvent {
        seq: entry.seq.0,
        time: Some(timestamp(entry.recorded_at)),
        r#type: entry.event.kind().to_owned(),
        task_id: entry.event.task_id().unwrap_or_default().to_owned(),
        attempt: attempt(&entry.event),
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

fn attempt(event: &Event) -> u32 {
    match event {
        Event::TaskDispatched(event) => event.attempt,
        Event::TaskStarted(event) => event.attempt,
        Event::TaskCompleted(event) => event.attempt,
        Event::TaskAttemptFailed(event) => event.attempt,
        Event::TaskAttemptStopped(event) => event.attempt,
        Event::TaskRequeued(event) => event.attempt,
        Event::TaskRetryScheduled(event) => event.attempt,
        Event::TaskFailed(event) => event.attempt,
        _ => 0,
    }
}
