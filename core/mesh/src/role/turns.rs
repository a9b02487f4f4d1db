//! Fair scheduling: items of many runs are served in turns, so that each run gets its share whatever its length.
//!
//! Items wait in a lane for each run and priority. Within a priority, runs take turns: a run that was served goes
//! behind all others, whatever it has left, and a new run begins behind those that wait. Between priorities the higher
//! goes first, except that a level whose oldest item has waited [`AGE_STEP_MS`] for each level of difference takes
//! turns with those above. Higher priorities can therefore overtake an item without bound only for that long. From then
//! on it is overtaken by at most one service of every other run for each earlier item of its own run.
//!
//! A run has one place in the round, even if its items wait in several [`Lanes`] that share a [`Round`]. Every step
//! costs the logarithm of the number of waiting items, and one head for each priority in use.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::id::RunId;
use gleitzeit_workflow::spec::Priority;

use crate::placement::{AGE_STEP_MS, rank};

/// The place of each waiting run in the round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    last: u64,
    places: BTreeMap<RunId, Place>,
}

#[derive(Debug)]
struct Place {
    turn: u64,
    /// The number of its items in all lanes.
    items: usize,
}

impl Round {
    fn enter(&mut self, run_id: RunId) -> u64 {
        let last = &mut self.last;
        let place = self.places.entry(run_id).or_insert_with(|| {
            *last += 1;
            Place { turn: *last, items: 0 }
        });
        place.items += 1;
        place.turn
    }

    fn leave(&mut self, run_id: RunId, items: usize) {
        if let Some(place) = self.places.get_mut(&run_id) {
            place.items = place.items.saturating_sub(items);
            if place.items == 0 {
                self.places.remove(&run_id);
            }
        }
    }

    /// The run had its turn: all other waiting runs come before its next one.
    pub(crate) fn served(&mut self, run_id: RunId) {
        if let Some(place) = self.places.get_mut(&run_id) {
            self.last += 1;
            place.turn = self.last;
        }
    }

    fn turn(&self, run_id: RunId) -> u64 {
        self.places.get(&run_id).map_or(0, |place| place.turn)
    }
}

/// The run whose turn it is within one priority.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a, T> {
    /// The priority of the level.
    pub(crate) priority: Priority,
    /// When the level's oldest item began to wait, in milliseconds.
    pub(crate) oldest_ms: i64,
    /// The run's place in the round.
    pub(crate) turn: u64,
    /// The run.
    pub(crate) run_id: RunId,
    /// When its item began to wait, in milliseconds.
    pub(crate) since_ms: i64,
    /// Its oldest item.
    pub(crate) item: &'a T,
}

impl<T: Ord> Head<'_, T> {
    /// Whether its level takes turns with a priority above its own.
    fn takes_part(&self, now_ms: i64, top: Priority) -> bool {
        let levels = i64::from(top.0) - i64::from(self.priority.0);
        now_ms.saturating_sub(self.oldest_ms) >= levels.saturating_mul(AGE_STEP_MS)
    }
}

/// Chooses the head that is served next. Among the heads of the highest priority and of levels that have waited long
/// enough, it is the one whose turn came first; within one run, the item that has waited longest. Each head comes with
/// what it is for.
pub(crate) fn choose<'a, T: Ord + 'a, W: Ord>(
    now_ms: i64,
    heads: impl IntoIterator<Item = (Head<'a, T>, W)>,
) -> Option<(Head<'a, T>, W)> {
    let heads: Vec<(Head<'a, T>, W)> = heads.into_iter().collect();
    let top = heads.iter().map(|(head, _)| head.priority.0).max().map(Priority)?;
    let take_part = heads.into_iter().filter(|(head, _)| head.takes_part(now_ms, top));
    take_part.min_by(|(one, of), (other, with)| {
        let order = (one.turn, one.since_ms, one.item).cmp(&(other.turn, other.since_ms, other.item));
        order.then_with(|| of.cmp(with))
    })
}

/// How many levels are considered: this many of the highest priorities, and this many of those that have waited
/// longest. If no more priorities than that are in use, all are considered; with any number of them, a step costs no
/// more.
const LEVELS_CONSIDERED: usize = 8;

/// Items that wait for the same thing, in a lane for each run and priority.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    levels: BTreeMap<i32, Level<T>>,
    /// The levels, by the rank of their oldest item.
    ranks: BTreeSet<(i64, i32)>,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { levels: BTreeMap::new(), ranks: BTreeSet::new() }
    }
}

#[derive(Debug)]
struct Level<T> {
    lanes: BTreeMap<RunId, Lane<T>>,
    /// By the turn at which each run was last put here; its turn may have advanced since.
    order: BTreeSet<(u64, RunId)>,
    /// By when the oldest item of each run began to wait.
    ages: BTreeSet<(i64, RunId)>,
}

#[derive(Debug)]
struct Lane<T> {
    turn: u64,
    items: BTreeSet<(i64, T)>,
}

impl<T: Ord> Lane<T> {
    fn oldest_ms(&self) -> Option<i64> {
        self.items.first().map(|(since_ms, _)| *since_ms)
    }
}

impl<T: Ord> Level<T> {
    fn new() -> Self {
        Self { lanes: BTreeMap::new(), order: BTreeSet::new(), ages: BTreeSet::new() }
    }

