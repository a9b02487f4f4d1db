//! `gleitzeit cancel` for several runs, or for all that match a filter.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use gleitzeit_sdk::{Client, RunFilter, RunStatus, RunSummary};
use gleitzeit_workflow::ErrorCode;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::WAIT;
use crate::cli::CancelArgs;
use crate::error::{CommandError, CommandResult, Exit};
use crate::{client, inputs, output, states, text};

/// How many runs are cancelled concurrently.
const AT_ONCE: usize = 16;
/// How many runs the question names.
const NAMED: usize = 5;

/// Cancels the named runs.
pub(super) async fn named(client: &Client, args: &CancelArgs) -> CommandResult {
    // A wrong name must not lead to a partial cancel.
    let mut ids: Vec<String> = Vec::new();
    for wanted in &args.runs {
        let id = client::find_run(client, wanted).await?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    cancel(client, args, ids).await
}

/// Cancels all matching runs, after the user has confirmed.
pub(super) async fn matching(client: &Client, args: &CancelArgs) -> CommandResult {
    let filter = RunFilter {
        statuses: vec![RunStatus::Running],
        name: args.name.clone(),
        labels: inputs::labels(&args.labels)?,
        page_size: 1_000,
        ..RunFilter::default()
    };
    let runs = client::all_pages(async |token: Option<&str>| {
        client.list_runs(&RunFilter { page_token: token.map(str::to_owned), ..filter.clone() }).await
    })
    .await?;
    if !runs.is_empty() && !args.yes && !is_meant(&runs).await? {
        output::note("nothing was cancelled");
        return Ok(Exit::Failed);
    }
    cancel(client, args, runs.into_iter().map(|run| run.run_id).collect()).await
}

/// Asks for confirmation on the terminal.
async fn is_meant(runs: &[RunSummary]) -> Result<bool, CommandError> {
    let count = text::counted(runs.len(), "run");
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let error = CommandError::usage(format!("{count} would be cancelled, and there is no terminal to ask on"));
        return Err(error.hint("give `--yes` to confirm; `gleitzeit list --status running` shows them"));
    }
    for run in runs.iter().take(NAMED) {
        output::note(&format!("  {}  {}", run.run_id, text::first_line(&run.name, 60)));
    }
    if runs.len() > NAMED {
        output::note(&format!("  and {} more", runs.len() - NAMED));
    }
    output::show(&format!("cancel {count}? [y/N] "));
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = match read.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(CommandError::internal(format!("cannot read the answer: {error}"))),
        Err(error) => return Err(CommandError::internal(format!("cannot read the answer: {error}"))),
    };
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The outcome of one run.
#[derive(Debug, Serialize)]
struct Cancelled {
    run_id: String,
    /// `None` if the status is unknown.
    status: Option<RunStatus>,
    /// How many attempts were open when the cancel was requested.
    open_attempts: u32,
    errors: Vec<Value>,
    #[serde(skip)]
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Cancelled,
    /// The run had already ended by itself.
    Ended,
    Refused(CommandError),
}

async fn cancel(client: &Client, args: &CancelArgs, ids: Vec<String>) -> CommandResult {
    let until = Instant::now() + WAIT;
    let mut cancelled: Vec<Option<Cancelled>> = ids.iter().map(|_| None).collect();
    let mut left = ids.into_iter().enumerate();
    let mut asked = JoinSet::new();
    loop {
        for (at, id) in left.by_ref().take(AT_ONCE - asked.len()) {
            let (client, reason, force) = (client.clone(), args.reason.clone(), args.force);
            asked.spawn(async move { (at, one(&client, id, &reason, force, until).await) });
        }
        let Some(done) = asked.join_next().await else { break };
        let (at, done) = done.map_err(|error| CommandError::internal(format!("cancelling a run failed: {error}")))?;
        cancelled[at] = Some(done);
    }
    let cancelled: Vec<Cancelled> = cancelled.into_iter().flatten().collect();
    output::document(args.output.format(), &cancelled, |all| text(all))?;
    let refused: Vec<&CommandError> = cancelled.iter().filter_map(Cancelled::refused).collect();
    for error in &refused {
        output::note(&error.to_string());
    }
    Ok(refused.first().map_or(Exit::Success, |error| error.exit))
}

