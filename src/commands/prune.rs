//! `gleitzeit prune`: removes finished runs now, of the control plane and of `gleitzeit run`.

use gleitzeit_sdk::Client;

use crate::cli::{ClientArgs, DEFAULT_RETENTION, PruneArgs};
use crate::document::Pruned;
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{client, output, past};

pub(crate) fn run(args: PruneArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let is_here = args.client.hub_url.is_none();
        let plane = plane(&args.client).await?;
        let mut document = Pruned { runs: 0, entries: 0, run_stores: 0 };
        if is_here {
            // Files are removed: not on the runtime's own threads.
            let age = args.older_than.unwrap_or(DEFAULT_RETENTION);
            let removed = tokio::task::spawn_blocking(move || past::prune(age)).await;
            document.run_stores = removed.map_err(|error| CommandError::internal(error.to_string()))?;
        }
        if let Some(plane) = plane {
            let pruned = plane.prune(args.older_than).await?;
            (document.runs, document.entries) = (pruned.runs, pruned.entries);
        }
        output::document(args.output.format(), &document, |it| {
            let stores =
                if is_here { format!("removed {} runs of `gleitzeit run`\n", it.run_stores) } else { String::new() };
            format!("removed {} runs with {} entries\n{stores}", it.runs, it.entries)
        })?;
        Ok(Exit::Success)
    })
}

/// The control plane; none if none is named and nobody listens at the default address.
async fn plane(args: &ClientArgs) -> Result<Option<Client>, CommandError> {
    match Client::connect(client::config(args)).await {
        Ok(client) => Ok(Some(client)),
        Err(error) if args.hub_url.is_none() && client::nobody_listens(&error) => Ok(None),
        Err(error) => Err(client::no_answer(error.into())),
    }
}
