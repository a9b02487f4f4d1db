//! The settings of an agent. No I/O here.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_link::{LinkConfig, TokenSource, Trust};
use gleitzeit_mesh::wire::Role;
use gleitzeit_protocols::Registry;
use gleitzeit_providers::{Definition, Factory, Settings};
use gleitzeit_workflow::id::QueueName;
use thiserror::Error;

/// The largest payload that fits into a frame with room to spare.
const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;
/// The hub's limit for names.
const MAX_NAME_BYTES: usize = 200;
/// The hub's limit, less some room for capabilities that executors add.
const MAX_CAPABILITIES: usize = 80;
/// A sanity limit: one process could not hold more.
const MAX_SLOTS: u32 = 100_000;

/// How an agent finds its hub, and what it does there.
#[derive(Clone)]
pub struct AgentConfig {
    /// Address of the control plane, `http://host:port` or `https://host:port`. Default `http://localhost:8000`.
    pub hub_url: String,
    /// The roots that are trusted if `hub_url` is an `https` address. Default: the bundled ones and the machine's own.
    pub trust: Trust,
    /// The token that the control plane may ask for on connect. Default none.
    pub token: TokenSource,
    /// The environment variable that names a proxy; it is mentioned when the control plane cannot be reached. Default
    /// none.
    pub unused_proxy: Option<&'static str>,
    /// The roles of this agent; see [`parse_roles`]. Default all.
    pub roles: Vec<Role>,
    /// Engine: how many attempts it holds at once. An engine only coordinates, so slots are cheap, and fewer slots than
    /// the providers can work on hold the providers up (measured: 64 instead of 256 cost a third of the throughput of
    /// short tasks). Default 256.
    pub slots: u32,
    /// Engine: the queues it works for. Default none: all.
    pub queues: Option<Vec<QueueName>>,
    /// Provider: the definitions that are served, each by a separate component; see [`merge_definitions`]. Default the
    /// shipped ones.
    pub providers: Vec<Definition>,
    /// Provider: the protocols that definitions may name. Default the shipped ones.
    pub protocols: Arc<Registry>,
    /// Provider: what executors may see of the machine. Default: nothing of the environment.
    pub settings: Settings,
    /// A label for people, shown in lists. Default `agent`.
    pub name: String,
    /// How long work may go on after a shutdown was requested. Default 30 s.
    pub drain_timeout: Duration,
    /// How long work goes on without the control plane before it is stopped; after that others may have taken it over.
    /// Default 10 s.
    pub alone_limit: Duration,
    /// Largest parameter set or result, in bytes of JSON text; set it as on the control plane. Default 1 MiB, at most
    /// 8.
    pub max_payload_bytes: usize,
    /// Provider: how often each is asked for its health; an unhealthy one is at first asked more often. Default 10 s.
    pub health_interval: Duration,
    /// Engine: no other agent serves methods at this control plane, so a task without a healthy provider fails without
    /// waiting for providers of other agents. Default false.
    pub serves_alone: bool,
    /// The control plane runs in this process, so the components end when it does, and their ids say so. Default false.
    pub is_within_hub: bool,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            hub_url: LinkConfig::default().url,
            trust: Trust::default(),
            token: TokenSource::None,
            unused_proxy: None,
            roles: Role::ALL.to_vec(),
            slots: 256,
            queues: None,
            providers: gleitzeit_providers::shipped(),
            protocols: Arc::new(Registry::shipped()),
            settings: Settings::from_env(|_| None),
            name: "agent".to_owned(),
            drain_timeout: Duration::from_secs(30),
            alone_limit: Duration::from_millis(gleitzeit_mesh::role::MAX_DISCONNECTED_MS),
            max_payload_bytes: 1024 * 1024,
            health_interval: Duration::from_secs(10),
            serves_alone: false,
            is_within_hub: false,
        }
    }
}

