//! Starts the components and ends them in order: engines, then providers, then queue and resolver.
//!
//! The invariant: when [`Agent::run`] returns, everything that it started has ended, even after a forced end.

use std::sync::Arc;
use std::time::Duration;

use gleitzeit_mesh::role::{Identity, engine, provider, queue, resolver};
use gleitzeit_mesh::wire::Role;
use gleitzeit_providers::{Factory, Provider};
use gleitzeit_run::Secret;
use gleitzeit_run::id::ComponentId;
use gleitzeit_workflow::error::Failure;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

use crate::config::{AgentConfig, ConfigError};
use crate::connect::{Connection, Connector, sockets};
use crate::host::engine::EngineHost;
use crate::host::health::HealthWatch;
use crate::host::owners::OwnerHost;
use crate::host::provider::ProviderHost;
use crate::host::session::{DrainSignal, Session};
use crate::host::{Clock, Machine};
use crate::roster::{Member, Roster};

/// The time after which a start that is not finished is logged.
const OVERDUE: Duration = Duration::from_secs(3);
/// How long a component may take beyond its grace period; the limits of the machines are shorter.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// How long the link may take to disconnect cleanly; its own limit is shorter.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long aborted tasks may take to end.
const CUT_OFF: Duration = Duration::from_secs(5);

/// Why an agent could not be built or did not run to its end.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The control plane refused a component for good.
    #[error("the control plane refused component `{component}`")]
    Rejected {
        /// The id of the component.
        component: String,
        /// The control plane's reason.
        #[source]
        error: Failure,
    },
    /// A component ended although it was not asked to.
    #[error("component `{component}` ended unexpectedly")]
    Ended {
        /// The id of the component.
        component: String,
    },
    /// A component panicked or was aborted.
    #[error("a component panicked or was aborted")]
    Broken(#[source] tokio::task::JoinError),
}

/// What one component runs.
enum Kind {
    Queue,
    Resolver,
    Engine,
    Provider(Provider),
}

struct Component {
    identity: Identity,
    kind: Kind,
    connection: Connection,
    member: Member,
}

/// Any mix of roles in this process, ready to run.
pub struct Agent {
    config: AgentConfig,
    connector: Connector,
    roster: Arc<Roster>,
    components: Vec<(Identity, Kind, Member)>,
}

/// Components that are drained together.
struct Group {
    drain: watch::Sender<Option<Duration>>,
    tasks: JoinSet<Result<(), AgentError>>,
}

impl Agent {
    /// Checks the configuration and builds the components; nothing connects before [`Agent::run`].
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: AgentConfig) -> Result<Self, AgentError> {
        Self::with_connector(config, sockets())
    }

    /// Builds an agent like [`Agent::new`], with lines from the caller's connector.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn with_connector(config: AgentConfig, connector: Connector) -> Result<Self, AgentError> {
        config.validate()?;
        let mut kinds = Vec::new();
        for role in &config.roles {
            match role {
                Role::Queue => kinds.push((Role::Queue, config.name.clone(), Kind::Queue)),
                Role::Resolver => kinds.push((Role::Resolver, config.name.clone(), Kind::Resolver)),
                Role::Engine => kinds.push((Role::Engine, config.name.clone(), Kind::Engine)),
                Role::Provider => {
                    for definition in &config.providers {
                        let provider = Factory::build(definition, &config.protocols, &config.settings)
                            .map_err(|error| ConfigError(vec![error.to_string()]))?;
                        kinds.push((Role::Provider, definition.name.clone(), Kind::Provider(provider)));
                    }
                }
            }
        }
        let roster = Roster::new(&config.hub_url);
        let components = kinds.into_iter().map(|(role, name, kind)| {
            let (component_id, secret) = new_id(role, config.is_within_hub);
            let identity = Identity { component_id, secret, name, version: env!("CARGO_PKG_VERSION").to_owned() };
            let member = roster.join(identity.component_id.as_str());
            (identity, kind, member)
        });
        Ok(Self { components: components.collect(), config, connector, roster })
    }

    /// Whether all components are registered now. Turns false again while the control plane is away.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.roster.ready()
    }

    /// The ids of the components, which are new for each agent.
    pub fn component_ids(&self) -> impl Iterator<Item = &ComponentId> {
        self.components.iter().map(|(identity, _, _)| &identity.component_id)
    }

    /// Runs until `shutdown` is cancelled, then drains. Cancelling `force` ends everything at once, including a drain.
    /// The agent does not end when the control plane is away: it reconnects.
    ///
    /// # Errors
    /// If the control plane refuses a component for good, or a component breaks; the others are drained first.
    pub async fn run(self, shutdown: CancellationToken, force: CancellationToken) -> Result<(), AgentError> {
        let tracker = TaskTracker::new();
        let result = tokio::select! {
            result = self.serve(&shutdown, &tracker) => result,
            () = force.cancelled() => {
                warn!("stopped immediately, open work was aborted");
                Ok(())
            }
        };
        // After a drain nothing is left; after an abort everything is gone once its futures are dropped.
        tracker.close();
        if timeout(CUT_OFF, tracker.wait()).await.is_err() {
            error!(tasks = tracker.len(), "aborted work has not ended");
        }
        result
    }

    async fn serve(self, shutdown: &CancellationToken, tracker: &TaskTracker) -> Result<(), AgentError> {
        let (roster, drain_timeout) = (self.roster.clone(), self.config.drain_timeout);
        let [mut engines, mut providers, mut owners] = self.start(tracker)?;
        let overdue = tokio::time::sleep(OVERDUE);
        tokio::pin!(overdue);
        let mut mentioned = false;
        let mut result = loop {
            let ended = tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                () = &mut overdue, if !mentioned => {
                    mentioned = true;
                    roster.overdue();
                    continue;
                }
                Some(ended) = engines.tasks.join_next() => ended,
                Some(ended) = providers.tasks.join_next() => ended,
                Some(ended) = owners.tasks.join_next() => ended,
                else => break Ok(()),
            };
            if let Err(error) = ended.unwrap_or_else(|error| Err(AgentError::Broken(error))) {
                break Err(error);
            }
        };
        info!(grace_ms = drain_timeout.as_millis(), "draining: open work may finish; a second signal aborts it");
        let until = Instant::now().checked_add(drain_timeout);
        for group in [&mut engines, &mut providers, &mut owners] {
            let left = until.map_or(drain_timeout, |until| until.saturating_duration_since(Instant::now()));
            // The first error is the cause; errors of the drain may follow from it.
            let drained = group.finish(left).await;
            result = result.and(drained);
        }
        info!("stopped");
        result
    }

    fn start(self, tracker: &TaskTracker) -> Result<[Group; 3], AgentError> {
        let mut groups = [Group::new(), Group::new(), Group::new()];
        let clock = Clock::start();
        for (identity, kind, member) in self.components {
            let connection =
                (self.connector)(&identity.component_id, self.config.link()).map_err(|error| ConfigError(error.0))?;
            let group = match kind {
                Kind::Engine => 0,
                Kind::Provider(_) => 1,
                Kind::Queue | Kind::Resolver => 2,
            };
            let component = Component { identity, kind, connection, member };
            groups[group].add(component, &self.config, clock, tracker);
        }
        Ok(groups)
    }
}

