//! `gleitzeit prune`: removes finished runs now, on the control plane and in the stores of `gleitzeit run`, and
//! unused protocols.

use std::time::Duration;

use gleitzeit_sdk::{self as sdk, Client};

use crate::cli::{DEFAULT_RETENTION, PruneArgs};
use crate::document::Pruned;
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{client, hub_url, output, run_stores};

pub(crate) fn run(args: PruneArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let of_runs = match hub_url::named(args.client.hub_url.as_deref()) {
            Some(_) => None,
            None => Some(of_runs(args.older_than.unwrap_or(DEFAULT_RETENTION)).await?),
        };
        let (stores, left) = of_runs.unzip();
        let said = stores.map_or_else(String::new, |stores| format!("removed {stores} stores of `gleitzeit run`\n"));
        let on_plane = match on_plane(&args).await {
            Ok(pruned) => pruned,
            Err(error) => {
                // The rest is done all the same.
                stores.iter().for_each(|_| output::note(said.trim_end()));
                return Err(error);
            }
        };
        let sdk::Pruned { runs, entries, protocols } = on_plane;
        let document = Pruned { runs, entries, run_stores: stores.unwrap_or_default(), protocols };
        output::document(args.output.format(), &document, |it| {
            let protocols = match it.protocols {
                0 => String::new(),
                1 => ", and 1 unused protocol".to_owned(),
                many => format!(", and {many} unused protocols"),
            };
            format!("removed {} runs with {} entries{protocols}\n{said}", it.runs, it.entries)
        })?;
        Ok(if left.is_some_and(|left| left > 0) { Exit::Failed } else { Exit::Success })
    })
}

/// How many stores of `gleitzeit run` were removed, and how many could not be. Runs on a blocking thread, since it
/// works on files.
async fn of_runs(age: Duration) -> Result<(u64, usize), CommandError> {
    let removed = tokio::task::spawn_blocking(move || run_stores::prune(age)).await;
    removed.map_err(|error| CommandError::internal(error.to_string()))
}

/// Prunes the control plane; nothing if none is named and none listens at the default address.
async fn on_plane(args: &PruneArgs) -> Result<sdk::Pruned, CommandError> {
    match Client::connect(client::config(&args.client)).await {
        Ok(client) => Ok(client.prune(args.older_than).await?),
        Err(error) if hub_url::named(args.client.hub_url.as_deref()).is_none() && client::nobody_listens(&error) => {
            output::note(&format!(
                "no control plane answers at {}: only the stores of `gleitzeit run` were pruned",
                gleitzeit_sdk::DEFAULT_URL
            ));
            Ok(sdk::Pruned::default())
        }
        Err(error) => Err(client::unreached(error, &args.client)),
    }
}
