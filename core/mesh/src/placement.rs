//! Whether a ready task can be dispatched: one predicate, used by the owner of a queue to dispatch and by the hub to
//! explain why nothing happens. It is pure, and its caller counts slots and calls.

use std::fmt;

use gleitzeit_run::id::ComponentId;
use gleitzeit_run::route::Route;
use gleitzeit_workflow::id::QueueName;
use gleitzeit_workflow::spec::Priority;

use crate::wire::HealthState;

/// The waiting time, in milliseconds, that is worth one level of priority. A task, or a call that waits for a provider,
/// is therefore overtaken only by those of higher priority that began to wait within (difference in priority) × this
/// after it: with the four named levels it is next in line after three minutes at most.
pub const AGE_STEP_MS: i64 = 60_000;

/// The rank by which waiting items are ordered; lower goes first. All items age alike, so the order of two never
/// changes and nothing is ever sorted again.
pub fn rank(since_ms: i64, priority: Priority) -> i64 {
    since_ms.saturating_sub(i64::from(priority.0).saturating_mul(AGE_STEP_MS))
}

/// Why a ready task is not dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No connected provider serves its method, or none of the name that the task asks for.
    NoProvider(Route),
    /// The providers of its method do not know yet whether they can serve it.
    ProvidersStarting(Route),
    /// The providers of its method have no room.
    ProvidersBusy(Route),
    /// No connected engine works for its queue, or all that do are draining.
    NoEngine(QueueName),
    /// All slots of the connected engines of its queue are in use.
    NoSlot(QueueName),
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider(Route { method, provider: None }) => {
                write!(f, "no connected provider serves `{method}`")
            }
            Self::NoProvider(Route { method, provider: Some(name) }) => {
                write!(f, "no connected provider named `{name}` serves `{method}`")
            }
            Self::ProvidersStarting(route) => write!(f, "the providers of {route} are still starting"),
            Self::ProvidersBusy(route) => write!(f, "all providers of {route} are busy"),
            Self::NoEngine(queue) => write!(f, "no connected engine works for queue `{queue}`"),
            Self::NoSlot(queue) => write!(f, "no connected engine of queue `{queue}` has a free slot"),
        }
    }
}

impl Hold {
    /// What would end the hold, in words for people.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoProvider(Route { provider: Some(name), .. }) => {
                format!(
                    "start `{name}`, or correct the task's `provider`; `gleitzeit providers` lists those that are connected"
                )
            }
            Self::NoProvider(_) => {
                "start one that does; `gleitzeit providers` lists those that are connected".to_owned()
            }
            Self::ProvidersStarting(_) => "wait; `gleitzeit providers` shows their state".to_owned(),
            Self::ProvidersBusy(_) => "wait, raise `max_concurrency` of the provider, or start another one".to_owned(),
            Self::NoEngine(queue) => format!("start one with `gleitzeit agent --role engine --queues {queue}`"),
            Self::NoSlot(_) => "wait, or start an engine with more `--slots`".to_owned(),
        }
    }
}

/// How many attempts may be open beyond what their providers can work on at once: a quarter of that, from 1 to 64.
/// Providers then need not wait for the queue, and nearly everything that waits does so in a queue, without a slot.
fn prefetch(capacity: u32) -> u32 {
    (capacity / 4).clamp(1, 64)
}

/// When a provider would work on a dispatched attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Now,
    /// As soon as a provider has room; until then the call waits at the hub.
    Next,
}

/// When a task of a route would be worked on. `providers` are the capacity and health of the connected ones that serve
/// it and do not drain; `calling` is the number of open attempts that only they can serve.
///
/// # Errors
/// The reason that holds back every task of the route.
pub fn gate(
    route: &Route,
    providers: impl IntoIterator<Item = (u32, HealthState)>,
    calling: u32,
) -> Result<Turn, Hold> {
    let (mut any, mut starting, mut healthy) = (false, false, None::<u32>);
    for (capacity, health) in providers {
        any = true;
        match health {
            HealthState::Healthy | HealthState::Slow => healthy = Some(capacity.saturating_add(healthy.unwrap_or(0))),
            HealthState::Starting => starting = true,
            HealthState::Unhealthy => {}
        }
    }
    if !any {
        return Err(Hold::NoProvider(route.clone()));
    }
    if starting && healthy.is_none() {
        return Err(Hold::ProvidersStarting(route.clone()));
    }
    // All are unhealthy: the engine fails the attempt with their own messages.
    let Some(capacity) = healthy else { return Ok(Turn::Now) };
    match calling.checked_sub(capacity) {
        None => Ok(Turn::Now),
        Some(waiting) if waiting < prefetch(capacity) => Ok(Turn::Next),
        Some(_) => Err(Hold::ProvidersBusy(route.clone())),
    }
}

/// A connected engine as a queue sees it.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'a> {
    /// Which engine.
    pub engine: &'a ComponentId,
    /// The queues it works for; `None`: all.
    pub queues: Option<&'a [QueueName]>,
    /// How many attempts it may hold; 0 while it drains.
    pub capacity: u32,
    /// How many attempts it holds.
    pub used: u32,
}

impl Slots<'_> {
    /// Whether it works for a queue.
    pub fn serves(&self, queue: &QueueName) -> bool {
        self.capacity > 0 && self.queues.is_none_or(|queues| queues.contains(queue))
    }

    /// How many more attempts it may hold. Attempts that only wait get at most half of its slots, so that a backlog of
    /// one method does not keep others from being worked on.
    fn free(&self, turn: Turn) -> u32 {
        let kept = match turn {
            Turn::Now => 0,
            Turn::Next => self.capacity.div_ceil(2),
        };
        self.capacity.saturating_sub(kept).saturating_sub(self.used)
    }
}

