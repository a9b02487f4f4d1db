//! An entry for the tests of these modules.

use std::sync::Arc;

use gleitzeit_run::id::Position;
use gleitzeit_run::{Entry, Event};
use gleitzeit_workflow::payload::Payload;

/// A task in queue `q` became ready.
pub(super) fn ready(position: u64) -> Arc<Entry> {
    let event = Event::TaskReady(gleitzeit_run::event::TaskReady {
        task_id: "t".into(),
        method: "m/x".into(),
        provider: None,
        queue: "q".into(),
        priority: gleitzeit_workflow::spec::Priority(2),
        retry: gleitzeit_workflow::spec::RetryPolicy::default(),
        parameters: Payload::from_value(&serde_json::json!({"n": 1})),
    });
    let run_id = Some(gleitzeit_run::id::RunId(uuid::Uuid::from_u128(1)));
    let (seq, recorded_at) = (gleitzeit_run::id::Seq(2), gleitzeit_workflow::time::Timestamp(0));
    Arc::new(Entry { position: Position(position), run_id, seq, recorded_at, queue: Some("q".into()), event })
}
