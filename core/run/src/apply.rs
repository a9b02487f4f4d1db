//! Applying events: each event changes only its own task, the task's neighbours in the graph and the run's counters.

use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::time::Timestamp;
use thiserror::Error;

use crate::event::{Entry, Event, TaskAttemptFailed, TaskAttemptStopped, TaskCompleted, TaskDispatched, TaskReady};
use crate::id::{Attempt, Position, Seq};
use crate::state::{RunStatus, State};
use crate::task::{TaskState, TaskStatus};

/// Why an entry cannot follow what was recorded before: the journal is corrupt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// An entry of a run is missing or occurs twice.
    #[error("expected entry {expected} of run {run}, found {found} (`{kind}`)")]
    Sequence {
        /// The run.
        run: crate::id::RunId,
        /// The sequence number that should have come next.
        expected: Seq,
        /// The sequence number that was found.
        found: Seq,
        /// The kind of the entry's event.
        kind: &'static str,
    },
    /// An entry names a task that its run does not have.
    #[error("entry {position} (`{kind}`) names unknown task `{task}`")]
    UnknownTask {
        /// The entry's position in the journal.
        position: Position,
        /// The kind of the entry's event.
        kind: &'static str,
        /// The unknown task.
        task: TaskId,
    },
    /// An entry contradicts the state.
    #[error("entry {position} (`{kind}`) contradicts the entries before it: {why}")]
    Contradiction {
        /// The entry's position in the journal.
        position: Position,
        /// The kind of the entry's event.
        kind: &'static str,
        /// A description of the contradiction.
        why: String,
    },
}