/// Requests the cancellation of one run and waits a little for its end.
async fn one(client: &Client, run_id: String, reason: &str, force: bool, until: Instant) -> Cancelled {
    let asked = match force {
        true => client.cancel_by_force(&run_id, reason).await,
        false => client.cancel(&run_id, reason).await,
    };
    let known = |status, open_attempts, outcome| (Some(status), open_attempts, outcome);
    let (status, open_attempts, outcome) = match asked {
        Ok(asked) if asked.status == RunStatus::Running => {
            let left = until.saturating_duration_since(Instant::now());
            let run = client.wait_without_results(&run_id, Some(left)).await;
            known(run.map_or(asked.status, |run| run.status), asked.open_attempts, Outcome::Cancelled)
        }
        Ok(asked) => known(asked.status, asked.open_attempts, Outcome::Cancelled),
        // The run ended before the request.
        Err(error) if error.known() == Some(ErrorCode::WorkflowInvalidState) => {
            match client.wait_without_results(&run_id, Some(std::time::Duration::ZERO)).await {
                Ok(run) => known(run.status, 0, Outcome::Ended),
                Err(error) => (None, 0, Outcome::Refused(error.into())),
            }
        }
        Err(error) => (None, 0, Outcome::Refused(error.into())),
    };
    let errors = match &outcome {
        Outcome::Refused(error) => output::errors(error),
        Outcome::Cancelled | Outcome::Ended => Vec::new(),
    };
    Cancelled { run_id, status, open_attempts, errors, outcome }
}

impl Cancelled {
    fn refused(&self) -> Option<&CommandError> {
        match &self.outcome {
            Outcome::Refused(error) => Some(error),
            Outcome::Cancelled | Outcome::Ended => None,
        }
    }
}

fn text(all: &[Cancelled]) -> String {
    if all.is_empty() {
        return "no unfinished run matches: nothing was cancelled\n".to_owned();
    }
    let (mut text, mut count, mut ended) = (String::new(), 0, 0);
    for it in all {
        let said = match (&it.outcome, it.status) {
            (Outcome::Cancelled, Some(RunStatus::Cancelled)) => "is cancelled".to_owned(),
            (Outcome::Cancelled, _) => "ends as soon as its running tasks have stopped".to_owned(),
            (Outcome::Ended, Some(status)) => format!("had ended before: it is {}", states::run_status(status)),
            (Outcome::Ended, None) => "had ended before".to_owned(),
            (Outcome::Refused(_), _) => "could not be cancelled".to_owned(),
        };
        match &it.outcome {
            Outcome::Cancelled => count += 1,
            Outcome::Ended => ended += 1,
            Outcome::Refused(_) => {}
        }
        let _ = writeln!(text, "{} {said}", it.run_id);
    }
    let refused = all.len() - count - ended;
    let _ = write!(text, "cancelled {count} of {}", text::counted(all.len(), "run"));
    if ended > 0 {
        let _ = write!(text, ", {ended} had ended before");
    }
    if refused > 0 {
        let _ = write!(text, ", {refused} could not be cancelled");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn it(outcome: Outcome, status: RunStatus) -> Cancelled {
        Cancelled { run_id: "a".to_owned(), status: Some(status), open_attempts: 0, errors: Vec::new(), outcome }
    }

    #[test]
    fn the_outcomes_are_counted() {
        let refused = Outcome::Refused(CommandError::internal("no"));
        let all = [
            it(Outcome::Cancelled, RunStatus::Cancelled),
            it(Outcome::Cancelled, RunStatus::Running),
            it(Outcome::Ended, RunStatus::Completed),
            it(refused, RunStatus::Running),
        ];
        let text = text(&all);
        assert!(text.contains("a had ended before: it is completed\n"), "{text}");
        assert!(text.ends_with("cancelled 2 of 4 runs, 1 had ended before, 1 could not be cancelled\n"), "{text}");
        assert!(super::text(&[]).contains("nothing was cancelled"));
    }
}
