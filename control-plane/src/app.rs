//! A control plane from configuration to shutdown: journal, hub, API and health checks on one port.

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
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::config::{Config, StoreConfig};
use crate::connection::{CuttableListener, Limits};
use crate::http::{self, Readiness};
use crate::hub::{self, Admission, HubTask};
use crate::journal::{
    Journal, JournalError, MemoryStore, PrunedProtocols, Removed, SqliteStore, Store, StoreError, WriterConfig,
    WriterError, WriterHandle,
};
use crate::metrics::Metrics;
use crate::port::{self, Fronts};
use crate::trace::{Cursor, Exporter};

/// Engine.IO's own pings. They detect sockets that never answer heartbeats, and components notice by them that the hub
/// is unreachable. Together with the time that components work alone, the sum must not be much longer than the time the
/// hub waits for an engine.
const PINGS: hub::Pings = hub::Pings { interval: Duration::from_secs(5), timeout: Duration::from_secs(10) };

/// How often gauges are refreshed when metrics are pushed.
const REFRESH_METRICS_EVERY: Duration = Duration::from_secs(10);

/// How often to check that the store is still in place while nothing is recorded.
const CHECK_STORE_EVERY: Duration = Duration::from_secs(5);

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
        let Self { config, address, listener, journal, mut writer, hub, hub_handle, entrance, metrics, readiness } =
            self;
        // Cancelled only after everything that can still end a run.
        let stop_traces = CancellationToken::new();
        let admission = Arc::new(Admission {
            token: config.token.clone(),
            allow_origins: config.allow_origins.clone(),
            ..Admission::default()
        });
        let socket_layer = hub::layer(admission.clone(), entrance, PINGS);
        let stopping = stop.child_token();
        let measured = metrics.zip(config.metrics.clone()).map(|(metrics, source)| {
            let (journal, hub, admission) = (journal.clone(), hub_handle.clone(), admission.clone());
            http::MetricsEndpoint { metrics, source, journal, hub, admission }
        });
        let hub_for_retention = hub_handle.clone();
        let state = api::State::new(&config, journal.clone(), hub_handle, stopping.clone());
        let guard = admission.clone();
        let handshakes = move |request, next| hub::check_handshake(guard.clone(), request, next);
        let origins = move |request, next| hub::check_origin(admission.clone(), request, next);
        let workflows = api::workflows(state.clone());
        let router = api::routes(state, &config.allow_origins)
            .merge(http::routes(readiness.clone()))
            .merge(measured.clone().map(http::metrics).unwrap_or_default())
            .fallback(http::answer_unknown_path)
            .layer(socket_layer)
            .layer(from_fn(hub::check_upgrade))
            .layer(from_fn(handshakes))
            .layer(from_fn(origins));

        let mut tasks = JoinSet::new();
        tasks.spawn(hub.run(stopping.clone()));
        if let Some(measured) = measured.filter(|measured| measured.source.is_pushed) {
            let stop = stopping.clone();
            tasks.spawn(async move {
                stop.run_until_cancelled(measured.refresh_periodically(REFRESH_METRICS_EVERY)).await;
            });
        }
        let (looked_after, stop_looking) = (journal.clone(), stopping.clone());
        tasks.spawn(async move {
            stop_looking.run_until_cancelled(watch_store(looked_after)).await;
        });
        if let Some(age) = config.retention {
            let hub = hub_for_retention;
            tasks.spawn(retain(journal.clone(), hub, age, config.retention_every, stopping.clone()));
        }
        let traces = match &config.traces {
            Some(sink) => {
                let cursor = Cursor::of(config.store.file());
                let stop = stop_traces.clone();
                Some(Exporter::start(journal.clone(), cursor, sink.clone(), stop, config.stop_grace).await?)
            }
            None => None,
        };
        let limits = Limits { all: config.max_connections, of_address: config.connections_of_address() };
        let hosts = hub::Hosts::new(address.ip(), &config.allow_hosts, config.token.is_some());
        let listener = CuttableListener::new(listener, limits);
        let connections = listener.cut_all.clone();
        let fronts = Fronts::new(workflows, router, hosts);
        let mut serve = tokio::spawn(port::serve(listener, fronts, stopping.clone()));
        readiness.set(true);
        tracing::info!(%address, "control plane is ready");

        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = writer.ended() => ended.map_err(Error::Writer).and(Err(Error::Journal(JournalError::Closed))),
            // Serving ends by itself only after it was told to stop.
            served = &mut serve => served.map_err(|error| Error::Serve(io::Error::other(error))),
        };
        readiness.set(false);
        stopping.cancel();
        if timeout(config.stop_grace, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("the hub did not stop in time");
        }
        if !serve.is_finished() && timeout(config.stop_grace, &mut serve).await.is_err() {
            tracing::info!("open connections were closed");
            serve.abort();
        }
        // Mesh connections have no end of their own; their components reconnect once a control plane listens here
        // again.
        connections.cancel();
        stop_traces.cancel();
        if let Some(traces) = traces {
            traces.ended().await;
        }
        drop(journal);
        let stopped = writer.stop().await.map_err(Error::Writer);
        ended.and(stopped)
    }
}
