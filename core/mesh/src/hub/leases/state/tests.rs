use super::*;

fn at(attempt: u32) -> AttemptRef {
    AttemptRef { run_id: gleitzeit_run::id::RunId(uuid::Uuid::from_u128(1)), task_id: "t".into(), attempt }
}

fn open(attempts: u32) -> (Leases, ComponentId) {
    let (mut leases, engine) = (Leases::default(), ComponentId::from("e"));
    for number in 1..=attempts {
        let dispatched = Position(u64::from(number));
        leases.open(OpenLease { at: at(number), engine: engine.clone(), dispatched, provider: None });
    }
    (leases, engine)
}

#[test]
fn an_attempt_is_overdue_until_its_engine_takes_it() {
    let (mut leases, engine) = open(1);
    assert_eq!((leases.count(&engine), leases.overdue(&at(1), Instant(99))), (1, None), "it was not sent");
    leases.sent(&at(1), Instant(5));
    assert_eq!(leases.overdue(&at(1), Instant(4)), None);
    assert_eq!(leases.overdue(&at(1), Instant(5)), Some(&engine));
    leases.take(&engine, at(1));
    assert_eq!(leases.overdue(&at(1), Instant(5)), None);
    assert_eq!(leases.holder(&at(1)), Some((&engine, true)));
    leases.close(&at(1));
    assert!(leases.is_empty() && leases.count(&engine) == 0);
}

#[test]
fn what_is_not_open_or_is_being_ended_is_cancelled_when_an_engine_names_it() {
    let (mut leases, engine) = open(3);
    assert!(leases.stop(&at(1)) && !leases.stop(&at(1)) && !leases.stop(&at(9)));
    leases.sent(&at(3), Instant(5));
    leases.resume(&engine, vec![at(1), at(2), at(9)]);
    assert_eq!(leases.take_cancel(), BTreeMap::from([(engine.clone(), vec![at(1), at(9)])]));
    assert_eq!(leases.holder(&at(2)), Some((&engine, true)));
    assert_eq!(leases.holder(&at(3)), Some((&engine, false)), "it did not arrive");
    assert!(!leases.cancel_sent(&engine, &at(1), Instant(5)) && leases.cancel_sent(&engine, &at(2), Instant(5)));
}

#[test]
fn an_engine_that_is_away_is_not_told_of_a_cancel() {
    let (mut leases, engine) = open(2);
    leases.cancel(&engine, &at(1), false);
    leases.cancel(&engine, &at(2), true);
    assert_eq!(leases.take_cancel(), BTreeMap::from([(engine, vec![at(2)])]));
}
