//! One instance of a task: the phase that it is in, and what happened to it before.

use std::sync::Arc;

use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::id::QueueName;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::Priority;
use gleitzeit_workflow::time::Timestamp;

use crate::event::StopReason;
use crate::id::{Attempt, ComponentId, Position};
use crate::phase::{Ended, Ending, Lease, Outcome, Phase, TaskStatus};

/// One instance of a task. A task that only waits has no history, and takes little memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    phase: Phase,
    /// Shared with copies, which readers take of a run while it goes on.
    history: Option<Arc<History>>,
}

/// What happened to a task so far. It stays when the task is final.
#[derive(Clone, Debug, Default, PartialEq)]
struct History {
    entered: Option<Entered>,
    /// The latest attempt, unless the phase holds it.
    last: Option<Lease>,
    failures: u32,
    stops: Vec<Stop>,
    /// The error of the latest attempt that failed, unless the phase holds it.
    last_error: Option<Failure>,
}

/// How a task came into its queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Entered {
    /// The queue.
    pub queue: QueueName,
    /// Its priority in that queue.
    pub priority: Priority,
    /// When `task_ready` was recorded.
    pub at: Timestamp,
    /// Where `task_ready` stands: the order of submission within its queue.
    pub position: Position,
    /// The resolved parameters, until the task is final.
    pub parameters: Option<Payload>,
}

/// An attempt that was lost or stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its number.
    pub attempt: Attempt,
    /// The engine that held its lease.
    pub engine: ComponentId,
    /// Why it ended.
    pub reason: StopReason,
}

/// What is known of it.
impl Instance {
    /// A task that waits.
    pub(crate) fn waiting() -> Self {
        Self { phase: Phase::Waiting, history: None }
    }

    /// The phase that it is in.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Its phase in one word.
    pub fn status(&self) -> TaskStatus {
        self.phase.status()
    }

    /// What became of it, once it is final.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Final { outcome, .. } => Some(outcome),
            Phase::Waiting | Phase::Queued { .. } | Phase::Open(_) | Phase::Ended(_) => None,
        }
    }

    /// Whether nothing can change any more.
    pub fn is_final(&self) -> bool {
        self.outcome().is_some()
    }

    /// The lease of the open attempt.
    pub fn open(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Open(lease) => Some(lease),
            Phase::Waiting | Phase::Queued { .. } | Phase::Ended(_) | Phase::Final { .. } => None,
        }
    }

    /// The latest attempt, open or not.
    pub fn latest(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Open(lease) => Some(lease),
            Phase::Ended(ended) => Some(&ended.lease),
            Phase::Waiting | Phase::Queued { .. } | Phase::Final { .. } => self.history.as_ref()?.last.as_ref(),
        }
    }

    /// The number of the latest attempt; 0 before the first.
    pub fn attempt(&self) -> Attempt {
        self.latest().map_or(0, |lease| lease.attempt)
    }

    /// The engine of the latest attempt.
    pub fn engine(&self) -> Option<&ComponentId> {
        self.latest().map(|lease| &lease.engine)
    }

    /// How it came into its queue, once it did.
    pub fn entered(&self) -> Option<&Entered> {
        self.history.as_ref()?.entered.as_ref()
    }

    /// The queue that it came into.
    pub fn queue(&self) -> Option<&QueueName> {
        self.entered().map(|entered| &entered.queue)
    }

    /// When it came into its queue.
    pub fn ready_at(&self) -> Option<Timestamp> {
        self.entered().map(|entered| entered.at)
    }

    /// The resolved parameters, from its queue until it is final.
    pub fn parameters(&self) -> Option<&Payload> {
        self.entered()?.parameters.as_ref()
    }

    /// How many attempts failed by themselves.
    pub fn failures(&self) -> u32 {
        self.history.as_ref().map_or(0, |history| history.failures)
    }

    /// The attempts that were lost or stopped.
    pub fn stops(&self) -> &[Stop] {
        self.history.as_ref().map_or(&[], |history| &history.stops)
    }

    /// How many attempts were lost or stopped.
    pub fn losses(&self) -> u32 {
        u32::try_from(self.stops().len()).unwrap_or(u32::MAX)
    }

    /// The result, once completed.
    pub fn result(&self) -> Option<&Payload> {
        match self.outcome()? {
            Outcome::Completed { result } => Some(result),
            Outcome::Failed { .. } | Outcome::Skipped { .. } | Outcome::Cancelled => None,
        }
    }

    /// The final error, or that of the latest attempt that failed. A completed task has none.
    pub fn error(&self) -> Option<&Failure> {
        match &self.phase {
            Phase::Final { outcome: Outcome::Failed { error }, .. } => Some(error),
            Phase::Final { outcome: Outcome::Completed { .. }, .. } => None,
            Phase::Ended(ended) => ended.how.error().or(self.last_error()),
            Phase::Waiting
            | Phase::Queued { .. }
            | Phase::Open(_)
            | Phase::Final { outcome: Outcome::Skipped { .. } | Outcome::Cancelled, .. } => self.last_error(),
        }
    }

    fn last_error(&self) -> Option<&Failure> {
        self.history.as_ref()?.last_error.as_ref()
    }

    /// When the latest attempt began to run.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.latest()?.started_at
    }

    /// When it became final.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Final { at, .. } => Some(*at),
            Phase::Waiting | Phase::Queued { .. } | Phase::Open(_) | Phase::Ended(_) => None,
        }
    }
}

