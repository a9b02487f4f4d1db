//! What each event means to those who hear of it: one table. Whoever adds an event decides here who is told of it; what
//! they make of it, they say themselves, in matches that name every event.

use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::payload::Payload;

use crate::event::{Event, WorkflowCancelled};
use crate::id::Attempt;
use crate::state::RunStatus;

/// What an event means to those who hear of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meaning<'a> {
    /// The task that it is about, and its attempt; 0 if it is about none in particular.
    pub task: Option<(&'a TaskId, Attempt)>,
    /// Whether the resolver of the run's shard is sent it.
    pub is_for_resolver: bool,
    /// Whether all queue owners are sent it, so that they count the same slots: it opens or ends an attempt. The owner of
    /// the task's own queue is sent it in any case.
    pub is_for_all_queues: bool,
    /// What engines are told because of it.
    pub for_engines: ForEngines,
    /// How the run ends with it, if it does.
    pub ends: Option<RunEnd<'a>>,
    /// The inputs, parameters, result, outputs or schemas that it carries.
    pub payload: Option<&'a Payload>,
}

/// What engines are told because of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForEngines {
    /// Nothing.
    Nothing,
    /// The engine that got the lease: to execute the attempt.
    Execute,
    /// The engine that held the lease: that the attempt ended.
    Ended,
    /// Each engine with an open attempt of the run: to stop it.
    Cancel,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RunEnd<'a> {
    /// All tasks completed.
    Completed,
    /// It failed with this error.
    Failed(&'a Failure),
    /// It was cancelled.
    Cancelled(&'a WorkflowCancelled),
}

impl RunEnd<'_> {
    /// The status of the run from then on.
    pub fn status(&self) -> RunStatus {
        match self {
            Self::Completed => RunStatus::Completed,
            Self::Failed(_) => RunStatus::Failed,
            Self::Cancelled(_) => RunStatus::Cancelled,
        }
    }

    /// The error that the run shows.
    pub fn error(&self) -> Option<Failure> {
        match self {
            Self::Completed => None,
            Self::Failed(error) => Some((*error).clone()),
            Self::Cancelled(cancelled) => Some(cancelled.failure()),
        }
    }
}

/// An event of which at most the hub, and the owner of its task's queue, are told.
const UNTOLD: Meaning<'static> = Meaning {
    task: None,
    is_for_resolver: false,
    is_for_all_queues: false,
    for_engines: ForEngines::Nothing,
    ends: None,
    payload: None,
};
/// An event that the resolver is sent.
const FOR_RESOLVER: Meaning<'static> = Meaning { is_for_resolver: true, ..UNTOLD };
/// The end of an attempt.
const ATTEMPT_ENDED: Meaning<'static> = Meaning { is_for_all_queues: true, for_engines: ForEngines::Ended, ..UNTOLD };

impl Event {
    /// What it means to those who hear of it.
    pub fn meaning(&self) -> Meaning<'_> {
        match self {
            Self::WorkflowSubmitted(it) => Meaning { payload: Some(&it.inputs), ..FOR_RESOLVER },
            Self::WorkflowCancelRequested(_) => Meaning { for_engines: ForEngines::Cancel, ..FOR_RESOLVER },
            Self::TaskReady(it) => {
                Meaning { task: Some((&it.task_id, 0)), payload: Some(&it.parameters), ..FOR_RESOLVER }
            }
            Self::TaskDispatched(it) => Meaning {
                task: Some((&it.task_id, it.attempt)),
                is_for_all_queues: true,
                for_engines: ForEngines::Execute,
                ..UNTOLD
            },
            Self::TaskStarted(it) => Meaning { task: Some((&it.task_id, it.attempt)), ..UNTOLD },
            Self::TaskCompleted(it) => Meaning {
                task: Some((&it.task_id, it.attempt)),
                is_for_resolver: true,
                payload: Some(&it.result),
                // No attempt ends with a result that was carried over.
                ..if it.carried { UNTOLD } else { ATTEMPT_ENDED }
            },
            Self::TaskAttemptFailed(it) => Meaning { task: Some((&it.task_id, it.attempt)), ..ATTEMPT_ENDED },
            Self::TaskAttemptStopped(it) => Meaning { task: Some((&it.task_id, it.attempt)), ..ATTEMPT_ENDED },
            Self::TaskRequeued(it) => Meaning { task: Some((&it.task_id, it.attempt)), ..UNTOLD },
            Self::TaskRetryScheduled(it) => Meaning { task: Some((&it.task_id, it.attempt)), ..UNTOLD },
            Self::TaskFailed(it) => Meaning { task: Some((&it.task_id, it.attempt)), ..FOR_RESOLVER },
            Self::TaskSkipped(it) => Meaning { task: Some((&it.task_id, 0)), ..FOR_RESOLVER },
            Self::TaskCancelled(it) => Meaning { task: Some((&it.task_id, 0)), ..UNTOLD },
            Self::WorkflowCompleted(it) => {
                Meaning { ends: Some(RunEnd::Completed), payload: Some(&it.outputs), ..FOR_RESOLVER }
            }
            Self::WorkflowFailed(it) => Meaning { ends: Some(RunEnd::Failed(&it.error)), ..FOR_RESOLVER },
            Self::WorkflowCancelled(it) => Meaning { ends: Some(RunEnd::Cancelled(it)), ..FOR_RESOLVER },
            Self::ProtocolRegistered(it) => Meaning { payload: Some(&it.methods), ..UNTOLD },
            Self::OwnershipGranted(_) | Self::ProtocolsUsed(_) | Self::ProtocolRemoved(_) => UNTOLD,
        }
    }

    /// The task that the event is about, if any.
    pub fn task_id(&self) -> Option<&str> {
        self.meaning().task.map(|(id, _)| id.as_str())
    }
}
