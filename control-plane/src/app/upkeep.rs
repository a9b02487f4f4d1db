//! What a control plane does from time to time: it removes what is old, checks that its store is in place, and refreshes
//! gauges.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::MetricsEndpoint;
use crate::hub;
use crate::journal::{Journal, JournalError, PrunedProtocols, Removed};

/// How often gauges are refreshed when metrics are pushed.
const REFRESH_METRICS_EVERY: Duration = Duration::from_secs(10);

/// How often to check that the store is still in place while nothing is recorded.
const CHECK_STORE_EVERY: Duration = Duration::from_secs(5);

/// Starts the periodic tasks; they end once `stopping` is cancelled.
pub(super) fn start(
    tasks: &mut JoinSet<()>,
    config: &Config,
    journal: &Journal,
    hub: &hub::HubHandle,
    stopping: &CancellationToken,
) {
    let (journal_in_place, stop) = (journal.clone(), stopping.clone());
    tasks.spawn(async move {
        stop.run_until_cancelled(watch_store(journal_in_place)).await;
    });
    if let Some(age) = config.retention {
        tasks.spawn(retain(journal.clone(), hub.clone(), age, config.retention_every, stopping.clone()));
    }
}

/// Refreshes the gauges of metrics that are pushed, until `stopping` is cancelled.
pub(super) fn refresh_pushed(tasks: &mut JoinSet<()>, measured: Option<MetricsEndpoint>, stopping: &CancellationToken) {
    if let Some(measured) = measured.filter(|measured| measured.source.is_pushed) {
        let stop = stopping.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(measured.refresh_periodically(REFRESH_METRICS_EVERY)).await;
        });
    }
}

/// Periodically removes finished runs that are old enough, until `stop` is cancelled.
async fn retain(journal: Journal, hub: hub::HubHandle, age: Duration, every: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let removed = tokio::select! {
            () = stop.cancelled() => return,
            removed = remove_old(&journal, &hub, age, every) => removed,
        };
        match removed {
            Ok(()) => {}
            // The next attempt may find room.
            Err(JournalError::Store(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "old runs could not be removed");
            }
            // The writer has ended; its error is reported elsewhere.
            Err(_) => return,
        }
    }
}

/// Removes finished runs that are old enough, then protocols that nobody has used for as long.
async fn remove_old(
    journal: &Journal,
    hub: &hub::HubHandle,
    age: Duration,
    time: Duration,
) -> Result<(), JournalError> {
    let Removed { runs, entries, .. } = journal.prune(age, time).await?;
    if runs > 0 {
        tracing::info!(runs, entries, "removed old runs");
    }
    // A hub that does not answer is shutting down.
    let Some(served) = hub.served().await else { return Ok(()) };
    let PrunedProtocols { protocols, entries, .. } = journal.prune_protocols(age, &served, time).await?;
    if protocols > 0 || entries > 0 {
        tracing::info!(protocols, entries, "removed unused protocols");
    }
    Ok(())
}

/// Makes the writer notice soon that its store was taken away, rather than at the next submission.
async fn watch_store(journal: Journal) {
    loop {
        tokio::time::sleep(CHECK_STORE_EVERY).await;
        // The writer has ended; its error is reported elsewhere.
        if journal.confirm().await.is_err() {
            return;
        }
    }
}
