//! `gleitzeit run`: executes a workflow file and prints its result. Control plane and worker run in this process, with
//! a separate store, unless a control plane is named. The store is kept, so that the run can be inspected later.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gleitzeit_agent::AgentConfig;
use gleitzeit_sdk::{Client, ClientConfig};
use gleitzeit_workflow::spec::{Limits, WithProviders};
use tokio_util::sync::CancellationToken;

use crate::cli::{Format, RunArgs};
use crate::error::{CommandError, CommandResult};
use crate::follow::{Followed, OnInterrupt, finish, follow};
use crate::plane::Plane;
use crate::progress::Progress;
use crate::run_stores::{OwnFolder, Reached};
use crate::signals::{OnSignal, Threads, block_on, block_on_threads};
use crate::telemetry::Telemetry;
use crate::workflow::{Prepared, Source};
use crate::{client, definitions, hub_url, output, plane_config, run_stores, worker_config, workers, workflow};

pub(crate) fn run(args: RunArgs, telemetry: &Telemetry) -> CommandResult {
    let source = Source::read(&args.file)?;
    match hub_url::named(args.hub_url.as_deref()) {
        Some(hub_url) => elsewhere(&args, hub_url.to_owned(), source),
        None if args.dry_run => super::dry_run::here(&args, source),
        None => here(&args, &source, telemetry),
    }
}

fn elsewhere(args: &RunArgs, hub_url: String, source: Source) -> CommandResult {
    if let Some(flag) = args.only_for_here() {
        let message = format!("`--{flag}` has no effect on a run on another control plane, here {hub_url}");
        let hint = "give it to the control plane or the agents there, or run here: no --hub-url, no GLEITZEIT_HUB_URL";
        return Err(CommandError::usage(message).hint(hint));
    }
    let reach = crate::cli::ClientArgs { hub_url: Some(hub_url), token: args.token.clone() };
    let (given, format) = (args.inputs.clone(), args.output.format());
    if args.dry_run {
        return super::dry_run::there(vec![source], &given, &reach, format);
    }
    block_on(OnSignal::Finish, |stop| async move {
        let client = client::connect(&reach).await?;
        let prepared = workflow::prepare_for(&client, &source, &given).await?;
        output::notes(&prepared.notes);
        let run = workflow::submit(&client, &source, prepared.submission).await?;
        let progress = Progress::new(&prepared.name, prepared.task_count, format);
        let followed = follow(&run, progress, &stop, OnInterrupt::Cancel).await?;
        finish(&run, format, Some(&prepared.last_tasks), followed).await
    })
}

fn here(args: &RunArgs, source: &Source, telemetry: &Telemetry) -> CommandResult {
    let registry = Arc::new(definitions::registry(&args.definitions)?);
    let limits = Limits::of(args.limits.max_workflow_bytes, args.limits.max_tasks);
    let worker = worker_config::from_args(
        &args.worker,
        &["all".to_owned()],
        None,
        args.limits.max_payload_bytes,
        registry.clone(),
    )?;
    let providers = workers::providers_of(&worker);
    let checked = source.check(&WithProviders { catalog: &*registry, providers: &providers }, &limits);
    output::notes(&checked.notes);
    let checked = checked.workflow.map_err(CommandError::problems)?;
    let prepared = workflow::prepare(source, &checked, &args.inputs)?;
    // No other component can connect, because the control plane has a token of its own.
    let worker = AgentConfig { serves_alone: true, ..worker_config::only_for(worker, &checked) };
    let folder = OwnFolder::new()?;
    let of_tasks = registry.only_with(checked.tasks.iter().map(|task| task.method.as_str()));
    let config = telemetry.of(plane_config::for_run(&folder.store(), args, Arc::new(of_tasks)));
    let format = args.output.format();
    let reached = Reached::default();
    let result = block_on_threads(Threads::All, OnSignal::Finish, |stop| {
        let reached = &reached;
        async move {
            let token = config.token.as_ref().map(|token| token.current().to_string());
            let mut plane = Plane::start(config, worker).await?;
            let reach = ClientConfig {
                token,
                traceparent: client::caller(),
                ..ClientConfig::new(hub_url::local_url(plane.address()))
            };
            let result = tokio::select! {
                result = run_once(reach, prepared, format, &stop, reached) => result,
                error = plane.ended() => return Err(error),
            };
            telemetry.ending();
            if let Err(error) = plane.stop().await {
                tracing::warn!(%error, "the shutdown was not orderly");
            }
            result
        }
    });
    folder.leave(&reached, args.retention, format == Format::Table);
    run_stores::tidy(args.retention);
    result
}

async fn run_once(
    reach: ClientConfig,
    prepared: Prepared,
    format: Format,
    stop: &CancellationToken,
    reached: &Reached,
) -> CommandResult {
    let client = Client::connect(reach).await?;
    let run = client.submit(prepared.submission).await?;
    reached.submitted.store(true, Ordering::Relaxed);
    let progress = Progress::new(&prepared.name, prepared.task_count, format);
    let followed = follow(&run, progress, stop, OnInterrupt::Cancel).await?;
    let has_ended = followed == Followed::Ended || {
        let run = client.get_run(run.id()).await;
        run.is_ok_and(|run| run.status.is_final())
    };
    reached.ended.store(has_ended, Ordering::Relaxed);
    finish(&run, format, Some(&prepared.last_tasks), followed).await
}
