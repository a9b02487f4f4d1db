//! What blocks a run: its tasks that are not final and wait for something other than each other.

use std::collections::BTreeSet;

use gleitzeit_workflow::time::Timestamp;

use crate::outstanding::{Owed, Waiting};
use crate::state::State;

/// The maximum number of tasks that a sentence names.
const NAMED: usize = 5;

impl State {
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
            for &dependency in self.graph.dependencies(next) {
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
