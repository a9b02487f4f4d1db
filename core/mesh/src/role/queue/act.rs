//! The actions of the queue role: deciding about ended attempts, dispatching, and following what was recorded.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::command::{DispatchTask, FailTask, RequeueTask, ScheduleRetry};
use gleitzeit_run::event::TaskReady;
use gleitzeit_run::id::{AttemptRef, ComponentId, Position, RunId, Slice};
use gleitzeit_run::ledger::AttemptEnd;
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::route::Route;
use gleitzeit_run::{Command, Entry, Event, MAX_LOSSES, retry};
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::{QueueName, TaskId};
use gleitzeit_workflow::time::Instant;

use super::{Key, Place, Queue, Stage, Waiter};
use crate::placement;
use crate::placement::{Slots, Turn};
use crate::role::outbox::ProposalNumber;
use crate::role::turns;
use crate::wire::{ComponentStatus, PresenceStatus, ProposalVerdict, Role};

/// How long until a refused proposal is reconsidered, in milliseconds, unless an entry has settled the matter before.
const REFUSED_DELAY_MS: u64 = 1_000;
/// How long until a dispatch that found no slot is reconsidered, in milliseconds; by then the entries show which slots
/// are free.
const NO_SLOT_DELAY_MS: u64 = 10;

impl Queue {
    /// Moves a task to a stage, and updates the ready sets and timers.
    pub(super) fn set(&mut self, key: &Key, stage: Stage) {
        self.leave_line(key);
        let Some(task) = self.tasks.get_mut(key) else { return };
        if let Stage::Backoff { until } = task.stage {
            self.timers.remove(&(until, key.clone()));
        }
        match &stage {
            Stage::Ready => {
                let (place, item) = (task.place(key.0), (task.order, key.1.clone()));
                let ready = self.ready.entry(task.queue.clone()).or_default();
                ready.insert(&mut self.round, &task.route, place, item);
            }
            Stage::Backoff { until } => {
                self.timers.insert((*until, key.clone()));
            }
            Stage::Ended => {
                self.undecided.insert(key.clone());
            }
            Stage::Proposed { .. } | Stage::Open => {}
        }
        task.stage = stage;
    }

    /// Takes a task out of the ready ones, if it is one of them.
    pub(super) fn leave_line(&mut self, key: &Key) {
        let Some(task) = self.tasks.get(key).filter(|task| matches!(task.stage, Stage::Ready)) else { return };
        if let Some(ready) = self.ready.get_mut(&task.queue) {
            ready.remove(&mut self.round, &task.route, task.place(key.0), (task.order, key.1.clone()));
            if ready.is_empty() {
                self.ready.remove(&task.queue);
            }
        }
    }

