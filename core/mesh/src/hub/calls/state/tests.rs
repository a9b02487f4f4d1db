use gleitzeit_run::id::{Position, RunId};
use gleitzeit_run::ledger::OpenLease;
use serde_json::json;

use super::*;
use crate::hub::Config;

/// Open attempts of the engine `e`, which is not connected, in a hub without providers.
struct Desk {
    calls: Calls,
    presence: Presence,
    leases: Leases,
    engine: ComponentId,
}

fn at(attempt: u32) -> AttemptRef {
    AttemptRef { run_id: RunId(uuid::Uuid::from_u128(1)), task_id: "t".into(), attempt }
}

impl Desk {
    fn new() -> Self {
        let (mut leases, engine) = (Leases::default(), ComponentId::from("e"));
        for attempt in 1..=2 {
            let (engine, dispatched) = (engine.clone(), Position(1));
            leases.open(OpenLease { at: at(attempt), engine, dispatched, provider: None });
        }
        let (calls, presence) = (Calls::new(Instant(0), 5_000), Presence::new(&Config::default()));
        Self { calls, presence, leases, engine }
    }

    fn id(&self, attempt: u32) -> CallId {
        CallId::new(&self.engine, &at(attempt))
    }

    /// The engine calls a method at this time.
    fn call(&mut self, attempt: u32, now: Instant) -> Option<Instant> {
        let meta = json!({
            "run_id": at(attempt).run_id, "task_id": "t", "attempt": attempt, "correlation_id": "", "traceparent": "",
            "timeout_ms": 9_000,
        });
        let call = json!({"jsonrpc": "2.0", "id": self.id(attempt), "method": "m/x", "params": {}, "meta": meta});
        let call: MethodCall = serde_json::from_value(call).expect("a call");
        let (engine, alias, route) = (self.engine.clone(), call.id.clone(), Route::any(call.method.clone()));
        let new = NewCall { engine, alias, route, wanted: Vec::new(), priority: Priority(2), call };
        self.calls.call(new, Around { presence: &self.presence, leases: &self.leases, now })
    }

    fn around(&self, now: Instant) -> Around<'_> {
        Around { presence: &self.presence, leases: &self.leases, now }
    }
}

#[test]
fn a_call_that_nobody_serves_waits_only_while_providers_may_still_come_back() {
    let mut desk = Desk::new();
    assert_eq!(desk.call(1, Instant(4_999)), Some(Instant(5_000)));
    assert_eq!(desk.calls.place(&desk.engine, &at(1)), Some(CallPlace::Hub { before: 0 }));
    assert_eq!(desk.call(2, Instant(5_000)), None);
    assert!(desk.calls.has_ended(&desk.id(2)) && !desk.calls.contains(&desk.id(2)));
    let around = Around { presence: &desk.presence, leases: &desk.leases, now: Instant(5_000) };
    assert_eq!(desk.calls.expire(&CallId::new(&desk.engine, &at(1)), around), Expired::Waits);
    assert_eq!(desk.calls.give_back(around), []);
    assert_eq!(desk.calls.waiting().count(), 0);
}

#[test]
fn a_provider_holds_what_it_lists_and_what_it_no_longer_lists_is_nobodys() {
    let (mut desk, p) = (Desk::new(), ComponentId::from("p"));
    let (one, two, other) = (desk.id(1), desk.id(2), ComponentId::from("p2"));
    for id in [&one, &two] {
        assert!(desk.calls.claim(&p, id.clone(), id.clone(), &desk.leases));
        assert!(!desk.calls.claim(&other, id.clone(), id.clone(), &desk.leases), "it has a holder");
    }
    assert_eq!(desk.calls.count(&p), 2);
    let abandoned = desk.calls.abandon(&p, &BTreeSet::from([one.clone()]), Instant(7));
    assert_eq!(abandoned, [(Instant(5_007), two.clone())]);
    assert_eq!(desk.calls.held_by(&p), [one]);
    let may_answer = |component: &ComponentId| desk.calls.may_answer(Some(component), &two, &desk.presence);
    assert_eq!((may_answer(&p), may_answer(&other)), (Some(true), Some(false)), "it held it last");
    let around = Around { presence: &desk.presence, leases: &desk.leases, now: Instant(5_007) };
    assert_eq!(desk.calls.expire(&two, around), Expired::Lost);
    assert!(desk.calls.has_ended(&two) && desk.calls.expire(&two, around) == Expired::No);
}

#[test]
fn the_end_of_a_call_is_told_to_a_provider_that_was_sent_it() {
    let (mut desk, p) = (Desk::new(), ComponentId::from("p"));
    let id = desk.id(1);
    assert!(desk.calls.claim(&p, id.clone(), "alias".into(), &desk.leases));
    let cancelled = desk.calls.end(&id, &desk.presence);
    assert_eq!(cancelled, Some(Cancelled { provider: p.clone(), alias: "alias".into() }));
    assert_eq!(desk.calls.end(&id, &desk.presence), None);
    assert!(!desk.calls.claim(&p, id.clone(), id.clone(), &desk.leases), "it has ended");
    desk.calls.forget_attempt(&desk.engine.clone(), &id);
    assert!(!desk.calls.has_ended(&id));
}

#[test]
fn an_answer_for_an_engine_that_is_away_is_kept_once() {
    let desk = Desk::new();
    let mut calls = Calls::new(Instant(0), 5_000);
    for _ in 0..2 {
        calls.deliver(&desk.engine, lost(desk.id(1), "gone"), desk.around(Instant(0)));
    }
    calls.deliver(&desk.engine, lost(CallId::new(&desk.engine, &at(9)), "gone"), desk.around(Instant(0)));
    assert!(calls.take_for_engines().is_empty());
    assert_eq!(calls.kept[&desk.engine].len(), 1, "neither twice nor for an attempt that is not open");
}
