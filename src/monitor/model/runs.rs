//! The list of runs: pages of it as far as they were looked at, the newest first. Pure.
//!
//! The invariant: the runs that are known are the first ones of the control plane's list without gaps, and the selected
//! run stays selected whatever comes before it.

use std::collections::HashMap;

use gleitzeit_sdk::{Page, RunFilter, RunStatus, RunSummary};

use super::filter::Filter;
use super::list::{Cursor, Motion};
use crate::monitor::ask::Ask;

/// So many runs are read at once.
const PAGE: u32 = 100;
/// No more are kept; a filter finds others.
const MOST: usize = 10_000;
/// Of so many runs at once it is asked how far they are.
const ASKED: usize = 20;
/// And of so many it is remembered.
const REMEMBERED: usize = 1_000;

/// How many tasks of a run have not ended.
#[derive(Clone, Copy, Debug)]
struct Open {
    tasks: Option<u32>,
    /// Something happened since.
    is_stale: bool,
}

/// The runs that are known, and which of them are listed.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Runs {
    items: Vec<RunSummary>,
    /// The token of the page after those that are known; none if all were read.
    next: Option<String>,
    pub(in super::super) is_loaded: bool,
    /// There are newer ones, more than a page; the first line shows them.
    pub(in super::super) has_newer: bool,
    pub(in super::super) filter: Filter,
    /// What the control plane looks for, and how often that has changed: older answers do not count.
    asked: RunFilter,
    generation: u64,
    passing: Vec<usize>,
    pub(in super::super) cursor: Cursor,
    /// Whether the newest run stays selected.
    pub(in super::super) follows: bool,
    open: HashMap<String, Open>,
}

impl Runs {
    pub(in super::super) fn len(&self) -> usize {
        self.passing.len()
    }

    pub(in super::super) fn get(&self, at: usize) -> Option<&RunSummary> {
        self.items.get(*self.passing.get(at)?)
    }

    /// How many were read.
    pub(in super::super) fn known(&self) -> usize {
        self.items.len()
    }

    pub(in super::super) fn is_partial(&self) -> bool {
        self.next.is_some()
    }

    pub(in super::super) fn selected(&self) -> Option<&RunSummary> {
        self.get(self.cursor.selected)
    }

    pub(in super::super) fn find(&self, run_id: &str) -> Option<&RunSummary> {
        let at = self.items.binary_search_by(|run| run_id.cmp(&run.run_id));
        at.ok().and_then(|at| self.items.get(at))
    }

    /// How many tasks of a run have ended, as far as that is known.
    pub(in super::super) fn ended_tasks(&self, run: &RunSummary) -> Option<u32> {
        match run.status {
            RunStatus::Completed => Some(run.task_count),
            _ => self.open.get(&run.run_id)?.tasks.map(|open| run.task_count.saturating_sub(open)),
        }
    }

    /// The newest runs.
    pub(super) fn newest(&self) -> Ask {
        Ask::Runs { filter: RunFilter { page_size: PAGE, ..self.asked.clone() }, generation: self.generation }
    }

    /// What is visible, if that is not the beginning.
    pub(super) fn here(&self, rows: usize) -> Option<Ask> {
        let visible = self.cursor.visible(self.len(), rows);
        let first = self.passing.get(visible.start).filter(|at| **at > 0)?;
        let last = *self.passing.get(visible.end.saturating_sub(1))?;
        let submitted_before = self.items.get(*first)?.submitted_at?.plus_ms(1);
        let page_size = u32::try_from(last - first + 1).unwrap_or(PAGE).min(PAGE);
        let filter = RunFilter { submitted_before: Some(submitted_before), page_size, ..self.asked.clone() };
        Some(Ask::RunsHere { filter, generation: self.generation })
    }

    /// The page after those that are known, if what is visible and the screen below it are not there.
    pub(super) fn wanted(&self, rows: usize) -> Option<Ask> {
        let needed = self.cursor.selected.saturating_add(2 * rows);
        let token = self.next.clone().filter(|_| self.len() < needed && self.items.len() < MOST)?;
        let filter = RunFilter { page_size: PAGE, page_token: Some(token), ..self.asked.clone() };
        Some(Ask::MoreRuns { filter, generation: self.generation })
    }

    /// Visible runs of which it is not known how far they are.
    pub(super) fn unknown(&self, rows: usize) -> Option<Ask> {
        let visible = self.cursor.visible(self.len(), rows).filter_map(|at| self.get(at));
        let unknown = visible.filter(|run| {
            run.status != RunStatus::Completed
                && !run.is_set_aside()
                && self.open.get(&run.run_id).is_none_or(|open| open.is_stale)
        });
        let run_ids: Vec<String> = unknown.take(ASKED).map(|run| run.run_id.clone()).collect();
        (!run_ids.is_empty()).then_some(Ask::Progress { run_ids })
    }

