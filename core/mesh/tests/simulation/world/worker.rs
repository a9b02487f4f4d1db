//! Workers: the real role state machines, each in a process of its own that may crash, freeze or leave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gleitzeit_mesh::CallId;
use gleitzeit_mesh::role::engine::{self, Engine};
use gleitzeit_mesh::role::provider::{self, Provider};
use gleitzeit_mesh::role::queue::Queue;
use gleitzeit_mesh::role::resolver::Resolver;
use gleitzeit_mesh::role::{self, Identity};
use gleitzeit_mesh::wire::{Health, MethodCall, Role};
use gleitzeit_run::{AttemptRef, ComponentId, Secret, TermId};
use gleitzeit_workflow::{Instant, ProtocolName};

use super::agenda::Time;
use super::net::{Down, SocketId};
use super::workload;

/// The payload limit, which is small here.
const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// The configuration of a worker; the same in each incarnation.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) role: Role,
    /// Provider: the name under which tasks may ask for it.
    pub(crate) name: Option<&'static str>,
    /// Engine: the number of its slots.
    pub(crate) slots: u32,
    /// Engine: the queues it works for; `None` means all.
    pub(crate) queues: Option<Vec<String>>,
    /// Provider: the methods it serves.
    pub(crate) methods: Vec<String>,
    /// Provider: how many calls it runs at the same time.
    pub(crate) max_concurrency: u32,
    /// Provider: the minimum duration of each of its calls.
    pub(crate) pace: Time,
}

#[derive(Debug)]
pub(crate) enum Machine {
    Queue(Box<Queue>),
    Resolver(Box<Resolver>),
    Engine(Box<Engine>),
    Provider(Box<Provider>),
}

/// An input of a worker's state machine.
#[derive(Clone, Debug)]
pub(crate) enum ToMachine {
    Hub(role::Input),
    Engine(engine::Input),
    Provider(provider::Input),
    Drain { grace_ms: u64 },
}

/// An output of a worker's state machine.
#[derive(Debug)]
pub(crate) enum FromMachine {
    Hub(role::Output),
    Engine(engine::Output),
    Provider(provider::Output),
}

/// A call that a provider works on.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) at: AttemptRef,
    pub(crate) call: MethodCall,
}

/// A process that is suspended for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freeze {
    pub(crate) until: Time,
    /// Whether its link still answers heartbeats although the process does not react.
    pub(crate) heartbeats: bool,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) kind: Kind,
    pub(crate) incarnation: u64,
    pub(crate) id: ComponentId,
    pub(crate) machine: Machine,
    pub(crate) alive: bool,
    pub(crate) leaving: bool,
    pub(crate) socket: Option<SocketId>,
    pub(crate) frozen: Option<Freeze>,
    /// Connecting fails until then.
    pub(crate) unreachable_until: Time,
    /// Messages that arrived while it was frozen.
    pub(crate) stuck: VecDeque<(SocketId, Down)>,
    pub(crate) tick_at: Option<Time>,
    pub(crate) flush_planned: bool,
    pub(crate) executions: BTreeMap<CallId, Execution>,
    pub(crate) health: Health,
    /// Engine: the protocols that it was sent.
    pub(crate) protocols: BTreeSet<ProtocolName>,
    /// The term that the hub named at the last registration.
    pub(crate) term: Option<TermId>,
}

impl Worker {
    pub(crate) fn new(number: usize, kind: Kind) -> Self {
        let (id, machine) = build(number, 0, &kind);
        Self {
            kind,
            incarnation: 0,
            id,
            machine,
            alive: false,
            leaving: false,
            socket: None,
            frozen: None,
            unreachable_until: 0,
            stuck: VecDeque::new(),
            tick_at: None,
            flush_planned: false,
            executions: BTreeMap::new(),
            health: Health::default(),
            protocols: BTreeSet::new(),
            term: None,
        }
    }

    /// Starts a new process, which knows nothing of the previous one.
    pub(crate) fn restart(&mut self, number: usize) {
        let incarnation = self.incarnation + 1;
        let kind = self.kind.clone();
        *self = Self::new(number, kind);
        let (id, machine) = build(number, incarnation, &self.kind);
        (self.incarnation, self.id, self.machine, self.alive) = (incarnation, id, machine, true);
    }

