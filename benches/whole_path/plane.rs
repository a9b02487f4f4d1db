//! A control plane with an SQLite store and an agent with all roles, in this process, over real sockets.

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
        let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
        let client = WorkflowServiceClient::new(channel.clone());
        Ok(Self { client, channel, stop_agent, stop_hub, agent, hub, _folder: folder })
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop_agent.cancel();
        timeout(PATIENCE, self.agent).await.context("the agent stops in time")???;
        self.stop_hub.cancel();
        timeout(PATIENCE, self.hub).await.context("the control plane stops in time")??
    }
}
