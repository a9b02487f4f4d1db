//! Ready tasks of one queue, by method, so that a method that is held back costs nothing, however many wait for it.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use crate::id::{MethodName, Position};

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
