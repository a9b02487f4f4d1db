//! Ready tasks of one queue, by route, so that a route that is held back costs nothing, however many tasks wait for it.
//! Each route has a lane for each run, and the runs take turns.

use std::collections::BTreeMap;

use gleitzeit_run::id::{Position, RunId};
use gleitzeit_run::route::Route;
use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::spec::Priority;

use crate::role::turns::{Head, Lanes, Round};

/// A task in its run's lane, ordered by when it became ready.
pub(super) type Item = (Position, TaskId);

/// The place where a task waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) run_id: RunId,
    pub(super) priority: Priority,
    /// When it became ready.
    pub(super) since_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Ready {
    routes: BTreeMap<Route, Lanes<Item>>,
}

impl Ready {
    pub(super) fn insert(&mut self, round: &mut Round, route: &Route, place: Place, item: Item) {
        let Place { run_id, priority, since_ms } = place;
        if !self.routes.contains_key(route) {
            self.routes.insert(route.clone(), Lanes::default());
        }
        if let Some(lanes) = self.routes.get_mut(route) {
            lanes.insert(round, run_id, priority, since_ms, item);
        }
    }

    pub(super) fn remove(&mut self, round: &mut Round, route: &Route, place: Place, item: Item) {
        let Place { run_id, priority, since_ms } = place;
        if let Some(lanes) = self.routes.get_mut(route) {
            lanes.remove(round, run_id, priority, since_ms, item);
            if lanes.is_empty() {
                self.routes.remove(route);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// For each wanted route, the runs whose turn it is.
    pub(super) fn heads(
        &mut self,
        round: &Round,
        is_wanted: impl Fn(&Route) -> bool,
    ) -> impl Iterator<Item = (Head<'_, Item>, &Route)> {
        let wanted = self.routes.iter_mut().filter(move |(route, _)| is_wanted(route));
        wanted.flat_map(move |(route, lanes)| lanes.heads(round).map(move |head| (head, route)))
    }
}
