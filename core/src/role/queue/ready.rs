//! Ready tasks of one queue, by method, so that a method that is held back costs nothing, however many wait for it; for
//! each method in lanes of runs that take turns.

use std::collections::BTreeMap;

use crate::id::{MethodName, Position, RunId, TaskId};
use crate::role::turns::{Head, Lanes, Round};
use crate::spec::Priority;

/// A task in its run's lane: in the order in which they became ready.
pub(super) type Item = (Position, TaskId);

/// Where a task waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) run_id: RunId,
    pub(super) priority: Priority,
    /// Since when it has been ready.
    pub(super) since_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Ready {
    methods: BTreeMap<MethodName, Lanes<Item>>,
}

impl Ready {
    pub(super) fn insert(&mut self, round: &mut Round, method: &MethodName, place: Place, item: Item) {
        let Place { run_id, priority, since_ms } = place;
        if !self.methods.contains_key(method) {
            self.methods.insert(method.clone(), Lanes::default());
        }
        if let Some(lanes) = self.methods.get_mut(method) {
            lanes.insert(round, run_id, priority, since_ms, item);
        }
    }

    pub(super) fn remove(&mut self, round: &mut Round, method: &MethodName, place: Place, item: Item) {
        let Place { run_id, priority, since_ms } = place;
        if let Some(lanes) = self.methods.get_mut(method) {
            lanes.remove(round, run_id, priority, since_ms, item);
            if lanes.is_empty() {
                self.methods.remove(method);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }

    /// For each method that is wanted, the runs whose turn it is.
    pub(super) fn heads(
        &mut self,
        round: &Round,
        is_wanted: impl Fn(&MethodName) -> bool,
    ) -> impl Iterator<Item = (Head<'_, Item>, &MethodName)> {
        let wanted = self.methods.iter_mut().filter(move |(method, _)| is_wanted(method));
        wanted.flat_map(move |(method, lanes)| lanes.heads(round).map(move |head| (head, method)))
    }
}
