//! A control plane and workers, each in its own process.

use std::time::Duration;

use serde_json::Value;

use super::journal::Watch;
use super::process::{Ended, Process};
use super::relay::Relay;
use super::sandbox::{Sandbox, free_port};
use super::wait::{PATIENCE, until, until_or};

/// Processes on one port and one store.
pub(crate) struct Cluster {
    hub: Option<Process>,
    agents: Vec<(String, Process)>,
    pub(crate) url: String,
    port: u16,
    /// The last field, so that it is dropped after the processes in it.
    pub(crate) sandbox: Sandbox,
}

impl Cluster {
    /// An empty cluster: nothing runs yet.
    pub(crate) fn new() -> Self {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        Self { hub: None, agents: Vec::new(), url, port, sandbox: Sandbox::new() }
    }

    /// Hub and one agent with all roles, in one process.
    pub(crate) fn all_in_one(arguments: &[&str]) -> Self {
        let mut cluster = Self::new();
        cluster.start_all(arguments);
        cluster
    }

    /// Starts both on the existing store.
    pub(crate) fn start_all(&mut self, more: &[&str]) {
        self.start_hub_as("start", more);
    }

    pub(crate) fn start_hub(&mut self) {
        self.start_hub_with(&[]);
    }

    pub(crate) fn start_hub_with(&mut self, more: &[&str]) {
        self.start_hub_as("hub", more);
    }

    /// Starts a hub on the given store.
    #[track_caller]
    pub(crate) fn start_hub_on(&mut self, store: &str) {
        self.start_process("hub", store, &[]);
    }

    #[track_caller]
    fn start_hub_as(&mut self, command: &str, more: &[&str]) {
        let store = format!("sqlite:{}", self.sandbox.path().join("hub.db").display());
        self.start_process(command, &store, more);
    }

    #[track_caller]
    fn start_process(&mut self, command: &str, store: &str, more: &[&str]) {
        let port = self.port.to_string();
        // Many kinds of clients connect to it; admission is tested in `tests/end_to_end/tokens.rs`.
        let mut arguments = vec![command, "--port", &port, "--store", store];
        if !more.contains(&"--token") && !self.sandbox.sets("GLEITZEIT_TOKEN") {
            arguments.push("--no-auth");
        }
        arguments.extend(more);
        let mut hub = self.sandbox.start(&arguments);
        let url = hub.said("ready at ", PATIENCE);
        assert_eq!(url, self.url);
        self.hub = Some(hub);
    }

    /// Starts an agent; lists show it under its name.
    pub(crate) fn start_agent(&mut self, name: &str, role: &str) {
        self.start_agent_with(name, role, &[]);
    }

    pub(crate) fn start_agent_with(&mut self, name: &str, role: &str, more: &[&str]) {
        let mut arguments = vec!["agent", "--role", role, "--name", name, "--hub-url", &self.url];
        arguments.extend(more);
        let agent = self.sandbox.start(&arguments);
        self.agents.push((name.to_owned(), agent));
    }

    /// Starts an agent that reaches the hub through a relay.
    pub(crate) fn start_agent_through(&mut self, relay: &Relay, name: &str, role: &str) {
        let arguments = ["agent", "--role", role, "--name", name, "--hub-url", &relay.url()];
        let agent = self.sandbox.start(&arguments);
        self.agents.push((name.to_owned(), agent));
    }

    /// A relay to the hub.
    pub(crate) fn relay(&self) -> Relay {
        Relay::start(self.port)
    }

    /// Kills the hub; returns its log.
    pub(crate) fn kill_9_hub(&mut self) -> String {
        let mut hub = self.hub.take().expect("a hub runs");
        hub.kill_9();
        hub.stderr()
    }

    /// The log of the running hub.
    pub(crate) fn hub_log(&self) -> String {
        self.hub.as_ref().expect("a hub runs").stderr()
    }

    /// The log of a running agent.
    #[track_caller]
    pub(crate) fn agent_log(&self, name: &str) -> String {
        let found = self.agents.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no agent {name}")).1.stderr()
    }

