//! `gleitzeit explain`: why a run has not ended, or one of its tasks.

use std::fmt::Write as _;

use gleitzeit_sdk::{Explanation, Task, Timestamp, Waiting};

use crate::cli::ExplainArgs;
use crate::document::ExplainDocument;
use crate::error::{CommandResult, Exit};
use crate::reading::{self, Found};
use crate::signals::{OnSignal, block_on};
use crate::{output, view};

pub(crate) fn run(args: ExplainArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let Found { client, run_id, .. } = reading::find(&args.client, &args.run).await?;
        let explanation = client.explain(&run_id, args.task.as_deref()).await?;
        output::document(args.output.format(), &ExplainDocument::from(&explanation), |_| text(&explanation))?;
        Ok(Exit::Success)
    })
}

fn text(it: &Explanation) -> String {
    let mut text = format!(
        "run {} of {} is {}",
        it.run_id,
        view::first_line(&it.name, 60),
        view::standing(it.status, it.error.as_ref())
    );
    match (&it.waiting, &it.error) {
        (Some(waiting), _) => {
            let _ = write!(text, ": {}", waiting.reason);
        }
        (None, Some(error)) => {
            let _ = write!(text, ": {}", view::failure(error));
        }
        (None, None) => {}
    }
    text.push('\n');
    if let Some(waiting) = &it.waiting {
        push_times(&mut text, waiting);
    }
    for task in &it.tasks {
        push_task(&mut text, task);
    }
    if it.more_tasks > 0 {
        let _ = writeln!(text, "and {} more tasks; `gleitzeit status {}` lists all", it.more_tasks, it.run_id);
    }
    match it.dependent_tasks {
        0 => {}
        1 => text.push_str("1 task waits for others\n"),
        count => {
            let _ = writeln!(text, "{count} tasks wait for others");
        }
    }
    text
}

fn push_task(text: &mut String, task: &Task) {
    let _ = write!(text, "task {} is {}", task.id, view::task_status(task.status));
    match (&task.waiting, &task.error) {
        (Some(waiting), _) => {
            let _ = writeln!(text, ": {}", waiting.reason);
            push_times(text, waiting);
        }
        (None, Some(error)) => {
            let _ = writeln!(text, ": {}", view::failure(error));
        }
        (None, None) => text.push('\n'),
    }
}

fn push_times(text: &mut String, waiting: &Waiting) {
    let mut line = |what: &str, said: String| {
        let _ = writeln!(text, "  {what:<6} {said}");
    };
    let time = |at: Option<Timestamp>| at.map(|at| view::time(Some(at)));
    if let Some(since) = time(waiting.since) {
        line("since", since);
    }
    if let Some(until) = time(waiting.until) {
        line("until", format!("{until} at the latest"));
    }
    if let Some(remedy) = &waiting.remedy {
        line("remedy", remedy.clone());
    }
}
