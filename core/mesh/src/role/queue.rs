//! The queue role: which ready task goes to which engine, and what follows the end of an attempt.
//!
//! All state here is a fold of `state` and `events`. A task with an open proposal waits for the proposal's entry. What
//! the role does of its own accord stands in `act`, for `Queue` and for `Waiter`.

mod act;
mod ready;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use act::size;
use gleitzeit_run::event::StopReason;
use gleitzeit_run::id::{Attempt, AttemptRef, ComponentId, Position, RunId, Slice};
use gleitzeit_run::ledger::{AttemptEnd, QueueTask, QueueTaskStatus, SliceItem};
use gleitzeit_run::route::Route;
use gleitzeit_workflow::id::{QueueName, TaskId};
use gleitzeit_workflow::spec::{Priority, RetryPolicy};
use gleitzeit_workflow::time::Instant;
use ready::{Place, Ready};

use crate::placement;
use crate::role::outbox::ProposalNumber;
use crate::role::owner::{Fact, Owner};
use crate::role::turns::Round;
use crate::role::{Identity, Input, Output, earliest};
use crate::wire::{ComponentStatus, FromHub, Role};

type Key = (RunId, TaskId);

#[derive(Clone, Debug)]
enum Stage {
    Ready,
    Backoff {
        until: Instant,
    },
    /// A proposal with this number is in transit.
    Proposed {
        number: ProposalNumber,
    },
    Open,
    /// The latest attempt ended; `ended` says how.
    Ended,
}

#[derive(Clone, Debug)]
struct Waiter {
    queue: QueueName,
    route: Route,
    priority: Priority,
    /// When it became ready, by this role's clock.
    since_ms: i64,
    order: Position,
    retry: RetryPolicy,
    attempt: Attempt,
    failures: u32,
    losses: u32,
    lost: Vec<(Attempt, ComponentId, StopReason)>,
    stage: Stage,
    ended: Option<AttemptEnd>,
}

/// Why no proposal is made for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its delay is not over.
    Backoff {
        /// In milliseconds.
        remaining_ms: u64,
    },
    /// It cannot be dispatched.
    Placement(placement::Hold),
    /// A proposal is not recorded yet.
    Proposed,
    /// An engine holds the lease.
    Open,
    /// The hub is disconnected, or too many proposals are unanswered.
    Hub,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backoff { remaining_ms } => write!(f, "the next attempt starts in {remaining_ms} ms"),
            Self::Placement(hold) => hold.fmt(f),
            Self::Proposed => f.write_str("a proposal about it is not recorded yet"),
            Self::Open => f.write_str("an attempt is open"),
            Self::Hub => f.write_str("the hub does not answer"),
        }
    }
}

/// The queue role's state machine.
#[derive(Debug)]
pub struct Queue {
    owner: Owner,
    tasks: BTreeMap<Key, Waiter>,
    ready: BTreeMap<QueueName, Ready>,
    /// The turns of the runs, over all queues.
    round: Round,
    timers: BTreeSet<(Instant, Key)>,
    undecided: BTreeSet<Key>,
    /// Open attempts of all queues, and this role's own dispatches that are not recorded yet.
    open: BTreeMap<AttemptRef, (ComponentId, Route)>,
    /// The same by engine: its used slots are the size of the set.
    used: BTreeMap<ComponentId, BTreeSet<AttemptRef>>,
    /// The same by route.
    calling: BTreeMap<Route, BTreeSet<AttemptRef>>,
    components: BTreeMap<ComponentId, ComponentStatus>,
    /// The connected providers of each route that do not drain.
    serving: BTreeMap<Route, BTreeSet<ComponentId>>,
}

impl Queue {
    /// A queue role that owns nothing yet.
    pub fn new(identity: Identity) -> Self {
        Self {
            owner: Owner::new(identity, Role::Queue),
            tasks: BTreeMap::new(),
            ready: BTreeMap::new(),
            round: Round::default(),
            timers: BTreeSet::new(),
            undecided: BTreeSet::new(),
            open: BTreeMap::new(),
            used: BTreeMap::new(),
            calling: BTreeMap::new(),
            components: BTreeMap::new(),
            serving: BTreeMap::new(),
        }
    }

