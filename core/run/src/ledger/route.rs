//! Routing of entries: who receives an entry, and how much of it.

use gleitzeit_workflow::id::QueueName;
use gleitzeit_workflow::payload::Payload;

use crate::event::{TaskCompleted, TaskReady};
use crate::id::Shard;
use crate::{Entry, Event};

/// The receivers of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    /// The owner of this shard receives the whole entry.
    pub shard: Option<Shard>,
    /// The owner of this queue receives it without parameters and results.
    pub queue: Option<QueueName>,
    /// Every queue owner receives it without parameters and results, because an attempt was opened or has ended.
    pub all_queues: bool,
}

/// The receivers of an entry. Resolvers receive what makes tasks ready or ends runs. Queue owners receive what concerns
/// their tasks. All queue owners receive each dispatch and each end of an attempt, so that they count the same slots.
pub fn audience(entry: &Entry) -> Audience {
    let for_resolver = matches!(
        entry.event,
        Event::WorkflowSubmitted(_)
            | Event::WorkflowCancelRequested(_)
            | Event::TaskReady(_)
            | Event::TaskCompleted(_)
            | Event::TaskFailed(_)
            | Event::TaskSkipped(_)
            | Event::WorkflowCompleted(_)
            | Event::WorkflowFailed(_)
            | Event::WorkflowCancelled(_)
    );
    let all_queues = match &entry.event {
        Event::TaskDispatched(_) | Event::TaskAttemptFailed(_) | Event::TaskAttemptStopped(_) => true,
        Event::TaskCompleted(event) => !event.carried,
        _ => false,
    };
    Audience {
        shard: entry.run_id.map(crate::id::RunId::shard).filter(|_| for_resolver),
        queue: entry.queue.clone(),
        all_queues,
    }
}

/// The entry without parameters and results, as a queue owner receives it, or a resolver that made the task ready
/// itself.
pub fn without_payload(entry: &Entry) -> Entry {
    let event = match &entry.event {
        Event::TaskReady(event) => {
            Event::TaskReady(TaskReady { parameters: Payload::null(), ..TaskReady::clone(event) })
        }
        Event::TaskCompleted(event) => {
            Event::TaskCompleted(TaskCompleted { result: Payload::null(), ..TaskCompleted::clone(event) })
        }
        other => other.clone(),
    };
    Entry { event, ..entry.clone() }
}
