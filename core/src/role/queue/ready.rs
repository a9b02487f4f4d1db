//! Ready tasks of one queue, by method, so that a method that is held back costs nothing, however many wait for it.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use crate::id::{MethodName, Position};
use crate::spec::Priority;

/// A waiting task gains one level of priority in this time. So a task is overtaken only by tasks of higher priority
/// that became ready within (difference in priority) × this after it: with the four named levels it is next in line
/// after three minutes at most.
pub const AGE_STEP_MS: i64 = 60_000;

/// Lower goes first. All tasks age alike, so the order of two tasks never changes and nothing is ever sorted again.
pub(super) fn rank(ready_ms: i64, priority: Priority) -> i64 {
    ready_ms.saturating_sub(i64::from(priority.0).saturating_mul(AGE_STEP_MS))
}

/// Rank, then the order of submission.
pub(super) type Place = (i64, Position, Key);

#[derive(Debug, Default)]
pub(super) struct Ready {
    methods: BTreeMap<MethodName, BTreeSet<Place>>,
}

impl Ready {
    pub(super) fn insert(&mut self, method: &MethodName, place: Place) {
        if let Some(places) = self.methods.get_mut(method) {
            places.insert(place);
        } else {
            self.methods.insert(method.clone(), BTreeSet::from([place]));
        }
    }

    pub(super) fn remove(&mut self, method: &MethodName, place: &Place) {
        if let Some(places) = self.methods.get_mut(method) {
            places.remove(place);
            if places.is_empty() {
                self.methods.remove(method);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }

    /// The first of each method.
    pub(super) fn heads(&self) -> impl Iterator<Item = (&MethodName, &Place)> {
        self.methods.iter().filter_map(|(method, places)| Some((method, places.first()?)))
    }
}