    /// Something happened in a run.
    pub(super) fn happened(&mut self, run_id: &str) {
        if let Some(open) = self.open.get_mut(run_id) {
            open.is_stale = true;
        }
    }

    pub(super) fn progress(&mut self, found: Vec<(String, Option<u32>)>) {
        if self.open.len() > REMEMBERED {
            self.open.clear();
        }
        self.open.extend(found.into_iter().map(|(run, tasks)| (run, Open { tasks, is_stale: false })));
    }

    /// Takes the newest runs.
    pub(super) fn first(&mut self, generation: u64, page: Page<RunSummary>) {
        if generation != self.generation {
            return;
        }
        let touches = match (page.items.last(), self.items.first()) {
            (Some(oldest), Some(known)) => oldest.run_id <= known.run_id,
            _ => true,
        };
        if !touches && page.next_page_token.is_some() && self.is_loaded && self.cursor.selected > 0 && !self.follows {
            // Between them are runs that were not read; who reads older ones stays there.
            self.has_newer = true;
            return;
        }
        if !touches {
            self.items.clear();
        }
        self.is_loaded = true;
        self.has_newer = false;
        self.put(page, true);
    }

    /// Takes runs from further down.
    pub(super) fn others(&mut self, generation: u64, page: Page<RunSummary>) {
        if generation == self.generation {
            self.put(page, false);
        }
    }

    /// Replaces what a page covers. `from_top`: it begins with the newest run there is.
    fn put(&mut self, page: Page<RunSummary>, from_top: bool) {
        let Page { items, next_page_token } = page;
        let is_first = self.items.is_empty();
        let newest = items.first().map(|run| run.run_id.clone()).filter(|_| !from_top);
        let oldest = items.last().map(|run| run.run_id.clone());
        let covers = |run: &RunSummary| {
            let below = newest.as_ref().is_none_or(|newest| run.run_id <= *newest);
            let above = match (&oldest, &next_page_token) {
                (Some(oldest), Some(_)) => run.run_id >= *oldest,
                _ => true,
            };
            below && above
        };
        if items.is_empty() && !from_top {
            self.next = None;
            return;
        }
        let selected = self.selected().map(|run| run.run_id.clone());
        self.items.retain(|run| !covers(run));
        self.items.extend(items);
        self.items.sort_unstable_by(|a, b| b.run_id.cmp(&a.run_id));
        self.items.dedup_by(|a, b| a.run_id == b.run_id);
        if is_first || self.items.last().map(|run| &run.run_id) == oldest.as_ref() {
            self.next = next_page_token;
        }
        self.pass(selected);
    }

    pub(super) fn set_filter(&mut self, filter: Filter) {
        if filter != self.filter {
            let selected = self.selected().map(|run| run.run_id.clone());
            self.filter = filter;
            self.pass(selected);
        }
    }

    /// The filter is as it is meant: the control plane looks for it from now on. Whether that is something else than
    /// before.
    pub(super) fn ask_filtered(&mut self) -> bool {
        let asked = self.filter.asked();
        let same = asked.statuses == self.asked.statuses
            && asked.labels == self.asked.labels
            && asked.run_id_prefix == self.asked.run_id_prefix;
        if same {
            return false;
        }
        let (open, filter, follows) = (std::mem::take(&mut self.open), self.filter.clone(), self.follows);
        *self = Self { asked, generation: self.generation + 1, open, filter, follows, ..Self::default() };
        true
    }

    /// Finds out which runs pass, and selects the same as before.
    fn pass(&mut self, selected: Option<String>) {
        self.passing = (0..self.items.len()).filter(|at| self.filter.of_run(&self.items[*at])).collect();
        let Some(selected) = selected.filter(|_| !self.follows) else { return };
        if let Some(at) = (0..self.len()).find(|at| self.get(*at).is_some_and(|run| run.run_id == selected)) {
            self.cursor.select(at);
        }
    }

    pub(super) fn select(&mut self, run_id: &str) {
        if let Some(at) = (0..self.len()).find(|at| self.get(*at).is_some_and(|run| run.run_id == run_id)) {
            self.cursor.select(at);
        }
    }

    /// Whether the newest runs are wanted now, since they were left out before.
    pub(super) fn go(&mut self, motion: Motion, rows: usize) -> bool {
        self.cursor.go(motion, self.len(), rows);
        if self.cursor.selected > 0 {
            self.follows = false;
        }
        self.cursor.selected == 0 && self.has_newer
    }

    pub(super) fn toggle(&mut self) {
        self.follows = !self.follows;
    }

