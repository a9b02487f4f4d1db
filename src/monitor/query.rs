//! Queries to the control plane, their results, and actions. Plain values.

use gleitzeit_sdk::{Component, Explanation, Provider, Run, RunSummary, Status, Task, Waiting};

use super::filter::Filter;
use crate::{ids, text, width};

/// A query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The filter of the runs.
    pub(super) filter: Filter,
    /// The id of the open run.
    pub(super) run: Option<String>,
    /// The filter of its tasks.
    pub(super) task_filter: Filter,
    /// The id of its open task.
    pub(super) task: Option<String>,
    /// Whether that task is final and already read, so that it need not be read again.
    pub(super) is_task_known: bool,
}

/// The result of a query.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) runs: Vec<RunSummary>,
    /// Whether there are runs that were not read.
    pub(super) has_more_runs: bool,
    pub(super) components: Vec<Component>,
    pub(super) providers: Vec<Provider>,
    pub(super) detail: Option<Detail>,
    /// The open task, if the query asked for it.
    pub(super) task: Option<Task>,
}

/// One run with all details.
#[derive(Clone, Debug)]
pub(super) struct Detail {
    pub(super) run: Run,
    pub(super) explanation: Explanation,
    pub(super) tasks: Vec<Task>,
    /// Whether there are tasks that were not read.
    pub(super) has_more_tasks: bool,
}

impl Detail {
    /// What waits, and why: first the run as a whole, which has no task id.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (Option<&str>, &Waiting)> {
        let of_run = self.explanation.waiting.as_ref().map(|waiting| (None, waiting));
        let tasks = self.explanation.tasks.iter();
        of_run.into_iter().chain(tasks.filter_map(|task| Some((Some(task.id.as_str()), task.waiting.as_ref()?))))
    }
}

/// An action on a run, to be confirmed by the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Cancel { run_id: String, name: String },
    Retry { run_id: String, name: String },
}

impl Act {
    /// The question before the action, in this many columns: the name is shortened first, and then the end of the id.
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
