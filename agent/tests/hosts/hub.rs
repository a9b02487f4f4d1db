//! A small hub in the test's hand: it admits every component at once and otherwise only says what the test says.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gleitzeit_agent::{Agent, AgentConfig, AgentError, Connection, Connector};
use gleitzeit_link::memory::{Server, ServerEvent, pair};
use gleitzeit_providers::{Definition, Settings};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const RUN: &str = "01900000-0000-7000-8000-000000000000";

enum Order {
    Send(String, String),
    Disconnect,
    Connect,
}

/// What a component did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Saw {
    Message { component: String, event: String, body: Value },
    Closed { component: String },
}

type Orders = Arc<Mutex<HashMap<String, mpsc::Sender<Order>>>>;

pub(crate) struct TestHub {
    saw: mpsc::Receiver<Saw>,
    /// Seen while something else was waited for.
    aside: VecDeque<Saw>,
    orders: Orders,
}

/// An agent at work.
pub(crate) struct Running {
    pub(crate) ready: watch::Receiver<bool>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) force: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), AgentError>>,
}

impl Running {
    pub(crate) fn start(agent: Agent) -> Self {
        let (ready, shutdown, force) = (agent.ready(), CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(agent.run(shutdown.clone(), force.clone()));
        Self { ready, shutdown, force, task }
    }

    pub(crate) async fn becomes_ready(&mut self, wanted: bool) {
        let ready = self.ready.wait_for(|ready| *ready == wanted);
        timeout(DEADLINE, ready).await.expect("in time").expect("the agent lives");
    }

    pub(crate) async fn ends(self) -> Result<(), AgentError> {
        timeout(DEADLINE, self.task).await.expect("in time").expect("no panic")
    }
}

impl TestHub {
    /// An agent that is connected and registered. `rejected` is the role whose registration is refused.
    pub(crate) fn with_agent(config: AgentConfig, rejected: Option<&'static str>) -> (Self, Running) {
        let (sender, saw) = mpsc::channel(100_000);
        let orders = Orders::default();
        let known = orders.clone();
        let connector: Connector = Arc::new(move |component, config| {
            let (link, events, server) = pair(&config);
            let (order, inbox) = mpsc::channel(1_000);
            known.lock().expect("no panic").insert(component.to_string(), order);
            let driver = pump(component.to_string(), server, inbox, sender.clone(), rejected);
            Ok(Connection::linked(link, events, driver))
        });
        let agent = Agent::with_connector(config, connector).expect("a valid configuration");
        (Self { saw, aside: VecDeque::new(), orders }, Running::start(agent))
    }

