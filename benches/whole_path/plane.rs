//! A control plane with an SQLite store and an agent with all roles, in this process, over real sockets; or one that
//! runs elsewhere.

use std::time::Duration;

use anyhow::Context;
use gleitzeit_agent::{Agent, AgentConfig};
use gleitzeit_control_plane::{Config, StoreConfig, build};
use gleitzeit_proto::v1::workflow_service_client::WorkflowServiceClient;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Plane {
    pub(crate) client: WorkflowServiceClient<Channel>,
    pub(crate) channel: Channel,
    own: Option<Own>,
}

/// What runs in this process.
struct Own {
    stop_agent: CancellationToken,
    stop_hub: CancellationToken,
    agent: JoinHandle<anyhow::Result<()>>,
    hub: JoinHandle<anyhow::Result<()>>,
    _folder: tempfile::TempDir,
}

impl Plane {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config =
            Config { port: 0, store: StoreConfig::Sqlite(folder.path().join("journal.db")), ..Config::default() };
        let app = build(config).await?;
        let address = app.local_addr();
        let (stop_hub, stop_agent) = (CancellationToken::new(), CancellationToken::new());
        let hub = tokio::spawn({
            let stop = stop_hub.clone();
            async move { app.run(stop).await.context("the control plane") }
        });
        let agent = Agent::new(AgentConfig { hub_url: format!("http://{address}"), ..AgentConfig::default() })?;
        let mut ready = agent.ready();
        let agent = tokio::spawn({
            let stop = stop_agent.clone();
            async move { agent.run(stop, CancellationToken::new()).await.context("the agent") }
        });
        timeout(PATIENCE, ready.wait_for(|ready| *ready)).await.context("the agent registers in time")??;
        let own = Own { stop_agent, stop_hub, agent, hub, _folder: folder };
        Ok(Self { own: Some(own), ..Self::at(format!("http://{address}")).await? })
    }

    /// One that runs already, with whatever works for it.
    pub(crate) async fn at(url: String) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url)?.tcp_nodelay(true).connect().await?;
        Ok(Self { client: WorkflowServiceClient::new(channel.clone()), channel, own: None })
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let Some(own) = self.own else { return Ok(()) };
        own.stop_agent.cancel();
        timeout(PATIENCE, own.agent).await.context("the agent stops in time")???;
        own.stop_hub.cancel();
        timeout(PATIENCE, own.hub).await.context("the control plane stops in time")??
    }
}
