//! Outstanding work: for each task that is not final, the one thing that must happen next, derived from the same state
//! that `decide` uses.

use gleitzeit_workflow::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::ComponentId;
use crate::state::State;
use crate::task::TaskStatus;

/// The maximum length in characters of an error that is quoted in a message about something else.
const MESSAGE_CHARS: usize = 300;

/// What must happen next to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Its dependencies must complete.
    Dependencies,
    /// The resolver of its shard must make it ready.
    Ready,
    /// The owner of its queue must dispatch it, but not before a given time.
    Dispatch {
        /// The end of a retry's delay; `None` if it may be dispatched now.
        not_before: Option<Timestamp>,
    },
    /// The owner of its queue must decide what follows the ended attempt.
    Decision,
    /// The engine must report the end of the attempt.
    Report {
        /// The engine that holds the lease.
        engine: ComponentId,
    },
    /// The engine must stop the attempt, since the run is to end.
    Stop {
        /// The engine that holds the lease.
        engine: ComponentId,
    },
}

/// Why something is not final yet, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What must happen.
    pub reason: String,
    /// When it began to wait, if that is known.
    pub since: Option<Timestamp>,
    /// The latest time at which it ends, if that is known.
    pub until: Option<Timestamp>,
    /// What to do if it takes too long.
    pub remedy: Option<String>,
}

impl Waiting {
    /// Sets the reason, and what to do if it takes too long.
    pub fn set_reason(&mut self, reason: String, remedy: impl Into<String>) {
        self.reason = reason;
        self.remedy = Some(remedy.into());
    }
}

impl State {
    /// What must happen next to a task; `None` if it is final.
    pub fn owed(&self, at: usize) -> Option<Owed> {
        let task = &self.tasks[at];
        let engine = || task.engine.clone().unwrap_or_else(|| ComponentId::from(""));
        match task.status {
            TaskStatus::Waiting if task.missing_dependencies > 0 => Some(Owed::Dependencies),
            TaskStatus::Waiting => Some(Owed::Ready),
            TaskStatus::Ready => Some(Owed::Dispatch { not_before: None }),
            TaskStatus::Backoff if task.not_before.is_none() => Some(Owed::Decision),
            TaskStatus::Backoff => Some(Owed::Dispatch { not_before: task.not_before }),
            TaskStatus::Dispatched | TaskStatus::Running if self.cancel.is_some() => {
                Some(Owed::Stop { engine: engine() })
            }
            TaskStatus::Dispatched | TaskStatus::Running => Some(Owed::Report { engine: engine() }),
            TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Skipped | TaskStatus::Cancelled => None,
        }
    }

    /// Everything that is outstanding for this run, by task index.
    pub fn outstanding(&self) -> impl Iterator<Item = (usize, Owed)> + '_ {
        (0..self.tasks.len()).filter_map(|at| Some((at, self.owed(at)?)))
    }

    /// Why a task is not final yet, in words for people; `None` if it is final.
    pub fn waiting(&self, at: usize) -> Option<Waiting> {
        let task = &self.tasks[at];
        let queue = task.queue.as_ref().map_or("default", |queue| queue.as_str());
        let waiting = |reason: String, since, until, remedy: Option<&str>| {
            Some(Waiting { reason, since, until, remedy: remedy.map(str::to_owned) })
        };
        match self.owed(at)? {
            Owed::Dependencies => waiting(self.missing_text(at), Some(self.submitted_at), None, None),
            Owed::Ready => waiting(
                "its dependencies are done; a resolver must make it ready".to_owned(),
                Some(self.submitted_at),
                None,
                Some("if it takes long, start `gleitzeit agent --role resolver`"),
            ),
            Owed::Dispatch { not_before: None } => waiting(
                format!("ready in queue `{queue}`, for a free slot and a provider of `{}`", self.task(at).method),
                task.ready_at,
                None,
                Some("if it takes long, see `gleitzeit components` and `gleitzeit providers`"),
            ),
            Owed::Dispatch { not_before } => waiting(
                match &task.error {
                    Some(error) => {
                        let message: String = error.message.chars().take(MESSAGE_CHARS).collect();
                        format!("attempt {} failed: {message}; the next one starts after a delay", task.attempt)
                    }
                    None => format!("attempt {} ended; the next one starts after a delay", task.attempt),
                },
                task.ready_at,
                not_before,
                None,
            ),
            Owed::Decision => waiting(
                format!("attempt {} ended; the owner of queue `{queue}` decides what follows", task.attempt),
                task.ready_at,
                None,
                Some("if it takes long, start `gleitzeit agent --role queue`"),
            ),
            Owed::Report { engine } => waiting(
                format!("attempt {} is open on engine `{engine}`", task.attempt),
                task.dispatched_at,
                self.attempt_due(at),
                None,
            ),
            Owed::Stop { engine } => waiting(
                format!("engine `{engine}` must stop attempt {}, since the run is to end", task.attempt),
                task.dispatched_at,
                None,
                None,
            ),
        }
    }

    /// When the latest attempt times out, if the task has a timeout.
    fn attempt_due(&self, at: usize) -> Option<Timestamp> {
        let begun = self.tasks[at].started_at.or(self.tasks[at].dispatched_at)?;
        Some(begun.plus_ms(self.task(at).timeout_ms?))
    }

    fn missing_text(&self, at: usize) -> String {
        let mut missing = self
            .graph
            .dependencies(at)
            .iter()
            .filter(|&&dependency| self.tasks[dependency].status != TaskStatus::Completed)
            .map(|&dependency| format!("`{}`", self.task(dependency).id));
        let named: Vec<String> = missing.by_ref().take(5).collect();
        let more = missing.count();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("its dependencies {}{rest} are not done", named.join(", "))
    }
}
