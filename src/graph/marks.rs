//! How a task's state appears in a drawing: a mark that needs no colour, and a colour.

use gleitzeit_sdk::TaskStatus;

use crate::states;

/// The states of a run's tasks, in the order of the workflow; empty for a workflow without a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks<'a> {
    pub(crate) states: &'a [TaskStatus],
    /// Whether the terminal supports colours.
    pub(crate) colour: bool,
}

impl Marks<'_> {
    /// The state of the task with this index.
    pub(super) fn of(&self, at: usize) -> Option<TaskStatus> {
        self.states.get(at).copied()
    }

    /// Colours a text by a state.
    pub(super) fn paint(&self, state: Option<TaskStatus>, text: &str) -> String {
        match state {
            Some(state) if self.colour => format!("\x1b[{}m{text}\x1b[0m", sgr(state)),
            _ => text.to_owned(),
        }
    }

    /// The states that occur among the tasks.
    pub(super) fn found(&self) -> impl Iterator<Item = TaskStatus> {
        states::TASK_STATUSES.into_iter().filter(move |state| self.states.contains(state))
    }

    /// A line that explains the marks in this drawing; `None` if there are none.
    pub(super) fn legend(&self) -> Option<String> {
        let said = |state| self.paint(Some(state), &format!("{} {}", mark(state), states::task_status(state)));
        let legend = self.found().map(said).collect::<Vec<_>>().join("  ");
        (!legend.is_empty()).then_some(legend)
    }
}

/// The letter for a state.
pub(super) fn mark(state: TaskStatus) -> char {
    match state {
        TaskStatus::Waiting => '·',
        TaskStatus::Ready => '○',
        TaskStatus::Dispatched => '◌',
        TaskStatus::Running => '●',
        TaskStatus::Backoff => '↻',
        TaskStatus::Completed => '✓',
        TaskStatus::Failed => '✗',
        TaskStatus::Skipped => '–',
        TaskStatus::Cancelled => '⊘',
    }
}

/// The terminal's colour code.
fn sgr(state: TaskStatus) -> &'static str {
    match state {
        TaskStatus::Waiting | TaskStatus::Skipped => "2",
        TaskStatus::Ready | TaskStatus::Dispatched | TaskStatus::Running => "36",
        TaskStatus::Backoff | TaskStatus::Cancelled => "33",
        TaskStatus::Completed => "32",
        TaskStatus::Failed => "31",
    }
}

/// The fill colour for pages and pictures; the text on it is black.
pub(super) fn fill(state: TaskStatus) -> &'static str {
    match state {
        TaskStatus::Waiting => "#f0f0f0",
        TaskStatus::Ready | TaskStatus::Dispatched => "#d6ecff",
        TaskStatus::Running => "#9fd3ff",
        TaskStatus::Backoff => "#ffe2a8",
        TaskStatus::Completed => "#b7e8b7",
        TaskStatus::Failed => "#ffb3b3",
        TaskStatus::Skipped => "#d9d9d9",
        TaskStatus::Cancelled => "#f2cfa5",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_state_has_a_mark_of_its_own() {
        assert_eq!(
            states::TASK_STATUSES.into_iter().map(mark).collect::<BTreeSet<_>>().len(),
            states::TASK_STATUSES.len()
        );
    }

    #[test]
    fn the_legend_explains_only_marks_that_are_used() {
        let states = [TaskStatus::Failed, TaskStatus::Completed, TaskStatus::Completed];
        let marks = Marks { states: &states, colour: false };
        assert_eq!(marks.legend().as_deref(), Some("✓ completed  ✗ failed"));
        assert_eq!(Marks { colour: true, ..marks }.paint(marks.of(0), "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Marks::default().legend(), None);
    }
}
