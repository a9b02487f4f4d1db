//! Why a run and its tasks wait: the result of `explain`.

use gleitzeit_sdk::{Explanation, Failure, RunStatus, Task, TaskStatus};
use serde::Serialize;

use super::waiting::WaitingDocument;

/// The result of `explain`.
#[derive(Serialize)]
pub(crate) struct ExplainDocument<'a> {
    run_id: &'a str,
    name: &'a str,
    status: RunStatus,
    waiting: Option<WaitingDocument<'a>>,
    error: Option<&'a Failure>,
    tasks: Vec<ExplainedTask<'a>>,
    more_tasks: u32,
    dependent_tasks: u32,
}

#[derive(Serialize)]
struct ExplainedTask<'a> {
    id: &'a str,
    status: TaskStatus,
    attempt: u32,
    error: Option<&'a Failure>,
    waiting: Option<WaitingDocument<'a>>,
}

impl<'a> From<&'a Explanation> for ExplainDocument<'a> {
    fn from(it: &'a Explanation) -> Self {
        let task = |task: &'a Task| ExplainedTask {
            id: &task.id,
            status: task.status,
            attempt: task.attempt,
            error: task.error.as_ref(),
            waiting: task.waiting.as_ref().map(WaitingDocument::from),
        };
        Self {
            run_id: &it.run_id,
            name: &it.name,
            status: it.status,
            waiting: it.waiting.as_ref().map(WaitingDocument::from),
            error: it.error.as_ref(),
            tasks: it.tasks.iter().map(task).collect(),
            more_tasks: it.more_tasks,
            dependent_tasks: it.dependent_tasks,
        }
    }
}
