//! The tasks of an open run: pages of them as far as they were looked at, kept current by events. Pure.
//!
//! The invariant: the rows are the first tasks of the workflow in its order, without gaps; a task that is final stays so.

use std::collections::HashMap;

use gleitzeit_sdk::{Page, RunEvent, Task, TaskStatus, Timestamp};
use serde_json::Value;

use super::filter::Filter;
use super::list::{Cursor, Motion};
use crate::monitor::ask::TaskPage;
use crate::view;

/// So many tasks are read at once.
pub(in super::super) const PAGE: u32 = 250;
/// No more rows are kept.
const MOST: usize = 200_000;
/// Of a reason or an error so many characters are kept in a row.
const ABOUT: usize = 200;

/// A task as it stands in the list: without its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct TaskRow {
    pub(in super::super) id: String,
    pub(in super::super) status: TaskStatus,
    pub(in super::super) attempt: u32,
    pub(in super::super) method: String,
    pub(in super::super) started_at: Option<Timestamp>,
    pub(in super::super) finished_at: Option<Timestamp>,
    /// What it waits for, or why it failed.
    pub(in super::super) about: String,
}

impl From<Task> for TaskRow {
    fn from(task: Task) -> Self {
        let about = match (&task.waiting, &task.error) {
            (Some(waiting), _) => view::first_line(&waiting.reason, ABOUT),
            (None, Some(error)) => view::first_line(&error.message, ABOUT),
            (None, None) => String::new(),
        };
        let Task { id, status, attempt, method, started_at, finished_at, .. } = task;
        Self { id, status, attempt, method, started_at, finished_at, about }
    }
}

/// The tasks that are known, and which of them are listed.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Tasks {
    rows: Vec<TaskRow>,
    by_id: HashMap<String, usize>,
    /// Where each page that was read begins, so that it can be read again.
    pages: Vec<TaskPage>,
    /// Where the next page begins; none once all were read.
    next: Option<TaskPage>,
    has_begun: bool,
    pub(in super::super) filter: Filter,
    /// Which rows pass the filter; all if there is none.
    passing: Vec<usize>,
    /// Whether a row has changed since that was found out.
    is_stale: bool,
    pub(in super::super) cursor: Cursor,
    /// The end is wanted, wherever it is.
    to_end: bool,
}

impl Tasks {
    /// How many rows are listed.
    pub(in super::super) fn len(&self) -> usize {
        if self.filter.is_empty() { self.rows.len() } else { self.passing.len() }
    }

    /// A row that is listed.
    pub(in super::super) fn get(&self, at: usize) -> Option<&TaskRow> {
        if self.filter.is_empty() { self.rows.get(at) } else { self.rows.get(*self.passing.get(at)?) }
    }

