//! The colours of the output and their meaning. Only the first eight of a terminal's own colours are used, which are
//! readable on dark and light backgrounds, and no colour carries information that the text does not.

use anstyle::{AnsiColor, Style};
use gleitzeit_sdk::{HealthState, PresenceStatus, RunEvent, RunStatus, TaskStatus};

use crate::{output_settings, states};

/// The role of a piece of text, which determines its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Success.
    Good,
    /// Failure.
    Bad,
    /// Another end, or something that needs attention.
    Warning,
    /// In progress.
    Busy,
    /// The id of a run.
    Id,
    /// Text to be typed, and the labels of hints and notes.
    Mark,
    /// Text that matters less than the text beside it.
    Dim,
    /// The heading of a table.
    Heading,
    /// The terminal's default colour.
    Plain,
}

impl Tone {
    pub(crate) const fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Busy | Self::Mark => AnsiColor::Cyan.on_default(),
            Self::Id => AnsiColor::Magenta.on_default(),
            Self::Dim => Style::new().dimmed(),
            Self::Heading => Style::new().bold(),
            Self::Plain => Style::new(),
        }
    }

    /// The tone of a run's status.
    pub(crate) fn of_run(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => Self::Busy,
            RunStatus::Completed => Self::Good,
            RunStatus::Failed => Self::Bad,
            RunStatus::Cancelled => Self::Warning,
        }
    }

    /// The tone of a task's status.
    pub(crate) fn of_task(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Completed => Self::Good,
            TaskStatus::Failed => Self::Bad,
            TaskStatus::Cancelled | TaskStatus::Skipped | TaskStatus::Backoff => Self::Warning,
            TaskStatus::Dispatched | TaskStatus::Running => Self::Busy,
            TaskStatus::Waiting | TaskStatus::Ready => Self::Plain,
        }
    }

    /// The tone of an event's kind.
    pub(crate) fn of_event(kind: &str) -> Self {
        event_word(kind).map_or(Self::Plain, |(tone, _)| tone)
    }

    /// The tone of a component's connection status.
    pub(crate) fn of_presence(status: PresenceStatus) -> Self {
        match status {
            PresenceStatus::Connected => Self::Good,
            PresenceStatus::Silent => Self::Warning,
            PresenceStatus::Lost => Self::Bad,
        }
    }

    /// The tone of a provider's health.
    pub(crate) fn of_health(state: HealthState) -> Self {
        match state {
            HealthState::Healthy => Self::Good,
            HealthState::Unhealthy => Self::Bad,
            HealthState::Starting | HealthState::Slow => Self::Warning,
        }
    }
}

/// The word in an event's line that names the outcome of a run or task, and its colour.
fn event_word(kind: &str) -> Option<(Tone, &'static str)> {
    Some(match kind {
        "workflow_completed" | "task_completed" => (Tone::Good, "completed"),
        "workflow_failed" | "task_failed" | "task_attempt_failed" => (Tone::Bad, "failed"),
        "workflow_cancelled" | "task_cancelled" => (Tone::Warning, "cancelled"),
        "task_attempt_stopped" => (Tone::Warning, "stopped"),
        "task_skipped" => (Tone::Warning, "skipped"),
        "task_retry_scheduled" => (Tone::Warning, "retried"),
        "task_dispatched" => (Tone::Busy, "started"),
        _ => return None,
    })
}

/// Colours text, or leaves it unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    is_on: bool,
}

/// The paint for stdout.
pub(crate) fn stdout() -> Paint {
    Paint { is_on: output_settings::stdout_has_colour() }
}

/// The paint for stderr.
pub(crate) fn stderr() -> Paint {
    Paint { is_on: output_settings::stderr_has_colour() }
}

impl Paint {
    #[cfg(test)]
    pub(crate) const ON: Self = Self { is_on: true };
    #[cfg(test)]
    pub(crate) const OFF: Self = Self { is_on: false };

    /// Whether colours are on.
    pub(crate) fn is_on(self) -> bool {
        self.is_on
    }

    /// The text in the colour of `tone`.
    pub(crate) fn text(self, tone: Tone, text: &str) -> String {
        if !self.is_on || text.is_empty() || tone == Tone::Plain {
            return text.to_owned();
        }
        let style = tone.style();
        format!("{style}{text}{style:#}")
    }

