use gleitzeit_run::RunStatus;
use gleitzeit_workflow::Payload;

use super::load::replay;
use super::*;
use crate::journal::tests::store_suite::{Feeder, labelled, run_id, submission};

#[test]
fn a_run_whose_replay_panics_is_set_aside_and_the_others_start() {
    let mut feed = Feeder::default();
    let entries = [
        feed.submitted(1, submission("fine")),
        feed.submitted(2, labelled("faulty", &[], "mine")),
        feed.task_completed(2, Payload::null()),
        feed.completed(1),
        feed.completed(2),
    ];
    let mut ledger = Ledger::new(Limits::default());
    for entry in &entries {
        let id = entry.run_id.expect("of a run");
        replay(&mut ledger, id, entry, |ledger, id, entry| {
            if entry.position == Position(3) {
                // Simulates a panic while the entry is being applied.
                let _ = ledger.apply(entry);
                panic!("index out of bounds");
            }
            ledger.replay(id, entry);
        });
    }
    let aside: Vec<_> = ledger.aside().map(|(id, aside)| (id, aside.why.clone(), aside.seq.0)).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!((aside[0].0, aside[0].2), (run_id(2), 3), "its last entry is known");
    assert!(aside[0].1.contains("entry 3") && aside[0].1.contains("index out of bounds"), "{aside:?}");
    assert!(ledger.run(run_id(2)).is_none());
    assert_eq!(ledger.run(run_id(1)).map(|run| run.status), Some(RunStatus::Completed));
    assert_eq!(ledger.position(), Position(5));
}

#[test]
fn a_run_that_was_submitted_twice_is_set_aside() {
    let mut feed = Feeder::default();
    let entries = [feed.submitted(1, submission("w")), feed.submitted(1, submission("another"))];
    let mut ledger = Ledger::new(Limits::default());
    for entry in &entries {
        replay(&mut ledger, run_id(1), entry, Ledger::replay);
    }
    assert!(ledger.aside().next().is_some_and(|(_, aside)| aside.why.contains("submitted before")));
}
