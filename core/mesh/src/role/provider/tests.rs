use gleitzeit_run::id::RunId;
use gleitzeit_run::secret::Secret;
use gleitzeit_workflow::spec::Priority;
use uuid::Uuid;

use super::*;
use crate::role::MAX_DISCONNECTED_MS;
use crate::wire::{CallMeta, ComponentRegistered, ExecuteMethod, HealthState};

struct Bench {
    provider: Provider,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let identity =
            Identity { component_id: "p".into(), secret: Secret::new("s"), name: "p".into(), version: "0".into() };
        let config = Config {
            methods: vec!["m/x".into()],
            protocols: vec![],
            max_concurrency: 2,
            capabilities: vec![],
            address: None,
            max_disconnected_ms: MAX_DISCONNECTED_MS,
        };
        let mut bench = Self { provider: Provider::new(identity, config), now: Instant(5) };
        bench.connect();
        bench
    }

    fn connect(&mut self) -> Vec<String> {
        let mut said = self.hub(role::Input::Connected);
        said.extend(self.registered());
        said
    }

    fn registered(&mut self) -> Vec<String> {
        self.receive(FromHub::ComponentRegistered(ComponentRegistered::new("p".into(), "p", 5_000)))
    }

    fn input(&mut self, input: Input) -> Vec<String> {
        let mut out = Vec::new();
        self.provider.handle(self.now, input, &mut out);
        out.into_iter()
            .filter_map(|output| {
                Some(match output {
                    Output::Start { call } => format!("start {}", call.id),
                    Output::Cancel { id } => format!("cancel {id}"),
                    Output::Drained => "drained".to_owned(),
                    Output::Hub(role::Output::Send(ToHub::RegisterComponent(it))) => {
                        format!("register {:?} {:?}", it.max_concurrency, it.calls.unwrap_or_default())
                    }
                    Output::Hub(role::Output::Send(ToHub::MethodResult(it))) => it
                        .results
                        .iter()
                        .map(|end| match &end.outcome {
                            MethodOutcome::Result(_) => format!("result {}", end.id),
                            MethodOutcome::Error(error) => format!("{} {}", error.name(), end.id),
                        })
                        .collect::<Vec<_>>()
                        .join(", "),
                    Output::Hub(role::Output::Send(ToHub::MethodWaiting(it))) => format!("waiting {}", it.ids[0]),
                    Output::Hub(role::Output::Send(ToHub::MethodStarted(it))) => format!("started {}", it.ids[0]),
                    _ => return None,
                })
            })
            .collect()
    }

    fn hub(&mut self, input: role::Input) -> Vec<String> {
        self.input(Input::Hub(input))
    }

    fn receive(&mut self, message: FromHub) -> Vec<String> {
        self.hub(role::Input::Message(message))
    }

    fn call(&mut self, id: &str) -> Vec<String> {
        self.receive(execute(id))
    }

    fn finish(&mut self, id: &str) -> Vec<String> {
        self.input(Input::Finished { id: id.into(), outcome: MethodOutcome::Result(Payload::null()) })
    }
}

fn execute(id: &str) -> FromHub {
    let meta = CallMeta {
        run_id: RunId(Uuid::from_u128(7)),
        task_id: "a".into(),
        attempt: 1,
        correlation_id: String::new(),
        traceparent: String::new(),
        timeout_ms: 9,
    };
    let call = MethodCall {
        jsonrpc: "2.0".into(),
        id: id.into(),
        method: "m/x".into(),
        params: Payload::null(),
        meta,
        providers: vec![],
        priority: Priority::default(),
    };
    FromHub::ExecuteMethod(ExecuteMethod { calls: vec![call] })
}

#[test]
fn a_call_is_started_once_and_answered_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.call("a"), ["start a"]);
    assert_eq!(bench.call("a"), [""; 0]);
    assert_eq!(bench.finish("a"), ["result a"]);
    assert_eq!(bench.finish("a"), [""; 0]);
}

