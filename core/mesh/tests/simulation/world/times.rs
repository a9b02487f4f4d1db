//! The rule for timeouts: an attempt ends with TASK_TIMEOUT only if a provider worked on it for its whole timeout.
//!
//! If a link or a process failed in the meantime, nobody can know whether a provider works on the attempt; such
//! attempts are left out.

use std::collections::BTreeMap;

use gleitzeit_run::event::TaskAttemptFailed;
use gleitzeit_run::{AttemptRef, Entry, Event, RunId};
use gleitzeit_workflow::{ErrorCode, TaskId};

use super::World;
use super::agenda::Time;
use super::checker::Verified;

/// The maximum time that a call, and the message that it began, take to reach their receivers.
const ON_THE_WAY: Time = 3_000;

#[derive(Debug)]
struct Attempt {
    dispatched: Time,
    /// When a provider began to work on it.
    began: Option<Time>,
}

#[derive(Debug, Default)]
pub(super) struct Times {
    /// When a link or a process last failed.
    failed_at: Time,
    limits: BTreeMap<(RunId, TaskId), u64>,
    attempts: BTreeMap<AttemptRef, Attempt>,
}

impl Times {
    pub(super) fn something_failed(&mut self, now: Time) {
        self.failed_at = now;
    }

    pub(super) fn began(&mut self, at: &AttemptRef, now: Time) {
        if let Some(attempt) = self.attempts.get_mut(at) {
            attempt.began = Some(now);
        }
    }

    fn take(&mut self, entry: &Entry, now: Time) -> Verified {
        let Some(run_id) = entry.run_id else { return Ok(()) };
        match &entry.event {
            Event::WorkflowSubmitted(submitted) => {
                let limits = submitted.workflow.tasks.iter().filter_map(|it| Some((it.id.clone(), it.timeout_ms?)));
                self.limits.extend(limits.map(|(id, limit_ms)| ((run_id, id), limit_ms)));
            }
            Event::TaskDispatched(event) => {
                let at = AttemptRef { run_id, task_id: event.task_id.clone(), attempt: event.attempt };
                self.attempts.insert(at, Attempt { dispatched: now, began: None });
            }
            Event::TaskAttemptFailed(event) => {
                let at = AttemptRef { run_id, task_id: event.task_id.clone(), attempt: event.attempt };
                if let Some(attempt) = self.attempts.remove(&at) {
                    return self.failed(&at, &attempt, event, now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn failed(&self, at: &AttemptRef, attempt: &Attempt, event: &TaskAttemptFailed, now: Time) -> Verified {
        let limit = self.limits.get(&(at.run_id, at.task_id.clone())).copied();
        let Some(limit) = limit.filter(|_| event.error.known() == Some(ErrorCode::TaskTimeout)) else { return Ok(()) };
        let worked = attempt.began.map_or(0, |began| now - began);
        if attempt.dispatched > self.failed_at && worked + ON_THE_WAY < limit {
            return Err(format!("{at} ran out of its {limit} ms, but a provider worked on it for {worked} ms"));
        }
        Ok(())
    }
}

impl World {
    /// Entries became durable.
    pub(super) fn check_times<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) -> Verified {
        let now = self.agenda.now();
        let are_well = self.workers.iter().all(|it| it.alive && it.frozen.is_none() && it.socket.is_some());
        // The hub may not have noticed yet that a socket is gone, even if its worker has a new one.
        let is_whole = are_well && !self.net.sockets.values().any(|socket| socket.cut && !socket.up.is_empty());
        if !is_whole {
            self.times.something_failed(now);
        }
        for entry in entries {
            self.times.take(entry, now)?;
        }
        Ok(())
    }
}
