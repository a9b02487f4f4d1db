//! `gleitzeit cancel`: asks a run to end.

use gleitzeit_sdk::RunStatus;

use crate::cli::CancelArgs;
use crate::document::CancelDocument;
use crate::error::{CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{client, output};

pub(crate) fn run(args: CancelArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let client = client::connect(&args.client).await?;
        let run_id = client::find_run(&client, &args.run).await?;
        let cancelled = client.cancel(&run_id, &args.reason).await?;
        let document =
            CancelDocument { run_id: &run_id, status: cancelled.status, open_attempts: cancelled.open_attempts };
        output::document(args.output.format, &document, |document| match document.status {
            RunStatus::Running if document.open_attempts == 1 => format!("{run_id} ends: 1 attempt is being stopped\n"),
            RunStatus::Running => format!("{run_id} ends: {} attempts are being stopped\n", document.open_attempts),
            _ => format!("{run_id} is cancelled\n"),
        })?;
        Ok(Exit::Success)
    })
}
