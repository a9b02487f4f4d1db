//! Colours and emphasis of the monitor. Whether there are colours is decided in one place: [`Theme::of_environment`].

use gleitzeit_sdk::{HealthState, PresenceStatus, RunStatus, TaskStatus};
use ratatui::style::{Color, Modifier, Style};

/// How what is drawn stands out. Without colour everything can still be told apart by its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    colour: bool,
}

impl Theme {
    /// With or without colours.
    pub(super) const fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Without colours if the environment variable `NO_COLOR` holds anything.
    pub(super) fn of_environment() -> Self {
        Self::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    fn of(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// Something that went well.
    pub(super) fn good(self) -> Style {
        self.of(Color::Green)
    }

    /// Something that went wrong.
    pub(super) fn bad(self) -> Style {
        self.of(Color::Red)
    }

    /// Something that deserves a look.
    pub(super) fn warn(self) -> Style {
        self.of(Color::Yellow)
    }

    /// Something that goes on.
    pub(super) fn busy(self) -> Style {
        self.of(Color::Cyan)
    }

    /// Less important than the rest.
    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// More important than the rest.
    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The selected row, and the view that is shown.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A question that waits for an answer.
    pub(super) fn question(self) -> Style {
        self.warn().add_modifier(Modifier::BOLD)
    }

    pub(super) fn run(self, status: RunStatus) -> Style {
        match status {
            RunStatus::Running => self.busy(),
            RunStatus::Completed => self.good(),
            RunStatus::Failed => self.bad(),
            RunStatus::Cancelled => self.warn(),
        }
    }

    pub(super) fn task(self, status: TaskStatus) -> Style {
        match status {
            TaskStatus::Completed => self.good(),
            TaskStatus::Failed => self.bad(),
            TaskStatus::Cancelled | TaskStatus::Skipped | TaskStatus::Backoff => self.warn(),
            TaskStatus::Dispatched | TaskStatus::Running => self.busy(),
            TaskStatus::Waiting | TaskStatus::Ready => Style::new(),
        }
    }

    pub(super) fn presence(self, status: PresenceStatus) -> Style {
        match status {
            PresenceStatus::Connected => self.good(),
            PresenceStatus::Silent => self.warn(),
            PresenceStatus::Lost => self.bad(),
        }
    }

    pub(super) fn health(self, state: HealthState) -> Style {
        match state {
            HealthState::Healthy => self.good(),
            HealthState::Unhealthy => self.bad(),
            HealthState::Starting | HealthState::Slow => self.warn(),
        }
    }
}
