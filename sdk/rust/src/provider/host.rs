//! Moves messages and time for the provider's machine, and runs its calls.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use gleitzeit_link::{Link, LinkConfig, LinkEvent, LinkEvents, Pulse, SendError};
use gleitzeit_mesh::id::CallId;
use gleitzeit_mesh::role::provider::{Config, Input, Output, Provider as Machine};
use gleitzeit_mesh::role::{Identity, Input as HubInput, MAX_DISCONNECTED_MS, Output as HubOutput, may_pass};
use gleitzeit_mesh::wire::{FromHub, Health, MethodCall, MethodOutcome, ProtocolDefinition};
use gleitzeit_run::Secret;
use gleitzeit_run::id::ComponentId;
use gleitzeit_workflow::tagged::Body;
use gleitzeit_workflow::{ErrorCode, Failure, Instant, Payload};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant as Clock;
use tokio_util::sync::CancellationToken;

use super::{Call, CallError, Provider};
use crate::config::token_source;
use crate::error::{Error, Result};

/// Progress that may wait to be sent to the control plane; further progress is dropped.
const PROGRESS: usize = 256;
/// How long the connection may take to end.
const CLOSING: Duration = Duration::from_secs(5);

type Ended = std::result::Result<Payload, CallError>;

struct Host {
    provider: Provider,
    machine: Machine,
    link: Link,
    started: Clock,
    calls: JoinSet<Ended>,
    ids: HashMap<Id, CallId>,
    open: HashMap<CallId, AbortHandle>,
    progress: mpsc::Sender<(CallId, Payload)>,
    pulse: Pulse,
    /// How often the process was suspended, as reported to the machine.
    stops: u64,
    /// Why the control plane refused the last connection; logged once.
    refusal: Option<String>,
    is_drained: bool,
}

pub(super) async fn serve(
    provider: Provider,
    protocols: Vec<ProtocolDefinition>,
    stop: impl Future<Output = ()> + Send,
) -> Result<()> {
    let (link, events, driver) = gleitzeit_link::connect(link_config(&provider)?, &CancellationToken::new())
        .map_err(|error| Error::invalid(error.to_string()))?;
    let mut driving = JoinSet::new();
    driving.spawn(driver.run());
    let (progress, reported) = mpsc::channel(PROGRESS);
    let mut host = Host::new(provider, protocols, link, progress);
    host.accept(Input::Health(Health::default())).await?;
    host.run(events, reported, stop).await?;
    host.link.close();
    // The last messages are on their way; a connection that does not end is dropped.
    let _ = tokio::time::timeout(CLOSING, driving.join_next()).await;
    Ok(())
}

fn link_config(provider: &Provider) -> Result<LinkConfig> {
    let token = token_source(provider.token.as_ref(), provider.token_file.as_deref(), &provider.url)?;
    let unused_proxy = gleitzeit_link::proxy(&provider.url, gleitzeit_link::variable);
    let trust = crate::config::trust(provider.ca.as_deref());
    trust.check().map_err(|error| Error::invalid(error.to_string()))?;
    Ok(LinkConfig { url: provider.url.clone(), trust, token, unused_proxy, ..LinkConfig::default() })
}

