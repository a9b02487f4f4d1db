//! A control plane with an SQLite store and an agent with all roles: in this process, in processes of their own, or
//! somewhere else.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use gleitzeit_agent::{Agent, AgentConfig};
use gleitzeit_control_plane::{Config, StoreConfig, build};
use gleitzeit_proto::v1;
use gleitzeit_proto::v1::system_service_client::SystemServiceClient;
use gleitzeit_proto::v1::workflow_service_client::WorkflowServiceClient;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::scale;
use crate::support::{Cluster, PATIENCE};

/// Answers and workflows of the largest workloads.
const MAX_MESSAGE_BYTES: usize = 128 * 1024 * 1024;

pub(crate) struct Plane {
    pub(crate) client: WorkflowServiceClient<Channel>,
    pub(crate) channel: Channel,
    running: Running,
}

/// What was started for it, and goes with it.
enum Running {
    Elsewhere,
    Here(Box<Here>),
    Processes(Box<Cluster>),
}

struct Here {
    stop_agent: CancellationToken,
    stop_hub: CancellationToken,
    agent: JoinHandle<anyhow::Result<()>>,
    hub: JoinHandle<anyhow::Result<()>>,
    _folder: tempfile::TempDir,
}

impl Plane {
    /// In this process, with limits high enough for everything that is measured; on a store that is there, or a new one.
    pub(crate) async fn start(store: Option<PathBuf>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = StoreConfig::Sqlite(store.unwrap_or_else(|| folder.path().join("journal.db")));
        let config =
            Config { port: 0, store, max_tasks: 2_000_000, max_workflow_bytes: 64 * 1024 * 1024, ..Config::default() };
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
        let here = Here { stop_agent, stop_hub, agent, hub, _folder: folder };
        let plane = Self::at(format!("http://{address}")).await?;
        Ok(Self { running: Running::Here(Box::new(here)), ..plane })
    }

    /// `gleitzeit hub` and `gleitzeit agent`.
    pub(crate) async fn separate() -> anyhow::Result<Self> {
        // Starting processes blocks.
        let cluster = tokio::task::spawn_blocking(|| {
            let mut cluster = Cluster::new();
            cluster.start_hub_with(&["--max-workflow-bytes", "64000000", "--max-tasks", "2000000"]);
            cluster.start_agent("all", "all");
            cluster
        });
        let cluster = cluster.await?;
        let plane = Self::at(cluster.url.clone()).await?;
        let wanted = 3 + crate::support::shipped_providers();
        timeout(PATIENCE, async {
            let mut systems = SystemServiceClient::new(plane.channel.clone());
            loop {
                let request = v1::ListComponentsRequest { page_size: 100, ..Default::default() };
                if systems.list_components(request).await?.into_inner().components.len() >= wanted {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .context("the agent registers in time")??;
        Ok(Self { running: Running::Processes(Box::new(cluster)), ..plane })
    }

    /// One that runs already, with whatever works for it.
    pub(crate) async fn at(url: String) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url)?.tcp_nodelay(true).connect().await?;
        let client = WorkflowServiceClient::new(channel.clone())
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { client, channel, running: Running::Elsewhere })
    }

    /// Another client of the same.
    pub(crate) fn client_only(&self) -> Self {
        Self { client: self.client.clone(), channel: self.channel.clone(), running: Running::Elsewhere }
    }

    /// Memory of its control plane, if that is a process of its own.
    pub(crate) fn resident_bytes(&self) -> Option<f64> {
        match &self.running {
            Running::Processes(cluster) => scale::resident_bytes(cluster).ok(),
            Running::Elsewhere | Running::Here(_) => None,
        }
    }

    pub(crate) async fn submit(&self, yaml: &str) -> anyhow::Result<String> {
        let source = v1::submit_workflow_request::Source::Yaml(yaml.to_owned());
        let request = v1::SubmitWorkflowRequest { source: Some(source), ..v1::SubmitWorkflowRequest::default() };
        Ok(self.client.clone().submit_workflow(request).await?.into_inner().run_id)
    }

    /// Waits until the completion of a run is known to the client.
    pub(crate) async fn completed(&self, run_id: String) -> anyhow::Result<()> {
        let wait = prost_types::Duration { seconds: 60, nanos: 0 };
        loop {
            let request = v1::GetRunRequest { run_id: run_id.clone(), wait: Some(wait), include_results: Some(false) };
            let run = self.client.clone().get_run(request).await?.into_inner().run.context("a run")?;
            if run.status() != v1::RunStatus::Running {
                ensure!(run.status() == v1::RunStatus::Completed, "the run is {:?}: {:?}", run.status(), run.error);
                return Ok(());
            }
        }
    }

    /// Submits a workflow and waits until its completion is known to the client.
    pub(crate) async fn run(&self, yaml: &str) -> anyhow::Result<()> {
        self.completed(self.submit(yaml).await?).await
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.running {
            Running::Elsewhere => Ok(()),
            Running::Here(here) => {
                here.stop_agent.cancel();
                timeout(PATIENCE, here.agent).await.context("the agent stops in time")???;
                here.stop_hub.cancel();
                timeout(PATIENCE, here.hub).await.context("the control plane stops in time")??
            }
            Running::Processes(mut cluster) => {
                tokio::task::spawn_blocking(move || drop(cluster.terminate(PATIENCE))).await?;
                Ok(())
            }
        }
    }
}