/// The engine of a queue with the most free slots for an attempt of this turn; the first of several equals.
///
/// # Errors
/// The reason for which the queue's tasks of this route wait.
pub fn roomiest<'a>(
    queue: &QueueName,
    route: &Route,
    turn: Turn,
    engines: impl IntoIterator<Item = Slots<'a>>,
) -> Result<&'a ComponentId, Hold> {
    let (mut any, mut best) = (false, None::<(u32, &ComponentId)>);
    for slots in engines.into_iter().filter(|slots| slots.serves(queue)) {
        any = true;
        let free = slots.free(turn);
        if free > best.map_or(0, |(most, _)| most) {
            best = Some((free, slots.engine));
        }
    }
    best.map(|(_, engine)| engine).ok_or_else(|| match turn {
        _ if !any => Hold::NoEngine(queue.clone()),
        Turn::Now => Hold::NoSlot(queue.clone()),
        Turn::Next => Hold::ProvidersBusy(route.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: HealthState = HealthState::Healthy;

    #[test]
    fn a_method_is_held_until_a_provider_can_serve_it() {
        let method = Route::any("a/b".into());
        let held = |providers: &[(u32, HealthState)], calling| {
            gate(&method, providers.iter().copied(), calling).err().map(|hold| hold.to_string())
        };
        assert_eq!(held(&[], 0).as_deref(), Some("no connected provider serves `a/b`"));
        let named = Route::new(&"a/b".into(), Some(&"x".into()));
        let hold = gate(&named, [], 0).expect_err("nobody is there");
        assert_eq!(hold.to_string(), "no connected provider named `x` serves `a/b`");
        assert!(hold.remedy().starts_with("start `x`, or correct"), "{}", hold.remedy());
        let starting = held(&[(1, HealthState::Starting), (1, HealthState::Unhealthy)], 0);
        assert_eq!(starting.as_deref(), Some("the providers of `a/b` are still starting"));
        assert_eq!(held(&[(1, HealthState::Unhealthy)], 9), None, "it fails at once instead of waiting");
        assert_eq!(held(&[(1, HEALTHY), (1, HealthState::Starting)], 1), None, "one more than can be served");
        assert_eq!(held(&[(1, HEALTHY)], 2).as_deref(), Some("all providers of `a/b` are busy"));
        let turn = |calling| gate(&method, [(2, HEALTHY)], calling).ok();
        assert_eq!([1, 2, 3].map(turn), [Some(Turn::Now), Some(Turn::Next), None]);
        assert_eq!(held(&[(1, HEALTHY), (8, HEALTHY)], 10), None);
        assert_eq!(held(&[(1, HealthState::Slow)], 0), None, "slow is no reason to wait or to fail");
        assert_eq!(held(&[(1, HealthState::Slow), (8, HEALTHY)], 10), None);
        assert_eq!(held(&[(100, HEALTHY)], 124), None);
        assert!(held(&[(100, HEALTHY)], 125).is_some());
    }

    #[test]
    fn the_engine_with_the_most_free_slots_is_chosen() {
        let (queue, other) = (QueueName::from("q"), [QueueName::from("other")]);
        let ids = ["a", "b", "c"].map(ComponentId::from);
        let slots = |at: usize, capacity, used| Slots { engine: &ids[at], queues: None, capacity, used };
        let method = Route::any("a/b".into());
        let now = |queue: &QueueName, engines: &[Slots<'_>]| {
            roomiest(queue, &method, Turn::Now, engines.iter().copied()).cloned()
        };
        assert_eq!(now(&queue, &[slots(0, 4, 3), slots(1, 4, 2), slots(2, 4, 2)]), Ok(ids[1].clone()));
        assert_eq!(now(&queue, &[slots(0, 4, 4), slots(1, 2, 3)]), Err(Hold::NoSlot(queue.clone())));
        let elsewhere = Slots { queues: Some(&other), ..slots(0, 4, 0) };
        assert_eq!(now(&queue, &[elsewhere, slots(1, 0, 0)]), Err(Hold::NoEngine(queue.clone())));
        assert_eq!(now(&other[0], &[elsewhere]), Ok(ids[0].clone()));
    }

    #[test]
    fn waiting_work_leaves_half_of_the_slots_to_runnable_work() {
        let (queue, method, id) = (QueueName::from("q"), Route::any("a/b".into()), ComponentId::from("a"));
        let next = |capacity, used| {
            roomiest(&queue, &method, Turn::Next, [Slots { engine: &id, queues: None, capacity, used }]).is_ok()
        };
        assert_eq!(
            [(1, 0), (2, 0), (2, 1), (3, 1), (8, 3), (8, 4), (64, 31)].map(|(all, used)| next(all, used)),
            [false, true, false, false, true, false, true]
        );
        let full = roomiest(&queue, &method, Turn::Next, [Slots { engine: &id, queues: None, capacity: 2, used: 1 }]);
        assert_eq!(full, Err(Hold::ProvidersBusy(method.clone())));
    }

    #[test]
    fn one_priority_level_equals_one_minute_of_waiting() {
        let (low, high) = (Priority(1), Priority(2));
        assert!(rank(1_000, high) < rank(1_000, low) && rank(59_999, high) < rank(0, low));
        assert!(rank(60_001, high) > rank(0, low), "nobody waits for ever");
    }
}
