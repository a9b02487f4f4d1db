//! Who may take a ready task: the one predicate by which the owner of a queue dispatches, and by which people are told
//! why nothing happens. Pure, and of whoever counts slots and calls.

use std::fmt;

use crate::id::{ComponentId, MethodName, QueueName};
use crate::mesh::HealthState;

/// Why a ready task is not dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nobody connected serves its method.
    NoProvider(MethodName),
    /// Its method's providers do not know yet whether they can serve it.
    ProvidersStarting(MethodName),
    /// Its method's providers have enough to do.
    ProvidersBusy(MethodName),
    /// No connected engine works for its queue, or all that do are draining.
    NoEngine(QueueName),
    /// All slots of the connected engines of its queue are in use.
    NoSlot(QueueName),
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider(method) => write!(f, "no connected provider serves `{method}`"),
            Self::ProvidersStarting(method) => write!(f, "the providers of `{method}` are still starting"),
            Self::ProvidersBusy(method) => write!(f, "all providers of `{method}` are busy"),
            Self::NoEngine(queue) => write!(f, "no connected engine works for queue `{queue}`"),
            Self::NoSlot(queue) => write!(f, "no connected engine of queue `{queue}` has a free slot"),
        }
    }
}

impl Hold {
    /// What would end it, for people.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoProvider(_) => "start one that does; `gleitzeit providers` shows who is there".to_owned(),
            Self::ProvidersStarting(_) => "wait; `gleitzeit providers` shows how they are".to_owned(),
            Self::ProvidersBusy(_) => "wait, or start another one".to_owned(),
            Self::NoEngine(queue) => format!("start one with `gleitzeit agent --role engine --queues {queue}`"),
            Self::NoSlot(_) => "wait, or start an engine with more `--slots`".to_owned(),
        }
    }
}

/// How many attempts of a method may be open beyond what its providers can work on at once: a quarter of that, from 2
/// to 64, so that providers need not wait for the queue and priority still counts for nearly everything that waits.
fn prefetch(capacity: u32) -> u32 {
    (capacity / 4).clamp(2, 64)
}

/// What holds back every task of a method, if anything does: `providers` are capacity and health of the connected ones
/// that serve it and do not drain, `calling` is the number of open attempts that call it.
pub fn gate(
    method: &MethodName,
    providers: impl IntoIterator<Item = (u32, HealthState)>,
    calling: u32,
) -> Option<Hold> {
    let (mut any, mut starting, mut healthy) = (false, false, None::<u32>);
    for (capacity, health) in providers {
        any = true;
        match health {
            HealthState::Healthy => healthy = Some(capacity.saturating_add(healthy.unwrap_or(0))),
            HealthState::Starting => starting = true,
            HealthState::Unhealthy => {}
        }
    }
    if !any {
        return Some(Hold::NoProvider(method.clone()));
    }
    if starting && healthy.is_none() {
        return Some(Hold::ProvidersStarting(method.clone()));
    }
    // All unhealthy: the engine fails the attempt with their own messages.
    let capacity = healthy?;
    (calling >= capacity.saturating_add(prefetch(capacity))).then(|| Hold::ProvidersBusy(method.clone()))
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
    /// How many it holds.
    pub used: u32,
}

impl Slots<'_> {
    /// Whether it works for a queue.
    pub fn serves(&self, queue: &QueueName) -> bool {
        self.capacity > 0 && self.queues.is_none_or(|queues| queues.contains(queue))
    }
}

/// The engine of a queue with the most free slots; of equals the first.
///
/// # Errors
/// What the queue's tasks wait for.
pub fn roomiest<'a>(queue: &QueueName, engines: impl IntoIterator<Item = Slots<'a>>) -> Result<&'a ComponentId, Hold> {
    let (mut any, mut best) = (false, None::<(u32, &ComponentId)>);
    for slots in engines.into_iter().filter(|slots| slots.serves(queue)) {
        any = true;
        let free = slots.capacity.saturating_sub(slots.used);
        if free > best.map_or(0, |(most, _)| most) {
            best = Some((free, slots.engine));
        }
    }
    best.map(|(_, engine)| engine)
        .ok_or_else(|| if any { Hold::NoSlot(queue.clone()) } else { Hold::NoEngine(queue.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: HealthState = HealthState::Healthy;

    #[test]
    fn a_method_is_held_back_until_somebody_can_serve_it() {
        let method = MethodName::from("a/b");
        let held = |providers: &[(u32, HealthState)], calling| {
            gate(&method, providers.iter().copied(), calling).map(|hold| hold.to_string())
        };
        assert_eq!(held(&[], 0).as_deref(), Some("no connected provider serves `a/b`"));
        let starting = held(&[(1, HealthState::Starting), (1, HealthState::Unhealthy)], 0);
        assert_eq!(starting.as_deref(), Some("the providers of `a/b` are still starting"));
        assert_eq!(held(&[(1, HealthState::Unhealthy)], 9), None, "it fails at once instead of waiting");
        assert_eq!(held(&[(1, HEALTHY), (1, HealthState::Starting)], 2), None, "two more than can be served");
        assert_eq!(held(&[(1, HEALTHY)], 3).as_deref(), Some("all providers of `a/b` are busy"));
        assert_eq!(held(&[(1, HEALTHY), (8, HEALTHY)], 10), None);
        assert_eq!(held(&[(100, HEALTHY)], 124), None);
        assert!(held(&[(100, HEALTHY)], 125).is_some());
    }

    #[test]
    fn the_engine_with_the_most_room_takes_it() {
        let (queue, other) = (QueueName::from("q"), [QueueName::from("other")]);
        let ids = ["a", "b", "c"].map(ComponentId::from);
        let slots = |at: usize, capacity, used| Slots { engine: &ids[at], queues: None, capacity, used };
        assert_eq!(roomiest(&queue, [slots(0, 4, 3), slots(1, 4, 2), slots(2, 4, 2)]), Ok(&ids[1]));
        assert_eq!(roomiest(&queue, [slots(0, 4, 4), slots(1, 2, 3)]), Err(Hold::NoSlot(queue.clone())));
        let elsewhere = Slots { queues: Some(&other), ..slots(0, 4, 0) };
        assert_eq!(roomiest(&queue, [elsewhere, slots(1, 0, 0)]), Err(Hold::NoEngine(queue.clone())));
        assert_eq!(roomiest(&other[0], [elsewhere]), Ok(&ids[0]));
    }
}
