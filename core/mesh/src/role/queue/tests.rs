use gleitzeit_run::command::DispatchTask;
use gleitzeit_run::event::{TaskAttemptFailed, TaskAttemptStopped, TaskCompleted, TaskDispatched, TaskReady};
use gleitzeit_run::id::{Epoch, Seq};
use gleitzeit_run::secret::Secret;
use gleitzeit_run::{Command, Entry, Event};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::Priority;
use gleitzeit_workflow::time::Timestamp;
use gleitzeit_workflow::{ErrorCode, Failure};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::wire::{
    AppendResult, ComponentRegistered, Events, EventsItem, Health, Ownership, OwnershipStatus, PresenceStatus,
    ProposalResult, ProposalVerdict, StatePage, ToHub,
};

struct Desk {
    queue: Queue,
    now: Instant,
    position: u64,
    sent: Vec<(crate::id::ProposalId, Command)>,
}

fn run() -> RunId {
    RunId(Uuid::from_u128(7))
}

impl Desk {
    fn new() -> Self {
        let identity =
            Identity { component_id: "q1".into(), secret: Secret::new("s"), name: "q".into(), version: "0".into() };
        let mut desk = Self { queue: Queue::new(identity), now: Instant(1_000_000), position: 0, sent: vec![] };
        desk.input(Input::Connected);
        let registered = ComponentRegistered::new("q1".into(), "q", 5_000);
        desk.receive(FromHub::ComponentRegistered(registered));
        desk.grant();
        desk
    }

    /// Grants the default queue, which has no task.
    fn grant(&mut self) {
        self.receive(FromHub::Ownership(Ownership {
            status: OwnershipStatus::Granted,
            slice: Slice::Queue("default".into()),
            epoch: Epoch(1),
            position: Position(0),
            state_follows: true,
        }));
        let page =
            StatePage { slice: Slice::Queue("default".into()), epoch: Epoch(1), items: vec![], part: None, last: true };
        self.receive(FromHub::State(page));
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.queue.handle(self.now, input, &mut out);
        for output in out {
            if let Output::Send(ToHub::Append(append)) = output {
                self.sent.extend(append.proposals.into_iter().map(|item| (item.proposal_id, item.command)));
            }
        }
    }

    fn receive(&mut self, message: FromHub) {
        self.input(Input::Message(message));
    }

    fn component(&mut self, id: &str, role: Role, capacity: u32, health: Health) {
        self.receive(FromHub::ComponentStatus(ComponentStatus {
            component_id: id.into(),
            role,
            name: id.to_owned(),
            status: PresenceStatus::Connected,
            methods: if role == Role::Provider { vec!["m/x".into()] } else { vec![] },
            queues: None,
            capacity,
            health,
        }));
    }

    fn provider(&mut self, id: &str, methods: &[&str], capacity: u32) {
        self.receive(FromHub::ComponentStatus(ComponentStatus {
            component_id: id.into(),
            role: Role::Provider,
            name: id.to_owned(),
            status: PresenceStatus::Connected,
            methods: methods.iter().map(|method| (*method).into()).collect(),
            queues: None,
            capacity,
            health: Health::default(),
        }));
    }

    fn event(&mut self, event: impl Into<Event>) {
        self.event_of(run(), event);
    }

    fn event_of(&mut self, run_id: RunId, event: impl Into<Event>) {
        self.position += 1;
        let entry = Entry {
            position: Position(self.position),
            run_id: Some(run_id),
            seq: Seq(self.position),
            recorded_at: Timestamp(0),
            queue: Some("default".into()),
            event: event.into(),
        };
        self.receive(FromHub::Events(Events { entries: vec![EventsItem::full(&entry)] }));
    }

    fn ready(&mut self, task: &str, priority: i32, max_attempts: u32) {
        self.ready_for(task, "m/x", priority, max_attempts);
    }

    fn ready_for(&mut self, task: &str, method: &str, priority: i32, max_attempts: u32) {
        self.event(task_ready(task, method, priority, max_attempts));
    }

