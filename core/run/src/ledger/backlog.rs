//! The backlog of each queue. It is counted as it changes, so that reading it costs the same however much waits.

use std::collections::BTreeMap;

use gleitzeit_workflow::id::QueueName;
use gleitzeit_workflow::time::Timestamp;

use crate::id::RunId;
use crate::ledger::Ledger;

/// The backlog of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The queue.
    pub queue: QueueName,
    /// The number of ready tasks.
    pub ready: u64,
    /// How long the oldest of them has been ready, in milliseconds.
    pub age_ms: u64,
}

/// The tasks that a queue is responsible for.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueTasks {
    /// From run and task index to when the task became ready; `None` if it is not ready.
    tasks: BTreeMap<(RunId, usize), Option<Timestamp>>,
    /// How many tasks became ready at each time.
    ready: BTreeMap<Timestamp, u64>,
    ready_count: u64,
}

impl QueueTasks {
    /// Updates a task. The outer `None` removes it; the inner value is when it became ready, or `None` if it is not
    /// ready.
    pub(super) fn set(&mut self, task: (RunId, usize), state: Option<Option<Timestamp>>) {
        let before = match state {
            Some(ready_at) => self.tasks.insert(task, ready_at),
            None => self.tasks.remove(&task),
        };
        let (before, after) = (before.flatten(), state.flatten());
        if before == after {
            return;
        }
        if let Some(before) = before
            && let Some(count) = self.ready.get_mut(&before)
        {
            self.ready_count -= 1;
            *count -= 1;
            if *count == 0 {
                self.ready.remove(&before);
            }
        }
        if let Some(after) = after {
            self.ready_count += 1;
            *self.ready.entry(after).or_default() += 1;
        }
    }

    /// Removes the tasks of a run.
    pub(super) fn forget(&mut self, run_id: RunId) {
        let of_run = self.tasks.range((run_id, 0)..=(run_id, usize::MAX));
        for task in of_run.map(|(task, _)| *task).collect::<Vec<_>>() {
            self.set(task, None);
        }
    }

    /// All its tasks, by run and index.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &(RunId, usize)> {
        self.tasks.keys()
    }
}

impl Ledger {
    /// The backlog of every queue, including the empty ones.
    pub fn backlog(&self, now: Timestamp) -> Vec<Backlog> {
        let queues = self.queues.iter().map(|(queue, of_queue)| {
            let age_ms = of_queue.ready.first_key_value().map_or(0, |(oldest, _)| now.ms_since(*oldest));
            Backlog { queue: queue.clone(), ready: of_queue.ready_count, age_ms }
        });
        queues.collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn ready_tasks_are_counted_incrementally() {
        let mut of_queue = QueueTasks::default();
        let task = |at| (RunId(Uuid::from_u128(1)), at);
        let ready = |at_ms| Some(Some(Timestamp(at_ms)));
        let counted = |of_queue: &QueueTasks| {
            (of_queue.ready_count, of_queue.ready.first_key_value().map(|(oldest, _)| oldest.0))
        };
        of_queue.set(task(0), ready(5));
        of_queue.set(task(1), ready(5));
        of_queue.set(task(2), ready(7));
        assert_eq!(counted(&of_queue), (3, Some(5)));
        of_queue.set(task(0), Some(None));
        of_queue.set(task(0), Some(None));
        of_queue.set(task(1), None);
        assert_eq!(counted(&of_queue), (1, Some(7)));
        of_queue.set(task(0), ready(5));
        assert_eq!((counted(&of_queue), of_queue.tasks().count()), ((2, Some(5)), 2));
        of_queue.forget(task(0).0);
        assert_eq!((counted(&of_queue), of_queue.tasks().count()), ((0, None), 0));
    }
}