impl State {
    /// Applies an entry of this run (any entry but `workflow_submitted`, which creates the state).
    ///
    /// # Errors
    /// If the entry cannot follow this state. The journal is then corrupt and the state must not be used.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        if entry.seq != self.seq.next() {
            return Err(ApplyError::Sequence {
                run: self.run_id,
                expected: self.seq.next(),
                found: entry.seq,
                kind: entry.event.kind(),
            });
        }
        self.seq = entry.seq;
        self.record(entry)
    }

    fn record(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let now = entry.recorded_at;
        match &entry.event {
            Event::WorkflowCancelRequested(event) => {
                self.cancel.get_or_insert_with(|| event.clone());
            }
            Event::TaskReady(event) => self.make_ready(entry, event)?,
            Event::TaskDispatched(event) => self.open_attempt(entry, event)?,
            Event::TaskStarted(event) => {
                let task = self.open_mut(entry, &event.task_id, event.attempt)?;
                task.status = TaskStatus::Running;
                task.started_at = Some(now.minus_ms(event.ran_ms));
            }
            Event::TaskCompleted(event) => self.complete(entry, event)?,
            Event::TaskAttemptFailed(event) => self.fail_attempt(entry, event)?,
            Event::TaskAttemptStopped(event) => self.stop_attempt(entry, event)?,
            Event::TaskRequeued(event) => {
                let task = self.task_mut(entry, &event.task_id)?;
                task.status = TaskStatus::Ready;
                task.stopped = None;
            }
            Event::TaskRetryScheduled(event) => {
                let task = self.task_mut(entry, &event.task_id)?;
                task.not_before = Some(now.plus_ms(event.delay_ms));
            }
            Event::TaskFailed(event) => {
                let at = self.finish(entry, &event.task_id, TaskStatus::Failed)?;
                self.tasks[at].error = Some(event.error.clone());
                self.failed.get_or_insert(at);
            }
            Event::TaskSkipped(event) => {
                let at = self.finish(entry, &event.task_id, TaskStatus::Skipped)?;
                self.tasks[at].skipped_because = Some(event.because.clone());
            }
            Event::TaskCancelled(event) => {
                self.finish(entry, &event.task_id, TaskStatus::Cancelled)?;
            }
            Event::WorkflowCompleted(event) => {
                self.end(RunStatus::Completed, now);
                self.outputs = Some(event.outputs.clone());
            }
            Event::WorkflowFailed(event) => {
                self.end(RunStatus::Failed, now);
                self.error = Some(event.error.clone());
            }
            Event::WorkflowCancelled(event) => {
                self.end(RunStatus::Cancelled, now);
                self.error = Some(event.failure());
            }
            Event::WorkflowSubmitted(_)
            | Event::OwnershipGranted(_)
            | Event::ProtocolRegistered(_)
            | Event::ProtocolsUsed(_)
            | Event::ProtocolRemoved(_) => {
                return Err(contradiction(entry, "it is not an event of a run that exists".to_owned()));
            }
        }
        Ok(())
    }

    fn make_ready(&mut self, entry: &Entry, event: &TaskReady) -> Result<(), ApplyError> {
        let task = self.task_mut(entry, &event.task_id)?;
        task.status = TaskStatus::Ready;
        task.queue = Some(event.queue.clone());
        task.priority = event.priority;
        task.parameters = Some(event.parameters.clone());
        task.ready_at = Some(entry.recorded_at);
        task.ready_position = entry.position;
        Ok(())
    }

    fn open_attempt(&mut self, entry: &Entry, event: &TaskDispatched) -> Result<(), ApplyError> {
        let task = self.task_mut(entry, &event.task_id)?;
        task.status = TaskStatus::Dispatched;
        task.attempt = event.attempt;
        task.engine = Some(event.engine.clone());
        task.dispatched_at = Some(entry.recorded_at);
        task.dispatch_position = entry.position;
        task.started_at = None;
        task.not_before = None;
        task.stopped = None;
        self.open += 1;
        Ok(())
    }

    fn fail_attempt(&mut self, entry: &Entry, event: &TaskAttemptFailed) -> Result<(), ApplyError> {
        let task = self.open_mut(entry, &event.task_id, event.attempt)?;
        task.started_at = Some(entry.recorded_at.minus_ms(event.ran_ms));
        task.status = TaskStatus::Backoff;
        task.failures += 1;
        task.error = Some(event.error.clone());
        task.retryable = event.retryable;
        task.retry_after_ms = event.retry_after_ms;
        self.open -= 1;
        Ok(())
    }

    fn stop_attempt(&mut self, entry: &Entry, event: &TaskAttemptStopped) -> Result<(), ApplyError> {
        let task = self.open_mut(entry, &event.task_id, event.attempt)?;
        task.status = TaskStatus::Backoff;
        task.losses += 1;
        task.stopped = Some(event.reason);
        task.stops.push((event.attempt, event.engine.clone(), event.reason));
        self.open -= 1;
        Ok(())
    }

    fn complete(&mut self, entry: &Entry, event: &TaskCompleted) -> Result<(), ApplyError> {
        if event.carried {
            self.task_mut(entry, &event.task_id)?;
        } else {
            let started = entry.recorded_at.minus_ms(event.ran_ms);
            self.open_mut(entry, &event.task_id, event.attempt)?.started_at = Some(started);
            self.open -= 1;
        }
        let at = self.finish(entry, &event.task_id, TaskStatus::Completed)?;
        self.tasks[at].result = Some(event.result.clone());
        self.tasks[at].error = None;
        for &dependent in self.graph.clone().dependents(at) {
            let missing = &mut self.tasks[dependent].missing_dependencies;
            *missing = missing.saturating_sub(1);
        }
        Ok(())
    }

    /// Makes a task final and drops the data that is no longer needed.
    fn finish(&mut self, entry: &Entry, id: &TaskId, status: TaskStatus) -> Result<usize, ApplyError> {
        let at = self.at(entry, id)?;
        let task = &mut self.tasks[at];
        if task.status.is_final() {
            return Err(contradiction(entry, format!("task `{id}` is final")));
        }
        task.status = status;
        task.finished_at = Some(entry.recorded_at);
        task.parameters = None;
        task.not_before = None;
        self.unfinished -= 1;
        Ok(at)
    }

    fn end(&mut self, status: RunStatus, now: Timestamp) {
        self.status = status;
        self.finished_at = Some(now);
    }

    fn at(&self, entry: &Entry, id: &TaskId) -> Result<usize, ApplyError> {
        self.index_of(id.as_str()).ok_or_else(|| ApplyError::UnknownTask {
            position: entry.position,
            kind: entry.event.kind(),
            task: id.clone(),
        })
    }

    fn task_mut(&mut self, entry: &Entry, id: &TaskId) -> Result<&mut TaskState, ApplyError> {
        let at = self.at(entry, id)?;
        let task = &mut self.tasks[at];
        if task.status.is_final() || task.status.is_open() {
            return Err(contradiction(entry, format!("task `{id}` is {:?}", task.status)));
        }
        Ok(task)
    }

    fn open_mut(&mut self, entry: &Entry, id: &TaskId, attempt: Attempt) -> Result<&mut TaskState, ApplyError> {
        let at = self.at(entry, id)?;
        let task = &mut self.tasks[at];
        if !task.status.is_open() || task.attempt != attempt {
            let why = format!("task `{id}` is {:?} in attempt {}, not open in {attempt}", task.status, task.attempt);
            return Err(contradiction(entry, why));
        }
        Ok(task)
    }
}

fn contradiction(entry: &Entry, why: String) -> ApplyError {
    ApplyError::Contradiction { position: entry.position, kind: entry.event.kind(), why }
}