    /// Takes each proposed task as dispatched and ended at once, one after the other. Returns runs and tasks in that
    /// order.
    fn work_off(&mut self) -> Vec<(RunId, TaskId)> {
        let mut order = Vec::new();
        while !self.sent.is_empty() {
            let (id, command) = self.sent.remove(0);
            let Command::DispatchTask(DispatchTask { run_id, task_id, attempt, engine }) = command else {
                panic!("not a dispatch: {command:?}")
            };
            order.push((run_id, task_id.clone()));
            let dispatched =
                TaskDispatched { task_id: task_id.clone(), attempt, engine, method: "m/x".into(), provider: None };
            self.event_of(run_id, dispatched);
            self.answer(id, ProposalVerdict::Ok);
            let done = TaskCompleted { task_id, attempt, result: Payload::null(), ran_ms: 1, carried: false };
            self.event_of(run_id, done);
        }
        order
    }

    /// Records and answers every proposal made since the last call. Returns what they were.
    fn record(&mut self) -> Vec<String> {
        let sent = std::mem::take(&mut self.sent);
        let shown = sent.iter().map(|(_, command)| show(command)).collect();
        for (id, _) in sent {
            self.position += 1;
            let own = EventsItem::own(Position(self.position), id.clone());
            self.receive(FromHub::Events(Events { entries: vec![own] }));
            self.answer(id, ProposalVerdict::Ok);
        }
        shown
    }

    fn answer(&mut self, proposal_id: crate::id::ProposalId, verdict: ProposalVerdict) {
        let result = ProposalResult { proposal_id, verdict, position: None, error: None };
        self.receive(FromHub::AppendResult(AppendResult { results: vec![result] }));
    }

    fn shown(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sent).iter().map(|(_, command)| show(command)).collect()
    }
}

fn task_ready(task: &str, method: &str, priority: i32, max_attempts: u32) -> TaskReady {
    TaskReady {
        task_id: task.into(),
        method: method.into(),
        provider: None,
        queue: "default".into(),
        priority: Priority(priority),
        retry: RetryPolicy { max_attempts, ..RetryPolicy::default() },
        parameters: Payload::null(),
    }
}

fn show(command: &Command) -> String {
    match command {
        Command::DispatchTask(it) => format!("dispatch {} {} {}", it.task_id, it.attempt, it.engine),
        Command::ScheduleRetry(it) => format!("retry {} {} {}", it.task_id, it.attempt, it.delay_ms),
        Command::RequeueTask(it) => format!("requeue {} {}", it.task_id, it.attempt),
        Command::FailTask(it) => format!("fail {} {} {}", it.task_id, it.attempt, it.error),
        other => format!("{other:?}"),
    }
}

#[test]
fn higher_priority_goes_first_then_submission_order_then_age() {
    let mut desk = Desk::new();
    desk.component("p", Role::Provider, 100, Health::default());
    desk.ready("old", 1, 1);
    desk.now = desk.now.plus_ms(70_000);
    for (task, priority) in [("b", 2), ("a", 2), ("c", 3)] {
        desk.ready(task, priority, 1);
    }
    desk.component("e", Role::Engine, 4, Health::default());
    assert_eq!(desk.record(), ["dispatch c 1 e", "dispatch old 1 e", "dispatch b 1 e", "dispatch a 1 e"]);
}

#[test]
fn work_waits_in_the_queue_while_providers_or_slots_are_taken() {
    let mut desk = Desk::new();
    desk.ready("a", 2, 1);
    desk.component("e", Role::Engine, 4, Health::default());
    let reason = |desk: &Desk, task: &str| {
        desk.queue.waiting_reason(desk.now, run(), &task.into()).map(|hold| hold.to_string()).unwrap_or_default()
    };
    assert_eq!(reason(&desk, "a"), "no connected provider serves `m/x`");
    desk.component("p", Role::Provider, 1, Health { state: crate::wire::HealthState::Starting, ..Health::default() });
    assert_eq!(reason(&desk, "a"), "the providers of `m/x` are still starting");
    assert!(desk.record().is_empty(), "what cannot be told yet is not decided");
    desk.component("p", Role::Provider, 1, Health::default());
    for task in ["b", "c", "d"] {
        desk.ready(task, 2, 1);
    }
    assert_eq!(desk.record(), ["dispatch a 1 e", "dispatch b 1 e"], "one more than can be worked on");
    assert_eq!(reason(&desk, "c"), "all providers of `m/x` are busy");
    desk.component("p", Role::Provider, 1, Health::unhealthy("no"));
    desk.ready("z", 2, 1);
    assert_eq!(desk.record(), ["dispatch c 1 e", "dispatch d 1 e"]);
    assert_eq!(reason(&desk, "z"), "no connected engine of queue `default` has a free slot");
}

