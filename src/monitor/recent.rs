//! The latest events of one run or of all runs, as lines. Pure.
//!
//! The invariant: at most [`KEPT`] lines; the oldest are dropped first, and a reader's position in older lines does not
//! move.

use std::collections::VecDeque;

use gleitzeit_sdk::{RecordedEvent, RunEvent, Timestamp};

use super::list::Cursor;
use crate::color::Tone;
use crate::{text, view};

/// How many events are kept.
const KEPT: usize = 1_000;

/// An event as it is displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventLine {
    /// Its number in the run, or its position in the journal.
    pub(super) place: u64,
    pub(super) time: Option<Timestamp>,
    pub(super) run_id: Option<String>,
    pub(super) task_id: Option<String>,
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl From<&RunEvent> for EventLine {
    fn from(event: &RunEvent) -> Self {
        Self {
            place: event.seq,
            time: event.time,
            run_id: None,
            task_id: event.task_id.clone(),
            text: describe(event),
            tone: Tone::of_event(&event.kind),
        }
    }
}

impl From<&RecordedEvent> for EventLine {
    fn from(recorded: &RecordedEvent) -> Self {
        let of_run = Self::from(&recorded.event);
        Self { place: recorded.position, run_id: recorded.run_id.clone(), ..of_run }
    }
}

/// An event in words, always with its task.
fn describe(event: &RunEvent) -> String {
    view::event(event).unwrap_or_else(|| {
        let task = event.task_id.as_deref().unwrap_or_default();
        let text = match event.kind.as_str() {
            "task_ready" => format!("task {task} is ready"),
            "task_started" => format!("task {task} is running"),
            "task_requeued" => format!("task {task} returns to its queue"),
            other => format!("task {task}: {}", other.replace('_', " ")),
        };
        text::first_line(&text, 200)
    })
}

/// The latest events, the newest at the end.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    lines: VecDeque<EventLine>,
    pub(super) cursor: Cursor,
}

impl Default for Recent {
    fn default() -> Self {
        Self { lines: VecDeque::new(), cursor: Cursor::at_end() }
    }
}

impl Recent {
    pub(super) fn lines(&self) -> &VecDeque<EventLine> {
        &self.lines
    }

    pub(super) fn add(&mut self, line: EventLine) {
        self.lines.push_back(line);
        if self.lines.len() > KEPT {
            self.lines.pop_front();
            self.cursor.first_removed();
        }
    }

    pub(super) fn selected(&self) -> Option<&EventLine> {
        self.lines.get(self.cursor.selected())
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::Motion;
    use super::super::tests::samples;
    use super::*;

    #[test]
    fn every_event_of_a_task_has_its_name() {
        for kind in ["task_ready", "task_dispatched", "task_started", "task_requeued", "task_completed", "task_new"] {
            let line = EventLine::from(&samples::event(1, kind, "fetch"));
            assert!(line.text.starts_with("task fetch"), "{kind}: {}", line.text);
        }
    }

    #[test]
    fn the_visible_events_stay_while_the_oldest_are_dropped() {
        let mut recent = Recent::default();
        let add = |recent: &mut Recent, seq| {
            recent.add(EventLine::from(&samples::event(seq, "task_ready", "a")));
            recent.cursor.settle(recent.lines.len(), 10);
        };
        for seq in 1..=1_000 {
            add(&mut recent, seq);
        }
        assert_eq!(recent.selected().map(|it| it.place), Some(1_000), "the newest");
        recent.cursor.go(Motion::PageUp);
        assert_eq!((recent.selected().map(|it| it.place), recent.cursor.follows()), (Some(991), Some(false)));
        for seq in 1_001..=1_100 {
            add(&mut recent, seq);
        }
        assert_eq!((recent.lines().len(), recent.selected().map(|it| it.place)), (KEPT, Some(991)));
        recent.cursor.toggle();
        assert_eq!(recent.selected().map(|it| it.place), Some(1_100));
    }
}