/// Omits the token.
impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let providers: Vec<&str> = self.providers.iter().map(|it| it.name.as_str()).collect();
        f.debug_struct("AgentConfig")
            .field("hub_url", &self.hub_url)
            .field("token", &self.token)
            .field("roles", &self.roles)
            .field("slots", &self.slots)
            .field("queues", &self.queues)
            .field("providers", &providers)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All problems of an [`AgentConfig`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid agent configuration: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

impl AgentConfig {
    /// Whether the agent has this role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Checks everything; providers are built as they will be at start.
    ///
    /// # Errors
    /// All problems at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if let Err(error) = self.link().validate() {
            problems.extend(error.0);
        }
        if self.roles.is_empty() {
            problems.push("no role is given; known: queue, resolver, engine, provider, all".to_owned());
        }
        check_name("name", &self.name, &mut problems);
        if self.max_payload_bytes == 0 || self.max_payload_bytes > MAX_PAYLOAD_BYTES {
            problems.push(format!("`max_payload_bytes` must be between 1 and {MAX_PAYLOAD_BYTES}"));
        }
        if self.health_interval.is_zero() {
            problems.push("`health_interval` must be more than zero".to_owned());
        }
        if self.has(Role::Engine) {
            if self.slots == 0 || self.slots > MAX_SLOTS {
                problems.push(format!("`slots` must be between 1 and {MAX_SLOTS}"));
            }
            if self.queues.as_ref().is_some_and(Vec::is_empty) {
                problems.push("`queues` is empty; leave it out to work for all queues".to_owned());
            }
            for queue in self.queues.iter().flatten() {
                check_name("queues", queue.as_str(), &mut problems);
            }
        }
        if self.has(Role::Provider) {
            self.check_providers(&mut problems);
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    fn check_providers(&self, problems: &mut Vec<String>) {
        if self.providers.is_empty() {
            problems.push("the provider role has no provider to serve".to_owned());
        }
        let mut names = BTreeSet::new();
        for definition in &self.providers {
            check_name("name of a provider", &definition.name, problems);
            for capability in &definition.capabilities {
                check_name("capability of a provider", capability, problems);
            }
            if definition.capabilities.len() > MAX_CAPABILITIES {
                problems.push(format!("provider `{}` has more than {MAX_CAPABILITIES} capabilities", definition.name));
            }
            if !names.insert(&definition.name) {
                problems.push(format!("provider `{}` is defined twice", definition.name));
            }
            if let Err(error) = Factory::build(definition, &self.protocols, &self.settings) {
                problems.push(error.to_string());
            }
        }
    }

    /// The settings of each component's link.
    pub(crate) fn link(&self) -> LinkConfig {
        let (url, token, unused_proxy) = (self.hub_url.clone(), self.token.clone(), self.unused_proxy);
        LinkConfig { url, trust: self.trust.clone(), token, unused_proxy, ..LinkConfig::default() }
    }
}

fn check_name(field: &str, name: &str, problems: &mut Vec<String>) {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        problems.push(format!("`{field}` must have between 1 and {MAX_NAME_BYTES} bytes and no control characters"));
    }
}

/// Parses names of roles, their aliases (`deps`, `exec`) and `all`. Each role appears once, in the order of the table.
///
/// # Errors
/// All names that are unknown.
pub fn parse_roles<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Role>, ConfigError> {
    let (mut roles, mut problems) = (BTreeSet::new(), Vec::new());
    for name in names {
        match name.trim() {
            "all" => roles.extend(Role::ALL),
            name => match name.parse::<Role>() {
                Ok(role) => drop(roles.insert(role)),
                Err(error) => problems.push(error.to_string()),
            },
        }
    }
    if problems.is_empty() { Ok(roles.into_iter().collect()) } else { Err(ConfigError(problems)) }
}

/// Merges definitions of several sources: a later definition replaces an earlier one of the same name, in its place.
/// The order of the sources: shipped ones, the providers folder, then files that are named one by one.
pub fn merge_definitions(sources: impl IntoIterator<Item = Vec<Definition>>) -> Vec<Definition> {
    let mut merged: Vec<Definition> = Vec::new();
    for definition in sources.into_iter().flatten() {
        match merged.iter_mut().find(|known| known.name == definition.name) {
            Some(known) => *known = definition,
            None => merged.push(definition),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, protocol: &str) -> Definition {
        let text = format!("name: {name}\nprotocol: {protocol}\nexecutor: builtin\n");
        Definition::parse("test.yaml", &text).expect("valid")
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(AgentConfig::default().validate(), Ok(()));
    }

    #[test]
    fn all_problems_are_listed_at_once() {
        let config = AgentConfig {
            hub_url: "nonsense://".to_owned(),
            slots: 0,
            queues: Some(vec![]),
            providers: vec![definition("a", "util/v1"), definition("a", "none/v1")],
            name: String::new(),
            max_payload_bytes: 0,
            ..AgentConfig::default()
        };
        let problems = config.validate().expect_err("much is wrong").0;
        assert_eq!(problems.len(), 7, "{problems:#?}");
        let no_engine = AgentConfig { slots: 0, roles: vec![Role::Queue], providers: vec![], ..AgentConfig::default() };
        assert_eq!(no_engine.validate(), Ok(()), "what a role does not use does not matter");
    }

    #[test]
    fn roles_have_names_and_aliases() {
        assert_eq!(parse_roles(["exec", "deps", "engine"]).expect("known"), [Role::Resolver, Role::Engine]);
        assert_eq!(parse_roles(["all"]).expect("known"), Role::ALL);
        assert_eq!(parse_roles(["cook", "queue", "waiter"]).expect_err("two are none").0.len(), 2);
    }

    #[test]
    fn a_later_definition_replaces_an_earlier_one() {
        let merged = merge_definitions([
            vec![definition("a", "util/v1"), definition("b", "util/v1")],
            vec![definition("a", "util/v2"), definition("c", "util/v1")],
        ]);
        let seen: Vec<_> = merged.iter().map(|it| format!("{} {}", it.name, it.version)).collect();
        assert_eq!(seen, ["a v2", "b v1", "c v1"]);
    }

    #[test]
    fn the_token_is_not_in_the_debug_output() {
        let config = AgentConfig { token: TokenSource::Given("s3cret".to_owned()), ..AgentConfig::default() };
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
