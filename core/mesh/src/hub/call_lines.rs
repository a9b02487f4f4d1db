//! Calls that no provider has room for, in one line for each route. Priority counts as it does in the queues, with the
//! same bound on how long a call can be overtaken.

use std::collections::BTreeMap;

use gleitzeit_run::route::Route;
use gleitzeit_workflow::spec::Priority;
use gleitzeit_workflow::time::Instant;

use crate::id::CallId;
use crate::placement;

/// Lower is served first: the rank, then the order of arrival.
pub(super) type Place = (i64, u64);

#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: BTreeMap<Route, BTreeMap<Place, CallId>>,
    arrived: u64,
}

impl Lines {
    /// The place of a call that arrives now.
    pub(super) fn place(&mut self, now: Instant, priority: Priority) -> Place {
        self.arrived += 1;
        (placement::rank(i64::try_from(now.0).unwrap_or(i64::MAX), priority), self.arrived)
    }

    pub(super) fn insert(&mut self, route: Route, place: Place, id: CallId) {
        self.lines.entry(route).or_default().insert(place, id);
    }

    pub(super) fn remove(&mut self, route: &Route, place: &Place) {
        if let Some(line) = self.lines.get_mut(route) {
            line.remove(place);
            if line.is_empty() {
                self.lines.remove(route);
            }
        }
    }

    /// The next call for a provider that serves the routes for which `serves` is true.
    pub(super) fn first(&self, serves: impl Fn(&Route) -> bool) -> Option<&CallId> {
        let served = self.lines.iter().filter(|(route, _)| serves(route));
        served.filter_map(|(_, line)| line.first_key_value()).min().map(|(_, id)| id)
    }

    /// The routes for which calls wait.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.lines.keys()
    }

    /// The calls that wait on a route, in order.
    pub(super) fn of(&self, route: &Route) -> impl Iterator<Item = &CallId> {
        self.lines.get(route).into_iter().flat_map(BTreeMap::values)
    }

    /// How many calls that the same provider could serve come before the one at this place.
    pub(super) fn before(&self, route: &Route, place: &Place) -> usize {
        let of_method = self.lines.range(Route::any(route.method.clone())..);
        let of_method = of_method.take_while(|(other, _)| other.method == route.method);
        of_method.filter(|(other, _)| other.meets(route)).map(|(_, line)| line.range(..place).count()).sum()
    }
}
