//! `gleitzeit cancel`: cancels runs and reports their outcome; for a single run, also that of its tasks.

mod many;

use std::fmt::Write as _;
use std::time::Duration;

use gleitzeit_sdk::{Run, RunStatus, Task, TaskStatus};

use crate::cli::CancelArgs;
use crate::color::Tone;
use crate::document::CancelDocument;
use crate::error::{CommandResult, Exit};
use crate::find_runs::{self, Found};
use crate::signals::{OnSignal, block_on};
use crate::{client, color, output};

/// How long to wait for the end. Code is stopped within a second and reported soon after; a longer wait is for engines
/// that are away.
const WAIT: Duration = Duration::from_secs(5);
/// How many tasks of each outcome are named.
const NAMED: usize = 5;

pub(crate) fn run(args: CancelArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let run = match args.runs.as_slice() {
            [run] => run,
            [] => return many::matching(&client::connect(&args.client).await?, &args).await,
            _ => return many::named(&client::connect(&args.client).await?, &args).await,
        };
        let found = find_runs::find(&args.client, run).await?;
        let before = find_runs::refuse_cancel(&found).await?;
        let Found { client, run_id, .. } = found;
        let cancelled = match before {
            Some(cancelled) => cancelled,
            None if args.force => client.cancel_by_force(&run_id, &args.reason).await?,
            None => client.cancel(&run_id, &args.reason).await?,
        };
        if cancelled.status == RunStatus::Running {
            client.wait(&run_id, Some(WAIT)).await?;
        }
        let run = client::whole_run(&client, &run_id).await?;
        let document = CancelDocument::new(&run, cancelled.open_attempts);
        output::document(args.output.format(), &document, |_| text(&run))?;
        Ok(Exit::Success)
    })
}

fn text(run: &Run) -> String {
    let paint = color::stdout();
    let id = paint.text(Tone::Id, &run.run_id);
    let mut text = match run.status {
        RunStatus::Cancelled => format!("{id} is {}\n", paint.run(run.status)),
        _ => format!("{id} ends as soon as its running tasks have stopped\n"),
    };
    type Kind = (&'static str, fn(&Task) -> bool);
    let kinds: [Kind; 6] = [
        ("completed before", |task| task.status == TaskStatus::Completed),
        ("failed before", |task| task.status == TaskStatus::Failed),
        ("skipped before", |task| task.status == TaskStatus::Skipped),
        ("stopped while running", |task| task.status == TaskStatus::Cancelled && task.attempt > 0),
        ("never started", |task| task.status == TaskStatus::Cancelled && task.attempt == 0),
        ("being stopped", |task| matches!(task.status, TaskStatus::Dispatched | TaskStatus::Running)),
    ];
    for (what, is_of) in kinds {
        let names: Vec<&str> = run.tasks.iter().filter(|task| is_of(task)).map(|task| task.id.as_str()).collect();
        if names.is_empty() {
            continue;
        }
        let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(NAMED);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = writeln!(text, "{}", output::wrapped(&format!("  {what}: {shown}{rest}"), 2));
    }
    text
}
