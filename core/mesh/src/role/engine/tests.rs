use gleitzeit_run::Command;
use gleitzeit_run::id::{Position, RunId};
use gleitzeit_run::secret::Secret;
use gleitzeit_workflow::spec::Priority;
use uuid::Uuid;

use super::*;
use crate::wire::{
    AppendResult, CallEnd, CancelTask, ComponentRegistered, ExecuteTask, Health, HealthState, MethodOutcome,
    MethodResult, MethodStarted, MethodWaiting, ProposalResult, ProposalVerdict,
};

mod leaving;

struct Bench {
    engine: Engine,
    now: Instant,
    said: Vec<String>,
    proposals: Vec<crate::id::ProposalId>,
    /// The messages of failed attempts.
    errors: Vec<String>,
}

fn at(attempt: u32) -> AttemptRef {
    AttemptRef { run_id: RunId(Uuid::from_u128(7)), task_id: "a".into(), attempt }
}

fn serving(id: &str, status: PresenceStatus, health: Health) -> ComponentStatus {
    ComponentStatus {
        component_id: id.into(),
        role: Role::Provider,
        name: format!("name of {id}"),
        status,
        methods: vec!["m/x".into()],
        queues: None,
        capacity: 1,
        health,
    }
}

fn assignment(attempt: u32, run_remaining_ms: Option<u64>) -> Assignment {
    Assignment {
        at: at(attempt),
        dispatched: Position(u64::from(attempt)),
        method: "m/x".into(),
        provider: None,
        protocol_version: "v1".into(),
        parameters: Payload::null(),
        timeout_ms: None,
        run_remaining_ms,
        priority: Priority::default(),
        correlation_id: "0".repeat(32),
        traceparent: None,
    }
}

impl Bench {
    fn new() -> Self {
        let identity =
            Identity { component_id: "e1".into(), secret: Secret::new("s"), name: "e".into(), version: "0".into() };
        let engine = Engine::new(identity, Config { max_payload_bytes: 50, ..Config::default() });
        let mut bench = Self { engine, now: Instant(1_000), said: vec![], proposals: vec![], errors: vec![] };
        bench.connect();
        bench.status(PresenceStatus::Connected, Health::default());
        bench.now = bench.now.plus_ms(SETTLE_MS);
        bench.tick();
        bench
    }

    fn connect(&mut self) {
        self.hub(role::Input::Connected);
        self.registered();
    }

    fn registered(&mut self) {
        self.receive(FromHub::ComponentRegistered(ComponentRegistered::new("e1".into(), "e", 5_000)));
    }

    fn status(&mut self, status: PresenceStatus, health: Health) {
        self.provider("p", status, health);
    }

    fn provider(&mut self, id: &str, status: PresenceStatus, health: Health) {
        self.receive(FromHub::ComponentStatus(serving(id, status, health)));
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        let (sent, asked): (Vec<Output>, Vec<Output>) =
            out.into_iter().partition(|output| matches!(output, Output::Hub(_)));
        for output in sent.into_iter().chain(asked) {
            match output {
                Output::Prepare { assignment } => {
                    let result = Ok((assignment.parameters, Some(5_000)));
                    self.input(Input::Prepared { at: assignment.at, result });
                }
                Output::CheckResult { at, result, .. } => self.input(Input::Checked { at, result: Ok(result) }),
                Output::Drained => self.said.push("drained".into()),
                Output::Hub(role::Output::Send(message)) => self.saw(message),
                _ => {}
            }
        }
    }

    fn saw(&mut self, message: ToHub) {
        match message {
            ToHub::RegisterComponent(register) => {
                let attempts: Vec<u32> = register.attempts.iter().map(|at| at.attempt).collect();
                self.said.push(format!("register {} {attempts:?}", register.slots.unwrap_or(0)));
            }
            ToHub::TaskTaken(taken) => self.said.push(format!("taken {}", taken.attempts[0].attempt)),
            ToHub::ExecuteMethod(call) => self.said.push(format!("call {:?}", call.calls[0].providers)),
            ToHub::CancelMethod(_) => self.said.push("cancel call".into()),
            ToHub::Append(append) => {
                for item in append.proposals {
                    self.proposals.push(item.proposal_id);
                    self.said.push(match item.command {
                        Command::StartAttempt(it) => format!("started {} {}", it.at.attempt, it.ran_ms),
                        Command::CompleteAttempt(it) => format!("complete {} {:?}", it.at.attempt, it.result),
                        Command::FailAttempt(it) => {
                            self.errors.push(it.error.message.clone());
                            format!(
                                "fail {} {} {} {:?}",
                                it.at.attempt,
                                it.error.name(),
                                it.retryable,
                                it.retry_after_ms
                            )
                        }
                        Command::StopAttempt(it) => format!("stop {} {:?}", it.at.attempt, it.reason),
                        other => format!("{other:?}"),
                    });
                }
            }
            _ => {}
        }
    }

