//! Follows a run to its end, and shows its progress.

use std::time::Duration;

use gleitzeit_sdk::{RunHandle, RunStatus, TaskFilter, TaskStatus};
use gleitzeit_workflow::ErrorCode;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cli::Format;
use crate::document::RunDocument;
use crate::error::{CommandError, CommandResult, Exit};
use crate::progress::{Progress, REDRAW};
use crate::{client, output, view};

/// After this much time without an event, the reason for the wait is shown.
const STALLED: Duration = Duration::from_secs(3);
/// Shown once when the control plane stops answering.
pub(crate) const AWAY: &str = "the control plane does not answer; retrying";
/// How long an interrupted command waits for its run to end.
const CANCEL_GRACE: Duration = Duration::from_secs(15);

/// What an interrupt does to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// The run is cancelled.
    Cancel,
    /// The run continues without us.
    Leave,
}

/// How following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// The run is final.
    Ended,
    /// The user interrupted; the run is final if it could be cancelled in time.
    Interrupted,
}

/// Follows a run until it ends or the user interrupts.
///
/// # Errors
/// If the control plane goes away and does not come back.
pub(crate) async fn follow(
    run: &RunHandle,
    mut progress: Progress,
    stop: &CancellationToken,
    on_interrupt: OnInterrupt,
) -> Result<Followed, CommandError> {
    // Without a live view nobody would see the progress.
    let mut watch = if progress.is_live() { run.watch().with_progress_so_far() } else { run.watch() };
    let mut redraw = interval(REDRAW);
    let mut stalled = Box::pin(sleep(STALLED));
    let mut last_reason = None;
    let mut give_up: Option<Instant> = None;
    let mut away = false;
    loop {
        tokio::select! {
            event = watch.next() => match event.map_err(|error| left(error.into(), run))? {
                Some(event) => {
                    away = false;
                    progress.event(&event);
                    stalled.as_mut().reset(Instant::now() + STALLED);
                }
                None => break,
            },
            () = &mut stalled => {
                stalled.as_mut().reset(Instant::now() + STALLED);
                if watch.away_since().is_some() {
                    if !std::mem::replace(&mut away, true) {
                        progress.note(AWAY);
                    }
                } else if !progress.is_running()
                    && let Some(reason) = reason_to_wait(run).await
                    && last_reason.as_ref() != Some(&reason)
                {
                    progress.note(&reason);
                    last_reason = Some(reason);
                }
            },
            _ = redraw.tick(), if progress.is_live() => progress.tick(),
            () = stop.cancelled(), if give_up.is_none() => {
                if on_interrupt == OnInterrupt::Leave {
                    return Ok(Followed::Interrupted);
                }
                progress.clear();
                output::note("cancelling the run; press Ctrl-C again to exit immediately");
                match run.cancel("interrupted").await {
                    Ok(_) => {}
                    // The run has just ended by itself: its last event is on the way.
                    Err(error) if error.known() == Some(ErrorCode::WorkflowInvalidState) => {}
                    Err(error) => return Err(left(error.into(), run)),
                }
                give_up = Some(Instant::now() + CANCEL_GRACE);
            },
            () = until(give_up) => {
                output::note("the run did not end in time");
                break;
            },
        }
    }
    Ok(if give_up.is_some() { Followed::Interrupted } else { Followed::Ended })
}

/// Adds to an error how the run, which is no longer followed, can be found.
fn left(error: CommandError, run: &RunHandle) -> CommandError {
    if error.exit != Exit::Unreachable {
        return error;
    }
    error.hint(format!("run {0} continues when the control plane is back: `gleitzeit watch {0}`", run.id()))
}

/// What blocks the first task that waits for something other than a task; `None` also if that cannot be found out now.
async fn reason_to_wait(run: &RunHandle) -> Option<String> {
    let filter = TaskFilter {
        statuses: vec![TaskStatus::Ready, TaskStatus::Waiting],
        without_results: true,
        page_size: 1_000,
        ..TaskFilter::default()
    };
    let tasks = run.client().list_tasks(run.id(), &filter).await.ok()?.items;
    let ready = tasks.iter().find(|task| task.status == TaskStatus::Ready);
    ready.or(tasks.first()).and_then(view::waits)
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Prints a run's outcome, and returns the exit code. `last` names the tasks that nothing depends on.
///
/// # Errors
/// If the run cannot be read or stdout cannot be written.
pub(crate) async fn finish(
    run: &RunHandle,
    format: Format,
    last: Option<&[String]>,
    followed: Followed,
) -> CommandResult {
    let whole = client::whole_run(run.client(), run.id()).await?;
    output::document(format, &RunDocument::from(&whole), |_| view::results(&whole, last))?;
    output::run_failed("", &whole);
    if format == Format::Table {
        output::note(&view::summary(&whole));
    }
    Ok(if followed == Followed::Interrupted { Exit::Interrupted } else { outcome(whole.status) })
}

/// The exit code for a run's status.
pub(crate) fn outcome(status: RunStatus) -> Exit {
    if status == RunStatus::Completed { Exit::Success } else { Exit::Failed }
}