#[test]
fn work_waiting_for_one_provider_leaves_slots_to_other_work() {
    let mut desk = Desk::new();
    desk.component("e", Role::Engine, 2, Health::default());
    desk.provider("slow", &["m/x", "m/y"], 1);
    desk.provider("idle", &["m/z"], 1);
    desk.ready("a", 2, 1);
    desk.ready("b", 2, 1);
    desk.ready_for("c", "m/y", 2, 1);
    assert_eq!(desk.record(), ["dispatch a 1 e"], "the same provider would have to serve the others");
    desk.ready_for("d", "m/z", 1, 1);
    assert_eq!(desk.record(), ["dispatch d 1 e"]);
    // Another provider serves one of them.
    desk.component("e", Role::Engine, 8, Health::default());
    desk.provider("other", &["m/y"], 1);
    assert_eq!(desk.record(), ["dispatch b 1 e", "dispatch c 1 e"], "one is next, one is now");
}

#[test]
fn failures_are_retried_up_to_the_limit_and_losses_do_not_count() {
    let mut desk = Desk::new();
    desk.component("p", Role::Provider, 9, Health::default());
    desk.component("e", Role::Engine, 4, Health::default());
    desk.ready("a", 2, 2);
    assert_eq!(desk.record(), ["dispatch a 1 e"]);
    let failed = |attempt| TaskAttemptFailed {
        task_id: "a".into(),
        attempt,
        error: Failure::new(ErrorCode::TaskExecutionFailed, "no"),
        retryable: true,
        retry_after_ms: None,
        ran_ms: 1,
    };
    desk.event(failed(1));
    assert_eq!(desk.record(), ["retry a 1 1000"]);
    desk.now = desk.queue.next_deadline().expect("a timer");
    desk.input(Input::Tick);
    assert_eq!(desk.record(), ["dispatch a 2 e"]);
    let reason = StopReason::EngineLost;
    desk.event(TaskAttemptStopped { task_id: "a".into(), attempt: 2, reason, engine: "e".into(), late_report: false });
    assert_eq!(desk.record(), ["requeue a 2"]);
    assert_eq!(desk.record(), ["dispatch a 3 e"]);
    desk.event(failed(3));
    assert_eq!(desk.record(), ["fail a 3 TASK_EXECUTION_FAILED (-29002): no (after 2 failed attempts)"]);
    assert!(desk.queue.is_empty() && desk.queue.used_slots(&"e".into()) == 0);
}

#[test]
fn after_ten_losses_a_task_fails_and_lists_them() {
    let mut desk = Desk::new();
    desk.component("p", Role::Provider, 9, Health::default());
    desk.component("e", Role::Engine, 4, Health::default());
    desk.ready("a", 2, 1);
    for attempt in 1..=MAX_LOSSES_FOR_TEST {
        assert_eq!(desk.record(), [format!("dispatch a {attempt} e")]);
        let reason = StopReason::NoProvider;
        desk.event(TaskAttemptStopped { task_id: "a".into(), attempt, reason, engine: "e".into(), late_report: false });
        let shown = desk.record();
        if attempt < MAX_LOSSES_FOR_TEST {
            assert_eq!(shown, [format!("requeue a {attempt}")]);
        } else {
            assert!(
                shown[0].contains("lost 10 times: attempt 1 on engine `e`: no provider was connected"),
                "{shown:?}"
            );
        }
    }
}

const MAX_LOSSES_FOR_TEST: u32 = gleitzeit_run::MAX_LOSSES;

#[test]
fn a_dispatch_without_a_slot_is_reconsidered_with_the_current_slots() {
    let mut desk = Desk::new();
    desk.component("p", Role::Provider, 9, Health::default());
    desk.component("e", Role::Engine, 1, Health::default());
    desk.ready("a", 2, 1);
    let (id, _) = desk.sent.pop().expect("a dispatch");
    // The slot became free after the refusal was decided, and the entry for it arrived before the refusal.
    desk.answer(id, ProposalVerdict::NoSlot);
    assert_eq!(desk.queue.used_slots(&"e".into()), 0);
    assert_eq!(desk.shown(), [""; 0]);
    desk.now = desk.now.plus_ms(10);
    desk.input(Input::Tick);
    let (id, _) = desk.sent.pop().expect("a dispatch");
    // Another queue took the slot: that entry arrives before the refusal.
    let task_id = TaskId::from("of another queue");
    desk.event(TaskDispatched {
        task_id: task_id.clone(),
        attempt: 1,
        engine: "e".into(),
        method: "m/x".into(),
        provider: None,
    });
    desk.answer(id, ProposalVerdict::NoSlot);
    desk.now = desk.now.plus_ms(10);
    desk.input(Input::Tick);
    assert_eq!(desk.shown(), [""; 0], "the only slot is taken");
    desk.event(TaskCompleted { task_id, attempt: 1, result: Payload::null(), ran_ms: 1, carried: false });
    assert_eq!(desk.shown(), ["dispatch a 1 e"]);
}