    fn hub(&mut self, input: role::Input) {
        self.input(Input::Hub(input));
    }

    fn receive(&mut self, message: FromHub) {
        self.hub(role::Input::Message(message));
    }

    fn tick(&mut self) {
        self.hub(role::Input::Tick);
    }

    fn execute(&mut self, attempt: u32, run_remaining_ms: Option<u64>) {
        self.receive(FromHub::ExecuteTask(ExecuteTask { tasks: vec![assignment(attempt, run_remaining_ms)] }));
    }

    fn end(&mut self, attempt: u32, outcome: MethodOutcome) {
        let id = CallId::new(&"e1".into(), &at(attempt));
        self.receive(FromHub::MethodResult(MethodResult { results: vec![CallEnd { id, outcome }] }));
    }

    fn waits(&mut self, attempt: u32) {
        self.receive(FromHub::MethodWaiting(MethodWaiting { ids: vec![CallId::new(&"e1".into(), &at(attempt))] }));
    }

    fn begins(&mut self, attempt: u32) {
        self.receive(FromHub::MethodStarted(MethodStarted { ids: vec![CallId::new(&"e1".into(), &at(attempt))] }));
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.tick();
    }

    fn answer_all(&mut self, verdict: ProposalVerdict) {
        let results = std::mem::take(&mut self.proposals)
            .into_iter()
            .map(|proposal_id| ProposalResult { proposal_id, verdict, position: None, error: None })
            .collect();
        self.receive(FromHub::AppendResult(AppendResult { results }));
    }

    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }
}

#[test]
fn an_attempt_is_accepted_called_and_completed() {
    let mut bench = Bench::new();
    bench.said();
    bench.execute(1, None);
    assert_eq!(bench.said(), ["taken 1", "call [\"p\"]"]);
    bench.execute(1, None);
    assert_eq!(bench.said(), ["taken 1"], "taken again, not done twice");
    bench.end(1, MethodOutcome::Result(Payload::null()));
    assert_eq!(bench.said(), ["complete 1 null"]);
    bench.answer_all(ProposalVerdict::Ok);
    assert_eq!(bench.engine.unanswered().count(), 0);
}

#[test]
fn a_long_call_is_reported_as_started_and_times_out() {
    for (remaining, expected) in
        [(None, "fail 1 TASK_TIMEOUT true None"), (Some(4_000), "fail 1 WORKFLOW_TIMEOUT false None")]
    {
        let mut bench = Bench::new();
        bench.said();
        bench.execute(1, remaining);
        bench.now = bench.now.plus_ms(START_AFTER_MS);
        bench.tick();
        bench.now = bench.now.plus_ms(5_000);
        bench.tick();
        assert_eq!(bench.said(), ["taken 1", "call [\"p\"]", "started 1 50", "cancel call", expected]);
    }
}

#[test]
fn the_timeout_of_an_attempt_starts_when_a_provider_begins() {
    let mut bench = Bench::new();
    bench.execute(1, None);
    bench.said();
    bench.waits(1);
    bench.pass(3_600_000);
    assert_eq!(bench.said(), [""; 0], "neither started nor out of time");
    bench.begins(1);
    bench.pass(START_AFTER_MS);
    assert_eq!(bench.said(), ["started 1 50"]);
    // The same message arrives twice.
    bench.begins(1);
    bench.pass(4_949);
    assert_eq!(bench.said(), [""; 0]);
    bench.pass(1);
    assert_eq!(bench.said(), ["cancel call", "fail 1 TASK_TIMEOUT true None"]);
    assert_eq!(bench.errors, ["the attempt ran longer than its timeout of 5000 ms"]);
}

#[test]
fn the_timeout_of_a_run_includes_every_wait() {
    let mut bench = Bench::new();
    bench.execute(1, Some(4_000));
    bench.said();
    bench.waits(1);
    bench.pass(3_999);
    assert_eq!(bench.said(), [""; 0]);
    bench.pass(1);
    assert_eq!(bench.said(), ["cancel call", "fail 1 WORKFLOW_TIMEOUT false None"]);
    assert_eq!(bench.errors, ["the run timed out before a provider worked on the attempt"]);
}

