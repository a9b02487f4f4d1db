//! A control plane from configuration to shutdown: journal, hub, API and health checks on one port.

mod upkeep;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn;
use futures_util::future::{join, join_all};
use gleitzeit_mesh::wire::{LocalHub, ProtocolDefinition};
use gleitzeit_protocols::Registry;
use gleitzeit_run as run;
use gleitzeit_run::event::ProtocolRegistered;
use gleitzeit_run::{Request, Verdict};
use gleitzeit_workflow::ProtocolName;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::config::{Config, StoreConfig};
use crate::connection::{CuttableListener, Limits};
use crate::http::{self, Readiness};
use crate::hub::{self, Admission, HubTask};
use crate::journal::{
    Journal, JournalError, MemoryStore, SqliteStore, Store, StoreError, WriterConfig, WriterError, WriterHandle,
};
use crate::metrics::Metrics;
use crate::port::{self, Fronts};
use crate::trace::{Cursor, Exporter};

/// Engine.IO's own pings. They detect sockets that never answer heartbeats, and components notice by them that the hub
/// is unreachable. Together with the time that components work alone, the sum must not be much longer than the time the
/// hub waits for an engine.
const PINGS: hub::Pings = hub::Pings { interval: Duration::from_secs(5), timeout: Duration::from_secs(10) };

