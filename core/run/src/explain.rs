//! Why a run and its tasks are not final yet, in words for people, and what blocks a run: those of its tasks that wait for
//! something other than each other.

use std::collections::BTreeSet;

use gleitzeit_workflow::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dependencies::Became;
use crate::outstanding::Owed;
use crate::state::State;

/// The maximum number of tasks that a sentence names.
const NAMED: usize = 5;

/// The maximum length in characters of an error that is quoted in a message about something else.
const MESSAGE_CHARS: usize = 300;

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
    /// Why a task is not final yet, in words for people; `None` if it is final.
    pub fn waiting(&self, at: usize) -> Option<Waiting> {
        let task = &self.tasks[at];
        let queue = task.queue().map_or("default", |queue| queue.as_str());
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
                task.ready_at(),
                None,
                Some("if it takes long, see `gleitzeit components` and `gleitzeit providers`"),
            ),
            Owed::Dispatch { not_before } => waiting(
                match task.error() {
                    Some(error) => {
                        let message: String = error.message.chars().take(MESSAGE_CHARS).collect();
                        format!("attempt {} failed: {message}; the next one starts after a delay", task.attempt())
                    }
                    None => format!("attempt {} ended; the next one starts after a delay", task.attempt()),
                },
                task.ready_at(),
                not_before,
                None,
            ),
            Owed::Decision => waiting(
                format!("attempt {} ended; the owner of queue `{queue}` decides what follows", task.attempt()),
                task.ready_at(),
                None,
                Some("if it takes long, start `gleitzeit agent --role queue`"),
            ),
            Owed::Report { engine } => waiting(
                format!("attempt {} is open on engine `{engine}`", task.attempt()),
                task.latest().map(|lease| lease.dispatched_at),
                self.attempt_due(at),
                None,
            ),
            Owed::Stop { engine } => waiting(
                format!("engine `{engine}` must stop attempt {}, since the run is to end", task.attempt()),
                task.latest().map(|lease| lease.dispatched_at),
                None,
                None,
            ),
        }
    }

    /// When the latest attempt times out, if the task has a timeout.
    fn attempt_due(&self, at: usize) -> Option<Timestamp> {
        let lease = self.tasks[at].latest()?;
        let begun = lease.started_at.unwrap_or(lease.dispatched_at);
        Some(begun.plus_ms(self.task(at).timeout_ms?))
    }

    fn missing_text(&self, at: usize) -> String {
        let mut missing = self
            .graph()
            .dependencies(at)
            .iter()
            .filter(|&&dependency| self.dependencies.became(dependency) != Some(Became::Completed))
            .map(|&dependency| format!("`{}`", self.task(dependency).id));
        let named: Vec<String> = missing.by_ref().take(5).collect();
        let more = missing.count();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("its dependencies {}{rest} are not done", named.join(", "))
    }

    /// The tasks that block the run, by index: their next step is not the end of another task.
    pub fn blockers(&self) -> impl Iterator<Item = usize> + '_ {
        self.outstanding().filter(|(_, owed)| *owed != Owed::Dependencies).map(|(at, _)| at)
    }

    /// The blockers of a task that waits for its dependencies, by index, in the order of the workflow; empty if it does
    /// not wait for them.
    pub fn blockers_of(&self, at: usize) -> Vec<usize> {
        let (mut open, mut seen, mut causes) = (vec![at], BTreeSet::from([at]), BTreeSet::new());
        while let Some(next) = open.pop() {
            if self.owed(next) != Some(Owed::Dependencies) {
                continue;
            }
            for &dependency in self.graph().dependencies(next) {
                match self.owed(dependency) {
                    None => {}
                    Some(Owed::Dependencies) if seen.insert(dependency) => open.push(dependency),
                    Some(Owed::Dependencies) => {}
                    Some(_) => drop(causes.insert(dependency)),
                }
            }
        }
        causes.into_iter().collect()
    }

    /// What the run as a whole waits for; `None` if it is final.
    pub fn run_waiting(&self) -> Option<Waiting> {
        if self.status.is_final() {
            return None;
        }
        let holding: Vec<usize> = self.blockers().collect();
        let named: Vec<String> = holding.iter().take(NAMED).map(|&at| format!("`{}`", self.task(at).id)).collect();
        let more = holding.len().saturating_sub(named.len());
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let tasks = format!("{}{rest}", named.join(", "));
        Some(match &self.cancel {
            Some(cancel) => Waiting {
                reason: format!("it is ending ({}); attempts of {tasks} are being stopped", cancel.reason),
                since: None,
                until: None,
                remedy: None,
            },
            None => Waiting {
                reason: format!("it continues with {tasks}"),
                since: Some(self.submitted_at),
                until: self.due(),
                remedy: None,
            },
        })
    }

    /// When its timeout expires, if it has one.
    fn due(&self) -> Option<Timestamp> {
        self.workflow().timeout_ms.map(|timeout_ms| self.submitted_at.plus_ms(timeout_ms))
    }
}
