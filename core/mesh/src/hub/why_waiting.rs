//! Why a run waits, as far as it depends on the connected components: what blocks a queue's owner, and where the open
//! attempts are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_run::route::Route;
use gleitzeit_run::{Owed, State, Waiting};
use gleitzeit_workflow::id::{MethodName, QueueName};
use gleitzeit_workflow::time::{Instant, Timestamp};

use crate::hub::Hub;
use crate::hub::calls::CallPlace;
use crate::hub::presence::Component;
use crate::placement;
use crate::placement::{Hold, Slots};
use crate::wire::{Health, HealthState, Role};

/// How many departed components are remembered.
const DEPARTED_KEPT: usize = 64;
/// The maximum number of slot holders, and of providers, that a message names.
const NAMED: usize = 3;
/// The maximum length of a provider's own explanation in a message, in characters.
const SHOWN_REASON: usize = 300;

/// A component that left or was lost.
#[derive(Clone, Debug)]
struct Departed {
    role: Role,
    name: String,
    queues: Option<Vec<QueueName>>,
    methods: Vec<MethodName>,
    at: Instant,
}

/// The latest departures, the newest last.
#[derive(Debug, Default)]
pub(super) struct Departures(VecDeque<Departed>);

impl Departures {
    pub(super) fn note(&mut self, component: &Component, at: Instant) {
        if self.0.len() == DEPARTED_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Departed {
            role: component.role,
            name: component.name.clone(),
            queues: component.queues.clone(),
            methods: component.methods.clone(),
            at,
        });
    }
}

/// A snapshot of the connected components, to explain what a run waits for.
#[derive(Clone, Debug, Default)]
pub struct Present {
    now: Instant,
    /// The wall-clock time of the snapshot.
    clock: Timestamp,
    resolvers: usize,
    queue_owners: usize,
    engines: Vec<Engine>,
    /// Silent components, and in how many milliseconds each is declared lost.
    silent: BTreeMap<ComponentId, u64>,
    names: BTreeMap<ComponentId, String>,
    methods: BTreeMap<MethodName, Vec<Provider>>,
    /// By route, the number of calls that wait for a provider with room.
    lines: BTreeMap<Route, usize>,
    departed: Vec<Departed>,
    attempts: BTreeMap<AttemptRef, CallPlace>,
}

#[derive(Clone, Debug)]
struct Engine {
    id: ComponentId,
    queues: Option<Vec<QueueName>>,
    capacity: u32,
    used: u32,
    /// The first few of its open attempts.
    some: Vec<AttemptRef>,
}

#[derive(Clone, Debug)]
struct Provider {
    name: String,
    capacity: u32,
    health: Health,
    calls: usize,
}

impl Hub {
    /// A snapshot of the connected components and of where these attempts are; `clock` is the wall-clock time.
    pub fn present(&self, attempts: &[AttemptRef], clock: Timestamp) -> Present {
        let mut present = Present { now: self.now, clock, ..Present::default() };
        for (id, component) in self.presence.iter() {
            present.names.insert(id.clone(), component.name.clone());
            if let Some(left_ms) = self.lost_in_ms(component) {
                present.silent.insert(id.clone(), left_ms);
            }
            if !component.is_connected() {
                continue;
            }
            match component.role {
                Role::Resolver => present.resolvers += 1,
                Role::Queue => present.queue_owners += 1,
                Role::Engine => present.engines.push(Engine {
                    id: id.clone(),
                    queues: component.queues.clone(),
                    capacity: component.capacity,
                    used: u32::try_from(self.leases.count(id)).unwrap_or(u32::MAX),
                    some: self.leases.of(id).take(NAMED).cloned().collect(),
                }),
                Role::Provider if component.capacity > 0 => {
                    for method in &component.methods {
                        present.methods.entry(method.clone()).or_default().push(Provider {
                            name: component.name.clone(),
                            capacity: component.capacity,
                            health: component.health.clone(),
                            calls: self.calls.count(id),
                        });
                    }
                }
                Role::Provider => {}
            }
        }
        present.lines = self.calls.waiting().collect();
        present.departed = self.departures.0.iter().cloned().collect();
        present.attempts = attempts.iter().filter_map(|at| Some((at.clone(), self.place_of(at)?))).collect();
        present
    }
}