    /// The text in the colour of `tone`, and bold.
    pub(crate) fn bold(self, tone: Tone, text: &str) -> String {
        let style = tone.style().bold();
        if self.is_on { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The status of a run, coloured.
    pub(crate) fn run(self, status: RunStatus) -> String {
        self.text(Tone::of_run(status), states::run_status(status))
    }

    /// The status of a task, coloured.
    pub(crate) fn task(self, status: TaskStatus) -> String {
        self.text(Tone::of_task(status), states::task_status(status))
    }

    /// Highlights the text in backticks: commands, options and names to be copied.
    pub(crate) fn marked(self, text: &str) -> String {
        if !self.is_on {
            return text.to_owned();
        }
        let mut painted = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, from)) = rest.split_once('`')
            && let Some((quoted, after)) = from.split_once('`')
        {
            painted.push_str(before);
            painted.push_str(&self.text(Tone::Mark, &format!("`{quoted}`")));
            rest = after;
        }
        painted.push_str(rest);
        painted
    }

    /// A line of an event, as [`crate::view::event`] writes it, with the outcome coloured.
    pub(crate) fn event(self, event: &RunEvent, line: &str) -> String {
        let Some((tone, word)) = event_word(&event.kind) else { return line.to_owned() };
        // A task may have the same name as the word.
        let name = event.task_id.as_ref().map_or(0, |task| "task ".len() + task.len());
        self.first(line, name, word, tone)
    }

    /// Colours the first occurrence of `word` at or after byte `from`, if there is one.
    pub(crate) fn first(self, text: &str, from: usize, word: &str, tone: Tone) -> String {
        match text.get(from..).and_then(|rest| rest.find(word)) {
            Some(at) if self.is_on => {
                let (before, rest) = text.split_at(from + at);
                format!("{before}{}{}", self.text(tone, word), &rest[word.len()..])
            }
            _ => text.to_owned(),
        }
    }

    /// A failure, as [`crate::causes::failure`] writes it, with its name coloured.
    pub(crate) fn failure(self, text: &str) -> String {
        match text.split_once(": ") {
            Some((name, message)) if self.is_on => format!("{}: {message}", self.text(Tone::Bad, name)),
            _ => text.to_owned(),
        }
    }

    /// The text from `causes`, with the outcomes of the tasks coloured.
    pub(crate) fn causes(self, text: &str) -> String {
        let line = |line: &str| match line.starts_with("task") {
            true => self.first(line, 0, " failed", Tone::Bad),
            false => line.to_owned(),
        };
        text.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use gleitzeit_sdk::Failure;
    use gleitzeit_workflow::ErrorCode;

    use super::*;

    #[test]
    fn without_colours_text_stays_as_it_is() {
        let off = Paint::OFF;
        let event = event("task_failed", Some("failed"));
        for painted in [
            off.text(Tone::Bad, "x `y`"),
            off.bold(Tone::Bad, "x `y`"),
            off.marked("x `y`"),
            off.event(&event, "x `y`"),
            off.failure("x `y`"),
            off.causes("x `y`"),
        ] {
            assert_eq!(painted, "x `y`");
        }
    }

    #[test]
    fn the_word_that_has_a_colour_stands_in_the_text_of_each_event() {
        let kinds = gleitzeit_run::Event::KINDS.iter().filter(|kind| event_word(kind).is_some());
        assert_eq!(kinds.clone().count(), 11);
        for kind in kinds {
            let event = event(kind, kind.starts_with("task_").then_some("greet"));
            let text = crate::view::event(&event).unwrap_or_else(|| panic!("{kind} has no text"));
            assert_ne!(Paint::ON.event(&event, &text), text, "{kind} has no colour");
        }
    }

    fn event(kind: &str, task: Option<&str>) -> RunEvent {
        RunEvent {
            seq: 1,
            time: None,
            kind: kind.to_owned(),
            task_id: task.map(str::to_owned),
            attempt: 1,
            payload: None,
            payload_omitted: false,
        }
    }

    #[test]
    fn the_status_of_a_task_is_coloured_but_not_its_name() {
        let on = Paint::ON;
        let failed = event("task_attempt_failed", Some("failed"));
        assert_eq!(
            on.event(&failed, "task failed attempt 2 failed (1 s): no"),
            "task failed attempt 2 \x1b[31mfailed\x1b[0m (1 s): no"
        );
        assert_eq!(on.event(&event("workflow_completed", None), "run completed"), "run \x1b[32mcompleted\x1b[0m");
        assert_eq!(on.event(&event("task_of_the_future", None), "x"), "x");
        assert_eq!(on.marked("see `a b` and `c"), "see \x1b[36m`a b`\x1b[0m and `c");
        let failure = crate::causes::failure(&Failure::new(ErrorCode::TaskTimeout, "too slow: 3 s"));
        assert_eq!(on.failure(&failure), "\x1b[31mTASK_TIMEOUT (-29003)\x1b[0m: too slow: 3 s");
        assert_eq!(on.causes("task a failed: X: y\n  failed"), "task a\x1b[31m failed\x1b[0m: X: y\n  failed");
    }
}