    /// Changes a lane and updates the order of ages.
    fn change(&mut self, run_id: RunId, turn: u64, change: impl FnOnce(&mut BTreeSet<(i64, T)>) -> bool) -> bool {
        let order = &mut self.order;
        let lane = self.lanes.entry(run_id).or_insert_with(|| {
            order.insert((turn, run_id));
            Lane { turn, items: BTreeSet::new() }
        });
        let before = lane.oldest_ms();
        let changed = change(&mut lane.items);
        let after = lane.oldest_ms();
        if before != after {
            if let Some(before) = before {
                self.ages.remove(&(before, run_id));
            }
            self.ages.extend(after.map(|after| (after, run_id)));
        }
        if after.is_none() {
            order.remove(&(lane.turn, run_id));
            self.lanes.remove(&run_id);
        }
        changed
    }

    /// Moves runs that had a turn in other lanes to their right places, until the first one is right.
    fn settle(&mut self, round: &Round) {
        while let Some(&(turn, run_id)) = self.order.first() {
            let now = round.turn(run_id);
            if now <= turn {
                return;
            }
            self.order.remove(&(turn, run_id));
            self.order.insert((now, run_id));
            if let Some(lane) = self.lanes.get_mut(&run_id) {
                lane.turn = now;
            }
        }
    }

    fn oldest_ms(&self) -> Option<i64> {
        self.ages.first().map(|(since_ms, _)| *since_ms)
    }

    fn head(&self, priority: i32) -> Option<Head<'_, T>> {
        let &(turn, run_id) = self.order.first()?;
        let &(oldest_ms, _) = self.ages.first()?;
        let (since_ms, item) = self.lanes.get(&run_id)?.items.first()?;
        Some(Head { priority: Priority(priority), oldest_ms, turn, run_id, since_ms: *since_ms, item })
    }
}

impl<T: Ord> Lanes<T> {
    pub(crate) fn insert(&mut self, round: &mut Round, run_id: RunId, priority: Priority, since_ms: i64, item: T) {
        let turn = round.enter(run_id);
        if !self.change(run_id, priority, turn, |items| items.insert((since_ms, item))) {
            round.leave(run_id, 1);
        }
    }

    /// Removes an item, if it is there.
    pub(crate) fn remove(&mut self, round: &mut Round, run_id: RunId, priority: Priority, since_ms: i64, item: T) {
        if self.has(run_id, priority) && self.change(run_id, priority, 0, |items| items.remove(&(since_ms, item))) {
            round.leave(run_id, 1);
        }
    }

    /// Removes the items of runs that are not kept.
    pub(crate) fn retain(&mut self, round: &mut Round, keep: impl Fn(RunId) -> bool) {
        let runs = self.levels.values().flat_map(|level| level.lanes.keys().copied());
        let gone: BTreeSet<RunId> = runs.filter(|run_id| !keep(*run_id)).collect();
        gone.into_iter().for_each(|run_id| self.forget(round, run_id));
    }

    /// Removes the items of a run.
    pub(crate) fn forget(&mut self, round: &mut Round, run_id: RunId) {
        let priorities = self.levels.iter().filter(|(_, level)| level.lanes.contains_key(&run_id));
        for priority in priorities.map(|(priority, _)| Priority(*priority)).collect::<Vec<_>>() {
            let mut items = 0;
            self.change(run_id, priority, 0, |of_run| {
                items = of_run.len();
                of_run.clear();
                true
            });
            round.leave(run_id, items);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// The heads that may be chosen: for each considered priority, the run whose turn it is.
    pub(crate) fn heads(&mut self, round: &Round) -> impl Iterator<Item = Head<'_, T>> {
        let highest = self.levels.keys().rev().take(LEVELS_CONSIDERED).copied();
        let longest = self.ranks.iter().take(LEVELS_CONSIDERED).map(|(_, priority)| *priority);
        let looked_at: BTreeSet<i32> = highest.chain(longest).collect();
        for priority in &looked_at {
            if let Some(level) = self.levels.get_mut(priority) {
                level.settle(round);
            }
        }
        looked_at.into_iter().filter_map(|priority| self.levels.get(&priority)?.head(priority))
    }

    fn has(&self, run_id: RunId, priority: Priority) -> bool {
        self.levels.get(&priority.0).is_some_and(|level| level.lanes.contains_key(&run_id))
    }

    /// Changes a lane and updates the order of ranks.
    fn change(
        &mut self,
        run_id: RunId,
        priority: Priority,
        turn: u64,
        change: impl FnOnce(&mut BTreeSet<(i64, T)>) -> bool,
    ) -> bool {
        let level = self.levels.entry(priority.0).or_insert_with(Level::new);
        let before = level.oldest_ms();
        let changed = level.change(run_id, turn, change);
        let after = level.oldest_ms();
        if before != after {
            if let Some(before) = before {
                self.ranks.remove(&(rank(before, priority), priority.0));
            }
            self.ranks.extend(after.map(|after| (rank(after, priority), priority.0)));
        }
        if after.is_none() {
            self.levels.remove(&priority.0);
        }
        changed
    }
}

#[cfg(test)]
mod tests;
