//! Refusals for runs that no control plane serves, with what can be done instead.

use gleitzeit_control_plane::unserved_stores::{Kind, Whereabouts};
use gleitzeit_sdk::{Cancelled, Run, RunStatus};
use gleitzeit_workflow::ErrorCode;

use super::Found;
use crate::error::{CommandError, Exit};
use crate::states;

/// Refuses to cancel a run that no control plane serves. If the run is cancelled already, returns its status.
///
/// # Errors
/// Why nobody can cancel it now, and what to do.
pub(crate) async fn refuse_cancel(found: &Found) -> Result<Option<Cancelled>, CommandError> {
    let Some(kept) = &found.kept else { return Ok(None) };
    let run = found.client.get_run(&found.run_id).await?;
    match run.status {
        RunStatus::Cancelled => Ok(Some(Cancelled { status: run.status, open_attempts: 0 })),
        RunStatus::Running => {
            Err(running(kept, &run).hint(going_on(found, kept, Some(&format!("gleitzeit cancel {}", run.run_id)))))
        }
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
        RunStatus::Running => running(kept, &run).hint(going_on(found, kept, None)),
        RunStatus::Completed => refused(format!("{}; only a failed or cancelled one can be retried", standing(&run))),
        RunStatus::Failed | RunStatus::Cancelled => {
            let message = format!("{}, and a retry needs a control plane that serves its store", standing(&run));
            refused(message).hint(going_on(found, kept, Some(&format!("gleitzeit retry {}", run.run_id))))
        }
    })
}

fn running(kept: &Whereabouts, run: &Run) -> CommandError {
    let id = &run.run_id;
    refused(match (run.is_interrupted(), kept.kind) {
        (true, _) => format!("run {id} is interrupted: no process works on it"),
        (false, Kind::Run) => format!("run {id} runs in another process, and only that process can end it"),
        (false, Kind::ControlPlane) => format!("run {id} runs on a control plane at another address"),
    })
}

/// How a control plane could serve the store, and what to do then; or which process has the store open now.
fn going_on(found: &Found, kept: &Whereabouts, then: Option<&str>) -> String {
    const NAME_IT: &str = "name its control plane with --hub-url or GLEITZEIT_HUB_URL";
    let store = match kept.kind {
        Kind::Run if kept.is_held => {
            return format!("press Ctrl-C in the `gleitzeit run` that works on it; or, if none does, {NAME_IT}");
        }
        Kind::ControlPlane if kept.is_held => return NAME_IT.to_owned(),
        Kind::Run => format!(" --store sqlite:{}", kept.store.display()),
        Kind::ControlPlane => String::new(),
    };
    let (port, url) = match found.is_plane_there {
        true => (" --port 8001", " --hub-url http://localhost:8001"),
        false => ("", ""),
    };
    let start = format!("`gleitzeit start --background{port}{store}`");
    then.map_or_else(|| format!("{start} continues it"), |then| format!("{start}, then `{then}{url}`"))
}

fn standing(run: &Run) -> String {
    format!("run {} is {}", run.run_id, states::run_status(run.status))
}

fn refused(message: String) -> CommandError {
    CommandError::new(Exit::Failed, ErrorCode::WorkflowInvalidState, message)
}