impl Ending {
    /// The error of an attempt that failed.
    pub fn error(&self) -> Option<&Failure> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::Stopped => None,
        }
    }
}

/// What happens to it. Whether it may happen is checked before, where events are applied.
impl Instance {
    fn history(&mut self) -> &mut History {
        Arc::make_mut(self.history.get_or_insert_default())
    }

    /// Enters a phase, and keeps of the one before what stays known.
    fn enter(&mut self, phase: Phase) {
        match std::mem::replace(&mut self.phase, phase) {
            Phase::Open(lease) => self.history().last = Some(lease),
            Phase::Ended(ended) => {
                let Ended { lease, how } = *ended;
                self.history().last = Some(lease);
                if let Ending::Failed { error, .. } = how {
                    self.history().last_error = Some(error);
                }
            }
            Phase::Waiting | Phase::Queued { .. } | Phase::Final { .. } => {}
        }
    }

    /// It comes into its queue.
    pub(crate) fn make_ready(&mut self, entered: Entered) {
        self.history().entered = Some(entered);
        self.enter(Phase::Queued { not_before: None });
    }

    /// It returns to its queue, after a delay if one is named. Nothing changes if it never was in one.
    pub(crate) fn requeue(&mut self, not_before: Option<Timestamp>) {
        if self.entered().is_some() {
            self.enter(Phase::Queued { not_before });
        }
    }

    /// An engine gets a lease on it.
    pub(crate) fn dispatch(&mut self, lease: Lease) {
        self.enter(Phase::Open(lease));
    }

    /// The open attempt began to run.
    pub(crate) fn start(&mut self, at: Timestamp) {
        if let Phase::Open(lease) = &mut self.phase {
            lease.started_at = Some(at);
        }
    }

    /// The open attempt failed by itself.
    pub(crate) fn fail(&mut self, error: Failure, retryable: bool, retry_after_ms: Option<u64>) {
        self.history().failures += 1;
        self.end_attempt(Ending::Failed { error, retryable, retry_after_ms });
    }

    /// The open attempt was lost or stopped.
    pub(crate) fn stop(&mut self, stop: Stop) {
        self.history().stops.push(stop);
        self.end_attempt(Ending::Stopped);
    }

    fn end_attempt(&mut self, how: Ending) {
        if let Phase::Open(lease) = &self.phase {
            self.phase = Phase::Ended(Box::new(Ended { lease: lease.clone(), how }));
        }
    }

    /// It is final. What only an unfinished task needs is dropped.
    pub(crate) fn finish(&mut self, outcome: Outcome, at: Timestamp) {
        let needs_last_error = matches!(outcome, Outcome::Skipped { .. } | Outcome::Cancelled);
        self.enter(Phase::Final { outcome, at });
        if self.history.is_none() {
            return;
        }
        let history = self.history();
        if !needs_last_error {
            history.last_error = None;
        }
        if let Some(entered) = &mut history.entered {
            entered.parameters = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_waits_takes_little_memory() {
        // Without what they point to.
        let (waiting, in_queue) = (size_of::<Instance>(), size_of::<Instance>() + size_of::<History>());
        assert!(waiting <= 72 && in_queue <= 264, "{waiting} bytes, and {in_queue} in a queue");
    }
}
