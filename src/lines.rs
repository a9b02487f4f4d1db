//! Builds whole lines from the pieces of output that running tasks report, and from the output in their results and
//! errors. No terminal here.
//!
//! The invariants: no text is emitted twice, missing text is reported, and memory is bounded: one incomplete line for
//! each open stream.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use gleitzeit_sdk::{OutputStream, Payload, RunEvent, TaskOutput, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::text;

/// An incomplete line is emitted after this time: it may be a question, or a growing progress bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// An incomplete line is emitted once it has this many bytes.
const MOST_HELD: usize = 4 * 1024;
/// How many bytes of the last text are searched for in an error's output to find where to continue.
const KNOWN: usize = 64;
/// An error's output of at least this size may have been cut: errors carry the last 8 KiB of a stream, and the cut may
/// have removed part of a character.
const LEAST_CUT: u64 = 8 * 1024 - 3;
/// How executors begin the line after a stream's text if the text is incomplete.
const CUT: &str = "[output cut: ";
const LOST: &str = "[output lost: ";

/// A line of a task's output. The texts of all lines of a stream, except notes, make up the stream's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// When the control plane received it; `None` if it comes from the task's result or error.
    pub(crate) time: Option<Timestamp>,
    pub(crate) task_id: String,
    pub(crate) attempt: u32,
    /// The stream that it was written to; `None` for text that does not come from a process.
    pub(crate) stream: Option<OutputStream>,
    /// The text with its newline, if it has one.
    pub(crate) text: String,
    /// Whether it is a remark about the output rather than output.
    pub(crate) note: bool,
}

impl Line {
    /// For people: `[task] text`.
    pub(crate) fn shown(&self) -> String {
        let attempt = if self.attempt > 1 { format!(", attempt {}", self.attempt) } else { String::new() };
        let text = self.text.trim_end_matches(['\n', '\r']);
        // A terminal would finally show only the text after the last carriage return.
        let text = text.rsplit('\r').next().unwrap_or_default();
        format!("[{}{attempt}] {}", text::clean(&self.task_id), text::clean(text))
    }
}

/// The output at the end of an attempt, as JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// The task's result, with all output that is kept.
    Result(&'a Value),
    /// The error's data, with the end of the output.
    Error(&'a Value),
}

/// Identifies a stream of an attempt.
type Key = (String, u32, Option<OutputStream>);

fn keys_of(task_id: &str, attempt: u32) -> [Key; 3] {
    [Some(OutputStream::Stdout), Some(OutputStream::Stderr), None].map(|stream| (task_id.to_owned(), attempt, stream))
}

/// The streams of open attempts.
#[derive(Debug, Default)]
pub(crate) struct Lines(BTreeMap<Key, Open>);

#[derive(Debug, Default)]
struct Open {
    /// An incomplete line, and since when it has been held.
    partial: String,
    since: Option<Instant>,
    time: Option<Timestamp>,
    /// The position of the next text in the stream, in bytes.
    next: u64,
    /// The end of the last text.
    known: String,
    /// Whether the remark that no more is kept was emitted already.
    is_noted: bool,
}

impl Lines {
    /// Adds a piece of output; returns the lines that are now complete.
    pub(crate) fn add(&mut self, piece: TaskOutput, now: Instant) -> Vec<Line> {
        let TaskOutput { task_id, attempt, time, stream, offset, text, is_note } = piece;
        let key = (task_id, attempt, stream);
        let open = self.0.entry(key.clone()).or_default();
        let mut out = Collected { key: &key, time, lines: Vec::new() };
        let place = offset.unwrap_or(open.next);
        if place > open.next {
            open.break_line(&mut out);
            out.note(format!("[{} bytes of the output are missing here]\n", place - open.next));
            open.next = place;
        }
        if is_note {
            open.is_noted = true;
            open.break_line(&mut out);
            text.split_inclusive('\n').filter(|line| *line != "\n").for_each(|line| out.note(line.to_owned()));
            return out.lines;
        }
        let told = usize::try_from(open.next - place).unwrap_or(usize::MAX);
        // Text that was emitted already is skipped.
        if let Some(new) = text.get(told.min(text.len())..) {
            open.push(new, now, &mut out);
        }
        out.lines
    }

    /// Handles the end of an attempt: returns the output that was not emitted before.
    pub(crate) fn ended(&mut self, task_id: &str, attempt: u32, end: End<'_>, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        let (said, is_error) = match end {
            End::Result(said) => (said, false),
            End::Error(said) => (said, true),
        };
        for (field, stream) in
            [("output", Some(OutputStream::Stdout)), ("error_output", Some(OutputStream::Stderr)), ("response", None)]
        {
            let Some(text) = said.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()) else { continue };
            let key = (task_id.to_owned(), attempt, stream);
            let open = self.0.entry(key.clone()).or_default();
            let mut out = Collected { key: &key, time: None, lines: Vec::new() };
            let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
            let (text, marks) = if stream.is_none() { (text, Vec::new()) } else { without_marks(text) };
            let rest = if stream.is_none() {
                // Pieces of such text have no positions.
                text.get(if open.next == 0 { 0 } else { text.len() }..)
            } else if is_error && size >= LEAST_CUT && open.next > 0 {
                let found = text.rfind(&open.known).map(|at| at + open.known.len());
                if found.is_none() {
                    open.break_line(&mut out);
                    out.note("[some of the output is missing here]\n".to_owned());
                }
                text.get(found.unwrap_or(0)..)
            } else {
                usize::try_from(open.next).ok().and_then(|next| text.get(next..))
            };
            open.push(rest.unwrap_or_default(), now, &mut out);
            // A line that was partly received before keeps its time.
            out.time = open.time;
            open.break_line(&mut out);
            let is_new = |mark: &&str| !(open.is_noted && mark.starts_with(CUT));
            marks.into_iter().filter(is_new).for_each(|mark| out.note(mark.to_owned()));
            lines.append(&mut out.lines);
        }
        lines.extend(self.stopped(task_id, attempt));
        lines
    }

    /// Handles an event: adds a piece of output, or emits what is missing when an attempt ends.
    pub(crate) fn event(&mut self, event: &RunEvent, now: Instant) -> Vec<Line> {
        let task_id = event.task_id.as_deref().unwrap_or_default();
        let of_payload = |field: &str| {
            let payload = event.payload.as_ref().map_or(Value::Null, Payload::shown);
            payload.pointer(field).cloned().unwrap_or_default()
        };
        match event.kind.as_str() {
            "method_progress" => event.output().map(|piece| self.add(piece, now)).unwrap_or_default(),
            "task_completed" if !event.payload_omitted => {
                self.ended(task_id, event.attempt, End::Result(&of_payload("/result")), now)
            }
            "task_attempt_failed" if !event.payload_omitted => {
                self.ended(task_id, event.attempt, End::Error(&of_payload("/error/data")), now)
            }
            "task_completed" | "task_attempt_failed" | "task_attempt_stopped" => self.stopped(task_id, event.attempt),
            _ => Vec::new(),
        }
    }

    /// Whether output of this open attempt was received.
    pub(crate) fn has_output(&self, task_id: &str, attempt: u32) -> bool {
        keys_of(task_id, attempt).iter().any(|key| self.0.contains_key(key))
    }

    /// Forgets an attempt that has ended; returns its incomplete lines.
    pub(crate) fn stopped(&mut self, task_id: &str, attempt: u32) -> Vec<Line> {
        let mut lines = Vec::new();
        for key in keys_of(task_id, attempt) {
            if let Some(mut open) = self.0.remove(&key) {
                let mut out = Collected { key: &key, time: open.time, lines: Vec::new() };
                open.break_line(&mut out);
                lines.append(&mut out.lines);
            }
        }
        lines
    }

    /// When [`Lines::idle`] will have lines to return.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.values().filter_map(|open| open.since).min().map(|since| since + PATIENCE)
    }

    /// Incomplete lines that have been held for too long.
    pub(crate) fn idle(&mut self, now: Instant) -> Vec<Line> {
        self.break_lines(|since| now.saturating_duration_since(since) >= PATIENCE)
    }

    /// All incomplete lines.
    pub(crate) fn open(&mut self) -> Vec<Line> {
        self.break_lines(|_| true)
    }

    fn break_lines(&mut self, is_due: impl Fn(Instant) -> bool) -> Vec<Line> {
        let mut lines = Vec::new();
        for (key, open) in &mut self.0 {
            if open.since.is_some_and(&is_due) {
                let mut out = Collected { key, time: open.time, lines: Vec::new() };
                open.break_line(&mut out);
                lines.append(&mut out.lines);
            }
        }
        lines
    }
}

