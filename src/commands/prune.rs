//! `gleitzeit prune`: removes finished runs now.

use crate::cli::PruneArgs;
use crate::document::Pruned;
use crate::error::{CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{client, output};

pub(crate) fn run(args: PruneArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let client = client::connect(&args.client).await?;
        let pruned = client.prune(args.older_than).await?;
        let document = Pruned { runs: pruned.runs, entries: pruned.entries };
        output::document(args.output.format(), &document, |it| {
            format!("removed {} runs with {} entries\n", it.runs, it.entries)
        })?;
        Ok(Exit::Success)
    })
}
