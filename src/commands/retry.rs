//! `gleitzeit retry`: repeats a failed or cancelled run as a new run that keeps completed results.

use crate::cli::{Format, RetryArgs};
use crate::document::Submitted;
use crate::error::{CommandResult, Exit};
use crate::find_runs::{self, Found};
use crate::output;
use crate::signals::{OnSignal, block_on};

pub(crate) fn run(args: RetryArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let found = find_runs::find(&args.client, &args.run).await?;
        find_runs::refuse_retry(&found).await?;
        let Found { client, run_id, .. } = found;
        let run = client.retry(&run_id, args.request_id.as_deref(), args.all).await?;
        let submitted = Submitted::of(&run);
        output::document(args.output.format(), &submitted, |submitted| format!("{}\n", submitted.run_id))?;
        if args.output.format() == Format::Table {
            output::note(&format!("retries {run_id}; follow it with `gleitzeit watch {}`", run.id()));
        }
        Ok(Exit::Success)
    })
}
