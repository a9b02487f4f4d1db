//! The count of dependencies: which tasks are met, and which are doomed.

use std::sync::Arc;

use gleitzeit_fixtures::{task, workflow};
use gleitzeit_run::dependencies::{Became, Dependencies};
use gleitzeit_workflow::graph::Graph;

/// `last` needs `left` and `right`, which need `first`.
fn diamond() -> Dependencies {
    let tasks =
        vec![task("last", &["left", "right"]), task("left", &["first"]), task("right", &["first"]), task("first", &[])];
    Dependencies::new(Arc::new(Graph::new(&workflow(tasks, &[]))))
}

const LAST: usize = 0;
const LEFT: usize = 1;
const RIGHT: usize = 2;
const FIRST: usize = 3;

#[test]
fn a_task_is_met_once_by_its_last_dependency() {
    let mut count = diamond();
    assert!(count.are_met(FIRST) && !count.are_met(LEFT));
    assert_eq!(count.end(FIRST, Became::Completed), [LEFT, RIGHT]);
    assert_eq!(count.end(FIRST, Became::Completed), [0_usize; 0], "a repetition");
    assert_eq!(count.end(RIGHT, Became::Completed), [0_usize; 0]);
    assert_eq!(count.end(LEFT, Became::Completed), [LAST]);
}

#[test]
fn a_task_that_is_final_before_its_dependencies_is_not_met_again() {
    let mut count = diamond();
    assert_eq!(count.end(LEFT, Became::Completed), [0_usize; 0]);
    assert_eq!(count.end(FIRST, Became::Completed), [RIGHT]);
    assert_eq!(count.end(RIGHT, Became::Completed), [LAST]);
}

#[test]
fn a_failure_dooms_what_is_behind_it_and_meets_nothing() {
    for became in [Became::Failed, Became::Skipped, Became::Cancelled] {
        let mut count = diamond();
        count.end(FIRST, Became::Completed);
        assert_eq!(count.doomed(LEFT), [LAST]);
        assert_eq!(count.end(LEFT, became), [0_usize; 0]);
        assert_eq!(count.end(RIGHT, Became::Completed), [0_usize; 0]);
        assert!(!count.are_met(LAST));
    }
}

#[test]
fn the_doomed_are_those_that_are_not_final_nearest_first() {
    let mut count = diamond();
    assert_eq!(count.doomed(FIRST), [LEFT, RIGHT, LAST]);
    count.end(LEFT, Became::Cancelled);
    assert_eq!(count.doomed(FIRST), [RIGHT, LAST]);
    count.end(RIGHT, Became::Cancelled);
    assert_eq!(count.doomed(FIRST), [0_usize; 0]);
}
