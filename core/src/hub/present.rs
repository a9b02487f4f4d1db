//! Why a task waits, as far as it lies with who is connected: the same facts that hold a queue's owner back.

use std::collections::{BTreeMap, BTreeSet};

use crate::hub::ComponentView;
use crate::id::{ComponentId, MethodName, QueueName};
use crate::mesh::{HealthState, PresenceStatus, Role};
use crate::run::{Owed, State, Waiting};

/// Who is there, for the question what a task waits for.
#[derive(Clone, Debug, Default)]
pub struct Present {
    resolvers: usize,
    queue_owners: usize,
    engines: Vec<Engine>,
    silent: BTreeSet<ComponentId>,
    methods: BTreeMap<MethodName, Serving>,
}

#[derive(Clone, Debug)]
struct Engine {
    queues: Option<Vec<QueueName>>,
    capacity: u32,
    free: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Serving {
    healthy_capacity: u32,
    starting: bool,
    calls: usize,
}

impl Present {
    /// From everybody whom the hub knows.
    pub fn new(components: &[ComponentView]) -> Self {
        let mut present = Self::default();
        for component in components {
            if component.status != PresenceStatus::Connected {
                present.silent.insert(component.component_id.clone());
                continue;
            }
            match component.role {
                Role::Resolver => present.resolvers += 1,
                Role::Queue => present.queue_owners += 1,
                Role::Engine => present.engines.push(Engine {
                    queues: component.queues.clone(),
                    capacity: component.capacity,
                    free: usize::try_from(component.capacity).unwrap_or(usize::MAX).saturating_sub(component.in_use),
                }),
                Role::Provider if component.capacity > 0 => present.add_provider(component),
                Role::Provider => {}
            }
        }
        present
    }

    fn add_provider(&mut self, provider: &ComponentView) {
        for method in &provider.methods {
            let serving = self.methods.entry(method.clone()).or_default();
            serving.calls += provider.in_use;
            match provider.health.state {
                HealthState::Healthy => {
                    serving.healthy_capacity = serving.healthy_capacity.saturating_add(provider.capacity);
                }
                HealthState::Starting => serving.starting = true,
                HealthState::Unhealthy => {}
            }
        }
    }

    /// What a task of a run waits for; `None` if it is final.
    pub fn waiting(&self, run: &State, at: usize) -> Option<Waiting> {
        let general = run.waiting(at)?;
        let task = run.task(at);
        let queue = run.tasks[at].queue.as_ref().unwrap_or(&task.queue);
        let specific = match run.owed(at)? {
            Owed::Ready if self.resolvers == 0 => Some((
                "its dependencies are done, but no resolver is connected".to_owned(),
                "start one with `gleitzeit agent --role resolver`".to_owned(),
            )),
            Owed::Dispatch { not_before: None } | Owed::Decision if self.queue_owners == 0 => Some((
                format!("no owner for queue `{queue}` is connected"),
                "start one with `gleitzeit agent --role queue`".to_owned(),
            )),
            Owed::Dispatch { not_before: None } => self.held_back(&task.method, queue),
            Owed::Report { engine } | Owed::Stop { engine } if self.silent.contains(&engine) => Some((
                format!("attempt {} is open on engine `{engine}`, which is silent", run.tasks[at].attempt),
                "if it does not come back, the attempt is given to another".to_owned(),
            )),
            _ => None,
        };
        Some(match specific {
            Some((reason, remedy)) => Waiting { reason, remedy: Some(remedy), ..general },
            None => general,
        })
    }

    /// Why a ready task is not dispatched, if it lies with engines or providers.
    fn held_back(&self, method: &MethodName, queue: &QueueName) -> Option<(String, String)> {
        let Some(serving) = self.methods.get(method) else {
            let reason = format!("no connected provider serves `{method}`");
            return Some((reason, "start one that does; `gleitzeit providers` shows who is there".to_owned()));
        };
        if serving.starting && serving.healthy_capacity == 0 {
            let reason = format!("the providers of `{method}` are still starting");
            return Some((reason, "wait; `gleitzeit providers` shows how they are".to_owned()));
        }
        let for_queue = |engine: &&Engine| engine.queues.as_ref().is_none_or(|queues| queues.contains(queue));
        let engines: Vec<&Engine> = self.engines.iter().filter(for_queue).collect();
        if engines.iter().all(|engine| engine.capacity == 0) {
            let reason = format!("no connected engine works for queue `{queue}`");
            return Some((reason, format!("start one with `gleitzeit agent --role engine --queues {queue}`")));
        }
        if engines.iter().all(|engine| engine.free == 0) {
            let slots: u64 = engines.iter().map(|engine| u64::from(engine.capacity)).sum();
            let reason = format!("all {slots} slots of the engines for queue `{queue}` are in use");
            return Some((reason, "wait, or start an engine with more `--slots`".to_owned()));
        }
        let full =
            usize::try_from(serving.healthy_capacity).is_ok_and(|capacity| capacity > 0 && serving.calls >= capacity);
        full.then(|| {
            let reason = format!("all providers of `{method}` are at work, with {} calls", serving.calls);
            (reason, "wait, or start another one".to_owned())
        })
    }
}