    /// How many tasks were read.
    pub(in super::super) fn known(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is more to read.
    pub(in super::super) fn is_partial(&self) -> bool {
        !self.has_begun || self.next.is_some()
    }

    pub(super) fn selected(&self) -> Option<&TaskRow> {
        self.get(self.cursor.selected)
    }

    pub(super) fn row(&self, id: &str) -> Option<&TaskRow> {
        self.rows.get(*self.by_id.get(id)?)
    }

    /// The next page, if what is visible and the screen below it are not there yet.
    pub(super) fn wanted(&self, rows: usize) -> Option<TaskPage> {
        if !self.has_begun {
            return Some(TaskPage { start: 0, token: None });
        }
        let needed = self.cursor.selected.saturating_add(2 * rows);
        let is_needed = self.to_end || self.len() < needed;
        self.next.clone().filter(|_| is_needed && self.rows.len() < MOST)
    }

    /// The page in which the selected row stands, to be read again.
    pub(super) fn shown_page(&self) -> Option<TaskPage> {
        let at = *self.by_id.get(&self.selected()?.id)?;
        self.pages.iter().rev().find(|page| page.start <= at).cloned()
    }

    /// Takes a page that was read for the first time.
    pub(super) fn more(&mut self, asked: &TaskPage, page: Page<Task>) {
        if asked.start != self.rows.len() {
            return;
        }
        self.has_begun = true;
        self.pages.push(asked.clone());
        for task in page.items {
            self.by_id.insert(task.id.clone(), self.rows.len());
            if !self.filter.is_empty() && self.filter.of_task(&TaskRow::from(task.clone())) {
                self.passing.push(self.rows.len());
            }
            self.rows.push(TaskRow::from(task));
        }
        let start = self.rows.len();
        self.next = page.next_page_token.map(|token| TaskPage { start, token: Some(token) });
        if self.next.is_none() {
            self.to_end = false;
        }
    }

    /// Takes a page that was read again.
    pub(super) fn again(&mut self, page: Page<Task>) {
        for task in page.items {
            let Some(&at) = self.by_id.get(&task.id) else { continue };
            self.rows[at] = TaskRow::from(task);
        }
        self.is_stale = true;
    }

    /// Takes what happened to a task.
    pub(super) fn happened(&mut self, event: &RunEvent) {
        let at = event.task_id.as_ref().and_then(|id| self.by_id.get(id));
        let Some(row) = at.and_then(|at| self.rows.get_mut(*at)) else { return };
        if row.status.is_final() || (event.attempt > 0 && event.attempt < row.attempt) {
            return;
        }
        self.is_stale |= happened(row, event);
    }

    pub(super) fn set_filter(&mut self, filter: Filter) {
        if filter != self.filter {
            let selected = self.selected().map(|row| row.id.clone());
            self.filter = filter;
            self.pass();
            let at = selected.and_then(|id| (0..self.len()).find(|at| self.get(*at).is_some_and(|row| row.id == id)));
            self.cursor.select(at.unwrap_or(0));
        }
    }

    /// Finds out which rows pass.
    fn pass(&mut self) {
        self.is_stale = false;
        let passes = |at: &usize| self.filter.of_task(&self.rows[*at]);
        self.passing =
            if self.filter.is_empty() { Vec::new() } else { (0..self.rows.len()).filter(passes).collect() };
    }

    pub(super) fn go(&mut self, motion: Motion, rows: usize) {
        self.to_end = motion == Motion::Last && self.next.is_some();
        self.cursor.go(motion, self.len(), rows);
    }

    pub(super) fn settle(&mut self, rows: usize) {
        if self.is_stale {
            self.pass();
        }
        if self.to_end {
            self.cursor.select(usize::MAX - 1);
        }
        self.cursor.settle(self.len(), rows);
    }
}

/// Puts an event into a row; whether that may change if it passes a filter.
fn happened(row: &mut TaskRow, event: &RunEvent) -> bool {
    let status = match event.kind.as_str() {
        "task_ready" | "task_requeued" => TaskStatus::Ready,
        "task_dispatched" => TaskStatus::Dispatched,
        "task_started" => TaskStatus::Running,
        "task_retry_scheduled" => TaskStatus::Backoff,
        "task_completed" => TaskStatus::Completed,
        "task_failed" => TaskStatus::Failed,
        "task_skipped" => TaskStatus::Skipped,
        "task_cancelled" => TaskStatus::Cancelled,
        // What an attempt's end means for the task, its next event says.
        _ => return false,
    };
    row.status = status;
    if event.attempt > 0 {
        row.attempt = event.attempt;
    }
    match status {
        TaskStatus::Ready | TaskStatus::Waiting | TaskStatus::Backoff => row.about.clear(),
        TaskStatus::Dispatched | TaskStatus::Running => {
            row.about.clear();
            row.started_at = event.time;
        }
        TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Skipped | TaskStatus::Cancelled => {
            row.finished_at = event.time;
            row.about = failure(event).unwrap_or_default();
        }
    }
    true
}

fn failure(event: &RunEvent) -> Option<String> {
    let payload = event.payload.as_ref().filter(|_| event.kind == "task_failed")?.shown();
    let message = payload.get("error")?.get("message").and_then(Value::as_str)?;
    Some(view::first_line(message, ABOUT))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::samples;
    use super::*;

    fn page(from: usize, to: usize, more: bool) -> Page<Task> {
        Page {
            items: (from..to).map(|n| samples::task(&format!("t{n}"), TaskStatus::Waiting)).collect(),
            next_page_token: more.then(|| format!("token {to}")),
        }
    }

    fn start(start: usize) -> TaskPage {
        TaskPage { start, token: (start > 0).then(|| format!("token {start}")) }
    }

    #[test]
    fn only_what_is_visible_and_some_more_is_read() {
        let mut tasks = Tasks::default();
        assert_eq!(tasks.wanted(10), Some(start(0)));
        tasks.more(&start(0), page(0, 250, true));
        assert_eq!(tasks.wanted(10), None);
        tasks.more(&start(0), page(0, 250, true));
        assert_eq!(tasks.known(), 250, "an answer that comes twice counts once");
        for _ in 0..26 {
            tasks.go(Motion::PageDown, 10);
        }
        assert_eq!(tasks.wanted(10), Some(start(250)));
        tasks.go(Motion::Last, 10);
        for (from, to, more) in [(250, 500, true), (500, 700, false)] {
            assert_eq!(tasks.wanted(10), Some(start(from)), "up to the end");
            tasks.more(&start(from), page(from, to, more));
            tasks.settle(10);
        }
        assert_eq!((tasks.wanted(10), tasks.selected().map(|it| it.id.as_str())), (None, Some("t699")));
        assert_eq!(tasks.shown_page(), Some(start(500)));
        tasks.go(Motion::First, 10);
        assert_eq!(tasks.shown_page(), Some(start(0)));
    }

    #[test]
    fn a_filter_reads_on_until_the_screen_is_full_and_follows_events() {
        let mut tasks = Tasks::default();
        tasks.more(&start(0), page(0, 250, true));
        tasks.set_filter(Filter::new("status=failed"));
        assert_eq!((tasks.len(), tasks.wanted(10)), (0, Some(start(250))));
        tasks.more(&start(250), page(250, 300, false));
        tasks.happened(&samples::event(9, "task_failed", "t270"));
        tasks.settle(10);
        assert_eq!((tasks.len(), tasks.wanted(10)), (1, None));
        assert_eq!(tasks.get(0).map(|row| row.id.as_str()), Some("t270"));
        tasks.set_filter(Filter::new(""));
        assert_eq!((tasks.len(), tasks.cursor.selected), (300, 270), "the same task stays selected");
    }

    #[test]
    fn events_move_tasks_on_and_never_back() {
        let mut tasks = Tasks::default();
        tasks.more(&start(0), page(0, 1, false));
        for (kind, attempt, expected) in [
            ("task_ready", 0, TaskStatus::Ready),
            ("task_dispatched", 1, TaskStatus::Dispatched),
            ("task_started", 1, TaskStatus::Running),
            ("task_attempt_failed", 1, TaskStatus::Running),
            ("task_retry_scheduled", 1, TaskStatus::Backoff),
            ("task_dispatched", 2, TaskStatus::Dispatched),
            ("task_started", 1, TaskStatus::Dispatched),
            ("task_completed", 2, TaskStatus::Completed),
            ("task_dispatched", 3, TaskStatus::Completed),
            ("method_progress", 3, TaskStatus::Completed),
        ] {
            let mut event = samples::event(1, kind, "t0");
            event.attempt = attempt;
            tasks.happened(&event);
            assert_eq!(tasks.row("t0").map(|row| row.status), Some(expected), "{kind} {attempt}");
        }
    }
}
