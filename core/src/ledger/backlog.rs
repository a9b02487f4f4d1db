//! What waits for engines, for people.

use crate::id::QueueName;
use crate::ledger::Ledger;
use crate::run::TaskStatus;
use crate::time::Timestamp;

/// What waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Which.
    pub queue: QueueName,
    /// How many tasks are ready.
    pub ready: u64,
    /// For how long the first of them has been.
    pub age_ms: u64,
}

impl Ledger {
    /// What waits in each queue, also in those where nothing does. It looks at every task in their care.
    pub fn backlog(&self, now: Timestamp) -> Vec<Backlog> {
        let queues = self.queues.iter().map(|(queue, tasks)| {
            let ready = tasks.iter().filter_map(|(run_id, at)| self.runs.get(run_id)?.tasks.get(*at));
            let ready = ready.filter(|task| task.status == TaskStatus::Ready);
            let (ready, oldest) = ready.fold((0, None), |(count, oldest): (u64, Option<Timestamp>), task| {
                (count + 1, [oldest, task.ready_at].into_iter().flatten().min())
            });
            let age_ms = oldest.map_or(0, |oldest| now.ms_since(oldest));
            Backlog { queue: queue.clone(), ready, age_ms }
        });
        queues.collect()
    }
}
