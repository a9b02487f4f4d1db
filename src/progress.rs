//! Shows the progress of a run: on a terminal a few lines redrawn in place, elsewhere one line for each event. Writes
//! to stderr and is fed with events; it makes no decisions.

mod state;

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use gleitzeit_sdk::RunEvent;

use state::{State, cut};

use crate::cli::Format;
use crate::{color, output, output_settings, text, view};

/// How often the live view is redrawn, so that times advance.
pub(crate) const REDRAW: Duration = Duration::from_millis(100);
/// The size assumed for a terminal that does not report it.
const DEFAULT_SIZE: Size = Size { columns: 80, rows: 24 };

/// Shows how a run progresses.
pub(crate) struct Progress {
    /// `None`: one line for each event.
    live: Option<Live>,
    /// Nothing is printed without a live view.
    quiet: bool,
    state: State,
}

/// The size of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    columns: usize,
    rows: usize,
}

struct Live {
    colour: bool,
    /// How many lines of the last drawing are on the screen.
    drawn: usize,
    drawn_at: Option<Instant>,
}

impl Progress {
    /// The progress of a run of `total` tasks; live if stderr is a terminal that can be redrawn. Elsewhere lines are
    /// printed only for the table format: a caller that asked for a document gets just that.
    pub(crate) fn new(name: &str, total: usize, format: Format) -> Self {
        let state = State::new(Some((text::first_line(name, 60), total)), Instant::now());
        Self { live: Live::if_possible(), quiet: format != Format::Table || output_settings::is_quiet(), state }
    }

    /// Shows only running tasks and their output, below lines printed by the caller; nothing if stderr is not a
    /// terminal.
    pub(crate) fn below() -> Self {
        Self { live: Live::if_possible(), quiet: true, state: State::new(None, Instant::now()) }
    }

    /// Whether it is redrawn in place and therefore needs [`Progress::tick`].
    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Whether an attempt is open, so that the reason for the wait is clear.
    pub(crate) fn is_running(&self) -> bool {
        self.state.is_running()
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: &RunEvent) {
        self.state.event(event, Instant::now());
        match &self.live {
            None if self.quiet => {}
            None => {
                if let Some(line) = view::event(event).filter(|_| worth_a_line(&event.kind)) {
                    output::note(&color::stderr().event(event, &line));
                }
            }
            // Events in quick succession are drawn together.
            Some(live) if live.drawn_at.is_none_or(|at| at.elapsed() >= REDRAW) => self.tick(),
            Some(_) => {}
        }
    }

    /// Shows a remark that is not an event.
    pub(crate) fn note(&mut self, text: &str) {
        self.clear();
        if self.is_live() || !self.quiet {
            output::note(text);
        }
    }

    /// Redraws after some time has passed.
    pub(crate) fn tick(&mut self) {
        if let Some(live) = &mut self.live {
            let size = Size::of_terminal();
            let lines = self.state.lines(Instant::now(), live.colour, size);
            live.draw(&lines, size);
        }
    }

    /// Removes the live view from the screen, so that other text can be printed.
    pub(crate) fn clear(&mut self) {
        if let Some(live) = &mut self.live {
            live.draw(&[], DEFAULT_SIZE);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Size {
    fn of_terminal() -> Self {
        let told = rustix::termios::tcgetwinsize(io::stderr()).ok();
        let or = |told: Option<u16>, default| told.filter(|it| *it > 0).map_or(default, usize::from);
        Self {
            columns: or(told.map(|size| size.ws_col), DEFAULT_SIZE.columns),
            rows: or(told.map(|size| size.ws_row), DEFAULT_SIZE.rows),
        }
    }
}

/// Without a terminal, only events that end something are shown.
fn worth_a_line(kind: &str) -> bool {
    !matches!(kind, "task_dispatched" | "workflow_submitted" | "workflow_completed" | "workflow_failed")
}

impl Live {
    /// A live view, if stderr is a terminal that can be redrawn and notes are wanted.
    fn if_possible() -> Option<Self> {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_wanted = io::stderr().is_terminal() && !dumb && !output_settings::is_quiet();
        is_wanted.then(|| Self { colour: color::stderr().is_on(), drawn: 0, drawn_at: None })
    }

    fn draw(&mut self, lines: &[String], size: Size) {
        output::show(&self.drawing(lines, size));
        self.drawn_at = Some(Instant::now());
    }

    /// The text that replaces the last drawing by these lines.
    fn drawing(&mut self, lines: &[String], size: Size) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            // Moves to the first line of the last drawing and clears from there.
            let _ = write!(text, "\x1b[{}F\x1b[J", self.drawn);
        }
        // A line that has scrolled away could not be overwritten.
        let lines = &lines[..lines.len().min(size.rows.saturating_sub(1))];
        for line in lines {
            let _ = writeln!(text, "{}", cut(line, size.columns));
        }
        self.drawn = lines.len();
        text
    }
}

#[cfg(test)]
mod tests;
