//! What a person sees while a run goes on: on a terminal a few lines redrawn in place, elsewhere one line an event. It
//! goes to stderr and is told events; what happened is decided elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use gleitzeit_sdk::RunEvent;

use crate::cli::Format;
use crate::{output, view};

/// How often the live view is redrawn so that times move.
pub(crate) const REDRAW: Duration = Duration::from_millis(100);
/// How many running tasks the live view names.
const NAMED: usize = 8;
/// For a terminal that does not say how wide it is.
const DEFAULT_WIDTH: u16 = 80;

/// Shows how a run goes.
pub(crate) struct Progress {
    /// `None`: one line an event.
    live: Option<Live>,
    /// Nothing is said unless live.
    quiet: bool,
    name: String,
    state: State,
}

struct Live {
    colour: bool,
    /// How many lines are on the screen from the last drawing.
    drawn: usize,
    drawn_at: Option<Instant>,
}

/// What is known of the run's tasks.
struct State {
    total: usize,
    begun: Instant,
    completed: usize,
    failed: usize,
    skipped: usize,
    /// Tasks with an open attempt, and since when it is known.
    running: BTreeMap<String, (Instant, u32)>,
}

impl Progress {
    /// For a run of `total` tasks; live if stderr is a terminal that can be drawn on. Elsewhere only those are told who
    /// want to read: whoever asked for a document gets just that.
    pub(crate) fn new(name: &str, total: usize, format: Format) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = (io::stderr().is_terminal() && !dumb).then(|| Live { colour: colour(), drawn: 0, drawn_at: None });
        Self { live, quiet: format != Format::Table, name: view::first_line(name, 60), state: State::new(total) }
    }

    /// Whether it is redrawn in place and so wants [`Progress::tick`].
    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Whether an attempt is open: then it is clear what is waited for.
    pub(crate) fn is_running(&self) -> bool {
        !self.state.running.is_empty()
    }

    /// Something happened.
    pub(crate) fn event(&mut self, event: &RunEvent) {
        self.state.event(event);
        match &self.live {
            None if self.quiet => {}
            None => {
                if let Some(line) = view::event(event).filter(|_| worth_a_line(&event.kind)) {
                    let _ = writeln!(io::stderr().lock(), "{line}");
                }
            }
            // Many events at once are one drawing.
            Some(live) if live.drawn_at.is_none_or(|at| at.elapsed() >= REDRAW) => self.tick(),
            Some(_) => {}
        }
    }

    /// Says something beside the events.
    pub(crate) fn note(&mut self, text: &str) {
        self.clear();
        if self.is_live() || !self.quiet {
            output::note(text);
        }
    }

    /// Time went by.
    pub(crate) fn tick(&mut self) {
        if let Some(live) = &mut self.live {
            let lines = self.state.lines(&self.name, live.colour);
            live.draw(&lines, width());
        }
    }

    /// Takes the live view off the screen, so that something else can be printed.
    pub(crate) fn clear(&mut self) {
        if let Some(live) = &mut self.live {
            live.draw(&[], 0);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `NO_COLOR` set to anything means no colour.
fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    usize::from(size.map(|size| size.ws_col).ok().filter(|width| *width > 0).unwrap_or(DEFAULT_WIDTH))
}

/// Elsewhere than on a terminal only what ends something is told.
fn worth_a_line(kind: &str) -> bool {
    !matches!(kind, "task_dispatched" | "workflow_submitted" | "workflow_completed" | "workflow_failed")
}

impl Live {
    fn draw(&mut self, lines: &[String], width: usize) {
        let mut text = String::new();
        if self.drawn > 0 {
            // To the first line of the last drawing, and clear from there.
            let _ = write!(text, "\x1b[{}F\x1b[J", self.drawn);
        }
        for line in lines {
            let _ = writeln!(text, "{}", cut(line, width));
        }
        let mut out = io::stderr().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.drawn = lines.len();
        self.drawn_at = Some(Instant::now());
    }
}

/// Cuts a line so that it does not wrap; colours take no room.
fn cut(line: &str, width: usize) -> String {
    let mut out = String::new();
    let mut room = width.saturating_sub(1);
    let mut escape = false;
    for c in line.chars() {
        if escape || c == '\x1b' {
            escape = c != 'm';
            out.push(c);
        } else if room > 0 {
            room -= 1;
            out.push(c);
        }
    }
    out
}

impl State {
    fn new(total: usize) -> Self {
        Self { total, begun: Instant::now(), completed: 0, failed: 0, skipped: 0, running: BTreeMap::new() }
    }

    fn event(&mut self, event: &RunEvent) {
        let Some(task) = &event.task_id else { return };
        match event.kind.as_str() {
            "task_dispatched" => {
                self.running.insert(task.clone(), (Instant::now(), event.attempt));
                return;
            }
            "task_completed" => self.completed += 1,
            "task_failed" => self.failed += 1,
            "task_skipped" | "task_cancelled" => self.skipped += 1,
            "task_attempt_failed" | "task_attempt_stopped" => {}
            _ => return,
        }
        self.running.remove(task);
    }

    fn lines(&self, name: &str, colour: bool) -> Vec<String> {
        let paint = |code: &str, text: String| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text };
        let mut head = format!("{name}  {}/{} done", self.completed, self.total);
        if !self.running.is_empty() {
            let _ = write!(head, ", {} running", self.running.len());
        }
        if self.failed > 0 {
            let _ = write!(head, ", {}", paint("31", format!("{} failed", self.failed)));
        }
        if self.skipped > 0 {
            let _ = write!(head, ", {} skipped", self.skipped);
        }
        let _ = write!(head, "  {}", paint("2", view::duration(self.begun.elapsed())));
        let mut lines = vec![head];
        let mut running: Vec<_> = self.running.iter().collect();
        running.sort_by_key(|(_, (since, _))| *since);
        for (task, (since, attempt)) in running.iter().take(NAMED) {
            let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
            let elapsed = paint("2", view::duration(since.elapsed()));
            lines.push(format!("  {} {task}{again}  {elapsed}", paint("36", "·".to_owned())));
        }
        if running.len() > NAMED {
            lines.push(format!("  … and {} more", running.len() - NAMED));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, task: &str) -> RunEvent {
        RunEvent {
            seq: 1,
            time: None,
            kind: kind.to_owned(),
            task_id: (!task.is_empty()).then(|| task.to_owned()),
            attempt: 1,
            payload: None,
            payload_omitted: false,
        }
    }

    #[test]
    fn the_live_view_counts_and_names_what_runs() {
        let mut state = State::new(12);
        for number in 0..10 {
            state.event(&event("task_dispatched", &format!("t{number}")));
        }
        state.event(&event("task_completed", "t0"));
        state.event(&event("task_failed", "never-dispatched"));
        let lines = state.lines("Name", false);
        assert!(lines[0].starts_with("Name  1/12 done, 9 running, 1 failed"), "{}", lines[0]);
        assert_eq!(lines.len(), 1 + NAMED + 1);
        assert!(lines[1].starts_with("  · t1  "), "the oldest first: {}", lines[1]);
        assert_eq!(lines.last().map(String::as_str), Some("  … and 1 more"));
    }

    #[test]
    fn a_stopped_attempt_runs_no_more() {
        let mut state = State::new(1);
        state.event(&event("task_dispatched", "a"));
        state.event(&event("task_attempt_stopped", "a"));
        assert!(state.running.is_empty());
    }

    #[test]
    fn a_line_is_cut_to_the_terminal_without_counting_colours() {
        assert_eq!(cut("\x1b[31mabc\x1b[0mdef", 5), "\x1b[31mabc\x1b[0md");
    }
}
