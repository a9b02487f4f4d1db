//! `gleitzeit prune`: removes finished runs, and protocols that nobody uses, now.

use crate::cli::PruneArgs;
use crate::document::Pruned;
use crate::error::{CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{client, output};

pub(crate) fn run(args: PruneArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let client = client::connect(&args.client).await?;
        let pruned = client.prune(args.older_than).await?;
        let document = Pruned { runs: pruned.runs, entries: pruned.entries, protocols: pruned.protocols };
        output::document(args.output.format(), &document, |it| {
            let protocols = match it.protocols {
                0 => String::new(),
                1 => ", and 1 protocol that nobody uses".to_owned(),
                many => format!(", and {many} protocols that nobody uses"),
            };
            format!("removed {} runs with {} entries{protocols}\n", it.runs, it.entries)
        })?;
        Ok(Exit::Success)
    })
}