    pub(crate) fn accept(&mut self, now: Time, input: ToMachine, out: &mut Vec<FromMachine>) {
        let now = Instant(now);
        match (&mut self.machine, input) {
            (Machine::Queue(queue), ToMachine::Hub(input)) => {
                with(out, FromMachine::Hub, |out| queue.accept(now, input, out))
            }
            (Machine::Resolver(resolver), ToMachine::Hub(input)) => {
                with(out, FromMachine::Hub, |out| resolver.accept(now, input, out));
            }
            (Machine::Engine(engine), input) => {
                let input = match input {
                    ToMachine::Hub(input) => engine::Input::Hub(input),
                    ToMachine::Engine(input) => input,
                    ToMachine::Drain { grace_ms } => engine::Input::Drain { grace_ms },
                    ToMachine::Provider(_) => return,
                };
                with(out, FromMachine::Engine, |out| engine.accept(now, input, out));
            }
            (Machine::Provider(provider), input) => {
                let input = match input {
                    ToMachine::Hub(input) => provider::Input::Hub(input),
                    ToMachine::Provider(input) => input,
                    ToMachine::Drain { grace_ms } => provider::Input::Drain { grace_ms },
                    ToMachine::Engine(_) => return,
                };
                with(out, FromMachine::Provider, |out| provider.accept(now, input, out));
            }
            _ => {}
        }
    }

    pub(crate) fn flush(&mut self, now: Time, out: &mut Vec<FromMachine>) {
        let now = Instant(now);
        match &mut self.machine {
            Machine::Queue(queue) => with(out, FromMachine::Hub, |out| queue.flush(now, out)),
            Machine::Resolver(resolver) => with(out, FromMachine::Hub, |out| resolver.flush(now, out)),
            Machine::Engine(engine) => with(out, FromMachine::Engine, |out| engine.flush(now, out)),
            Machine::Provider(provider) => with(out, FromMachine::Provider, |out| provider.flush(now, out)),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let at = match &self.machine {
            Machine::Queue(queue) => queue.next_deadline(),
            Machine::Resolver(resolver) => resolver.next_deadline(),
            Machine::Engine(engine) => engine.next_deadline(),
            Machine::Provider(provider) => provider.next_deadline(),
        };
        at.map(|at| at.0)
    }

    /// Whether it is an engine that has taken an attempt and still has to report its end.
    pub(crate) fn has_taken(&self, at: &AttemptRef) -> bool {
        match &self.machine {
            Machine::Engine(engine) => engine.working_on().chain(engine.unanswered()).any(|it| it == at),
            _ => false,
        }
    }

    /// State that it still holds although there is nothing to do; empty if it has forgotten everything.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = match &self.machine {
            Machine::Queue(queue) if !queue.is_empty() => vec![format!("{} tasks in its queues", queue.len())],
            Machine::Resolver(resolver) => {
                let runs = resolver.runs().map(|run| format!("run {run}"));
                let results = Some(resolver.kept_results()).filter(|kept| *kept > 0);
                runs.chain(results.map(|kept| format!("{kept} results"))).collect()
            }
            Machine::Engine(engine) => {
                let working = engine.working_on().map(|at| format!("work on {at}"));
                working.chain(engine.unanswered().map(|at| format!("an unanswered report of {at}"))).collect()
            }
            Machine::Provider(provider) => provider.running().map(|id| format!("call {id}")).collect(),
            Machine::Queue(_) => Vec::new(),
        };
        left.extend(self.executions.keys().map(|id| format!("a running call {id}")));
        left
    }
}

fn with<T>(out: &mut Vec<FromMachine>, wrap: impl Fn(T) -> FromMachine, run: impl FnOnce(&mut Vec<T>)) {
    let mut own = Vec::new();
    run(&mut own);
    out.extend(own.into_iter().map(wrap));
}

fn build(number: usize, incarnation: u64, kind: &Kind) -> (ComponentId, Machine) {
    let name = format!("{}{number}", kind.role);
    let secret = Secret::new(format!("the secret of {name}.{incarnation}"));
    let component_id = ComponentId::of_secret(&format!("{name}.{incarnation}"), &secret, false);
    let name = kind.name.map_or(name, str::to_owned);
    let identity = Identity { component_id: component_id.clone(), secret, name, version: "0".to_owned() };
    let machine = match kind.role {
        Role::Queue => Machine::Queue(Box::new(Queue::new(identity))),
        Role::Resolver => Machine::Resolver(Box::new(Resolver::new(identity, MAX_PAYLOAD_BYTES))),
        Role::Engine => {
            let queues = kind.queues.as_ref().map(|queues| queues.iter().map(|it| it.as_str().into()).collect());
            let config = engine::Config {
                slots: kind.slots,
                queues,
                max_payload_bytes: MAX_PAYLOAD_BYTES,
                ..Default::default()
            };
            Machine::Engine(Box::new(Engine::new(identity, config)))
        }
        Role::Provider => {
            let methods = kind.methods.iter().map(|it| it.as_str().into()).collect();
            let config = provider::Config {
                methods,
                protocols: kind.methods.iter().map(|it| workload::protocol(it)).collect(),
                max_concurrency: kind.max_concurrency,
                capabilities: Vec::new(),
                address: None,
                max_disconnected_ms: role::MAX_DISCONNECTED_MS,
            };
            Machine::Provider(Box::new(Provider::new(identity, config)))
        }
    };
    (component_id, machine)
}