/// Why a control plane could not start or continue.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration is not valid.
    #[error("CONFIGURATION_ERROR: {}", .0.join("; "))]
    Config(Vec<String>),
    /// The store cannot be used.
    #[error("the journal in {store} cannot be used")]
    Store {
        /// The store.
        store: StoreConfig,
        /// What went wrong.
        #[source]
        source: StoreError,
    },
    /// The journal's writer has stopped.
    #[error("the journal has stopped")]
    Journal(#[from] JournalError),
    /// The journal's writer failed.
    #[error("the journal cannot be written")]
    Writer(#[source] WriterError),
    /// The control plane cannot listen on the address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The listener failed.
    #[error("the listener failed")]
    Serve(#[source] io::Error),
}

/// A control plane that is bound to its address and has replayed its journal.
#[derive(Debug)]
pub struct App {
    config: Config,
    address: SocketAddr,
    listener: TcpListener,
    journal: Journal,
    writer: WriterHandle,
    hub: HubTask,
    hub_handle: hub::HubHandle,
    entrance: hub::Entrance,
    metrics: Option<Metrics>,
    readiness: Readiness,
}

/// Health checks for a running control plane.
#[derive(Clone, Debug)]
pub struct Liveness {
    readiness: Readiness,
    journal: Journal,
    hub: hub::HubHandle,
}

impl Liveness {
    /// Makes `/readyz` report from now on that the control plane is not usable: it only waits for its workers to drain.
    pub fn leave(&self) {
        self.readiness.set(false);
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&self) {
        self.readiness.wait().await;
    }

    /// Whether the journal and the hub are still working; waits until both answer.
    pub async fn is_alive(&self) -> bool {
        let (journal, hub) = join(self.journal.answers(), self.hub.served()).await;
        journal.is_ok() && hub.is_some()
    }
}

/// Validates the configuration, binds the port, opens the store and replays all unfinished runs.
///
/// # Errors
/// If any of these fails; nothing is left behind.
pub async fn build(config: Config) -> Result<App, Error> {
    let problems = config.validate();
    if !problems.is_empty() {
        return Err(Error::Config(problems));
    }
    let address = SocketAddr::new(config.host, config.port);
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;

    let limits = run::Limits { max_payload_bytes: config.max_payload_bytes };
    let metrics = config.metrics.as_ref().map(|source| Metrics::new(&source.meter));
    let writer_config = WriterConfig {
        limits,
        replay_bytes: config.max_replay_bytes,
        metrics: metrics.clone(),
        ..WriterConfig::default()
    };
    let store = config.store.clone();
    // Opening and replaying read files, so this must not run on the runtime's worker threads.
    let started = tokio::task::spawn_blocking(move || {
        let store: Box<dyn Store> = match store {
            StoreConfig::Sqlite(path) => Box::new(SqliteStore::open(&path)?),
            StoreConfig::Memory => Box::new(MemoryStore::default()),
        };
        Journal::start(store, writer_config)
    });
    let started = started.await.map_err(|_| JournalError::Closed)?;
    let (journal, port, writer) = started.map_err(|source| Error::Store { store: config.store.clone(), source })?;
    register_protocols(&config, &journal).await?;

    let hub_config = gleitzeit_mesh::hub::Config { max_payload_bytes: config.max_payload_bytes, ..config.hub.clone() };
    let (hub, hub_handle, entrance) = HubTask::new(hub_config, journal.clone(), port, metrics.clone());
    let readiness = Readiness::default();
    Ok(App { config, address, listener, journal, writer, hub, hub_handle, entrance, metrics, readiness })
}

/// Registers the protocols from the configuration, all together so that they share one commit.
async fn register_protocols(config: &Config, journal: &Journal) -> Result<(), Error> {
    let proposals = config.registry.definitions().map(|definition| {
        let is_shipped = Registry::ships(definition);
        let ProtocolDefinition { name, version, methods } = definition.clone();
        let protocol = ProtocolRegistered { name, version, methods };
        journal.propose(match is_shipped {
            true => Request::ShipProtocol { protocol },
            false => Request::RegisterProtocol { protocol },
        })
    });
    let names = config.registry.definitions().map(|it| ProtocolName::new(&it.name, &it.version)).collect();
    let (kept, verdicts) = join(journal.keep_protocols(names), join_all(proposals)).await;
    kept?;
    for verdict in verdicts {
        if let Verdict::Invalid(failure) = verdict? {
            tracing::warn!(error = %failure, "a protocol differs from the one that the journal knows under its name");
        }
    }
    Ok(())
}

impl App {
    /// The address on which the control plane listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Health checks, for code that supervises the running control plane.
    pub fn liveness(&self) -> Liveness {
        let (readiness, journal, hub) = (self.readiness.clone(), self.journal.clone(), self.hub_handle.clone());
        Liveness { readiness, journal, hub }
    }

    /// The hub, for roles in this process.
    pub fn local_hub(&self) -> Arc<dyn LocalHub> {
        Arc::new(hub::Local(self.entrance.clone()))
    }

    /// Serves until `stop` is cancelled; then finishes the requests in progress, closes the journal and returns.
    ///
    /// # Errors
    /// If the journal's writer or the listener failed. Everything that was acknowledged is in the journal.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let (readiness, address) = (self.readiness.clone(), self.address);
        // The writer ends once nobody can write any more; until the stop that would be a failure.
        let journal = self.journal.clone();
        let (mut running, mut writer) = self.start(stop.child_token()).await?;
        readiness.set(true);
        tracing::info!(%address, "control plane is ready");

        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = writer.ended() => ended.map_err(Error::Writer).and(Err(Error::Journal(JournalError::Closed))),
            served = running.served() => served,
        };
        readiness.set(false);
        running.stop().await;
        drop(journal);
        let stopped = writer.stop().await.map_err(Error::Writer);
        ended.and(stopped)
    }

    /// Starts the hub, the periodic tasks, the export of traces and the server. The export ends in [`Running::stop`], the
    /// others once `stopping` is cancelled.
    async fn start(self, stopping: CancellationToken) -> Result<(Running, WriterHandle), Error> {
        let admission = Arc::new(Admission {
            token: self.config.token.clone(),
            allow_origins: self.config.allow_origins.clone(),
            ..Admission::default()
        });
        let measured = self.measured(&admission);
        let fronts = self.fronts(&admission, measured.clone(), &stopping);
        let traces = export_traces(&self.config, &self.journal).await?;

        let Self { config, listener, journal, writer, hub, hub_handle, .. } = self;

        let mut tasks = JoinSet::new();
        tasks.spawn(hub.run(stopping.clone()));
        upkeep::start(&mut tasks, &config, &journal, &hub_handle, &stopping);
        upkeep::refresh_pushed(&mut tasks, measured, &stopping);

        let limits = Limits { all: config.max_connections, of_address: config.connections_of_address() };
        let listener = CuttableListener::new(listener, limits);
        let connections = listener.cut_all.clone();
        let server = tokio::spawn(port::serve(listener, fronts, stopping.clone()));
        let running = Running { stopping, tasks, server, connections, traces, grace: config.stop_grace };
        Ok((running, writer))
    }

    /// What `/metrics` is answered from, if metrics are enabled.
    fn measured(&self, admission: &Arc<Admission>) -> Option<http::MetricsEndpoint> {
        let (metrics, source) = self.metrics.clone().zip(self.config.metrics.clone())?;
        let (journal, hub, admission) = (self.journal.clone(), self.hub_handle.clone(), admission.clone());
        Some(http::MetricsEndpoint { metrics, source, journal, hub, admission })
    }

    /// The services behind the port, with the checks that a request must pass.
    fn fronts(
        &self,
        admission: &Arc<Admission>,
        measured: Option<http::MetricsEndpoint>,
        stopping: &CancellationToken,
    ) -> Fronts {
        let state = api::State::new(&self.config, self.journal.clone(), self.hub_handle.clone(), stopping.clone());
        let workflows = api::workflows(state.clone());
        let (of_handshakes, of_origins) = (admission.clone(), admission.clone());
        let handshakes = move |request, next| hub::check_handshake(of_handshakes.clone(), request, next);
        let origins = move |request, next| hub::check_origin(of_origins.clone(), request, next);
        let router = api::routes(state, &self.config.allow_origins)
            .merge(http::routes(self.readiness.clone()))
            .merge(measured.map(http::metrics).unwrap_or_default())
            .fallback(http::answer_unknown_path)
            .layer(hub::layer(admission.clone(), self.entrance.clone(), PINGS))
            .layer(from_fn(hub::check_upgrade))
            .layer(from_fn(handshakes))
            .layer(from_fn(origins));
        let hosts = hub::Hosts::new(self.address.ip(), &self.config.allow_hosts, self.config.token.is_some());
        Fronts::new(workflows, router, hosts)
    }
}

