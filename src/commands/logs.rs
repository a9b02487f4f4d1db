//! `gleitzeit logs`: what tasks printed and returned, or why they failed.

use std::fmt::Write as _;

use gleitzeit_core::{ErrorCode, Failure, Payload};
use gleitzeit_sdk::{Task, TaskFilter, TaskStatus};
use serde::Serialize;
use serde_json::Value;

use crate::cli::LogsArgs;
use crate::error::{CommandError, CommandResult, Exit};
use crate::json::indented;
use crate::reading::{self, Found};
use crate::signals::{OnSignal, block_on};
use crate::{output, view};

/// What results and errors call it, and how it is headed here: what was printed goes before what was returned.
const SAID: [(&str, &str); 3] =
    [("output", "printed"), ("error_output", "printed to stderr"), ("response", "answered")];

pub(crate) fn run(args: LogsArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let Found { client, run_id, .. } = reading::find(&args.client, &args.run).await?;
        let mut filter = TaskFilter { task_ids: args.task.iter().cloned().collect(), ..TaskFilter::default() };
        let mut tasks = Vec::new();
        loop {
            let page = client.list_tasks(&run_id, &filter).await?;
            tasks.extend(page.items);
            filter.page_token = page.next_page_token;
            if filter.page_token.is_none() {
                break;
            }
        }
        if let (Some(task), []) = (&args.task, &tasks[..]) {
            let message = format!("run {run_id} has no task `{task}`");
            return Err(CommandError::new(Exit::Failed, ErrorCode::TaskNotFound, message)
                .hint(format!("`gleitzeit status {run_id}` shows its tasks")));
        }
        let document = Logs { run_id: &run_id, tasks: tasks.iter().map(TaskLog::from).collect() };
        output::document(args.output.format(), &document, |_| tasks.iter().map(text).collect())?;
        Ok(Exit::Success)
    })
}

#[derive(Serialize)]
struct Logs<'a> {
    run_id: &'a str,
    tasks: Vec<TaskLog<'a>>,
}

#[derive(Serialize)]
struct TaskLog<'a> {
    id: &'a str,
    status: TaskStatus,
    attempt: u32,
    error: Option<&'a Failure>,
    output: Option<String>,
    error_output: Option<String>,
    traceback: Option<String>,
    result: Option<&'a Payload>,
}

impl<'a> From<&'a Task> for TaskLog<'a> {
    fn from(task: &'a Task) -> Self {
        let left = left(task);
        let said = |name: &str| left.as_ref()?.get(name)?.as_str().map(str::to_owned);
        Self {
            id: &task.id,
            status: task.status,
            attempt: task.attempt,
            error: task.error.as_ref(),
            output: said("output"),
            error_output: said("error_output"),
            traceback: said("traceback"),
            result: task.result.as_ref(),
        }
    }
}

/// What a task left behind: its result, or its error's data.
fn left(task: &Task) -> Option<Value> {
    let data = task.error.as_ref().and_then(|error| error.data.as_ref());
    task.result.as_ref().or(data).map(Payload::shown)
}

fn text(task: &Task) -> String {
    let attempt = if task.attempt > 1 { format!(", attempt {}", task.attempt) } else { String::new() };
    let mut text = format!("── {} ({}{attempt})\n", task.id, view::task_status(task.status));
    if let Some(error) = &task.error {
        let _ = writeln!(text, "{}", view::clean(&view::failure(error)));
    }
    let left = left(task);
    let mut has_said = false;
    for (name, head) in SAID {
        let Some(said) = left.as_ref().and_then(|left| left.get(name)?.as_str()).filter(|said| !said.is_empty()) else {
            continue;
        };
        has_said = true;
        let _ = writeln!(text, "{head}:");
        said.lines().for_each(|line| {
            let _ = writeln!(text, "  {}", view::clean(line));
        });
    }
    let returned = match (&task.result, left.as_ref().and_then(|left| left.get("result"))) {
        // Of code, what it returned is beside what it printed.
        (Some(_), Some(result)) => Some(result.to_string()),
        (Some(result), None) if !has_said => Some(result.get().to_owned()),
        _ => None,
    };
    if let Some(returned) = returned.filter(|returned| returned != "null") {
        let _ = writeln!(text, "returned:");
        indented(&returned).lines().for_each(|line| {
            let _ = writeln!(text, "  {}", view::clean(line));
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(result: &str) -> Task {
        Task {
            id: "a".to_owned(),
            status: TaskStatus::Completed,
            attempt: 1,
            result: Some(Payload::grammatical(result.to_owned()).expect("grammatical")),
            result_omitted: false,
            error: None,
            waiting: None,
            started_at: None,
            finished_at: None,
            method: "m/x".to_owned(),
            queue: "default".to_owned(),
            engine: None,
        }
    }

    #[test]
    fn what_was_recorded_before_it_was_checked_is_shown_as_it_is() {
        for (result, shown) in [
            (r#"{"title":"\ud83c","output":"said"}"#, "printed:\n  said"),
            (r#"{"result":"\ud83c","output":"said"}"#, r"ud83c"),
            ("[1e400]", "1e400"),
            ("12345678901234567890123", "12345678901234567890123"),
        ] {
            let task = task(result);
            assert!(text(&task).contains(shown), "{}", text(&task));
            let json = serde_json::to_string(&TaskLog::from(&task)).expect("written");
            assert!(json.contains(&format!("\"result\":{result}")), "{json}");
        }
        let levels = 50_000;
        let task = task(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        assert!(text(&task).len() < 10 * levels);
    }
}
