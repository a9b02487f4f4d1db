//! What is asked of the control plane, what was found, and what is to be done. Plain values.

use gleitzeit_sdk::{Component, Explanation, Provider, Run, RunSummary, Status, Task, Waiting};

use super::filter::Filter;
use crate::{ids, text, width};

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Which runs are listed.
    pub(super) filter: Filter,
    /// The open run, by id.
    pub(super) run: Option<String>,
    /// Which of its tasks are listed.
    pub(super) task_filter: Filter,
    /// Its open task, by id.
    pub(super) task: Option<String>,
    /// Whether that is known as it will always be.
    pub(super) is_task_known: bool,
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) runs: Vec<RunSummary>,
    /// Whether there are others that were not read.
    pub(super) has_more_runs: bool,
    pub(super) components: Vec<Component>,
    pub(super) providers: Vec<Provider>,
    pub(super) detail: Option<Detail>,
    /// The open task, if it was asked for.
    pub(super) task: Option<Task>,
}

/// One run in full.
#[derive(Clone, Debug)]
pub(super) struct Detail {
    pub(super) run: Run,
    pub(super) explanation: Explanation,
    pub(super) tasks: Vec<Task>,
    /// Whether there are others that were not read.
    pub(super) has_more_tasks: bool,
}

impl Detail {
    /// What waits, and why: first the run as a whole, which is none of its tasks.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (Option<&str>, &Waiting)> {
        let of_run = self.explanation.waiting.as_ref().map(|waiting| (None, waiting));
        let tasks = self.explanation.tasks.iter();
        of_run.into_iter().chain(tasks.filter_map(|task| Some((Some(task.id.as_str()), task.waiting.as_ref()?))))
    }
}

/// Something that is done to a run, once it was asked for and agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Cancel { run_id: String, name: String },
    Retry { run_id: String, name: String },
}

impl Act {
    /// What is asked before it is done, in so many columns: the name gives way, and then the end of the id.
    pub(super) fn question(&self, columns: usize) -> String {
        let (verb, run_id, name) = match self {
            Self::Cancel { run_id, name } => ("cancel", run_id, name),
            Self::Retry { run_id, name } => ("retry", run_id, name),
        };
        let whole = format!("{verb} {} ({run_id})? y: yes, any other key: no", text::first_line(name, 30));
        if width::of(&whole) <= columns {
            return whole;
        }
        let rest = format!(" ({})? y: yes, else: no", run_id.get(..ids::TO_THE_MILLISECOND).unwrap_or(run_id));
        let room = columns.saturating_sub(verb.len() + 1 + rest.len());
        format!("{verb} {}{rest}", text::first_line(name, room))
    }
}
