//! The agenda: future events by virtual time. Events of the same millisecond happen in any order.

use std::collections::BTreeMap;

use super::chance::Chance;

/// Virtual time in milliseconds since the beginning.
pub(crate) type Time = u64;

#[derive(Debug)]
pub(crate) struct Agenda<T> {
    now: Time,
    items: BTreeMap<(Time, u64, u64), T>,
    number: u64,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Self {
        Self { now: 0, items: BTreeMap::new(), number: 0 }
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn at(&mut self, chance: &mut Chance, at: Time, item: T) {
        self.number += 1;
        let tie = chance.within(0..1 << 20);
        self.items.insert((at.max(self.now), tie, self.number), item);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let ((at, _, _), item) = self.items.pop_first()?;
        self.now = at;
        Some(item)
    }
}
