//! `gleitzeit status`: shows a run, or the control plane itself.

use gleitzeit_sdk::Client;

use crate::cli::{Format, StatusArgs};
use crate::document::{RunDocument, StatusDocument};
use crate::error::{CommandResult, Exit};
use crate::find_runs::{self, Found};
use crate::signals::{OnSignal, block_on};
use crate::text::counted;
use crate::{client, output, view};

pub(crate) fn run(args: StatusArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        match &args.run {
            Some(wanted) => of_run(&find_runs::find(&args.client, wanted).await?, args.output.format()).await,
            None => {
                let client = client::connect_or_start(&args.client, || Ok(())).await?;
                of_control_plane(&client, args.output.format()).await
            }
        }
    })
}

async fn of_run(found: &Found, format: Format) -> CommandResult {
    let run = client::whole_run(&found.client, &found.run_id).await?;
    output::document(format, &RunDocument::from(&run), |_| view::run(&run))?;
    Ok(Exit::Success)
}

async fn of_control_plane(client: &Client, format: Format) -> CommandResult {
    let status = client.status().await?;
    let url = &client.config().url;
    output::document(format, &StatusDocument::new(url, &status), |_| {
        let (runs, parts) = (&status.runs, &status.components);
        view::facts(&[
            ("control plane", format!("{url}, version {}", status.version)),
            ("state", if status.ready { "ready" } else { "not ready" }.to_owned()),
            ("since", view::time(status.started_at)),
            (
                "runs",
                format!(
                    "{} running, {} completed, {} failed, {} cancelled",
                    runs.running, runs.completed, runs.failed, runs.cancelled
                ),
            ),
            (
                "connected",
                [
                    (parts.queue, "queue"),
                    (parts.resolver, "resolver"),
                    (parts.engine, "engine"),
                    (parts.provider, "provider"),
                ]
                .map(|(count, role)| counted(count, role))
                .join(", "),
            ),
        ])
    })?;
    Ok(Exit::Success)
}
