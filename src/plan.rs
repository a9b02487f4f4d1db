//! Plans for `--dry-run`: a workflow's steps, its tasks, and the providers that would serve them. Nothing is sent or
//! run here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use gleitzeit_agent::AgentConfig;
use gleitzeit_mesh::role::engine::DEFAULT_TIMEOUT_MS;
use gleitzeit_mesh::wire::{Health, HealthState, PresenceStatus};
use gleitzeit_protocols::Registry;
use gleitzeit_providers::Factory;
use gleitzeit_sdk::Client;
use gleitzeit_workflow::graph::Graph;
use gleitzeit_workflow::spec::{Note, Task, Workflow};
use serde::Serialize;
use serde_json::Value;

use crate::batch::Ready;
use crate::error::CommandError;
use crate::{client, graph, states, text, view};

/// How long to wait for the health of a provider in this process.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many tasks are shown to people.
const SHOWN: usize = 1_000;

/// A provider that would serve a method.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Server {
    name: String,
    status: PresenceStatus,
    health: HealthState,
    health_reason: Option<String>,
}

impl Server {
    fn serves(&self) -> bool {
        self.status == PresenceStatus::Connected && self.health != HealthState::Unhealthy
    }
}

/// The place where a workflow would run.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// The control plane's address; `None` if no control plane was asked.
    control_plane: Option<String>,
    /// The default timeout of an attempt, by method.
    timeouts: BTreeMap<String, u64>,
    /// The providers by method; `None` if nobody could be asked.
    servers: Option<BTreeMap<String, Vec<Server>>>,
}

impl Surroundings {
    /// The surroundings of a control plane.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub(crate) async fn of_control_plane(client: &Client) -> Result<Self, CommandError> {
        let mut servers: BTreeMap<String, Vec<Server>> = BTreeMap::new();
        for provider in client::all_pages(async |token| client.providers(None, token).await).await? {
            let server = Server {
                name: provider.name,
                status: provider.status,
                health: provider.health,
                health_reason: provider.health_reason,
            };
            for method in provider.methods {
                servers.entry(method).or_default().push(server.clone());
            }
        }
        let protocols = client::all_pages(async |token| client.protocols(token).await).await?;
        let methods = protocols.into_iter().flat_map(|protocol| protocol.methods);
        let ms = |timeout: Duration| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Ok(Self {
            control_plane: Some(client.config().url.clone()),
            timeouts: methods.filter_map(|method| Some((method.name, ms(method.timeout?)))).collect(),
            servers: Some(servers),
        })
    }

    /// The surroundings of a worker in this process, whose providers are asked for their health.
    pub(crate) async fn of_worker(worker: &AgentConfig) -> Self {
        let mut servers: BTreeMap<String, Vec<Server>> = BTreeMap::new();
        for definition in &worker.providers {
            let (methods, health) = match Factory::build(definition, &worker.protocols, &worker.settings) {
                Ok(provider) => {
                    let asked = tokio::time::timeout(PATIENCE, provider.health()).await;
                    let late = |_| Health::slow(format!("it did not answer within {} s", PATIENCE.as_secs()));
                    (provider.methods().to_vec(), asked.unwrap_or_else(late))
                }
                Err(error) => {
                    let protocol = worker.protocols.protocol(&definition.protocol, &definition.version);
                    let methods = protocol.map(|it| it.methods.keys().cloned().collect()).unwrap_or_default();
                    (methods, Health { state: HealthState::Unhealthy, reason: Some(error.to_string()), lasting: true })
                }
            };
            let server = Server {
                name: definition.name.clone(),
                status: PresenceStatus::Connected,
                health: health.state,
                health_reason: health.reason,
            };
            for method in methods {
                servers.entry(method).or_default().push(server.clone());
            }
        }
        Self { servers: Some(servers), ..Self::of_nobody(&worker.protocols) }
    }

    /// Only the methods are known, because nobody could be asked.
    pub(crate) fn of_nobody(registry: &Registry) -> Self {
        let methods = registry.iter().flat_map(|protocol| &protocol.methods);
        let timeouts = methods.filter_map(|(name, method)| Some((name.clone(), method.timeout_ms?))).collect();
        Self { control_plane: None, timeouts, servers: None }
    }
}

/// The plan of a workflow.
#[derive(Debug, Serialize)]
pub(crate) struct Plan<'a> {
    file: &'a str,
    name: &'a str,
    control_plane: Option<&'a str>,
    timeout_ms: Option<u64>,
    steps: usize,
    tasks: Vec<Planned<'a>>,
    /// Methods that no connected and healthy provider serves; `None` if nobody could be asked.
    unserved: Option<Vec<String>>,
    inputs: Value,
    labels: BTreeMap<&'a str, &'a str>,
    notes: &'a [Note],
}

