//! What cannot be done with a run that no control plane serves, and what can.

use gleitzeit_control_plane::kept::{Kind, Whereabouts};
use gleitzeit_core::ErrorCode;
use gleitzeit_sdk::{Cancelled, Run, RunStatus};

use crate::error::{CommandError, Exit};
use crate::view;

use super::Found;

/// Refuses to cancel a run that no control plane serves. One that is cancelled already stays so: how it was is returned.
///
/// # Errors
/// Why nobody can cancel it now, and what to do.
pub(crate) async fn refuse_cancel(found: &Found) -> Result<Option<Cancelled>, CommandError> {
    let Some(kept) = &found.kept else { return Ok(None) };
    let run = found.client.get_run(&found.run_id).await?;
    match run.status {
        RunStatus::Cancelled => Ok(Some(Cancelled { status: run.status, open_attempts: 0 })),
        RunStatus::Running => Err(running(kept, &run, "cancel")),
        RunStatus::Completed | RunStatus::Failed => {
            Err(refused(format!("{}; only a running one can be cancelled", standing(&run))))
        }
    }
}

/// Refuses to retry a run that no control plane serves.
///
/// # Errors
/// Why it cannot be retried here, and what to do.
pub(crate) async fn refuse_retry(found: &Found) -> Result<(), CommandError> {
    let Some(kept) = &found.kept else { return Ok(()) };
    let run = found.client.get_run(&found.run_id).await?;
    Err(match run.status {
        RunStatus::Running => running(kept, &run, "retry"),
        RunStatus::Completed => refused(format!("{}; only a failed or cancelled one can be retried", standing(&run))),
        RunStatus::Failed | RunStatus::Cancelled => {
            refused(format!("{}, and no control plane serves its store, which a retry needs", standing(&run)))
                .hint(start_and(kept, &run, "retry"))
        }
    })
}

fn running(kept: &Whereabouts, run: &Run, command: &str) -> CommandError {
    let id = &run.run_id;
    match (run.is_interrupted(), kept.kind) {
        (true, _) => {
            refused(format!("run {id} is interrupted: nobody works on it now")).hint(start_and(kept, run, command))
        }
        (false, Kind::Run) => refused(format!("run {id} runs in another process, which alone can end it"))
            .hint("press Ctrl-C there, or send SIGINT to that `gleitzeit run`"),
        (false, Kind::ControlPlane) => refused(format!("run {id} runs on a control plane at another address"))
            .hint("name it with --hub-url or GLEITZEIT_HUB_URL"),
    }
}

/// How a control plane gets to serve the store.
fn start_and(kept: &Whereabouts, run: &Run, command: &str) -> String {
    let start = match kept.kind {
        Kind::Run => format!("gleitzeit start --background --store sqlite:{}", kept.store.display()),
        Kind::ControlPlane => "gleitzeit start --background".to_owned(),
    };
    format!("`{start}`, then `gleitzeit {command} {}`", run.run_id)
}

fn standing(run: &Run) -> String {
    format!("run {} is {}", run.run_id, view::run_status(run.status))
}

fn refused(message: String) -> CommandError {
    CommandError::new(Exit::Failed, ErrorCode::WorkflowInvalidState, message)
}
