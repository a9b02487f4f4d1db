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
use crate::meaning::ForEngines;
use crate::phase::{Ending, Phase};
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::{Entry, Owed, State};

impl Ledger {
    /// The messages for engines that follow from an entry that was just applied.
    pub(super) fn derive_effects(&self, entry: &Entry, effects: &mut Vec<Effect>) {
        let Some(state) = entry.run_id.and_then(|id| self.runs.get(&id)) else { return };
        let meaning = entry.event.meaning();
        let task = || meaning.task.and_then(|(id, _)| state.index_of(id.as_str()));
        match meaning.for_engines {
            ForEngines::Nothing => {}
            ForEngines::Execute => effects.extend(task().and_then(|at| execute(state, at, entry.recorded_at))),
            ForEngines::Ended => {
                let of = task().and_then(|at| Some((at, state.tasks[at].engine()?.clone())));
                effects.extend(of.map(|(at, engine)| Effect::Ended { engine, at: attempt_ref(state, at) }));
            }
            ForEngines::Cancel if state.open_attempts() == 0 || planted_bugs::is(Bug::NoCancel) => {}
            ForEngines::Cancel => {
                for at in 0..state.tasks.len() {
                    if let Some(Owed::Stop { engine }) = state.owed(at) {
                        effects.push(Effect::Cancel { engine, at: attempt_ref(state, at) });
                    }
                }
            }
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
                queue: state.tasks[at].queue().cloned()?,
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
            let facts = state.tasks.iter().enumerate().filter(|(_, task)| *task.phase() != Phase::Waiting);
            items.extend(facts.map(|(at, task)| {
                SliceItem::Task(TaskFact {
                    run_id: state.run_id,
                    task_id: state.task(at).id.clone(),
                    status: task.status(),
                    result: task.result().cloned(),
                })
            }));
        }
        items
    }
}

fn attempt_ref(state: &State, at: usize) -> AttemptRef {
    AttemptRef { run_id: state.run_id, task_id: state.task(at).id.clone(), attempt: state.tasks[at].attempt() }
}

fn execute(state: &State, at: usize, now: Timestamp) -> Option<Effect> {
    let (definition, task) = (state.task(at), &state.tasks[at]);
    let (lease, entered) = (task.open()?, task.entered()?);
    Some(Effect::Execute {
        engine: lease.engine.clone(),
        assignment: Assignment {
            at: attempt_ref(state, at),
            dispatched: lease.position,
            method: definition.method.clone(),
            provider: definition.provider.clone(),
            protocol_version: definition.protocol_version.clone(),
            parameters: entered.parameters.clone()?,
            timeout_ms: definition.timeout_ms,
            run_remaining_ms: state.remaining_ms(now),
            priority: entered.priority,
            correlation_id: state.submitted.correlation_id.clone(),
            traceparent: state.submitted.traceparent.clone(),
        },
    })
}

fn queue_task(state: &State, at: usize, now: Timestamp) -> Option<QueueTask> {
    let (definition, task) = (state.task(at), &state.tasks[at]);
    let entered = task.entered()?;
    let status = match task.phase() {
        Phase::Queued { not_before: None } => QueueTaskStatus::Ready,
        Phase::Queued { not_before: Some(not_before) } => {
            QueueTaskStatus::Backoff { remaining_ms: not_before.ms_since(now) }
        }
        Phase::Open(lease) => QueueTaskStatus::Open { engine: lease.engine.clone() },
        Phase::Ended(ended) => QueueTaskStatus::Ended(match &ended.how {
            Ending::Failed { error, retryable, retry_after_ms } => {
                AttemptEnd::Failed { error: error.clone(), retryable: *retryable, retry_after_ms: *retry_after_ms }
            }
            Ending::Stopped => {
                AttemptEnd::Stopped { reason: task.stops().last()?.reason, engine: ended.lease.engine.clone() }
            }
        }),
        Phase::Waiting | Phase::Final { .. } => return None,
    };
    Some(QueueTask {
        run_id: state.run_id,
        task_id: definition.id.clone(),
        method: definition.method.clone(),
        provider: definition.provider.clone(),
        priority: entered.priority,
        order: entered.position,
        age_ms: now.ms_since(entered.at),
        retry: definition.retry.clone(),
        attempt: task.attempt(),
        failures: task.failures(),
        losses: task.losses(),
        lost: task.stops().iter().map(|stop| (stop.attempt, stop.engine.clone(), stop.reason)).collect(),
        status,
    })
}
