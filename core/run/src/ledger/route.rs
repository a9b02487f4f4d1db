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
    let meaning = entry.event.meaning();
    Audience {
        shard: entry.run_id.map(crate::id::RunId::shard).filter(|_| meaning.is_for_resolver),
        queue: entry.queue.clone(),
        all_queues: meaning.is_for_all_queues,
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
        Event::WorkflowSubmitted(_)
        | Event::WorkflowCancelRequested(_)
        | Event::TaskDispatched(_)
        | Event::TaskStarted(_)
        | Event::TaskAttemptFailed(_)
        | Event::TaskAttemptStopped(_)
        | Event::TaskRequeued(_)
        | Event::TaskRetryScheduled(_)
        | Event::TaskFailed(_)
        | Event::TaskSkipped(_)
        | Event::TaskCancelled(_)
        | Event::WorkflowCompleted(_)
        | Event::WorkflowFailed(_)
        | Event::WorkflowCancelled(_)
        | Event::OwnershipGranted(_)
        | Event::ProtocolRegistered(_)
        | Event::ProtocolsUsed(_)
        | Event::ProtocolRemoved(_) => entry.event.clone(),
    };
    Entry { event, ..entry.clone() }
}