#[test]
fn a_call_that_is_cancelled_at_once_never_starts() {
    let mut bench = Bench::new();
    let (mut out, now) = (Vec::new(), bench.now);
    for message in [execute("a"), execute("b"), FromHub::CancelMethod(CancelMethod { id: "a".into() })] {
        bench.provider.accept(now, Input::Hub(role::Input::Message(message)), &mut out);
    }
    bench.provider.flush(now, &mut out);
    let started: Vec<&str> = out
        .iter()
        .map(|output| match output {
            Output::Start { call } => call.id.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(started, ["b"]);
}

#[test]
fn after_a_freeze_the_hub_is_asked_before_a_call_starts() {
    let mut bench = Bench::new();
    assert_eq!(bench.call("old"), ["start old"]);
    assert_eq!(bench.input(Input::Woke), ["register Some(2) [\"old\"]"]);
    assert!(bench.provider.is_in_doubt());
    assert_eq!(bench.call("gone"), [""; 0]);
    assert_eq!(bench.receive(FromHub::CancelMethod(CancelMethod { id: "gone".into() })), [""; 0], "it never began");
    assert_eq!(bench.call("wanted"), [""; 0]);
    assert_eq!(bench.registered(), ["start wanted"]);
    assert!(!bench.provider.is_in_doubt());

    // The process is suspended again while the hub is asked: the hub's next answer may be from before.
    bench.input(Input::Woke);
    assert_eq!(bench.input(Input::Woke), [""; 0]);
    assert_eq!(bench.finish("wanted"), ["result wanted"]);
    assert_eq!(bench.call("late"), [""; 0]);
    assert_eq!(bench.registered(), ["register Some(2) [\"late\", \"old\"]"]);
    assert_eq!(bench.registered(), ["start late"]);
}

#[test]
fn calls_from_a_broken_connection_wait_for_the_next_one_and_then_end() {
    let mut bench = Bench::new();
    bench.input(Input::Woke);
    bench.call("a");
    bench.hub(role::Input::Disconnected);
    assert!(bench.hub(role::Input::Connected)[0].contains("\"a\""), "the hub hears that it is here");
    assert_eq!(bench.registered(), ["start a"]);

    let mut bench = Bench::new();
    bench.input(Input::Woke);
    bench.call("a");
    bench.hub(role::Input::Disconnected);
    bench.now = bench.now.plus_ms(MAX_DISCONNECTED_MS);
    assert_eq!(bench.hub(role::Input::Tick), [""; 0], "nothing begins, and nothing is left");
    assert_eq!(bench.provider.running().count(), 0);
}

#[test]
fn changes_during_a_registration_are_sent_after_it() {
    let mut bench = Bench::new();
    bench.hub(role::Input::Disconnected);
    assert_eq!(bench.hub(role::Input::Connected), ["register Some(2) []"]);
    assert_eq!(bench.call("a"), ["start a"]);
    assert_eq!(bench.input(Input::Drain { grace_ms: 9 }), [""; 0], "the hub takes one at a time");
    assert_eq!(bench.registered(), [format!("register Some(0) {:?}", [CallId::from("a")])]);
    assert_eq!(bench.registered(), [""; 0]);
}

#[test]
fn answers_wait_for_the_hub_and_calls_end_if_it_does_not_return() {
    let mut bench = Bench::new();
    bench.call("a");
    bench.call("b");
    bench.hub(role::Input::Disconnected);
    assert_eq!(bench.finish("a"), [""; 0]);
    assert_eq!(bench.connect(), ["register Some(2) [\"b\", \"a\"]", "result a"]);
    bench.hub(role::Input::Disconnected);
    bench.now = bench.now.plus_ms(MAX_DISCONNECTED_MS);
    assert_eq!(bench.hub(role::Input::Tick), ["cancel b"]);
    assert_eq!(bench.connect(), ["register Some(2) []"]);
}

#[test]
fn listed_calls_are_kept_until_the_registration_is_answered() {
    let mut bench = Bench::new();
    bench.call("a");
    bench.hub(role::Input::Disconnected);
    bench.now = bench.now.plus_ms(MAX_DISCONNECTED_MS - 1);
    assert_eq!(bench.hub(role::Input::Connected), ["register Some(2) [\"a\"]"]);
    bench.now = bench.now.plus_ms(2);
    assert_eq!(bench.hub(role::Input::Tick), [""; 0]);
    bench.hub(role::Input::Disconnected);
    assert_eq!(bench.hub(role::Input::Connected), ["register Some(2) []"], "it was too long without a hub");
}

#[test]
fn a_cancelled_call_is_not_answered() {
    let mut bench = Bench::new();
    bench.call("a");
    assert_eq!(bench.receive(FromHub::CancelMethod(CancelMethod { id: "a".into() })), ["cancel a"]);
    assert_eq!(bench.finish("a"), [""; 0]);
}

#[test]
fn calls_beyond_the_concurrency_limit_are_refused() {
    let mut bench = Bench::new();
    for index in 0..2 + MARGIN {
        assert_eq!(bench.call(&format!("c{index}")).len(), 1);
    }
    assert_eq!(bench.call("z"), ["PROVIDER_OVERLOADED z"]);
}

#[test]
fn a_draining_provider_finishes_and_cancels_the_rest() {
    let mut bench = Bench::new();
    bench.call("a");
    bench.call("b");
    assert_eq!(bench.input(Input::Drain { grace_ms: 100 }), ["register Some(0) [\"a\", \"b\"]"]);
    assert_eq!(bench.finish("a"), ["result a"]);
    bench.now = bench.now.plus_ms(100);
    assert_eq!(bench.hub(role::Input::Tick), ["cancel b", "drained"]);
    assert_eq!(bench.hub(role::Input::Tick), [""; 0]);
}

#[test]
fn a_draining_provider_serves_calls_that_were_already_in_transit() {
    let mut bench = Bench::new();
    assert_eq!(bench.input(Input::Drain { grace_ms: 100 }), ["register Some(0) []"]);
    assert_eq!(bench.call("a"), ["start a"]);
    assert_eq!(bench.finish("a"), ["result a"]);
    assert_eq!(bench.registered(), ["drained"]);
}

#[test]
fn changes_before_the_answer_to_a_registration_are_sent_after_it() {
    let health = |state| Input::Health(Health { state, ..Health::default() });
    let mut bench = Bench::new();
    assert_eq!(bench.input(health(HealthState::Unhealthy)).len(), 1, "it is registered, and says so");
    assert_eq!(bench.input(health(HealthState::Healthy)), [""; 0], "the hub takes one at a time");
    assert_eq!(bench.input(Input::Drain { grace_ms: 100 }), [""; 0]);
    assert_eq!(bench.registered(), ["register Some(0) []"]);
    assert_eq!(bench.registered(), ["drained"]);
}

#[test]
fn sent_answers_are_offered_again_and_resent_unless_cancelled() {
    let mut bench = Bench::new();
    bench.call("a");
    bench.call("b");
    assert_eq!(bench.finish("a"), ["result a"]);
    assert_eq!(bench.finish("b"), ["result b"]);
    bench.hub(role::Input::Disconnected);
    assert_eq!(bench.hub(role::Input::Connected), ["register Some(2) [\"a\", \"b\"]"]);
    assert_eq!(bench.receive(FromHub::CancelMethod(CancelMethod { id: "a".into() })), [""; 0]);
    assert_eq!(bench.registered(), ["result b"]);
    assert_eq!(bench.call("b"), ["result b"], "who asks again has no answer, and it is not done twice");
    let again = bench.input(Input::Health(Health { reason: Some("tired".to_owned()), ..Health::default() }));
    assert_eq!(again, ["register Some(2) []"], "on the same connection nothing was lost");
    assert_eq!(bench.registered(), [""; 0]);
}

#[test]
fn old_sent_answers_are_dropped() {
    let mut bench = Bench::new();
    bench.call("a");
    bench.finish("a");
    let at = bench.provider.next_deadline().expect("it is forgotten then");
    bench.now = at;
    assert_eq!(bench.hub(role::Input::Tick), [""; 0]);
    assert_eq!(bench.provider.next_deadline(), None);
    bench.hub(role::Input::Disconnected);
    assert_eq!(bench.hub(role::Input::Connected), ["register Some(2) []"]);
}

#[test]
fn a_waiting_call_is_reported_again_on_a_new_connection() {
    let mut bench = Bench::new();
    bench.call("a");
    bench.call("b");
    assert_eq!(bench.input(Input::Waiting { id: "b".into() }), ["waiting b"]);
    assert_eq!(bench.input(Input::Waiting { id: "gone".into() }), [""; 0]);
    bench.hub(role::Input::Disconnected);
    assert_eq!(bench.connect(), ["register Some(2) [\"a\", \"b\"]", "waiting b"]);
    assert_eq!(bench.finish("a"), ["result a"]);
    assert_eq!(bench.input(Input::Started { id: "b".into() }), ["started b"]);
    assert_eq!(bench.finish("b"), ["result b"]);
    // A call that is cancelled before it begins needs no message.
    bench.call("c");
    assert_eq!(bench.input(Input::Waiting { id: "c".into() }), ["waiting c"]);
    assert_eq!(bench.receive(FromHub::CancelMethod(CancelMethod { id: "c".into() })), ["cancel c"]);
    assert_eq!(bench.input(Input::Started { id: "c".into() }), [""; 0]);
}

#[test]
fn calls_of_a_lost_journal_are_stopped_and_their_answers_forgotten() {
    let mut bench = Bench::new();
    bench.call("running");
    bench.call("answered");
    bench.hub(role::Input::Disconnected);
    bench.finish("answered");
    bench.hub(role::Input::Connected);
    let registered = ComponentRegistered::new("p".into(), "p", 5_000);
    let registered = ComponentRegistered { term: Some("t2".into()), starts_anew: true, ..registered };
    assert_eq!(bench.receive(FromHub::ComponentRegistered(registered)), ["cancel running"]);
    assert_eq!(bench.provider.running().count(), 0);
}