#[derive(Debug, Serialize)]
struct Planned<'a> {
    id: &'a str,
    method: &'a str,
    queue: &'a str,
    priority: i32,
    timeout_ms: u64,
    max_attempts: u32,
    step: usize,
    dependencies: Vec<&'a str>,
    /// The provider that the task names.
    provider: Option<&'a str>,
    /// The providers that would serve it.
    providers: Option<Vec<&'a Server>>,
    /// The method, and the provider that the task names.
    #[serde(skip)]
    called: String,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(ready: &'a Ready<'_>, surroundings: &'a Surroundings) -> Self {
        let workflow = &ready.bound.workflow;
        let steps = graph::steps(workflow);
        let tasks = tasks(workflow, &steps, surroundings);
        let unserved = surroundings.servers.is_some().then(|| unserved(&tasks));
        Self {
            file: &ready.source.name,
            name: &workflow.name,
            control_plane: surroundings.control_plane.as_deref(),
            timeout_ms: workflow.timeout_ms,
            steps: steps.iter().copied().max().unwrap_or_default(),
            tasks,
            unserved,
            inputs: ready.bound.inputs.shown(),
            labels: ready.bound.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            notes: &ready.prepared.notes,
        }
    }

    /// Reasons why tasks would have to wait.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let unserved = self.unserved.iter().flatten();
        unserved
            .map(|called| {
                let of = self.tasks.iter().find(|task| task.called == *called).and_then(|task| task.providers.as_ref());
                let why: Vec<String> = of.into_iter().flatten().map(|server| why_not(server)).collect();
                let file = self.file;
                match why.as_slice() {
                    [] => format!("warning: {file}: no provider serves `{called}` now; its tasks would wait for one"),
                    why => format!(
                        "warning: {file}: no provider can serve `{called}` now, so its tasks would wait or fail: {}",
                        why.join("; ")
                    ),
                }
            })
            .collect()
    }

    /// The plan as text for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} ({}): {} in {}; nothing was sent or run\n",
            text::first_line(self.name, 60),
            self.file,
            text::counted(self.tasks.len(), "task"),
            text::counted(self.steps, "step")
        );
        if let Some(inputs) = self.inputs.as_object().filter(|inputs| !inputs.is_empty()) {
            let inputs = inputs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "inputs: {}", text::first_line(&inputs, 300));
        }
        if let Some(limit) = self.timeout_ms {
            let _ = writeln!(text, "timeout: {}", view::duration(Duration::from_millis(limit)));
        }
        let mut tasks: Vec<&Planned<'_>> = self.tasks.iter().collect();
        tasks.sort_by_key(|task| task.step);
        let rows: Vec<Vec<String>> = tasks.iter().take(SHOWN).map(|task| task.row()).collect();
        let head = ["step", "task", "method", "queue", "timeout", "attempts", "after", "served by"];
        text.push('\n');
        text.push_str(&view::table(&head, &rows));
        if self.tasks.len() > SHOWN {
            let _ = writeln!(text, "and {} more tasks; `-o json` has all", self.tasks.len() - SHOWN);
        }
        text
    }
}

/// The methods without a connected and healthy provider, each once.
fn unserved(tasks: &[Planned<'_>]) -> Vec<String> {
    let serves = |task: &&Planned<'_>| task.providers.iter().flatten().any(|server| server.serves());
    let unserved: BTreeSet<&String> = tasks.iter().filter(|task| !serves(task)).map(|task| &task.called).collect();
    unserved.into_iter().cloned().collect()
}

fn tasks<'a>(workflow: &'a Workflow, steps: &[usize], surroundings: &'a Surroundings) -> Vec<Planned<'a>> {
    let dependencies = Graph::new(workflow);
    let planned = |(at, task): (usize, &'a Task)| {
        let method = task.method.as_str();
        let of_method = surroundings.timeouts.get(method).copied();
        Planned {
            id: task.id.as_str(),
            method,
            queue: task.queue.as_str(),
            priority: task.priority.0,
            timeout_ms: task.timeout_ms.or(of_method).unwrap_or(DEFAULT_TIMEOUT_MS),
            max_attempts: task.retry.max_attempts,
            step: steps[at],
            dependencies: graph::dependencies(workflow, &dependencies, at).iter().map(|it| it.id.as_str()).collect(),
            provider: task.provider.as_ref().map(|name| name.as_str()),
            providers: surroundings.servers.as_ref().map(|servers| {
                let is_meant =
                    |server: &&Server| task.provider.as_ref().is_none_or(|name| name.as_str() == server.name);
                servers.get(method).into_iter().flatten().filter(is_meant).collect()
            }),
            called: graph::called(task),
        }
    };
    workflow.tasks.iter().enumerate().map(planned).collect()
}

impl Planned<'_> {
    fn row(&self) -> Vec<String> {
        let after = if self.dependencies.is_empty() { "-".to_owned() } else { self.dependencies.join(", ") };
        let served_by = match self.providers.as_deref() {
            None => "not known".to_owned(),
            Some([]) => "nobody".to_owned(),
            Some(servers) => servers.iter().map(|server| named(server)).collect::<Vec<_>>().join(", "),
        };
        vec![
            self.step.to_string(),
            self.id.to_owned(),
            self.called.clone(),
            self.queue.to_owned(),
            view::duration(Duration::from_millis(self.timeout_ms)),
            self.max_attempts.to_string(),
            text::first_line(&after, 60),
            text::first_line(&served_by, 80),
        ]
    }
}

fn named(server: &Server) -> String {
    match (server.status, server.health) {
        (PresenceStatus::Connected, HealthState::Healthy) => server.name.clone(),
        (PresenceStatus::Connected, health) => format!("{} ({})", server.name, states::health(health)),
        (status, _) => format!("{} ({})", server.name, states::presence(status)),
    }
}

/// Such as `ollama is unhealthy: it cannot be reached`.
fn why_not(server: &Server) -> String {
    if server.status != PresenceStatus::Connected {
        return format!("{} is {}", server.name, states::presence(server.status));
    }
    let reason = server.health_reason.as_deref().unwrap_or("it gives no reason");
    format!("{} is {}: {}", server.name, states::health(server.health), text::first_line(reason, 200))
}
