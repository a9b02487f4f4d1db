//! What happened lately, as lines: the events of one run or of all. Pure.
//!
//! The invariant: at most [`KEPT`] lines; the oldest go first, and who reads older ones is not moved.

use std::collections::VecDeque;

use gleitzeit_sdk::{RecordedEvent, RunEvent, Timestamp};
use serde_json::Value;

use super::list::{Cursor, Motion};
use crate::view;

/// So many events are kept.
pub(in super::super) const KEPT: usize = 1_000;

/// How an event stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Tone {
    Plain,
    Good,
    Bad,
    Warn,
    Busy,
}

/// One event as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct EventLine {
    /// Its place in the run, or in the journal.
    pub(in super::super) place: u64,
    pub(in super::super) time: Option<Timestamp>,
    pub(in super::super) run_id: Option<String>,
    pub(in super::super) task_id: Option<String>,
    pub(in super::super) text: String,
    pub(in super::super) tone: Tone,
}

impl EventLine {
    /// Of an open run.
    pub(super) fn of_run(event: &RunEvent) -> Self {
        Self {
            place: event.seq,
            time: event.time,
            run_id: None,
            task_id: event.task_id.clone(),
            text: told(event),
            tone: tone(&event.kind),
        }
    }
}

impl From<&RecordedEvent> for EventLine {
    fn from(recorded: &RecordedEvent) -> Self {
        let of_run = Self::of_run(&recorded.event);
        Self { place: recorded.position, run_id: recorded.run_id.clone(), ..of_run }
    }
}

/// An event in words, always with the task that it speaks of.
fn told(event: &RunEvent) -> String {
    if let Some(text) = view::event(event) {
        return text;
    }
    let task = event.task_id.as_deref().unwrap_or_default();
    match event.kind.as_str() {
        "task_ready" => format!("task {task} is ready"),
        "task_started" => format!("task {task} is being worked on"),
        "task_requeued" => format!("task {task} goes back to its queue"),
        other => format!("task {task}: {}", other.replace('_', " ")),
    }
}

fn tone(kind: &str) -> Tone {
    match kind {
        "workflow_completed" | "task_completed" => Tone::Good,
        "workflow_failed" | "task_failed" | "task_attempt_failed" => Tone::Bad,
        "workflow_cancelled" | "workflow_cancel_requested" | "task_cancelled" | "task_skipped"
        | "task_retry_scheduled" | "task_attempt_stopped" => Tone::Warn,
        "task_dispatched" | "task_started" | "workflow_submitted" => Tone::Busy,
        // Whatever later versions say.
        _ => Tone::Plain,
    }
}

/// The last events, the newest at the end.
#[derive(Clone, Debug)]
pub(in super::super) struct Recent {
    lines: VecDeque<EventLine>,
    pub(in super::super) cursor: Cursor,
    /// Whether the newest one stays selected.
    pub(in super::super) follows: bool,
}

impl Default for Recent {
    fn default() -> Self {
        Self { lines: VecDeque::new(), cursor: Cursor::default(), follows: true }
    }
}

impl Recent {
    pub(in super::super) fn lines(&self) -> &VecDeque<EventLine> {
        &self.lines
    }

    pub(super) fn add(&mut self, line: EventLine) {
        self.lines.push_back(line);
        let surplus = self.lines.len().saturating_sub(KEPT);
        self.lines.drain(..surplus);
        self.cursor.removed_before(surplus);
    }

    pub(super) fn selected(&self) -> Option<&EventLine> {
        self.lines.get(self.cursor.selected)
    }

    pub(super) fn go(&mut self, motion: Motion, rows: usize) {
        self.cursor.go(motion, self.lines.len(), rows);
        match motion {
            Motion::Up | Motion::PageUp | Motion::First => self.follows = false,
            Motion::Last => self.follows = true,
            Motion::Down | Motion::PageDown => {}
        }
    }

    pub(super) fn toggle(&mut self) {
        self.follows = !self.follows;
    }

    pub(super) fn settle(&mut self, rows: usize) {
        if self.follows {
            self.cursor.select(usize::MAX - 1);
        }
        self.cursor.settle(self.lines.len(), rows);
    }
}

/// The name of a run, if its submission tells it.
pub(super) fn name_of(event: &RunEvent) -> Option<String> {
    let payload = event.payload.as_ref().filter(|_| event.kind == "workflow_submitted")?.shown();
    payload.get("name").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::samples;
    use super::*;

    #[test]
    fn every_event_of_a_task_has_its_name() {
        for kind in ["task_ready", "task_dispatched", "task_started", "task_requeued", "task_completed", "task_new"] {
            let line = EventLine::of_run(&samples::event(1, kind, "fetch"));
            assert!(line.text.contains("fetch"), "{kind}: {}", line.text);
        }
    }

    #[test]
    fn what_is_read_stays_while_the_oldest_events_go() {
        let mut recent = Recent::default();
        let mut add = |recent: &mut Recent, seq| {
            recent.add(EventLine::of_run(&samples::event(seq, "task_ready", "a")));
            recent.settle(10);
        };
        for seq in 1..=1_000 {
            add(&mut recent, seq);
        }
        assert_eq!(recent.selected().map(|it| it.place), Some(1_000), "the newest");
        recent.go(Motion::PageUp, 10);
        assert_eq!((recent.selected().map(|it| it.place), recent.follows), (Some(991), false));
        for seq in 1_001..=1_100 {
            add(&mut recent, seq);
        }
        assert_eq!((recent.lines().len(), recent.selected().map(|it| it.place)), (KEPT, Some(991)));
        recent.toggle();
        recent.settle(10);
        assert_eq!(recent.selected().map(|it| it.place), Some(1_100));
    }
}
