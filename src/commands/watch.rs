//! `gleitzeit watch`: a run's events to its end.

use crate::cli::{Format, WatchArgs};
use crate::document::EventDocument;
use crate::error::{CommandResult, Exit};
use crate::follow::outcome;
use crate::signals::{OnSignal, block_on};
use crate::{client, output, view};

pub(crate) fn run(args: WatchArgs) -> CommandResult {
    // The run goes on whoever watches.
    block_on(OnSignal::Drop, |_| async move {
        let client = client::connect(&args.client).await?;
        let run_id = client::find_run(&client, &args.run).await?;
        let format = args.output.format;
        let mut watch = client.watch(&run_id, args.from);
        while let Some(event) = watch.next().await? {
            match format {
                Format::Table => {
                    if let Some(line) = view::event(&event) {
                        output::print(&format!("{}  {line}\n", view::time(event.time)))?;
                    }
                }
                Format::Json | Format::Yaml => output::one_of_many(format, &EventDocument::from(&event))?,
            }
        }
        Ok(watch.run().map_or(Exit::Success, |run| outcome(run.status)))
    })
}
