//! What the model wants to know, and what it is told. Plain values: they are asked for and fetched in `reader`.

use gleitzeit_sdk::{Component, Error, Explanation, Page, Provider, Run, RunFilter, RunSummary, Status, Task};

/// What a question is about. Of each kind one question is open at a time, so there are never more than there are kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Status,
    Runs,
    MoreRuns,
    RunsHere,
    Progress,
    Components,
    Providers,
    Run,
    Tasks,
    MoreTasks,
    Explain,
    Task,
    Parameters,
    /// Not asked for: the events of the open run.
    Watch,
    /// Not asked for: the events of all runs.
    Events,
}

/// A question.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Status,
    Components,
    Providers,
    /// The newest runs.
    Runs { filter: RunFilter, generation: u64 },
    /// The runs after those that are known.
    MoreRuns { filter: RunFilter, generation: u64 },
    /// The runs that are visible.
    RunsHere { filter: RunFilter, generation: u64 },
    /// How many tasks of these runs have not ended.
    Progress { run_ids: Vec<String> },
    Run { run_id: String },
    /// A page of tasks again, which begins with the task at `start`.
    Tasks { run_id: String, page: TaskPage },
    /// The page after those that are known.
    MoreTasks { run_id: String, page: TaskPage },
    Explain { run_id: String },
    Task { run_id: String, task_id: String },
    /// The parameters of a task, which stand in one of the run's events from `from` on, up to `to`.
    Parameters { run_id: String, task_id: String, from: u64, to: u64 },
}

/// Where a page of tasks begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskPage {
    pub(super) start: usize,
    pub(super) token: Option<String>,
}

impl Ask {
    pub(super) fn topic(&self) -> Topic {
        match self {
            Self::Status => Topic::Status,
            Self::Components => Topic::Components,
            Self::Providers => Topic::Providers,
            Self::Runs { .. } => Topic::Runs,
            Self::MoreRuns { .. } => Topic::MoreRuns,
            Self::RunsHere { .. } => Topic::RunsHere,
            Self::Progress { .. } => Topic::Progress,
            Self::Run { .. } => Topic::Run,
            Self::Tasks { .. } => Topic::Tasks,
            Self::MoreTasks { .. } => Topic::MoreTasks,
            Self::Explain { .. } => Topic::Explain,
            Self::Task { .. } => Topic::Task,
            Self::Parameters { .. } => Topic::Parameters,
        }
    }
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    Status(Status),
    Components(Vec<Component>),
    Providers(Vec<Provider>),
    Runs(Page<RunSummary>),
    /// For each run how many tasks have not ended; none if that cannot be said.
    Progress(Vec<(String, Option<u32>)>),
    Run(Box<Run>),
    Tasks(Page<Task>),
    Explain(Box<Explanation>),
    /// None if the run has no such task.
    Task { task: Option<Box<Task>>, why: Box<Explanation> },
    Parameters(Parameters),
}

/// What is known of a task's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parameters {
    /// They are being looked for, from this event on.
    Wanted { from: u64 },
    /// The task is not ready, so its references are not resolved.
    None,
    /// JSON text.
    Known(String),
    /// They are there, and larger than events carry.
    Omitted,
}

/// A question with its answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) ask: Ask,
    pub(super) found: Result<Found, Error>,
}

/// Something that is done to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Cancel { run_id: String, name: String },
    /// Sent again under the same request id it makes no second run.
    Retry { run_id: String, name: String, request_id: String },
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Done {
    Cancelled { open_attempts: u32, has_ended: bool },
    Retried { run_id: String },
}