    pub(super) fn settle(&mut self, rows: usize) {
        if self.follows {
            self.cursor.select(0);
        }
        self.cursor.settle(self.len(), rows);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::samples;
    use super::*;

    /// Runs from `from` down to `to`.
    fn page(from: u32, to: u32, more: bool) -> Page<RunSummary> {
        let items = (to..=from).rev().map(|n| samples::run(n, "Report", RunStatus::Running));
        Page { items: items.collect(), next_page_token: more.then(|| format!("after {to}")) }
    }

    fn runs(first: Page<RunSummary>) -> Runs {
        let mut runs = Runs::default();
        runs.first(0, first);
        runs
    }

    fn token(ask: Option<Ask>) -> Option<String> {
        match ask {
            Some(Ask::MoreRuns { filter, .. }) => filter.page_token,
            _ => None,
        }
    }

    #[test]
    fn the_selected_run_stays_selected_while_newer_ones_come() {
        let mut runs = runs(page(200, 101, true));
        runs.go(Motion::Down, 10);
        let selected = runs.selected().map(|run| run.run_id.clone());
        runs.first(0, page(205, 106, true));
        assert_eq!((runs.selected().map(|run| run.run_id.clone()), runs.cursor.selected), (selected, 6));
        assert_eq!(runs.known(), 105);
        runs.follows = true;
        runs.first(0, page(206, 107, true));
        runs.settle(10);
        assert_eq!(runs.cursor.selected, 0, "while following, the newest is");
        runs.go(Motion::Down, 10);
        assert!(!runs.follows, "until one moves away from it");
    }

    #[test]
    fn older_runs_are_read_when_they_come_into_sight() {
        let mut runs = runs(page(400, 301, true));
        assert_eq!(token(runs.wanted(10)), None);
        runs.go(Motion::Last, 10);
        assert_eq!(token(runs.wanted(10)).as_deref(), Some("after 301"));
        runs.others(0, page(300, 201, true));
        assert_eq!((runs.known(), token(runs.wanted(10))), (200, None));
        let here = match runs.here(10) {
            Some(Ask::RunsHere { filter, .. }) => (filter.submitted_before, filter.page_size),
            other => panic!("{other:?}"),
        };
        assert_eq!(here, (runs.get(90).and_then(|run| run.submitted_at).map(|at| at.plus_ms(1)), 10));
        // Three of those that are visible were removed meanwhile.
        let mut visible = page(310, 301, true);
        visible.items.drain(2..5);
        runs.others(0, visible);
        assert_eq!((runs.known(), runs.is_partial()), (197, true));
        runs.others(0, page(200, 200, false));
        runs.go(Motion::Last, 10);
        assert_eq!((runs.known(), token(runs.wanted(10)), runs.is_partial()), (198, None, false));
    }

    #[test]
    fn a_gap_is_never_shown_as_if_nothing_were_there() {
        let mut runs = runs(page(100, 1, false));
        runs.go(Motion::Down, 10);
        runs.first(0, page(900, 801, true));
        assert!(runs.has_newer && runs.known() == 100);
        assert!(runs.go(Motion::First, 10), "they are asked for");
        runs.first(0, page(900, 801, true));
        assert_eq!((runs.known(), runs.has_newer, token(runs.wanted(100)).as_deref()), (100, false, Some("after 801")));
    }

    #[test]
    fn what_the_control_plane_can_look_for_is_asked_anew_and_old_answers_do_not_count() {
        let mut runs = runs(page(100, 1, false));
        runs.set_filter(Filter::new("status=failed"));
        assert_eq!(runs.len(), 0);
        assert!(runs.ask_filtered() && !runs.ask_filtered());
        runs.first(0, page(100, 1, false));
        assert!(!runs.is_loaded, "an answer to the question before");
        assert!(matches!(runs.newest(), Ask::Runs { generation: 1, filter } if filter.statuses == [RunStatus::Failed]));
    }

    #[test]
    fn how_far_visible_runs_are_is_asked_once_until_something_happens() {
        let mut runs = runs(page(50, 1, false));
        let asked = |runs: &Runs| match runs.unknown(10) {
            Some(Ask::Progress { run_ids }) => run_ids,
            _ => Vec::new(),
        };
        let first = asked(&runs);
        assert_eq!(first.len(), 10);
        runs.progress(first.iter().map(|run| (run.clone(), Some(1))).collect());
        assert_eq!(asked(&runs), Vec::<String>::new());
        runs.happened(&first[3]);
        assert_eq!(asked(&runs), first[3..4]);
        assert_eq!(runs.get(0).and_then(|run| runs.ended_tasks(run)), Some(2));
    }
}
