//! `--dry-run` of `submit` and `run`: shows what would happen, without doing it.

use std::sync::Arc;

use gleitzeit_sdk::{Client, DEFAULT_URL};
use gleitzeit_workflow::spec::{Limits, WithProviders};

use crate::batch::{Allowed, AnyVariable, Judge, check_all};
use crate::cli::{ClientArgs, Format, InputArgs, RunArgs};
use crate::error::{CommandError, CommandResult, Exit};
use crate::plan::{Plan, Surroundings};
use crate::signals::{OnSignal, block_on};
use crate::workflow::Source;
use crate::{client, definitions, hub_url, output, worker_config, workers};

/// Shows what a control plane would do with these files. If none was named and none answers, shows what is known here.
pub(crate) fn there(sources: Vec<Source>, given: &InputArgs, reach: &ClientArgs, format: Format) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        if let Some(client) = connect(reach).await? {
            let ready = check_all(&sources, given, Judge::ControlPlane(&client), &AnyVariable).await?;
            let surroundings = Surroundings::of_control_plane(&client).await?;
            return print(ready.iter().map(|it| Plan::new(it, &surroundings)).collect(), format);
        }
        let registry = definitions::registry_of_environment()?;
        let ready = check_all(&sources, given, Judge::Here(&registry, &Limits::DEFAULT), &AnyVariable).await?;
        let surroundings = Surroundings::of_nobody(&registry);
        print(ready.iter().map(|it| Plan::new(it, &surroundings)).collect(), format)
    })
}

/// `None` if no control plane was named and none answers; this never starts one.
async fn connect(reach: &ClientArgs) -> Result<Option<Client>, CommandError> {
    match client::connect(reach).await {
        Ok(client) => Ok(Some(client)),
        Err(error) if error.exit == Exit::Unreachable && hub_url::named(reach.hub_url.as_deref()).is_none() => {
            output::note(&format!(
                "no control plane answers at {DEFAULT_URL}: checked locally, without knowing which providers would serve"
            ));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Shows what `run` would do in this process.
pub(crate) fn here(args: &RunArgs, source: Source) -> CommandResult {
    let registry = Arc::new(definitions::registry(&args.definitions)?);
    let limits = Limits::of(args.limits.max_workflow_bytes, args.limits.max_tasks);
    let worker = worker_config::from_args(
        &args.worker,
        &["all".to_owned()],
        None,
        args.limits.max_payload_bytes,
        registry.clone(),
    )?;
    let sources = [source];
    let providers = workers::providers_of(&worker);
    block_on(OnSignal::Drop, |_| async move {
        let known = WithProviders { catalog: &*registry, providers: &providers };
        let ready = check_all(&sources, &args.inputs, Judge::Here(&known, &limits), &Allowed(&args.allow_env)).await?;
        let mut worker = worker;
        for it in &ready {
            worker = worker_config::only_for(worker, &it.bound.workflow);
        }
        let surroundings = Surroundings::of_worker(&worker).await;
        print(ready.iter().map(|it| Plan::new(it, &surroundings)).collect(), args.output.format())
    })
}

/// Prints one document for one file, a list of them for several.
fn print(plans: Vec<Plan<'_>>, format: Format) -> CommandResult {
    let text = |plans: &[Plan<'_>]| plans.iter().map(Plan::text).collect::<Vec<_>>().join("\n");
    match plans.as_slice() {
        [plan] => output::document(format, plan, |_| text(&plans))?,
        several => output::document(format, &several, |_| text(several))?,
    };
    for warning in plans.iter().flat_map(Plan::warnings) {
        output::note(&warning);
    }
    Ok(Exit::Success)
}