impl Group {
    fn new() -> Self {
        Self { drain: watch::Sender::new(None), tasks: JoinSet::new() }
    }

    fn add(&mut self, component: Component, config: &AgentConfig, clock: Clock, tracker: &TaskTracker) {
        let Component { identity, kind, connection, member } = component;
        let all_ready = member.all_ready();
        let host = Host { connection, member, clock, drain: self.drain.subscribe(), tracker: tracker.clone() };
        let limit = config.max_payload_bytes;
        let max_disconnected_ms = u64::try_from(config.alone_limit.as_millis()).unwrap_or(u64::MAX);
        match kind {
            Kind::Queue => self.spawn(host, OwnerHost::Queue(queue::Queue::new(identity))),
            Kind::Resolver => self.spawn(host, OwnerHost::Resolver(resolver::Resolver::new(identity, limit))),
            Kind::Engine => {
                let queues = config.queues.clone();
                let settle_ms = if config.serves_alone { 0 } else { engine::SETTLE_MS };
                let (slots, max_payload_bytes) = (config.slots, limit);
                let machine = engine::Config { slots, queues, max_payload_bytes, settle_ms, max_disconnected_ms };
                self.spawn(host, EngineHost::new(engine::Engine::new(identity, machine), limit));
            }
            Kind::Provider(provider) => {
                let definition = provider.definition();
                let protocol = config.protocols.protocol(&definition.protocol, &definition.version);
                let machine = provider::Config {
                    methods: provider.methods().iter().map(|method| method.as_str().into()).collect(),
                    protocols: protocol.iter().map(|protocol| protocol.to_definition()).collect(),
                    max_concurrency: provider.max_concurrency(),
                    capabilities: provider.capabilities(),
                    address: provider.address().map(str::to_owned),
                    max_disconnected_ms,
                };
                let machine = provider::Provider::new(identity, machine);
                let watching = HealthWatch::new(provider.clone(), config.health_interval, all_ready);
                self.spawn(host, ProviderHost::new(machine, provider, limit, watching, tracker.clone()));
            }
        }
    }

    fn spawn<M: Machine + 'static>(&mut self, host: Host, machine: M) {
        let tracker = host.tracker.clone();
        self.tasks.spawn(tracker.track_future(host.run(machine)));
    }

    /// Drains all components and waits until each has ended.
    async fn finish(&mut self, grace: Duration) -> Result<(), AgentError> {
        self.drain.send_replace(Some(grace));
        let mut result = Ok(());
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                let ended = ended.unwrap_or_else(|error| Err(AgentError::Broken(error)));
                result = std::mem::replace(&mut result, Ok(())).and(ended);
            }
        };
        if timeout(grace.saturating_add(STOP_MARGIN), all).await.is_err() {
            error!(components = self.tasks.len(), "components did not end in time and were aborted");
            self.tasks.abort_all();
        }
        result
    }
}

/// Runs one component's machine.
struct Host {
    connection: Connection,
    member: Member,
    clock: Clock,
    drain: DrainSignal,
    tracker: TaskTracker,
}

impl Host {
    async fn run<M: Machine>(self, machine: M) -> Result<(), AgentError> {
        let Self { connection, member, clock, drain, tracker } = self;
        let (component, asked) = (member.id().to_owned(), drain.clone());
        let Connection { line, driver } = connection;
        // A separate task, so that pings are answered while the machine works.
        let driver = AbortOnDropHandle::new(tokio::spawn(tracker.track_future(driver)));
        let ended = Session::new(machine, line, clock, member).run(drain).await;
        if timeout(GOODBYE, driver).await.is_err() {
            warn!(component, "disconnecting took too long");
        }
        match ended {
            Err(error) => Err(AgentError::Rejected { component, error }),
            Ok(()) if asked.borrow().is_none() => Err(AgentError::Ended { component }),
            Ok(()) => Ok(()),
        }
    }
}

/// The id is random, so that a restarted component is not taken for the one before. The secret proves the id, so that
/// no other component can claim it.
fn new_id(role: Role, is_within_hub: bool) -> (ComponentId, Secret) {
    let secret = Secret::new(format!("{:032x}", rand::random::<u128>()));
    (ComponentId::of_secret(role.as_str(), &secret, is_within_hub), secret)
}