impl Present {
    /// What a task of a run waits for; `None` if it is final.
    pub fn waiting(&self, run: &State, at: usize) -> Option<Waiting> {
        let mut waiting = run.waiting(at)?;
        let task = run.task(at);
        let queue = run.tasks[at].queue().unwrap_or(&task.queue);
        let route = Route::new(&task.method, task.provider.as_ref());
        match run.owed(at)? {
            Owed::Ready if self.resolvers == 0 => {
                let reason =
                    format!("its dependencies are done, but no resolver is connected{}", self.last(Role::Resolver));
                waiting.set_reason(reason, "start one with `gleitzeit agent --role resolver`");
            }
            Owed::Dispatch { not_before: None } | Owed::Decision if self.queue_owners == 0 => {
                let reason = format!("no owner for queue `{queue}` is connected{}", self.last(Role::Queue));
                waiting.set_reason(reason, "start one with `gleitzeit agent --role queue`");
            }
            Owed::Dispatch { not_before: None } => {
                if let Some(hold) = self.hold(&route, queue) {
                    waiting.set_reason(self.describe(&hold), hold.remedy());
                }
            }
            Owed::Report { engine } | Owed::Stop { engine } => {
                let attempt =
                    AttemptRef { run_id: run.run_id, task_id: task.id.clone(), attempt: run.tasks[at].attempt() };
                self.open(&attempt, &engine, &route, &mut waiting);
            }
            Owed::Dependencies | Owed::Ready | Owed::Dispatch { .. } | Owed::Decision => {}
        }
        Some(waiting)
    }

    /// Evaluates the predicate that the queue's owner uses, on the hub's data.
    fn hold(&self, route: &Route, queue: &QueueName) -> Option<Hold> {
        let given = self.serving(route).map(|provider| provider.calls).sum::<usize>();
        let calling = u32::try_from(given + self.waiting_on(route)).unwrap_or(u32::MAX);
        placement::gate(route, self.serving(route).map(|it| (it.capacity, it.health.state)), calling)
            .and_then(|turn| placement::roomiest(queue, route, turn, self.slots()))
            .err()
    }

    /// Why no provider could serve a route, even without any other work.
    fn unserved(&self, route: &Route) -> Option<Hold> {
        placement::gate(route, self.serving(route).map(|it| (it.capacity, it.health.state)), 0).err()
    }

    /// The providers that may serve a route.
    fn serving(&self, route: &Route) -> impl Iterator<Item = &Provider> {
        self.methods.get(&route.method).into_iter().flatten().filter(|provider| route.admits(&provider.name))
    }

    /// How many calls wait on a route. Calls on other routes, such as those to a named provider, wait for that provider
    /// only.
    fn waiting_on(&self, route: &Route) -> usize {
        self.lines.get(route).copied().unwrap_or(0)
    }

