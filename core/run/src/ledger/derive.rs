//! What is derived from the state: the effects of an entry, the open work of an engine, the state of a slice. All of it
//! can be derived again at any time, so it is never the only copy of anything.

use gleitzeit_workflow::id::QueueName;
use gleitzeit_workflow::time::Timestamp;

use crate::id::{AttemptRef, ComponentId, Shard, Slice};
use crate::ledger::backlog::QueueTasks;
use crate::ledger::{
    Assignment, AttemptEnd, Effect, Ledger, OpenAttempt, QueueTask, QueueTaskStatus, RunHeader, SliceItem, SliceState,
    TaskFact,
};
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::{Entry, Event, Owed, State, TaskStatus};

impl Ledger {
    /// The messages for engines that follow from an entry that was just applied.
    pub(super) fn derive_effects(&self, entry: &Entry, effects: &mut Vec<Effect>) {
        let Some(state) = entry.run_id.and_then(|id| self.runs.get(&id)) else { return };
        match &entry.event {
            Event::TaskDispatched(event) => {
                if let Some(at) = state.index_of(event.task_id.as_str()) {
                    effects.extend(execute(state, at, entry.recorded_at));
                }
            }
            Event::TaskAttemptFailed(_) | Event::TaskAttemptStopped(_) | Event::TaskCompleted(_) => {
                let Some(at) = entry.event.task_id().and_then(|id| state.index_of(id)) else { return };
                if let Some(engine) = state.tasks[at].engine.clone().filter(|_| state.tasks[at].attempt > 0) {
                    effects.push(Effect::Ended { engine, at: attempt_ref(state, at) });
                }
            }
            Event::WorkflowCancelRequested(_) if state.open_attempts() > 0 && !planted_bugs::is(Bug::NoCancel) => {
                for at in 0..state.tasks.len() {
                    if let Some(Owed::Stop { engine }) = state.owed(at) {
                        effects.push(Effect::Cancel { engine, at: attempt_ref(state, at) });
                    }
                }
            }
            _ => {}
        }
    }

    /// The messages that an engine is owed: `Execute` for each of its open attempts, `Cancel` for those that must stop.
    pub fn outstanding(&self, engine: &ComponentId, now: Timestamp) -> Vec<Effect> {
        let open = self.open.get(engine).into_iter().flatten();
        open.filter_map(|attempt| {
            let state = self.runs.get(&attempt.run_id)?;
            let at = state.index_of(attempt.task_id.as_str())?;
            match state.owed(at)? {
                Owed::Report { .. } => execute(state, at, now),
                Owed::Stop { engine } => Some(Effect::Cancel { engine, at: attempt.clone() }),
                _ => None,
            }
        })
        .collect()
    }

    /// Everything a new owner of a slice needs.
    pub fn slice_state(&self, slice: &Slice, now: Timestamp) -> SliceState {
        let items = match slice {
            Slice::Queue(queue) => self.queue_items(queue, now),
            Slice::Shard(shard) => self.shard_items(*shard, now),
        };
        SliceState { position: self.position, items }
    }

    fn queue_items(&self, queue: &QueueName, now: Timestamp) -> Vec<SliceItem> {
        let attempts = self.open.iter().flat_map(|(engine, open)| open.iter().map(move |at| (engine, at)));
        let open = attempts.filter_map(|(engine, attempt)| {
            let state = self.runs.get(&attempt.run_id)?;
            let at = state.index_of(attempt.task_id.as_str())?;
            Some(SliceItem::OpenAttempt(OpenAttempt {
                at: attempt.clone(),
                engine: engine.clone(),
                method: state.task(at).method.clone(),
                provider: state.task(at).provider.clone(),
                queue: state.tasks[at].queue.clone()?,
            }))
        });
        let tasks = self.queues.get(queue).into_iter().flat_map(QueueTasks::tasks);
        let tasks = tasks.filter_map(|(run_id, at)| {
            let state = self.runs.get(run_id)?;
            queue_task(state, *at, now).map(SliceItem::QueueTask)
        });
        open.chain(tasks).collect()
    }

    fn shard_items(&self, shard: Shard, now: Timestamp) -> Vec<SliceItem> {
        let runs = self.runs.values().filter(|run| run.run_id.shard() == shard && !run.status.is_final());
        let mut items = Vec::new();
        for state in runs {
            items.push(SliceItem::Run(RunHeader {
                run_id: state.run_id,
                submitted: state.submitted.clone(),
                remaining_ms: state.remaining_ms(now),
                cancel_requested: state.cancel.is_some(),
            }));
            let facts = state.tasks.iter().enumerate().filter(|(_, task)| task.status != TaskStatus::Waiting);
            items.extend(facts.map(|(at, task)| {
                SliceItem::Task(TaskFact {
                    run_id: state.run_id,
                    task_id: state.task(at).id.clone(),
                    status: task.status,
                    result: task.result.clone(),
                })
            }));
        }
        items
    }
}

fn attempt_ref(state: &State, at: usize) -> AttemptRef {
    AttemptRef { run_id: state.run_id, task_id: state.task(at).id.clone(), attempt: state.tasks[at].attempt }
}

fn execute(state: &State, at: usize, now: Timestamp) -> Option<Effect> {
    let (definition, task) = (state.task(at), &state.tasks[at]);
    Some(Effect::Execute {
        engine: task.engine.clone()?,
        assignment: Assignment {
            at: attempt_ref(state, at),
            dispatched: task.dispatch_position,
            method: definition.method.clone(),
            provider: definition.provider.clone(),
            protocol_version: definition.protocol_version.clone(),
            parameters: task.parameters.clone()?,
            timeout_ms: definition.timeout_ms,
            run_remaining_ms: state.remaining_ms(now),
            priority: task.priority,
            correlation_id: state.submitted.correlation_id.clone(),
            traceparent: state.submitted.traceparent.clone(),
        },
    })
}

fn queue_task(state: &State, at: usize, now: Timestamp) -> Option<QueueTask> {
    let (definition, task) = (state.task(at), &state.tasks[at]);
    let status = match state.owed(at)? {
        Owed::Dispatch { not_before: None } => QueueTaskStatus::Ready,
        Owed::Dispatch { not_before: Some(not_before) } => {
            QueueTaskStatus::Backoff { remaining_ms: not_before.ms_since(now) }
        }
        Owed::Report { engine } | Owed::Stop { engine } => QueueTaskStatus::Open { engine },
        Owed::Decision => QueueTaskStatus::Ended(match task.stopped {
            Some(reason) => AttemptEnd::Stopped { reason, engine: task.engine.clone()? },
            None => AttemptEnd::Failed {
                error: task.error.clone()?,
                retryable: task.retryable,
                retry_after_ms: task.retry_after_ms,
            },
        }),
        Owed::Dependencies | Owed::Ready => return None,
    };
    Some(QueueTask {
        run_id: state.run_id,
        task_id: definition.id.clone(),
        method: definition.method.clone(),
        provider: definition.provider.clone(),
        priority: task.priority,
        order: task.ready_position,
        age_ms: task.ready_at.map_or(0, |ready_at| now.ms_since(ready_at)),
        retry: definition.retry.clone(),
        attempt: task.attempt,
        failures: task.failures,
        losses: task.losses,
        lost: task.stops.clone(),
        status,
    })
}