#[test]
fn the_timeout_does_not_start_before_a_provider_is_available() {
    let mut bench = Bench::new();
    bench.status(PresenceStatus::Connected, Health { state: HealthState::Starting, ..Health::default() });
    bench.execute(1, None);
    bench.pass(3_600_000);
    assert_eq!(bench.said().last().map(String::as_str), Some("taken 1"));
    bench.status(PresenceStatus::Connected, Health::default());
    bench.pass(4_999);
    assert_eq!(bench.said(), ["call [\"p\"]", "started 1 4999"]);
    bench.pass(1);
    assert_eq!(bench.said(), ["cancel call", "fail 1 TASK_TIMEOUT true None"]);
}

#[test]
fn a_waiting_attempt_still_ends_after_its_hub_is_replaced() {
    let mut bench = Bench::new();
    bench.execute(1, None);
    bench.waits(1);
    bench.pass(3_600_000);
    bench.hub(role::Input::Disconnected);
    bench.connect();
    bench.said();
    // The hub says nothing because it does not know of the call: it has time to find out.
    bench.pass(RESTATED_MS + 4_999);
    assert_eq!(bench.said(), ["started 1 4999"]);
    bench.pass(1);
    assert_eq!(bench.said(), ["cancel call", "fail 1 TASK_TIMEOUT true None"]);
    // Or the hub says that it still waits.
    bench.execute(2, None);
    bench.waits(2);
    bench.hub(role::Input::Disconnected);
    bench.connect();
    bench.waits(2);
    bench.said();
    bench.pass(3_600_000);
    assert_eq!(bench.said(), [""; 0]);
}