fn machine(provider: &Provider, protocols: Vec<ProtocolDefinition>) -> Machine {
    let secret = Secret::new(format!("{:032x}", rand::random::<u128>()));
    let identity = Identity {
        component_id: ComponentId::of_secret("provider", &secret, false),
        secret,
        name: provider.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let config = Config {
        methods: Vec::new(),
        protocols,
        max_concurrency: provider.max_concurrency,
        capabilities: Vec::new(),
        address: provider.address.clone(),
        max_disconnected_ms: MAX_DISCONNECTED_MS,
    };
    Machine::new(identity, config)
}

async fn wait(deadline: Option<Clock>) {
    match deadline {
        // Waits at least a millisecond, so that a past deadline cannot make the loop spin.
        Some(at) => tokio::time::sleep_until(at.max(Clock::now() + Duration::from_millis(1))).await,
        None => std::future::pending().await,
    }
}

impl Host {
    fn new(
        provider: Provider,
        protocols: Vec<ProtocolDefinition>,
        link: Link,
        progress: mpsc::Sender<(CallId, Payload)>,
    ) -> Self {
        Self {
            machine: machine(&provider, protocols),
            provider,
            link,
            started: Clock::now(),
            calls: JoinSet::new(),
            ids: HashMap::new(),
            open: HashMap::new(),
            progress,
            pulse: Pulse::new(),
            stops: 0,
            refusal: None,
            is_drained: false,
        }
    }

    /// Passes everything that happens to the machine, until the provider has drained after `stop` or the link has
    /// ended.
    async fn run(
        &mut self,
        mut events: LinkEvents,
        mut reported: mpsc::Receiver<(CallId, Payload)>,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        let mut beats = tokio::time::interval(Pulse::EVERY);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut stop, mut is_stopping) = (pin!(stop), false);
        while !self.is_drained {
            let deadline = self.machine.next_deadline().map(|at| self.started + Duration::from_millis(at.0));
            let input = tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.translate(event),
                    None => break,
                },
                Some((id, data)) = reported.recv() => Some(Input::Progress { id, data }),
                Some(joined) = self.calls.join_next_with_id() => self.ended(joined),
                () = wait(deadline) => Some(Input::Hub(HubInput::Tick)),
                // This arm only wakes the loop: every iteration checks whether the process was suspended.
                _ = beats.tick() => None,
                () = &mut stop, if !is_stopping => {
                    is_stopping = true;
                    let grace_ms = u64::try_from(self.provider.drain_timeout.as_millis()).unwrap_or(u64::MAX);
                    Some(Input::Drain { grace_ms })
                }
            };
            self.check_pulse().await?;
            if let Some(input) = input {
                self.accept(input).await?;
            }
        }
        Ok(())
    }

    /// Notices that the process was suspended. A cancel may be waiting unread beside a call then, so nothing begins until
    /// the control plane has confirmed which calls are still wanted.
    async fn check_pulse(&mut self) -> Result<()> {
        let stops = self.pulse.beat();
        if std::mem::replace(&mut self.stops, stops) != stops {
            self.accept(Input::Woke).await?;
        }
        Ok(())
    }

    async fn accept(&mut self, input: Input) -> Result<()> {
        let mut out = Vec::new();
        let now = Instant(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.machine.handle(now, input, &mut out);
        for output in out {
            match output {
                Output::Hub(output) => self.perform(output).await?,
                Output::Start { call } => self.start(call),
                Output::Cancel { id } => {
                    if let Some(call) = self.open.remove(&id) {
                        call.abort();
                    }
                }
                Output::Drained => self.is_drained = true,
            }
        }
        Ok(())
    }

    async fn perform(&self, output: HubOutput) -> Result<()> {
        match output {
            HubOutput::Send(message) => {
                match self.link.send(message.kind(), &Body(&message)).await {
                    // The machine repeats the message on the next connection.
                    Ok(()) | Err(SendError::NotConnected | SendError::Closed) => {}
                    Err(error) => tracing::error!(event = message.kind(), %error, "message lost"),
                }
            }
            HubOutput::Reconnect { reason } => self.link.reconnect(&reason),
            HubOutput::Registered => tracing::info!(provider = self.provider.name, "registered"),
            HubOutput::Rejected { error } if may_pass(&error) => {
                tracing::warn!(%error, "registration refused, retrying");
                self.link.reconnect("the registration was refused");
            }
            HubOutput::Rejected { error } => {
                let code = error.known().unwrap_or(ErrorCode::InternalError);
                return Err(Error::new(code, format!("the control plane refused the provider: {}", error.message)));
            }
            HubOutput::Log { warning: true, message, detail } => tracing::warn!(detail, "{message}"),
            HubOutput::Log { warning: false, message, detail } => tracing::info!(detail, "{message}"),
        }
        Ok(())
    }

    fn translate(&mut self, event: LinkEvent) -> Option<Input> {
        Some(Input::Hub(match event {
            LinkEvent::Connected { .. } => HubInput::Connected,
            LinkEvent::Disconnected { reason } => {
                tracing::warn!(reason, "the connection to the control plane is lost, retrying");
                HubInput::Disconnected
            }
            LinkEvent::Refused { message, .. } => {
                // Logged once; the token may be set on the other side at any time.
                if self.refusal.as_ref() != Some(&message) {
                    tracing::error!(message, "the control plane refuses the provider, retrying");
                    self.refusal = Some(message);
                }
                return None;
            }
            LinkEvent::Unreachable(cause) => {
                tracing::warn!(hint = cause.hint, code = cause.code.name(), "{}; retrying", cause.message);
                return None;
            }
            LinkEvent::Message { event, body } => match FromHub::decode(&event, &body) {
                Ok(message) => HubInput::Message(message),
                Err(error) => {
                    self.link.not_understood(&body);
                    tracing::warn!(event, %error, "a message of the control plane cannot be read");
                    return None;
                }
            },
        }))
    }

    fn start(&mut self, call: MethodCall) {
        let MethodCall { id, method, params, meta, .. } = call;
        let handler = self.provider.methods.get(method.as_str()).map(|(_, handler)| handler.clone());
        let call = Call::new(id.clone(), meta, self.progress.clone());
        let task =
            self.calls.spawn(async move {
                match handler {
                    Some(handler) => handler(params, call).await,
                    None => Err(CallError::new(format!("this provider does not serve `{method}`"))
                        .code(ErrorCode::MethodNotFound)),
                }
            });
        self.ids.insert(task.id(), id.clone());
        self.open.insert(id, task);
    }

    fn ended(&mut self, joined: std::result::Result<(Id, Ended), JoinError>) -> Option<Input> {
        let (task, ended) = match joined {
            Ok((task, ended)) => (task, Some(ended)),
            Err(error) => (error.id(), None),
        };
        let id = self.ids.remove(&task)?;
        // Nobody waits for the outcome of a cancelled call, even if the same call was requested again meanwhile.
        if self.open.get(&id).is_none_or(|open| open.id() != task) {
            return None;
        }
        self.open.remove(&id);
        let outcome = match ended {
            Some(Ok(result)) => MethodOutcome::of_result(result, self.provider.max_payload_bytes),
            Some(Err(error)) => MethodOutcome::Error(error.into_failure()),
            None => MethodOutcome::Error(Failure::new(
                ErrorCode::InternalError,
                "the provider ended the call without a result",
            )),
        };
        Some(Input::Finished { id, outcome })
    }
}
