//! `gleitzeit explain`: says why a run, or one of its tasks, has not ended.

use std::fmt::Write as _;

use gleitzeit_sdk::{Explanation, Failure, Task, Timestamp, Waiting};

use crate::cli::ExplainArgs;
use crate::color::Tone;
use crate::document::ExplainDocument;
use crate::error::{CommandResult, Exit};
use crate::find_runs::{self, Found};
use crate::signals::{OnSignal, block_on};
use crate::{causes, color, output, text, view};

pub(crate) fn run(args: ExplainArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let Found { client, run_id, .. } = find_runs::find(&args.client, &args.run).await?;
        let explanation = client.explain(&run_id, args.task.as_deref()).await?;
        output::document(args.output.format(), &ExplainDocument::from(&explanation), |_| text(&explanation))?;
        Ok(Exit::Success)
    })
}

fn text(it: &Explanation) -> String {
    let paint = color::stdout();
    let (id, name) = (paint.text(Tone::Id, &it.run_id), text::first_line(&it.name, 60));
    let standing = view::status_of(it.status, it.error.as_ref());
    let mut text = String::new();
    push_state(
        &mut text,
        &format!("run {id} of {name} is {}", paint.text(standing.1, standing.0)),
        (&it.waiting, &it.error),
    );
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
    let state = format!("task {} is {}", task.id, color::stdout().task(task.status));
    push_state(text, &state, (&task.waiting, &task.error));
    if let Some(waiting) = &task.waiting {
        push_times(text, waiting);
    }
}

/// Appends a state and its reason.
fn push_state(text: &mut String, state: &str, why: (&Option<Waiting>, &Option<Failure>)) {
    let paint = color::stdout();
    let said = match why {
        (Some(waiting), _) => format!("{state}: {}", paint.marked(&waiting.reason)),
        (None, Some(error)) => format!("{state}: {}", paint.failure(&causes::failure(error))),
        (None, None) => state.to_owned(),
    };
    let _ = writeln!(text, "{}", output::wrapped(&said, 2));
}

fn push_times(text: &mut String, waiting: &Waiting) {
    let mut line = |what: &str, said: String| {
        let said = format!("  {what:<6} {}", color::stdout().marked(&said));
        let _ = writeln!(text, "{}", output::wrapped(&said, 7));
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