    /// Takes an input and returns what to do about it.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.accept(now, input, out);
        self.flush(now, out);
    }

    /// Takes one of several inputs; [`Self::flush`] returns what follows from all of them.
    pub fn accept(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        for fact in self.owner.accept(now, input, out) {
            self.learn(now, fact);
        }
    }

    /// Returns what follows from the inputs accepted so far.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((at, key)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, key.clone()));
            self.wake(now, &key);
        }
        for key in std::mem::take(&mut self.undecided) {
            self.decide(&key);
        }
        self.dispatch(now);
        self.owner.flush(now, out);
    }

    /// When `Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        earliest([self.owner.next_deadline(), self.timers.first().map(|(at, _)| *at)])
    }

    /// The queues whose state is complete.
    pub fn owned(&self) -> Vec<Slice> {
        self.owner.owned()
    }

    /// The last position that was processed.
    pub fn position(&self) -> Position {
        self.owner.position()
    }

    /// How many tasks the owned queues are responsible for.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The tasks that would be dispatched if nothing held them back.
    pub fn ready(&self) -> impl Iterator<Item = (RunId, &TaskId)> {
        let ready = self.tasks.iter().filter(|(_, task)| matches!(task.stage, Stage::Ready));
        ready.map(|((run_id, task_id), _)| (*run_id, task_id))
    }

    /// Open attempts on an engine as this role counts them, its own unrecorded dispatches included.
    pub fn used_slots(&self, engine: &ComponentId) -> u32 {
        self.used.get(engine).map_or(0, size)
    }

    /// Why a task is not dispatched; `None` if it is not in an owned queue or nothing holds it back.
    pub fn waiting_reason(&self, now: Instant, run_id: RunId, task_id: &TaskId) -> Option<Hold> {
        let task = self.tasks.get(&(run_id, task_id.clone()))?;
        match &task.stage {
            Stage::Backoff { until } => Some(Hold::Backoff { remaining_ms: until.ms_since(now) }),
            Stage::Proposed { .. } | Stage::Ended => Some(Hold::Proposed),
            Stage::Open => Some(Hold::Open),
            Stage::Ready if !self.owner.is_up() || !self.owner.has_room() => Some(Hold::Hub),
            Stage::Ready => {
                let engine = self.gate(&task.route).and_then(|turn| self.engine_for(&task.queue, &task.route, turn));
                engine.err().map(Hold::Placement)
            }
        }
    }

    fn learn(&mut self, now: Instant, fact: Fact) {
        match fact {
            Fact::Registered => {
                self.components.clear();
                self.serving.clear();
            }
            Fact::Begin { alone } => {
                if alone {
                    self.open.clear();
                    self.used.clear();
                    self.calling.clear();
                }
            }
            Fact::Item { slice, item, granted_at } => match item {
                SliceItem::OpenAttempt(open) => {
                    let route = Route { method: open.method, provider: open.provider };
                    self.opened(open.at, open.engine, route);
                }
                SliceItem::QueueTask(task) => {
                    if let Slice::Queue(queue) = slice {
                        self.take(granted_at, queue, task);
                    }
                }
                SliceItem::Run(_) | SliceItem::Task(_) => {}
            },
            Fact::Owned { slice: Slice::Queue(queue) } => {
                let ended = self.tasks.iter().filter(|(_, task)| task.queue == queue && task.ended.is_some());
                self.undecided.extend(ended.map(|(key, _)| key.clone()));
            }
            Fact::Revoked { slice: Slice::Queue(queue) } => self.forget_queue(&queue),
            Fact::Owned { .. } | Fact::Revoked { .. } => {}
            Fact::Entry { entry, owned } => self.entry(now, &entry, owned),
            Fact::Recorded { command, owned } => self.recorded(now, command, owned),
            Fact::Refused { number, command, verdict, .. } => self.refused(now, number, &command, verdict),
            Fact::Message(FromHub::ComponentStatus(status)) => self.component(status),
            Fact::Message(_) => {}
        }
    }

    fn forget_queue(&mut self, queue: &QueueName) {
        // Dispatches that were never recorded hold no slot; recorded ones are known from their entries.
        let gone: Vec<Key> =
            self.tasks.iter().filter(|(_, task)| task.queue == *queue).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.leave_line(&key);
            let Some(task) = self.tasks.remove(&key) else { continue };
            if matches!(task.stage, Stage::Proposed { .. }) {
                self.closed(&AttemptRef { run_id: key.0, task_id: key.1, attempt: task.attempt + 1 });
            }
        }
    }

    fn take(&mut self, granted_at: Instant, queue: QueueName, task: QueueTask) {
        let key = (task.run_id, task.task_id);
        let ready_ms = i64::try_from(granted_at.0).unwrap_or(i64::MAX) - i64::try_from(task.age_ms).unwrap_or(0);
        let mut ended = None;
        let stage = match task.status {
            QueueTaskStatus::Ready => Stage::Ready,
            QueueTaskStatus::Backoff { remaining_ms } => {
                Stage::Backoff { until: granted_at.plus_ms(remaining_ms.saturating_add(1)) }
            }
            QueueTaskStatus::Open { .. } => Stage::Open,
            QueueTaskStatus::Ended(end) => {
                ended = Some(end);
                Stage::Ended
            }
        };
        let waiter = Waiter {
            queue,
            route: Route { method: task.method, provider: task.provider },
            priority: task.priority,
            since_ms: ready_ms,
            order: task.order,
            retry: task.retry,
            attempt: task.attempt,
            failures: task.failures,
            losses: task.losses,
            lost: task.lost,
            stage: Stage::Open,
            ended,
        };
        self.tasks.insert(key.clone(), waiter);
        self.set(&key, stage);
    }
}

#[cfg(test)]
mod tests;