impl Open {
    /// Appends the text that comes next in the stream.
    fn push(&mut self, text: &str, now: Instant, out: &mut Collected<'_>) {
        if text.is_empty() {
            return;
        }
        self.next = self.next.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.time = out.time;
        self.known.push_str(end_of(text));
        self.known = end_of(&self.known).to_owned();
        for line in text.split_inclusive('\n') {
            self.partial.push_str(line);
            if line.ends_with('\n') || self.partial.len() >= MOST_HELD {
                out.line(std::mem::take(&mut self.partial));
                self.since = None;
            }
        }
        if !self.partial.is_empty() {
            self.since = self.since.or(Some(now));
        }
    }

    /// Emits the incomplete line.
    fn break_line(&mut self, out: &mut Collected<'_>) {
        self.since = None;
        if !self.partial.is_empty() {
            out.line(std::mem::take(&mut self.partial));
        }
    }
}

/// A stream's own text, and the remarks that were written below it about missing text.
fn without_marks(mut text: &str) -> (&str, Vec<&str>) {
    let mut marks = Vec::new();
    while text.ends_with("]\n")
        && let Some(at) = text.rfind("\n[output ")
        && let mark = &text[at + 1..]
        && [CUT, LOST].iter().any(|begin| mark.starts_with(begin))
    {
        marks.insert(0, mark);
        text = &text[..at];
    }
    (text, marks)
}

/// The end of a text, for finding it again.
fn end_of(text: &str) -> &str {
    let from = (0..=text.len().saturating_sub(KNOWN)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[from..]
}

/// Collects the lines of a stream.
struct Collected<'a> {
    key: &'a Key,
    time: Option<Timestamp>,
    lines: Vec<Line>,
}

impl Collected<'_> {
    fn line(&mut self, text: String) {
        self.push(text, false);
    }

    fn note(&mut self, text: String) {
        self.push(text, true);
    }

    fn push(&mut self, text: String, note: bool) {
        let (task_id, attempt, stream) = self.key.clone();
        self.lines.push(Line { time: self.time, task_id, attempt, stream, text, note });
    }
}

/// The last lines of each stream.
pub(crate) fn tail(lines: Vec<Line>, most: Option<usize>) -> Vec<Line> {
    let Some(most) = most else { return lines };
    let mut counts: BTreeMap<Key, usize> = BTreeMap::new();
    let mut kept = VecDeque::new();
    for line in lines.into_iter().rev() {
        let count = counts.entry((line.task_id.clone(), line.attempt, line.stream)).or_default();
        *count += 1;
        if *count <= most {
            kept.push_front(line);
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests;