    pub(crate) async fn next(&mut self) -> Saw {
        match self.aside.pop_front() {
            Some(saw) => saw,
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Saw {
        timeout(DEADLINE, self.saw.recv()).await.expect("something happens in time").expect("the agent lives")
    }

    /// The first event of this name from a component whose id starts so, with that id; others are kept.
    pub(crate) async fn receives(&mut self, role: &str, wanted: &str) -> (String, Value) {
        let fits = |saw: &Saw| matches!(saw, Saw::Message { component, event, .. } if component.starts_with(role) && event == wanted);
        let found = match self.aside.iter().position(fits) {
            Some(at) => self.aside.remove(at).expect("just found"),
            None => loop {
                match self.receive().await {
                    saw if fits(&saw) => break saw,
                    saw => self.aside.push_back(saw),
                }
            },
        };
        match found {
            Saw::Message { component, body, .. } => (component, body),
            Saw::Closed { component } => unreachable!("`{component}` said something"),
        }
    }

    pub(crate) fn sends(&self, component: &str, event: &str, body: &Value) {
        self.sends_text(component, event, &body.to_string());
    }

    pub(crate) fn sends_text(&self, component: &str, event: &str, body: &str) {
        self.order(component, Order::Send(event.to_owned(), body.to_owned()));
    }

    pub(crate) fn disconnects_all(&self) {
        self.all().iter().for_each(|component| self.order(component, Order::Disconnect));
    }

    pub(crate) fn connects_all(&self) {
        self.all().iter().for_each(|component| self.order(component, Order::Connect));
    }

    fn all(&self) -> Vec<String> {
        self.orders.lock().expect("no panic").keys().cloned().collect()
    }

    fn order(&self, component: &str, order: Order) {
        let orders = self.orders.lock().expect("no panic");
        orders[component].try_send(order).expect("room for orders");
    }
}

async fn pump(
    component: String,
    mut server: Server,
    mut orders: mpsc::Receiver<Order>,
    saw: mpsc::Sender<Saw>,
    rejected: Option<&'static str>,
) {
    server.connect("{}").expect("room");
    loop {
        tokio::select! {
            Some(order) = orders.recv() => match order {
                Order::Send(event, body) => server.send(&event, &body).expect("room"),
                Order::Disconnect => server.disconnect("the test says so").expect("room"),
                Order::Connect => server.connect("{}").expect("room"),
            },
            event = server.recv() => match event {
                Some(ServerEvent::Message { event, body }) => {
                    if event == "register_component" {
                        let (event, body) = answer(&component, rejected);
                        // The component may be on its way out already.
                        server.send(event, &body.to_string()).ok();
                    }
                    let body = serde_json::from_str(&body).expect("JSON");
                    saw.try_send(Saw::Message { component: component.clone(), event, body }).ok();
                }
                Some(ServerEvent::ReconnectWanted { reason }) => {
                    server.disconnect(&reason).expect("room");
                    server.connect("{}").expect("room");
                }
                Some(ServerEvent::Closed) | None => {
                    saw.try_send(Saw::Closed { component }).ok();
                    return;
                }
            },
        }
    }
}

fn answer(component: &str, rejected: Option<&str>) -> (&'static str, Value) {
    if rejected.is_some_and(|role| component.starts_with(role)) {
        let error = json!({"code": -30009, "name": "PROTOCOL_VERSION_MISMATCH", "message": "other schemas"});
        return ("registration_rejected", json!({"error": error}));
    }
    ("component_registered", json!({"component_id": component, "name": "", "heartbeat_interval_ms": 5000}))
}

/// The roles, and one definition of each executor that may read the test's environment.
pub(crate) fn config(roles: &[&str], providers: &str) -> AgentConfig {
    let shipped = gleitzeit_providers::shipped().into_iter();
    let wanted: Vec<Definition> = shipped.filter(|it| providers.split(',').any(|name| name == it.name)).collect();
    AgentConfig {
        roles: gleitzeit_agent::parse_roles(roles.iter().copied()).expect("known"),
        providers: wanted,
        settings: Settings::from_env(|name| std::env::var_os(name)),
        drain_timeout: DEADLINE,
        ..AgentConfig::default()
    }
}

/// An `execute_method` of attempt 1 of this task.
pub(crate) fn call(task: &str, method: &str, params: Value) -> Value {
    json!({
        "jsonrpc": "2.0", "id": call_id(task), "method": method, "params": params,
        "meta": {"run_id": RUN, "task_id": task, "attempt": 1, "correlation_id": "c", "traceparent": "t",
                 "timeout_ms": 60_000},
    })
}

pub(crate) fn call_id(task: &str) -> String {
    format!("{RUN}/1/{task}/foreign")
}

/// An `execute_task` of attempt 1 of this task.
pub(crate) fn attempt(task: &str, method: &str, parameters: Value) -> Value {
    json!({"tasks": [{
        "ref": {"run_id": RUN, "task_id": task, "attempt": 1}, "method": method, "protocol_version": "v1",
        "parameters": parameters, "correlation_id": "c",
    }]})
}

/// Waits until a level is reached.
pub(crate) async fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let poll = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(DEADLINE, poll).await.is_ok(), "in time: {what}");
}