    pub(super) fn wake(&mut self, now: Instant, key: &Key) {
        let Some(task) = self.tasks.get(key) else { return };
        let stage = if task.ended.is_some() { Stage::Ended } else { Stage::Ready };
        if matches!(task.stage, Stage::Backoff { until } if until <= now) {
            self.set(key, stage);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.set(key, Stage::Open);
        self.tasks.remove(key);
    }

    pub(super) fn opened(&mut self, at: AttemptRef, engine: ComponentId, route: Route) {
        self.closed(&at);
        self.used.entry(engine.clone()).or_default().insert(at.clone());
        self.calling.entry(route.clone()).or_default().insert(at.clone());
        self.open.insert(at, (engine, route));
    }

    pub(super) fn closed(&mut self, at: &AttemptRef) {
        let Some((engine, route)) = self.open.remove(at) else { return };
        remove_from(&mut self.used, &engine, at);
        remove_from(&mut self.calling, &route, at);
    }

    pub(super) fn entry(&mut self, now: Instant, entry: &Entry, owned: bool) {
        let Some(run_id) = entry.run_id else { return };
        let at = |task_id: &TaskId, attempt| AttemptRef { run_id, task_id: task_id.clone(), attempt };
        let key = |task_id: &TaskId| (run_id, task_id.clone());
        match &entry.event {
            Event::TaskReady(event) => {
                if owned {
                    self.arrived(now, run_id, entry.position, event);
                }
            }
            Event::TaskDispatched(event) => {
                let attempt = at(&event.task_id, event.attempt);
                self.opened(attempt, event.engine.clone(), Route::new(&event.method, event.provider.as_ref()));
                if owned {
                    self.dispatched(&key(&event.task_id), event.attempt);
                }
            }
            Event::TaskCompleted(event) => {
                self.closed(&at(&event.task_id, event.attempt));
                self.remove(&key(&event.task_id));
            }
            Event::TaskAttemptFailed(event) => {
                self.closed(&at(&event.task_id, event.attempt));
                let end = AttemptEnd::Failed {
                    error: event.error.clone(),
                    retryable: event.retryable,
                    retry_after_ms: event.retry_after_ms,
                };
                self.ended(&key(&event.task_id), event.attempt, end, owned);
            }
            Event::TaskAttemptStopped(event) => {
                self.closed(&at(&event.task_id, event.attempt));
                let end = AttemptEnd::Stopped { reason: event.reason, engine: event.engine.clone() };
                self.ended(&key(&event.task_id), event.attempt, end, owned);
            }
            Event::TaskRequeued(event) => {
                if owned {
                    self.requeued(&key(&event.task_id));
                }
            }
            Event::TaskRetryScheduled(event) => {
                if owned {
                    self.scheduled(now, &key(&event.task_id), event.delay_ms);
                }
            }
            Event::TaskFailed(_) | Event::TaskSkipped(_) | Event::TaskCancelled(_) => {
                if let Some((id, _)) = entry.event.meaning().task.filter(|_| owned) {
                    self.remove(&key(id));
                }
            }
            Event::WorkflowSubmitted(_)
            | Event::WorkflowCancelRequested(_)
            | Event::TaskStarted(_)
            | Event::WorkflowCompleted(_)
            | Event::WorkflowFailed(_)
            | Event::WorkflowCancelled(_)
            | Event::OwnershipGranted(_)
            | Event::ProtocolRegistered(_)
            | Event::ProtocolsUsed(_)
            | Event::ProtocolRemoved(_) => {}
        }
    }

    fn arrived(&mut self, now: Instant, run_id: RunId, position: Position, event: &TaskReady) {
        let key = (run_id, event.task_id.clone());
        self.tasks.entry(key.clone()).or_insert_with(|| Waiter {
            queue: event.queue.clone(),
            route: Route::new(&event.method, event.provider.as_ref()),
            priority: event.priority,
            since_ms: milliseconds(now),
            order: position,
            retry: event.retry.clone(),
            attempt: 0,
            failures: 0,
            losses: 0,
            lost: Vec::new(),
            stage: Stage::Open,
            ended: None,
        });
        self.set(&key, Stage::Ready);
    }

    fn dispatched(&mut self, key: &Key, attempt: u32) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.attempt = attempt;
            task.ended = None;
        }
        self.set(key, Stage::Open);
    }

    fn ended(&mut self, key: &Key, attempt: u32, end: AttemptEnd, owned: bool) {
        let Some(task) = self.tasks.get_mut(key).filter(|task| owned && task.attempt == attempt) else { return };
        match &end {
            AttemptEnd::Failed { .. } => task.failures += 1,
            AttemptEnd::Stopped { reason, engine } => {
                task.losses += 1;
                task.lost.push((attempt, engine.clone(), *reason));
            }
        }
        task.ended = Some(end);
        self.set(key, Stage::Ended);
    }

    fn requeued(&mut self, key: &Key) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.ended = None;
        }
        self.set(key, Stage::Ready);
    }

    fn scheduled(&mut self, now: Instant, key: &Key, delay_ms: u64) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.ended = None;
        }
        // Both clocks are truncated to milliseconds: one more is added so that it is not too early for the writer's
        // clock.
        self.set(key, Stage::Backoff { until: now.plus_ms(delay_ms.saturating_add(1)) });
    }

    pub(super) fn recorded(&mut self, now: Instant, command: Command, owned: bool) {
        if !owned {
            return;
        }
        match command {
            Command::DispatchTask(dispatch) => self.dispatched(&(dispatch.run_id, dispatch.task_id), dispatch.attempt),
            Command::RequeueTask(requeue) => self.requeued(&(requeue.run_id, requeue.task_id)),
            Command::ScheduleRetry(retry) => self.scheduled(now, &(retry.run_id, retry.task_id), retry.delay_ms),
            Command::FailTask(fail) => self.remove(&(fail.run_id, fail.task_id)),
            Command::CancelWorkflow(_)
            | Command::ReadyTask(_)
            | Command::StartAttempt(_)
            | Command::CompleteAttempt(_)
            | Command::FailAttempt(_)
            | Command::StopAttempt(_) => {}
        }
    }

    /// Handles a refusal. Usually an entry has already explained it; if not, the matter is reconsidered after a delay.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        number: ProposalNumber,
        command: &Command,
        verdict: ProposalVerdict,
    ) {
        let (run_id, task_id) = match command {
            Command::DispatchTask(dispatch) => (dispatch.run_id, &dispatch.task_id),
            Command::RequeueTask(requeue) => (requeue.run_id, &requeue.task_id),
            Command::ScheduleRetry(retry) => (retry.run_id, &retry.task_id),
            Command::FailTask(fail) => (fail.run_id, &fail.task_id),
            Command::CancelWorkflow(_)
            | Command::ReadyTask(_)
            | Command::StartAttempt(_)
            | Command::CompleteAttempt(_)
            | Command::FailAttempt(_)
            | Command::StopAttempt(_) => return,
        };
        let key = (run_id, task_id.clone());
        let Some(task) = self.tasks.get(&key) else { return self.withdraw(command) };
        if !matches!(task.stage, Stage::Proposed { number: of } if of == number) {
            return;
        }
        self.withdraw(command);
        if verdict == ProposalVerdict::NoSlot {
            // All entries up to now were seen, so the slots are counted correctly, and a free one became free in the
            // meantime.
            return self.set(&key, Stage::Backoff { until: now.plus_ms(NO_SLOT_DELAY_MS) });
        }
        self.set(&key, Stage::Backoff { until: now.plus_ms(REFUSED_DELAY_MS) });
    }

    /// Releases the slot of a dispatch that was not recorded.
    fn withdraw(&mut self, command: &Command) {
        if let Command::DispatchTask(dispatch) = command {
            let DispatchTask { run_id, task_id, attempt, .. } = dispatch.clone();
            self.closed(&AttemptRef { run_id, task_id, attempt });
        }
    }

    /// Decides what follows the end of an attempt.
    pub(super) fn decide(&mut self, key: &Key) {
        let Some(task) = self.tasks.get(key).filter(|task| matches!(task.stage, Stage::Ended)) else { return };
        let Some(end) = &task.ended else { return };
        let (run_id, task_id, attempt) = (key.0, key.1.clone(), task.attempt);
        let fail = |error| Command::FailTask(FailTask { run_id, task_id: key.1.clone(), attempt, error });
        let command = match end {
            AttemptEnd::Stopped { .. } if planted_bugs::is(Bug::NoRequeue) => return,
            AttemptEnd::Stopped { .. } if task.losses >= MAX_LOSSES => fail(lost_too_often(key, task)),
            AttemptEnd::Stopped { .. } => Command::RequeueTask(RequeueTask { run_id, task_id, attempt }),
            AttemptEnd::Failed { retryable: true, retry_after_ms, .. }
                if task.failures < task.retry.max_attempts || planted_bugs::is(Bug::NoMaxAttempts) =>
            {
                let delay_ms = retry::delay_ms(&task.retry, task.failures, *retry_after_ms, run_id, &task_id, attempt);
                Command::ScheduleRetry(ScheduleRetry { run_id, task_id, attempt, delay_ms })
            }
            AttemptEnd::Failed { error, .. } => {
                let mut error = error.clone();
                if task.failures > 1 {
                    error.message = format!("{} (after {} failed attempts)", error.message, task.failures);
                }
                fail(error)
            }
        };
        let slice = Slice::Queue(task.queue.clone());
        // For a queue whose state is not complete, the decision is made once it is.
        if let Some(number) = self.owner.propose(&slice, command) {
            self.set(key, Stage::Proposed { number });
        }
    }

    /// Dispatches ready tasks over all owned queues until no more can go; runs take turns.
    pub(super) fn dispatch(&mut self, now: Instant) {
        let now_ms = milliseconds(now);
        let (mut gated, mut stuck, mut next) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        while self.owner.is_up() && self.owner.has_room() {
            let (round, gated_now, next_now) = (&self.round, &gated, &next);
            let queues = self.ready.iter_mut().filter(|(queue, _)| !stuck.contains(*queue));
            let heads = queues.flat_map(|(queue, ready)| {
                let is_wanted = move |route: &Route| {
                    let is_held_back = !next_now.is_empty() && next_now.contains(&(queue.clone(), route.clone()));
                    !gated_now.contains(route) && !is_held_back
                };
                ready.heads(round, is_wanted).map(move |(head, route)| (head, (queue, route)))
            });
            let Some((head, (queue, route))) = turns::choose(now_ms, heads) else {
                return;
            };
            let (key, queue, route) = ((head.run_id, head.item.1.clone()), queue.clone(), route.clone());
            let Ok(turn) = self.gate(&route) else {
                gated.insert(route);
                continue;
            };
            let engine = match (self.engine_for(&queue, &route, turn), turn) {
                (Ok(engine), _) => engine,
                (Err(_), Turn::Now) => {
                    stuck.insert(queue);
                    continue;
                }
                (Err(_), Turn::Next) => {
                    next.insert((queue, route));
                    continue;
                }
            };
            let attempt = self.tasks.get(&key).map_or(1, |task| task.attempt + 1);
            let (run_id, task_id) = key.clone();
            let command = DispatchTask { run_id, task_id: task_id.clone(), attempt, engine: engine.clone() };
            let slice = Slice::Queue(queue.clone());
            let Some(number) = self.owner.propose(&slice, Command::DispatchTask(command)) else {
                stuck.insert(queue);
                continue;
            };
            self.opened(AttemptRef { run_id, task_id, attempt }, engine, route);
            self.round.served(run_id);
            self.set(&key, Stage::Proposed { number });
        }
    }

    /// When a task of a route would be worked on, or what holds back every task of the route.
    pub(super) fn gate(&self, route: &Route) -> Result<Turn, placement::Hold> {
        let serving = self.serving.get(route).into_iter().flatten().filter_map(|id| self.components.get(id));
        let providers = serving.map(|status| (status.capacity, status.health.state));
        placement::gate(route, providers, self.calling(route))
    }

    /// How many open attempts take up room of a route's providers: its own, and those of routes that only some of these
    /// providers serve, such as those to a named one. Of the latter only as many count as their providers can work on;
    /// the rest waits for those providers and leaves the room of the others free.
    fn calling(&self, route: &Route) -> u32 {
        let serving = self.serving.get(route);
        let (mut own, mut narrower) = (0_u32, BTreeMap::<&BTreeSet<ComponentId>, u32>::new());
        for (other, attempts) in &self.calling {
            let calling = size(attempts);
            match self.serving.get(other).zip(serving) {
                _ if other == route => own = own.saturating_add(calling),
                Some((others, serving)) if others == serving => own = own.saturating_add(calling),
                Some((others, serving)) if others.is_subset(serving) => *narrower.entry(others).or_default() += calling,
                _ => {}
            }
        }
        narrower.into_iter().fold(own, |sum, (others, calling)| sum.saturating_add(calling.min(self.room(others))))
    }

    /// How many calls these providers can work on at once.
    fn room(&self, providers: &BTreeSet<ComponentId>) -> u32 {
        let capacities = providers.iter().filter_map(|id| self.components.get(id)).map(|status| status.capacity);
        capacities.fold(0, u32::saturating_add)
    }

    /// A component's status changed, or it is gone.
    pub(super) fn component(&mut self, status: ComponentStatus) {
        let id = status.component_id.clone();
        if let Some(before) = self.components.remove(&id) {
            for route in Route::of_provider(&before.name, &before.methods) {
                if let Some(serving) = self.serving.get_mut(&route) {
                    serving.remove(&id);
                    if serving.is_empty() {
                        self.serving.remove(&route);
                    }
                }
            }
        }
        if status.status != PresenceStatus::Connected {
            return;
        }
        if status.role == Role::Provider && status.capacity > 0 {
            for route in Route::of_provider(&status.name, &status.methods) {
                self.serving.entry(route).or_default().insert(id.clone());
            }
        }
        self.components.insert(id, status);
    }

    /// The connected engine of a queue with the most free slots; the first by id of several equals.
    pub(super) fn engine_for(
        &self,
        queue: &QueueName,
        route: &Route,
        turn: Turn,
    ) -> Result<ComponentId, placement::Hold> {
        let engines = self.components.iter().filter(|(_, status)| status.role == Role::Engine);
        let slots = engines.map(|(engine, status)| Slots {
            engine,
            queues: status.queues.as_deref(),
            capacity: status.capacity,
            used: self.used_slots(engine),
        });
        placement::roomiest(queue, route, turn, slots).cloned()
    }
}

impl Waiter {
    /// The place where it waits while it is ready.
    fn place(&self, run_id: RunId) -> Place {
        Place { run_id, priority: self.priority, since_ms: self.since_ms }
    }
}

/// How many attempts a set has.
pub(super) fn size(attempts: &BTreeSet<AttemptRef>) -> u32 {
    u32::try_from(attempts.len()).unwrap_or(u32::MAX)
}

/// Removes an attempt from one of the sets, and the set once it is empty.
fn remove_from<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<AttemptRef>>, key: &K, at: &AttemptRef) {
    if let Some(attempts) = sets.get_mut(key) {
        attempts.remove(at);
        if attempts.is_empty() {
            sets.remove(key);
        }
    }
}

fn milliseconds(now: Instant) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX)
}

fn lost_too_often(key: &Key, task: &Waiter) -> Failure {
    let mut message = format!("`{}` was lost {} times", key.1, task.losses);
    for (index, (attempt, engine, reason)) in task.lost.iter().enumerate() {
        let joint = if index == 0 { ": " } else { "; " };
        message.push_str(&format!("{joint}attempt {attempt} on engine `{engine}`: {}", reason.text()));
    }
    Failure::new(ErrorCode::TaskRetryExhausted, message)
}
