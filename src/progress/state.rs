//! The state of a run's tasks, as lines: the run's name, its time, and the end of its tasks' output. No terminal here.
//!
//! The invariant: output of tasks reaches the screen only as visible text, and no line is wider than it is taken to be.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Instant;

use gleitzeit_sdk::{OutputStream, RunEvent};

use super::Size;
use crate::view;

/// How many running tasks are named.
pub(super) const NAMED: usize = 8;
/// The most lines of output, of all tasks together or of a single one.
const TEXT_LINES: usize = 12;
const LINES_OF_ONE: usize = 6;
/// How many characters of a task's output are kept: more than can be shown.
const KEPT_CHARS: usize = 4_000;
/// The indentation of a line of output.
const INDENT: &str = "    ";

/// The state of the run's tasks.
pub(super) struct State {
    /// The run's name and its number of tasks; `None` if the caller shows them.
    head: Option<(String, usize)>,
    begun: Instant,
    completed: usize,
    failed: usize,
    skipped: usize,
    /// Tasks with an open attempt.
    running: BTreeMap<String, Running>,
}

struct Running {
    /// When the run became known here.
    since: Instant,
    attempt: u32,
    said: Text,
}

/// The end of a task's output.
#[derive(Default)]
struct Text {
    chars: VecDeque<char>,
    /// The stream of the last piece.
    stream: Option<OutputStream>,
}

impl State {
    pub(super) fn new(head: Option<(String, usize)>, now: Instant) -> Self {
        Self { head, begun: now, completed: 0, failed: 0, skipped: 0, running: BTreeMap::new() }
    }

    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    pub(super) fn event(&mut self, event: &RunEvent, now: Instant) {
        let Some(task) = &event.task_id else { return };
        match event.kind.as_str() {
            "task_dispatched" => {
                let running = Running { since: now, attempt: event.attempt, said: Text::default() };
                self.running.insert(task.clone(), running);
                return;
            }
            "method_progress" => {
                // Output of an ended attempt may arrive late.
                let running = self.running.get_mut(task).filter(|running| running.attempt == event.attempt);
                if let Some(running) = running {
                    running.said.add(event);
                }
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

    /// The lines for a screen of this size.
    pub(super) fn lines(&self, now: Instant, colour: bool, size: Size) -> Vec<String> {
        let paint =
            |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
        let elapsed = |since: Instant| paint("2", &view::duration(now.saturating_duration_since(since)));
        let mut lines: Vec<String> =
            self.headline(&paint).map(|head| format!("{head}  {}", elapsed(self.begun))).into_iter().collect();
        let mut running: Vec<_> = self.running.iter().collect();
        running.sort_by_key(|(_, running)| running.since);
        let named = running.len().min(NAMED);
        let talking = running.iter().take(named).filter(|(_, it)| !it.said.chars.is_empty()).count();
        // Leaves room for the head, the names, and the line below.
        let room = size.rows.saturating_sub(named + 3).min(TEXT_LINES);
        let each = room.checked_div(talking).unwrap_or(0).min(LINES_OF_ONE);
        for (task, running) in running.iter().take(named) {
            let again = if running.attempt > 1 { format!(" (attempt {})", running.attempt) } else { String::new() };
            lines.push(format!("  {} {task}{again}  {}", paint("36", "·"), elapsed(running.since)));
            let said = running.said.last_lines(each, size.columns.saturating_sub(INDENT.len() + 1));
            lines.extend(said.iter().map(|line| format!("{INDENT}{}", paint("2", line))));
        }
        if running.len() > named {
            lines.push(format!("  … and {} more", running.len() - named));
        }
        lines
    }

    fn headline(&self, paint: &dyn Fn(&str, &str) -> String) -> Option<String> {
        let (name, total) = self.head.as_ref()?;
        let mut head = format!("{name}  {}/{total} done", self.completed);
        if !self.running.is_empty() {
            let _ = write!(head, ", {} running", self.running.len());
        }
        if self.failed > 0 {
            let _ = write!(head, ", {}", paint("31", &format!("{} failed", self.failed)));
        }
        if self.skipped > 0 {
            let _ = write!(head, ", {} skipped", self.skipped);
        }
        Some(head)
    }
}

impl Text {
    /// Appends a piece of text; anything else replaces the previous output.
    fn add(&mut self, event: &RunEvent) {
        if let Some(piece) = event.output() {
            // A line of one stream does not continue on the other.
            let is_other = std::mem::replace(&mut self.stream, piece.stream) != piece.stream;
            if is_other && self.chars.back().is_some_and(|c| *c != '\n') {
                self.chars.push_back('\n');
            }
            self.push(&piece.text);
        } else if let Some(data) = &event.payload {
            self.chars.clear();
            self.push(&data.shown().to_string());
        }
    }

    fn push(&mut self, piece: &str) {
        // Only the end of a long piece can be kept.
        let skipped = piece.chars().count().saturating_sub(KEPT_CHARS);
        self.chars.extend(piece.chars().skip(skipped).filter_map(visible));
        let surplus = self.chars.len().saturating_sub(KEPT_CHARS);
        self.chars.drain(..surplus);
    }

    /// The last lines, wrapped to this width.
    fn last_lines(&self, count: usize, width: usize) -> Vec<String> {
        let (mut lines, mut line, mut used) = (VecDeque::new(), String::new(), 0);
        let mut end = |line: &mut String| {
            lines.push_back(std::mem::take(line).trim_end().to_owned());
            if lines.len() > count {
                lines.pop_front();
            }
        };
        for c in self.chars.iter().copied().chain(['\n']) {
            if c == '\n' {
                // Empty lines would waste space.
                if !line.trim().is_empty() {
                    end(&mut line);
                }
                (line, used) = (String::new(), 0);
                continue;
            }
            if used + columns(c) > width {
                // Breaks between words if possible.
                let rest = line.rfind(' ').map(|at| line.split_off(at).trim_start().to_owned()).unwrap_or_default();
                end(&mut line);
                (used, line) = (rest.chars().map(columns).sum(), rest);
            }
            used += columns(c);
            line.push(c);
        }
        lines.into()
    }
}

/// The displayed form of a character; `None` for characters that a terminal interprets or that change the text
/// direction.
fn visible(c: char) -> Option<char> {
    match c {
        '\n' | '\r' => Some('\n'),
        '\t' => Some(' '),
        '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => None,
        _ if c.is_control() => None,
        _ => Some(c),
    }
}

/// An upper bound for the columns of a character.
fn columns(c: char) -> usize {
    // The first wide characters are Hangul Jamo; counting a narrow one as wide does no harm.
    if c < '\u{1100}' { 1 } else { 2 }
}

/// Cuts a line so that it does not wrap; colour codes count as zero columns.
pub(super) fn cut(line: &str, width: usize) -> String {
    let mut out = String::new();
    let mut room = width.saturating_sub(1);
    let mut escape = false;
    for c in line.chars() {
        if escape || c == '\x1b' {
            escape = c != 'm';
            out.push(c);
        } else if room >= columns(c) {
            room -= columns(c);
            out.push(c);
        } else {
            room = 0;
        }
    }
    out
}
