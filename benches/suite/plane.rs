//! A control plane with an SQLite store and an agent with all roles: in one process, in a process each, or somewhere else.

use std::time::Duration;

use anyhow::{Context, ensure};
use gleitzeit_proto::v1;
use gleitzeit_proto::v1::system_service_client::SystemServiceClient;
use gleitzeit_proto::v1::workflow_service_client::WorkflowServiceClient;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Cluster, PATIENCE};

/// Enough for the answers and workflows of the largest workloads.
const MAX_MESSAGE_BYTES: usize = 128 * 1024 * 1024;

/// A running system to measure. `worst` adds the call that it measures.
pub(crate) struct Plane {
    pub(crate) client: WorkflowServiceClient<Channel>,
    pub(crate) channel: Channel,
    running: Running,
}

/// The processes that were started for it; they end with it.
enum Running {
    Elsewhere,
    Processes(Box<Cluster>),
}

/// Limits high enough for everything that is measured.
const LIMITS: [&str; 4] = ["--max-workflow-bytes", "67108864", "--max-tasks", "2000000"];

impl Plane {
    /// Starts `gleitzeit start` on a new store.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_in(Cluster::new()).await
    }

    /// Starts `gleitzeit start` on the store of a cluster in which nothing runs yet.
    pub(crate) async fn start_in(mut cluster: Cluster) -> anyhow::Result<Self> {
        // Starting a process blocks.
        let cluster = tokio::task::spawn_blocking(move || {
            cluster.start_all(&LIMITS);
            cluster
        });
        Self::of(cluster.await?).await
    }

    /// Starts `gleitzeit hub` and `gleitzeit agent`.
    pub(crate) async fn separate() -> anyhow::Result<Self> {
        let cluster = tokio::task::spawn_blocking(|| {
            let mut cluster = Cluster::new();
            cluster.start_hub_with(&LIMITS);
            cluster.start_agent("all", "all");
            cluster
        });
        Self::of(cluster.await?).await
    }

    /// Waits until all roles are connected.
    async fn of(cluster: Cluster) -> anyhow::Result<Self> {
        let plane = Self::at(cluster.url.clone()).await?;
        let wanted = 3 + crate::support::shipped_providers();
        timeout(PATIENCE, async {
            let mut systems = SystemServiceClient::new(plane.channel.clone());
            loop {
                let request = v1::ListComponentsRequest { page_size: 100, ..Default::default() };
                if systems.list_components(request).await?.into_inner().components.len() >= wanted {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .context("the agent registers in time")??;
        Ok(Self { running: Running::Processes(Box::new(cluster)), ..plane })
    }

    /// Uses a control plane that is already running, with whatever agents are connected to it.
    pub(crate) async fn at(url: String) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url)?.tcp_nodelay(true).connect().await?;
        let client = WorkflowServiceClient::new(channel.clone())
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { client, channel, running: Running::Elsewhere })
    }

    /// Another client of the same control plane.
    pub(crate) fn client_only(&self) -> Self {
        Self { client: self.client.clone(), channel: self.channel.clone(), running: Running::Elsewhere }
    }

    /// The memory of the control plane's process, if it was started here.
    pub(crate) fn resident_bytes(&self) -> Option<f64> {
        match &self.running {
            Running::Processes(cluster) => resident_bytes(cluster).ok(),
            Running::Elsewhere => None,
        }
    }

    /// Resets the peak memory of the process; returns the memory in use now.
    pub(crate) fn reset_peak(&self) -> Option<f64> {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()?), "5").ok()?;
        self.resident_bytes()
    }

    /// The peak memory of the process since the reset.
    pub(crate) fn peak_bytes(&self) -> Option<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? * 1_024.0)
    }

    fn pid(&self) -> Option<i32> {
        match &self.running {
            Running::Processes(cluster) => cluster.pids().first().copied(),
            Running::Elsewhere => None,
        }
    }

    pub(crate) async fn submit(&self, yaml: &str) -> anyhow::Result<String> {
        let source = v1::submit_workflow_request::Source::Yaml(yaml.to_owned());
        let request = v1::SubmitWorkflowRequest { source: Some(source), ..v1::SubmitWorkflowRequest::default() };
        Ok(self.client.clone().submit_workflow(request).await?.into_inner().run_id)
    }

    /// Waits until the client knows that a run has completed.
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

    /// Submits a workflow and waits until the client knows that the run has completed.
    pub(crate) async fn run(&self, yaml: &str) -> anyhow::Result<()> {
        self.completed(self.submit(yaml).await?).await
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.running {
            Running::Elsewhere => Ok(()),
            Running::Processes(mut cluster) => {
                tokio::task::spawn_blocking(move || drop(cluster.terminate(PATIENCE))).await?;
                Ok(())
            }
        }
    }
}

/// The memory of the control plane of a cluster.
pub(crate) fn resident_bytes(cluster: &Cluster) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(cluster.hub_resident_mib())?) * 1024.0 * 1024.0)
}