#[test]
fn unanswered_proposals_are_sent_again_after_a_new_registration() {
    let mut desk = Desk::new();
    desk.component("p", Role::Provider, 9, Health::default());
    desk.component("e", Role::Engine, 4, Health::default());
    desk.ready("a", 2, 1);
    assert_eq!(desk.shown(), ["dispatch a 1 e"]);
    desk.input(Input::Disconnected);
    desk.input(Input::Connected);
    assert_eq!(desk.shown(), [""; 0]);
    desk.receive(FromHub::ComponentRegistered(ComponentRegistered::new("q1".into(), "q", 5_000)));
    assert_eq!(desk.record(), ["dispatch a 1 e"]);
}

proptest! {
    /// Runs whose tasks are all ready, of any length and order: dispatches go round between them.
    #[test]
    fn runs_of_equal_priority_are_dispatched_in_turns(lengths in vec(1..40_usize, 1..6), slots in 1..4_u32) {
        let mut desk = Desk::new();
        for (number, length) in lengths.iter().enumerate() {
            for task in 0..*length {
                let ready = task_ready(&format!("t{task:02}"), "m/x", 2, 1);
                desk.event_of(RunId(Uuid::from_u128(number as u128)), ready);
            }
        }
        desk.component("p", Role::Provider, 9, Health::default());
        desk.component("e", Role::Engine, slots, Health::default());
        let order = desk.work_off();
        prop_assert_eq!(order.len(), lengths.iter().sum::<usize>());
        // In round n, each run with that many tasks gets its n-th one.
        let mut rounds: Vec<(TaskId, RunId)> = order.iter().map(|(run_id, task_id)| (task_id.clone(), *run_id)).collect();
        let as_served = rounds.clone();
        rounds.sort();
        prop_assert_eq!(as_served, rounds);
    }
}

#[test]
fn a_small_run_does_not_wait_for_a_large_one_and_an_urgent_one_goes_first() {
    let mut desk = Desk::new();
    let [large, small, urgent] = [1, 2, 3].map(|number| RunId(Uuid::from_u128(number)));
    for task in 0..1_000 {
        desk.event_of(large, task_ready(&format!("t{task}"), "m/x", 2, 1));
    }
    desk.event_of(small, task_ready("only", "m/x", 2, 1));
    desk.event_of(urgent, task_ready("only", "m/x", 4, 1));
    desk.component("p", Role::Provider, 9, Health::default());
    desk.component("e", Role::Engine, 1, Health::default());
    let order: Vec<RunId> = desk.work_off().into_iter().map(|(run_id, _)| run_id).collect();
    assert_eq!(order[..4], [urgent, large, small, large]);
}

/// Once the tasks of the large run have waited longer than the difference in priority, it takes turns with the urgent
/// run; it does not go before it.
#[test]
fn a_large_run_that_has_waited_long_takes_turns_with_an_urgent_one() {
    let [low, urgent] = [1, 2].map(|number| RunId(Uuid::from_u128(number)));
    let order_after = |minutes: u64| {
        let mut desk = Desk::new();
        for task in 0..3 {
            desk.event_of(low, task_ready(&format!("t{task}"), "m/x", 1, 1));
        }
        desk.now = desk.now.plus_ms(minutes * 60_000);
        for task in 0..3 {
            desk.event_of(urgent, task_ready(&format!("t{task}"), "m/x", 4, 1));
        }
        desk.component("p", Role::Provider, 9, Health::default());
        desk.component("e", Role::Engine, 1, Health::default());
        desk.work_off().into_iter().map(|(run_id, _)| run_id).collect::<Vec<RunId>>()
    };
    assert_eq!(order_after(2), [urgent, urgent, urgent, low, low, low]);
    assert_eq!(order_after(3), [low, urgent, low, urgent, low, urgent]);
}