#[test]
fn errors_state_whether_they_are_retryable() {
    let error = |code: i32, data: &str| {
        let data = (!data.is_empty()).then(|| Payload::parse(data.to_owned()).expect("json"));
        MethodOutcome::Error(Failure { code, message: "no".into(), data })
    };
    for (outcome, expected) in [
        (error(-29002, ""), "fail 1 TASK_EXECUTION_FAILED true None"),
        (error(7, ""), "fail 1 ERROR true None"),
        (error(-32602, ""), "fail 1 INVALID_PARAMS false None"),
        (error(-32602, r#"{"retry_after_ms":9}"#), "fail 1 INVALID_PARAMS true Some(9)"),
        (error(-29002, r#"{"retryable":false}"#), "fail 1 TASK_EXECUTION_FAILED false None"),
        (error(-30003, r#"{"lost":true}"#), "stop 1 ProviderLost"),
        (MethodOutcome::Result(Payload::from_value(&"x".repeat(60).into())), "fail 1 TASK_RESULT_INVALID false None"),
    ] {
        let mut bench = Bench::new();
        bench.execute(1, None);
        bench.said();
        bench.end(1, outcome);
        assert_eq!(bench.said().pop().as_deref(), Some(expected));
    }
}

#[test]
fn an_attempt_stops_without_providers_and_fails_if_all_are_unhealthy() {
    let mut bench = Bench::new();
    bench.status(PresenceStatus::Connected, unhealthy("no key"));
    bench.said();
    bench.execute(1, None);
    assert_eq!(bench.said(), ["taken 1", "fail 1 PROVIDER_UNHEALTHY true None"]);
    bench.status(PresenceStatus::Lost, Health::default());
    bench.execute(2, None);
    assert_eq!(bench.said(), ["taken 2", "stop 2 NoProvider"]);
}

#[test]
fn a_slow_provider_is_called_like_a_healthy_one() {
    let mut bench = Bench::new();
    bench.status(PresenceStatus::Connected, Health::slow("the health check takes long"));
    bench.said();
    bench.execute(1, None);
    assert_eq!(bench.said(), ["taken 1", "call [\"p\"]"], "its task's own timeout rules");
}

fn unhealthy(reason: &str) -> Health {
    Health::unhealthy(reason)
}

#[test]
fn the_reasons_of_unhealthy_providers_are_listed_by_name() {
    let mut bench = Bench::new();
    // By name, whatever their ids; providers of one name with the same reason are named once.
    for (id, name, reason) in [
        ("1", "openai", "no server is set"),
        ("2", "ollama", "not reachable"),
        ("3", "ollama", "not reachable"),
        ("4", "", ""),
    ] {
        let health = Health { reason: (!reason.is_empty()).then(|| reason.to_owned()), ..unhealthy("") };
        let status = PresenceStatus::Connected;
        bench.receive(FromHub::ComponentStatus(ComponentStatus {
            name: name.to_owned(),
            ..serving(id, status, health)
        }));
    }
    bench.status(PresenceStatus::Lost, Health::default());
    bench.execute(1, None);
    let expected = "all providers of `m/x` are unhealthy: 4: no reason was given; ollama: not reachable; openai: no \
                    server is set";
    assert_eq!(bench.errors, [expected]);
}

#[test]
fn an_attempt_uses_the_named_provider_and_fails_with_its_reason() {
    let named = |bench: &mut Bench, attempt: u32, name: &str| {
        let mut tasks = vec![assignment(attempt, None)];
        tasks[0].provider = Some(name.into());
        bench.receive(FromHub::ExecuteTask(ExecuteTask { tasks }));
    };
    let mut bench = Bench::new();
    bench.provider("q", PresenceStatus::Connected, Health::default());
    bench.said();
    named(&mut bench, 1, "name of q");
    assert!(bench.said().iter().any(|said| said == "call [\"q\"]"), "nobody else is named");
    bench.provider("q", PresenceStatus::Connected, unhealthy("no disk"));
    named(&mut bench, 2, "name of q");
    assert_eq!(bench.errors, ["all providers of `m/x` named `name of q` are unhealthy: name of q: no disk"]);
}

#[test]
fn an_attempt_is_not_retried_after_a_permanent_failure() {
    let broken = || Health::broken("refuses the secret");
    for (others, retryable) in [
        (vec![], false),
        (vec![broken()], false),
        // It has never been connected while the engine was.
        (vec![unhealthy("not reachable")], false),
        // It was connected, and may be again.
        (vec![Health::default(), unhealthy("not reachable")], true),
        (vec![Health::default(), broken()], false),
    ] {
        let mut bench = Bench::new();
        bench.status(PresenceStatus::Connected, broken());
        for health in &others {
            bench.provider("q", PresenceStatus::Connected, health.clone());
        }
        bench.said();
        bench.execute(1, None);
        assert_eq!(
            bench.said(),
            ["taken 1".to_owned(), format!("fail 1 PROVIDER_UNHEALTHY {retryable} None")],
            "{others:?}"
        );
    }
    let mut bench = Bench::new();
    bench.provider("q", PresenceStatus::Connected, Health::default());
    bench.provider("q", PresenceStatus::Lost, Health::default());
    bench.provider("q", PresenceStatus::Connected, unhealthy("not reachable"));
    bench.status(PresenceStatus::Connected, broken());
    bench.said();
    bench.execute(1, None);
    assert_eq!(bench.said()[1], "fail 1 PROVIDER_UNHEALTHY false None", "another one under the same id");
}

#[test]
fn the_reasons_of_many_unhealthy_providers_are_bounded() {
    let mut bench = Bench::new();
    for number in 0..30 {
        bench.provider(&format!("p{number}"), PresenceStatus::Connected, unhealthy(&"x".repeat(100_000)));
    }
    bench.status(PresenceStatus::Lost, Health::default());
    bench.execute(1, None);
    let error = bench.errors.pop().expect("it failed");
    assert!(error.ends_with("; and 20 more") && error.len() < 10_000, "{error}");
}

#[test]
fn an_attempt_waits_for_a_provider_that_is_still_starting() {
    let starting = Health { state: HealthState::Starting, ..Health::default() };
    for (then, expected) in [
        (Some(Health::default()), "call [\"q\"]"),
        (Some(unhealthy("no")), "fail 1 PROVIDER_UNHEALTHY true None"),
        (None, "fail 1 PROVIDER_UNHEALTHY true None"),
    ] {
        let mut bench = Bench::new();
        bench.status(PresenceStatus::Connected, unhealthy("no key"));
        bench.provider("q", PresenceStatus::Connected, starting.clone());
        bench.said();
        bench.execute(1, None);
        bench.tick();
        assert_eq!(bench.said(), ["taken 1"]);
        match then {
            Some(health) => bench.provider("q", PresenceStatus::Connected, health),
            None => bench.provider("q", PresenceStatus::Lost, Health::default()),
        }
        assert_eq!(bench.said(), [expected]);
    }
    let mut bench = Bench::new();
    bench.provider("q", PresenceStatus::Connected, starting);
    bench.execute(1, None);
    assert_eq!(bench.said().last().map(String::as_str), Some("call [\"p\"]"), "a healthy one does not wait for others");
}

#[test]
fn a_provider_that_recovers_gets_work_again() {
    let mut bench = Bench::new();
    bench.status(PresenceStatus::Connected, unhealthy("no"));
    bench.execute(1, None);
    bench.status(PresenceStatus::Connected, Health::default());
    bench.said();
    bench.execute(2, None);
    assert_eq!(bench.said(), ["taken 2", "call [\"p\"]"]);
}