/// Starts to export the traces of runs, if they go anywhere.
async fn export_traces(config: &Config, journal: &Journal) -> Result<Option<Traces>, Error> {
    let Some(sink) = config.traces.clone() else { return Ok(None) };
    let stop = CancellationToken::new();
    let cursor = Cursor::of(config.store.file());
    let exporter = Exporter::start(journal.clone(), cursor, sink, stop.clone(), config.stop_grace).await?;
    Ok(Some(Traces { exporter, stop }))
}

/// The export of traces, and the token that ends it.
struct Traces {
    exporter: Exporter,
    stop: CancellationToken,
}

/// Everything of a control plane that runs, except for the journal's writer.
struct Running {
    stopping: CancellationToken,
    /// The hub and the periodic tasks.
    tasks: JoinSet<()>,
    server: JoinHandle<()>,
    /// Closes all connections that are still open.
    connections: CancellationToken,
    traces: Option<Traces>,
    /// How long to wait for the tasks, and then for the server.
    grace: Duration,
}

impl Running {
    /// Waits until the server has ended, which it does only after a stop. Cancel-safe.
    async fn served(&mut self) -> Result<(), Error> {
        (&mut self.server).await.map_err(|error| Error::Serve(io::Error::other(error)))
    }

    /// Stops the hub, then the server, then the export of traces, because requests in progress can still end runs.
    async fn stop(self) {
        let Self { stopping, mut tasks, mut server, connections, traces, grace } = self;
        stopping.cancel();
        if timeout(grace, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("the hub did not stop in time");
        }
        if !server.is_finished() && timeout(grace, &mut server).await.is_err() {
            tracing::info!("open connections were closed");
            server.abort();
        }
        // Mesh connections have no end of their own; their components reconnect once a control plane listens here
        // again.
        connections.cancel();
        if let Some(Traces { exporter, stop }) = traces {
            stop.cancel();
            exporter.ended().await;
        }
    }
}