    fn slots(&self) -> impl Iterator<Item = Slots<'_>> {
        self.engines.iter().map(|engine| Slots {
            engine: &engine.id,
            queues: engine.queues.as_deref(),
            capacity: engine.capacity,
            used: engine.used,
        })
    }

    /// The hold in words, with further details if known.
    fn describe(&self, hold: &Hold) -> String {
        match hold {
            Hold::NoProvider(route) => {
                let last = self.departed.iter().rev();
                let last = last.filter(|it| route.admits(&it.name)).find(|it| it.methods.contains(&route.method));
                format!("{hold}{}{}", self.others(route), self.left(last))
            }
            Hold::NoEngine(queue) => {
                let served = |it: &&Departed| it.queues.as_ref().is_none_or(|queues| queues.contains(queue));
                let last = self.departed.iter().rev().filter(|it| it.role == Role::Engine).find(served);
                format!("{hold}{}", self.left(last))
            }
            Hold::NoSlot(queue) => {
                let engines = self.slots().zip(&self.engines).filter(|(slots, _)| slots.serves(queue));
                let (mut slots, mut named) = (0, Vec::new());
                for (of, engine) in engines {
                    slots += u64::from(of.capacity);
                    named.extend(engine.some.iter().map(|at| format!("`{}` of run {}", at.task_id, at.run_id)));
                }
                named.truncate(NAMED);
                format!(
                    "all {slots} slots of the engines for queue `{queue}` are in use, by {}",
                    and_more(&named, slots)
                )
            }
            Hold::ProvidersBusy(route) => {
                let calls: usize = self.serving(route).map(|provider| provider.calls).sum();
                let names: Vec<&str> = self.serving(route).take(NAMED).map(|provider| provider.name.as_str()).collect();
                let most: u64 = self.serving(route).map(|provider| u64::from(provider.capacity)).sum();
                let work = format!(
                    "all providers of {route} ({}) are busy with {} of at most {most}",
                    names.join(", "),
                    counted(calls)
                );
                match self.waiting_on(route) {
                    0 => work,
                    waiting => format!("{work}; {} ready for them", counted(waiting)),
                }
            }
            Hold::ProvidersStarting(route) => {
                let starting = self.serving(route).filter(|it| it.health.state == HealthState::Starting);
                let reasons: BTreeSet<String> = starting
                    .filter_map(|it| {
                        let why: String = it.health.reason.as_deref()?.chars().take(SHOWN_REASON).collect();
                        Some(format!("{}: {why}", it.name))
                    })
                    .collect();
                let reasons: Vec<String> = reasons.into_iter().take(NAMED).collect();
                if reasons.is_empty() { hold.to_string() } else { format!("{hold}: {}", reasons.join("; ")) }
            }
        }
    }

    /// Describes where an open attempt is.
    fn open(&self, attempt: &AttemptRef, engine: &ComponentId, route: &Route, waiting: &mut Waiting) {
        let number = attempt.attempt;
        let name = self.name(engine);
        if let Some(left_ms) = self.silent.get(engine) {
            let reason = format!("attempt {number} is open on engine {name}, which is silent");
            waiting.set_reason(reason, "if it does not come back by then, the attempt is given to another engine");
            waiting.until = Some(self.clock.plus_ms(*left_ms));
            return;
        }
        match self.attempts.get(attempt) {
            Some(CallPlace::NotTaken) => {
                waiting.until = None;
                waiting.reason = format!("attempt {number} was given to engine {name}, which has not taken it yet");
            }
            Some(CallPlace::Engine) => {
                waiting.until = None;
                if let Some(hold) = self.unserved(route) {
                    waiting.set_reason(
                        format!("attempt {number} is open on engine {name}: {}", self.describe(&hold)),
                        hold.remedy(),
                    );
                }
            }
            None => {}
            Some(CallPlace::Hub { before }) => {
                let hold = self.unserved(route).unwrap_or_else(|| Hold::ProvidersBusy(route.clone()));
                let place = match before {
                    0 => "is next".to_owned(),
                    before => format!("waits behind {}", counted(*before)),
                };
                let reason = format!("attempt {number} on engine {name} {place}: {}", self.describe(&hold));
                waiting.set_reason(reason, hold.remedy());
                waiting.until = None;
            }
            Some(CallPlace::Idle(provider)) => {
                let provider = self.name(provider);
                waiting.reason =
                    format!("attempt {number} on engine {name} is with provider {provider}, which is busy");
                waiting.until = None;
            }
            Some(CallPlace::Provider(provider)) => {
                let provider = self.name(provider);
                waiting.reason =
                    format!("attempt {number} is open on engine {name} and running on provider {provider}");
            }
        }
    }

    fn name(&self, id: &ComponentId) -> String {
        match self.names.get(id).filter(|name| !name.is_empty()) {
            Some(name) => format!("`{id}` ({name})"),
            None => format!("`{id}`"),
        }
    }

    fn last(&self, role: Role) -> String {
        self.left(self.departed.iter().rev().find(|it| it.role == role))
    }

    /// Names the providers that serve the route's method under another name.
    fn others(&self, route: &Route) -> String {
        if route.provider.is_none() {
            return String::new();
        }
        let any = Route::any(route.method.clone());
        let names: BTreeSet<String> = self.serving(&any).map(|it| format!("`{}`", it.name)).collect();
        let count = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let named: Vec<String> = names.into_iter().take(NAMED).collect();
        match count {
            0 => "; nor does any other".to_owned(),
            1 => format!("; {} does", named.join("")),
            count => format!("; {} do", and_more(&named, count)),
        }
    }

    fn left(&self, last: Option<&Departed>) -> String {
        last.map_or_else(String::new, |last| {
            let ago = people(self.now.ms_since(last.at));
            format!("; the last one (`{}`) left {ago} ago", last.name)
        })
    }
}

fn counted(calls: usize) -> String {
    format!("{calls} {}", if calls == 1 { "call" } else { "calls" })
}

/// Such as `a, b, c and 61 more`.
fn and_more(named: &[String], all: u64) -> String {
    let more = all.saturating_sub(u64::try_from(named.len()).unwrap_or(u64::MAX));
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

/// Formats a duration in its largest unit.
fn people(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
