//! Control plane and worker in one process, as `start` and `run` use them. They exchange the usual messages, but hand
//! them over in memory instead of writing them to a socket.

use std::net::SocketAddr;

use gleitzeit_agent::{Agent, AgentConfig, AgentError, within};
use gleitzeit_control_plane::{self as control_plane, Config, Liveness, StoreConfig};
use gleitzeit_workflow::ErrorCode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::denied::Denied;
use crate::error::{CommandError, Exit, chain};
use crate::hub_url;

/// A running control plane and worker. Dropping it aborts both.
pub(crate) struct Plane {
    address: SocketAddr,
    ready: watch::Receiver<bool>,
    liveness: Liveness,
    hub: Part<control_plane::Error>,
    worker: Part<AgentError>,
}

struct Part<E> {
    stop: CancellationToken,
    task: AbortOnDropHandle<Result<(), E>>,
    ended: bool,
}

impl Plane {
    /// Starts both. The worker gets the control plane's address from it, and needs no token.
    ///
    /// # Errors
    /// If either configuration is invalid, or the control plane cannot listen or open its store.
    pub(crate) async fn start(config: Config, worker: AgentConfig) -> Result<Self, CommandError> {
        let max_payload_bytes = config.max_payload_bytes;
        let app = control_plane::build(config).await.map_err(from_control_plane)?;
        let address = app.local_addr();
        let hub_url = hub_url::local_url(address);
        let worker = AgentConfig { hub_url, max_payload_bytes, is_within_hub: true, ..worker };
        let agent = Agent::with_connector(worker, within(app.local_hub())).map_err(from_agent)?;
        let (ready, liveness) = (agent.ready(), app.liveness());
        let (hub_stop, agent_stop) = (CancellationToken::new(), CancellationToken::new());
        let hub = Part::new(hub_stop.clone(), app.run(hub_stop));
        let worker = Part::new(agent_stop.clone(), agent.run(agent_stop, CancellationToken::new()));
        Ok(Self { address, ready, liveness, hub, worker })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle for monitoring the control plane.
    pub(crate) fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// Waits until all roles are registered, or the worker has ended.
    pub(crate) fn ready(&self) -> impl Future<Output = ()> + use<> {
        let mut ready = self.ready.clone();
        async move {
            let _ = ready.wait_for(|ready| *ready).await;
        }
    }

    /// Waits until either ends, which neither should do by itself.
    pub(crate) async fn ended(&mut self) -> CommandError {
        tokio::select! {
            error = self.hub.ended(from_control_plane) => error,
            error = self.worker.ended(from_agent) => error,
        }
    }

    /// Drains the worker, then ends the control plane.
    ///
    /// # Errors
    /// The first error that occurred meanwhile.
    pub(crate) async fn stop(mut self) -> Result<(), CommandError> {
        self.liveness.leave();
        let worker = self.worker.finish(from_agent).await;
        let hub = self.hub.finish(from_control_plane).await;
        worker.and(hub)
    }
}

impl<E: Send + 'static> Part<E> {
    fn new(stop: CancellationToken, run: impl Future<Output = Result<(), E>> + Send + 'static) -> Self {
        Self { stop, task: AbortOnDropHandle::new(tokio::spawn(run)), ended: false }
    }

    async fn ended(&mut self, read: fn(E) -> CommandError) -> CommandError {
        match self.wait(read).await {
            Ok(()) => CommandError::internal("a component of this process has ended unexpectedly"),
            Err(error) => error,
        }
    }

    async fn finish(&mut self, read: fn(E) -> CommandError) -> Result<(), CommandError> {
        self.stop.cancel();
        if self.ended { Ok(()) } else { self.wait(read).await }
    }

    async fn wait(&mut self, read: fn(E) -> CommandError) -> Result<(), CommandError> {
        let result = (&mut self.task).await;
        self.ended = true;
        match result {
            Ok(ended) => ended.map_err(read),
            Err(error) => Err(CommandError::internal(format!("a component of this process failed: {error}"))),
        }
    }
}

/// The error to show when a control plane fails.
pub(crate) fn from_control_plane(error: control_plane::Error) -> CommandError {
    use control_plane::Error;
    use control_plane::journal::{JournalError, StoreError, WriterError};
    let text = chain(&error);
    match &error {
        Error::Config(problems) => {
            let mut error = CommandError::usage(problems.join("; "));
            error.code = ErrorCode::ConfigurationError;
            error
        }
        Error::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            CommandError::new(Exit::Failed, ErrorCode::ConfigurationError, text)
                .hint("choose another --port, or end the control plane that runs there: `gleitzeit stop --port PORT`")
        }
        Error::Store { source: StoreError::InUse(_), .. } => {
            CommandError::new(Exit::Failed, ErrorCode::ConfigurationError, text)
                .hint("a store belongs to one control plane at a time: choose another --store")
        }
        Error::Store { source: cause, .. }
        | Error::Journal(JournalError::Store(cause))
        | Error::Writer(WriterError::Store(cause)) => {
            let Some(code) = cause.code() else { return CommandError::internal(text) };
            let denied = match &error {
                Error::Store { store: StoreConfig::Sqlite(path), .. } => Denied::of(path),
                _ => None,
            };
            match denied {
                Some(denied) => CommandError::new(Exit::Failed, code, format!("{text}; {denied}"))
                    .hint(denied.remedy("name another file with --store (GLEITZEIT_STORE_URL)")),
                None => CommandError::new(Exit::Failed, code, text).hint(code.remedy()),
            }
        }
        Error::Listen { .. } | Error::Journal(_) | Error::Writer(_) | Error::Serve(_) => CommandError::internal(text),
    }
}

/// The error to show when an agent fails.
pub(crate) fn from_agent(error: AgentError) -> CommandError {
    let text = chain(&error);
    match &error {
        AgentError::Config(_) => {
            let mut error = CommandError::usage(text);
            error.code = ErrorCode::ConfigurationError;
            error
        }
        AgentError::Rejected { error: failure, .. } => {
            let code = failure.known().unwrap_or(ErrorCode::InternalError);
            CommandError::new(Exit::Failed, code, text).hint(code.remedy())
        }
        AgentError::Ended { .. } | AgentError::Broken(_) => CommandError::internal(text),
    }
}