#[test]
fn state_of_a_lost_journal_is_dropped_and_the_new_one_is_read_from_its_start() {
    let mut desk = Desk::new();
    desk.component("p", Role::Provider, 9, Health::default());
    desk.component("e", Role::Engine, 4, Health::default());
    desk.ready("a", 2, 1);
    desk.ready("b", 2, 1);
    assert_eq!(desk.shown(), ["dispatch a 1 e", "dispatch b 1 e"]);
    desk.input(Input::Disconnected);
    desk.input(Input::Connected);
    let registered = ComponentRegistered::new("q1".into(), "q", 5_000);
    let registered = ComponentRegistered { term: Some("t2".into()), starts_anew: true, ..registered };
    let mut out = Vec::new();
    let message = Input::Message(FromHub::ComponentRegistered(registered));
    desk.queue.handle(desk.now, message, &mut out);
    let named = |output: &Output| matches!(output, Output::Log { message, .. } if message.contains("a backup was"));
    assert!(out.iter().any(named), "the log names the cause: {out:?}");
    assert!(!out.iter().any(|output| matches!(output, Output::Send(ToHub::Append(_)))), "nothing is proposed again");
    assert!(desk.queue.is_empty() && desk.queue.owned().is_empty() && desk.queue.used_slots(&"e".into()) == 0);
    // The new journal begins at a position that the old one had long passed.
    desk.position = 0;
    desk.grant();
    desk.component("p", Role::Provider, 9, Health::default());
    desk.component("e", Role::Engine, 4, Health::default());
    desk.ready("c", 2, 1);
    assert_eq!(desk.record(), ["dispatch c 1 e"]);
    // Everything seen since is of the new term.
    desk.input(Input::Disconnected);
    desk.queue.handle(desk.now, Input::Connected, &mut out);
    let seen = out.into_iter().find_map(|output| match output {
        Output::Send(ToHub::RegisterComponent(register)) => register.seen,
        _ => None,
    });
    assert_eq!(seen.map(|seen| (seen.term.to_string(), seen.position)), Some(("t2".to_owned(), Position(2))));
}

#[test]
fn a_task_waits_for_its_named_provider_without_blocking_others() {
    let mut desk = Desk::new();
    desk.component("e", Role::Engine, 8, Health::default());
    desk.provider("one", &["m/x"], 1);
    desk.event(TaskReady { provider: Some("two".into()), ..task_ready("a", "m/x", 9, 1) });
    desk.ready("b", 1, 1);
    assert_eq!(desk.record(), ["dispatch b 1 e"], "who is named is not there");
    let hold = desk.queue.waiting_reason(desk.now, run(), &"a".into()).map(|hold| hold.to_string());
    assert_eq!(hold.as_deref(), Some("no connected provider named `two` serves `m/x`"));
    desk.provider("two", &["m/x"], 4);
    assert_eq!(desk.record(), ["dispatch a 1 e"]);
}

#[test]
fn calls_to_a_named_provider_count_only_for_that_provider() {
    let mut desk = Desk::new();
    desk.component("e", Role::Engine, 64, Health::default());
    desk.provider("one", &["m/x"], 1);
    desk.provider("two", &["m/x"], 8);
    for task in ["a", "b", "c", "d"] {
        desk.event(TaskReady { provider: Some("one".into()), ..task_ready(task, "m/x", 9, 1) });
    }
    desk.ready("e", 1, 1);
    // Its providers get one call to work on and one that is next; the rest waits in the queue, and others do not wait
    // for it.
    assert_eq!(desk.record(), ["dispatch a 1 e", "dispatch b 1 e", "dispatch e 1 e"]);
    let hold = desk.queue.waiting_reason(desk.now, run(), &"c".into()).map(|hold| hold.to_string());
    assert_eq!(hold.as_deref(), Some("all providers of `m/x` named `one` are busy"));
}

#[test]
fn backlogs_of_named_providers_leave_an_idle_provider_to_other_work() {
    let mut desk = Desk::new();
    desk.component("e", Role::Engine, 64, Health::default());
    for name in ["one", "two", "three"] {
        desk.provider(name, &["m/x"], 1);
    }
    for (task, name) in [("a", "one"), ("b", "one"), ("c", "one"), ("d", "two"), ("e", "two"), ("f", "two")] {
        desk.event(TaskReady { provider: Some(name.into()), ..task_ready(task, "m/x", 9, 1) });
    }
    desk.ready("g", 1, 1);
    let dispatched = desk.record();
    assert_eq!(dispatched.len(), 5, "one at work and one next for each name: {dispatched:?}");
    assert_eq!(dispatched.last().map(String::as_str), Some("dispatch g 1 e"), "nobody else takes the third");
}
