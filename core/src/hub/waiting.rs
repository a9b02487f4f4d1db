//! Calls that no provider has room for: a line for each method. Priority counts in it as it does in the queues, with the
//! same bound on how long a call can be overtaken.

use std::collections::BTreeMap;

use crate::id::{CallId, MethodName};
use crate::placement;
use crate::spec::Priority;
use crate::time::Instant;

/// Lower is served first: rank, then the order of arrival.
pub(super) type Place = (i64, u64);

#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: BTreeMap<MethodName, BTreeMap<Place, CallId>>,
    arrived: u64,
}

impl Lines {
    /// The place of a call that arrives now.
    pub(super) fn place(&mut self, now: Instant, priority: Priority) -> Place {
        self.arrived += 1;
        (placement::rank(i64::try_from(now.0).unwrap_or(i64::MAX), priority), self.arrived)
    }

    pub(super) fn insert(&mut self, method: &MethodName, place: Place, id: CallId) {
        self.lines.entry(method.clone()).or_default().insert(place, id);
    }

    pub(super) fn remove(&mut self, method: &MethodName, place: &Place) {
        if let Some(line) = self.lines.get_mut(method) {
            line.remove(place);
            if line.is_empty() {
                self.lines.remove(method);
            }
        }
    }

    /// The next call for somebody who serves these methods, which are sorted.
    pub(super) fn first(&self, methods: &[MethodName]) -> Option<&CallId> {
        let served = self.lines.iter().filter(|(method, _)| methods.binary_search(method).is_ok());
        served.filter_map(|(_, line)| line.first_key_value()).min().map(|(_, id)| id)
    }

    /// The methods for which calls wait.
    pub(super) fn methods(&self) -> impl Iterator<Item = &MethodName> {
        self.lines.keys()
    }

    /// The calls that wait for a method, in order.
    pub(super) fn of(&self, method: &MethodName) -> impl Iterator<Item = &CallId> {
        self.lines.get(method).into_iter().flat_map(BTreeMap::values)
    }

    /// How many calls of the method are served before the one at this place.
    pub(super) fn before(&self, method: &MethodName, place: &Place) -> usize {
        self.lines.get(method).map_or(0, |line| line.range(..place).count())
    }
}