    /// The resident memory of the hub's process, in MiB.
    pub(crate) fn hub_resident_mib(&self) -> u64 {
        let pid = self.hub.as_ref().expect("a hub runs").pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    /// The processes of hub and agents.
    pub(crate) fn pids(&self) -> Vec<i32> {
        self.hub.iter().chain(self.agents.iter().map(|(_, agent)| agent)).map(Process::pid).collect()
    }

    /// Sends SIGTERM to the hub only.
    #[track_caller]
    pub(crate) fn terminate_hub(&mut self) -> Ended {
        self.hub.take().expect("a hub runs").terminate(PATIENCE)
    }

    #[track_caller]
    pub(crate) fn kill_9_agent(&mut self, name: &str) {
        self.take_agent(name).kill_9();
    }

    /// Takes the process out of the cluster, for a test that ends it in its own way.
    #[track_caller]
    pub(crate) fn take_agent(&mut self, name: &str) -> Process {
        let found = self.agents.iter().position(|(known, _)| known == name);
        self.agents.remove(found.unwrap_or_else(|| panic!("no agent {name}"))).1
    }

    /// Sends SIGTERM to every running process, agents before the hub; returns how each ended.
    pub(crate) fn terminate(&mut self, limit: Duration) -> Vec<Ended> {
        let mut ended = Vec::new();
        for (_, mut agent) in self.agents.drain(..) {
            if agent.is_running() {
                ended.push(agent.terminate(limit));
            }
        }
        ended.extend(self.hub.take().map(|hub| hub.terminate(limit)));
        ended
    }

    /// Runs a client command against the hub.
    #[track_caller]
    pub(crate) fn client(&self, arguments: &[&str]) -> Ended {
        let mut all = arguments.to_vec();
        all.extend(["--hub-url", &self.url]);
        self.sandbox.gleitzeit(&all)
    }

    /// Runs a client command that succeeds and prints one JSON document.
    #[track_caller]
    pub(crate) fn ask(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        self.client(&all).exits(0).json()
    }

    /// Submits a workflow and returns the run's id.
    #[track_caller]
    pub(crate) fn submit(&self, file: &str) -> String {
        text(&self.ask(&["submit", file])["run_id"])
    }

    /// Follows a run from its beginning.
    pub(crate) fn watch(&self, run: &str) -> Watch {
        Watch::start(&self.sandbox, &self.url, run)
    }

    /// Waits until exactly this many components of a role are connected.
    #[track_caller]
    pub(crate) fn until_connected(&self, role: &str, count: usize) {
        until(&format!("{count} of role {role}"), PATIENCE, || {
            let connected = |it: &&Value| it["role"] == role && it["status"] == "connected";
            (self.components().iter().filter(connected).count() == count).then_some(())
        });
    }

    /// The name of the agent with this component.
    #[track_caller]
    pub(crate) fn name_of(&self, component_id: &str) -> String {
        let found = self.components().into_iter().find(|it| it["component_id"] == component_id);
        text(&found.unwrap_or_else(|| panic!("no component {component_id}"))["name"])
    }

    pub(crate) fn components(&self) -> Vec<Value> {
        self.ask(&["components"])["items"].as_array().expect("a list").clone()
    }

    /// Waits until a run satisfies the condition, and returns it.
    #[track_caller]
    pub(crate) fn until_run(&self, run: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Value::Null;
        let found = until_or(PATIENCE, || {
            seen = self.ask(&["status", run]);
            wanted(&seen).then(|| seen.clone())
        });
        found.unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}; the run is {seen:#}"))
    }

    /// Waits until a run has ended, and returns it.
    #[track_caller]
    pub(crate) fn until_ended(&self, run: &str) -> Value {
        self.until_run(run, "the run's end", |run| run["status"] != "running")
    }
}

/// The string in a JSON value.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// How many providers an agent has by default.
pub(crate) fn shipped_providers() -> usize {
    gleitzeit_providers::shipped().len()
}
