//! `gleitzeit agent`: a worker. It runs until it is stopped, also while the control plane is away.

use std::sync::Arc;

use gleitzeit_agent::{Agent, AgentConfig};
use gleitzeit_sdk::DEFAULT_URL;
use tokio_util::sync::CancellationToken;

use crate::cli::AgentArgs;
use crate::error::{CommandResult, Exit};
use crate::plane::from_agent;
use crate::signals::{OnSignal, block_on};
use crate::{definitions, return_memory, service, trust, worker_config};

pub(crate) fn run(args: &AgentArgs) -> CommandResult {
    let registry = Arc::new(definitions::registry_to_serve(&args.definitions)?);
    let hub_url = args.client.hub_url.clone().unwrap_or_else(|| DEFAULT_URL.to_owned());
    let config = AgentConfig {
        token: args.client.token.source()?.or_kept(&hub_url, gleitzeit_link::variable),
        unused_proxy: gleitzeit_link::proxy(&hub_url, |name| std::env::var_os(name)),
        hub_url,
        trust: trust::roots(),
        ..worker_config::from_args(&args.worker, &args.roles, args.name.as_deref(), args.max_payload_bytes, registry)?
    };
    block_on(OnSignal::Finish, |stop| async move {
        let agent = Agent::new(config).map_err(from_agent)?;
        let _returning = return_memory::when_settled();
        // A worker is ready as soon as it runs: it waits for its control plane, however long that is away.
        let _notifier = service::notify(stop.clone(), async {}, || async { true });
        // A second signal drops the running agent.
        agent.run(stop, CancellationToken::new()).await.map_err(from_agent)?;
        Ok(Exit::Success)
    })
}
