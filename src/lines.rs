//! Whole lines from the pieces in which running tasks say what they print, and from what their ends say they printed. No
//! terminal here.
//!
//! The invariants: no text is told twice, what is missing is said, and what is held is bounded: of each stream that goes
//! on one line that has not ended.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use gleitzeit_sdk::{OutputStream, Payload, RunEvent, TaskOutput, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::text;

/// A line that has not ended is told after so long: it may be a question, or a bar that grows.
const PATIENCE: Duration = Duration::from_secs(1);
/// And once it has so many bytes.
const MOST_HELD: usize = 4 * 1024;
/// By so much of its end a text is found again in what an error brought of it.
const KNOWN: usize = 64;
/// Errors carry the last 8 KiB of a stream, and may have cut within a character.
const LEAST_CUT: u64 = 8 * 1024 - 3;
/// How executors begin a line below a stream's text, if not all of it is there.
const CUT: &str = "[output cut: ";
const LOST: &str = "[output lost: ";

/// A line of a task's output. The texts of all lines of a stream, but for notes, are the stream's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// When the control plane heard it; none if it was read from the task's end.
    pub(crate) time: Option<Timestamp>,
    pub(crate) task_id: String,
    pub(crate) attempt: u32,
    /// None: text that is not a process's.
    pub(crate) stream: Option<OutputStream>,
    /// With its newline, if it has one.
    pub(crate) text: String,
    /// Whether it is not the task's own but says something about its output.
    pub(crate) note: bool,
}

impl Line {
    /// For people: `[task] text`.
    pub(crate) fn shown(&self) -> String {
        let attempt = if self.attempt > 1 { format!(", attempt {}", self.attempt) } else { String::new() };
        let text = self.text.trim_end_matches(['\n', '\r']);
        // Behind a carriage return stands what a terminal would show in the end.
        let text = text.rsplit('\r').next().unwrap_or_default();
        format!("[{}{attempt}] {}", text::clean(&self.task_id), text::clean(text))
    }
}

/// What the end of an attempt brought, as JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// Its result: all that is kept of its output is in it.
    Result(&'a Value),
    /// The data of its error: the end of its output is in it.
    Error(&'a Value),
}

/// Names a stream of an attempt.
type Key = (String, u32, Option<OutputStream>);

fn keys_of(task_id: &str, attempt: u32) -> [Key; 3] {
    [Some(OutputStream::Stdout), Some(OutputStream::Stderr), None].map(|stream| (task_id.to_owned(), attempt, stream))
}

/// The streams of the attempts that go on.
#[derive(Debug, Default)]
pub(crate) struct Lines(BTreeMap<Key, Open>);

#[derive(Debug, Default)]
struct Open {
    /// The beginning of a line, and since when it is held.
    partial: String,
    since: Option<Instant>,
    time: Option<Timestamp>,
    /// Where the next text of the stream begins, in bytes.
    next: u64,
    /// The end of the last text.
    known: String,
    /// Whether it was said already that no more of it is kept.
    is_noted: bool,
}

impl Lines {
    /// A task has said something.
    pub(crate) fn add(&mut self, piece: TaskOutput, now: Instant) -> Vec<Line> {
        let TaskOutput { task_id, attempt, time, stream, offset, text, is_note } = piece;
        let key = (task_id, attempt, stream);
        let open = self.0.entry(key.clone()).or_default();
        let mut out = Told { key: &key, time, lines: Vec::new() };
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
        // What was told already is not told again.
        if let Some(new) = text.get(told.min(text.len())..) {
            open.push(new, now, &mut out);
        }
        out.lines
    }

    /// An attempt has ended: tells what of its output was not told.
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
            let mut out = Told { key: &key, time: None, lines: Vec::new() };
            let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
            let (text, marks) = if stream.is_none() { (text, Vec::new()) } else { without_marks(text) };
            let rest = if stream.is_none() {
                // Its pieces have no places.
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
            // What was heard before has its time.
            out.time = open.time;
            open.break_line(&mut out);
            let is_new = |mark: &&str| !(open.is_noted && mark.starts_with(CUT));
            marks.into_iter().filter(is_new).for_each(|mark| out.note(mark.to_owned()));
            lines.append(&mut out.lines);
        }
        lines.extend(self.stopped(task_id, attempt));
        lines
    }

    /// What an event tells of output: a piece, or what is missing when its attempt ends.
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

    /// Whether anything was told of an attempt that goes on.
    pub(crate) fn has_told(&self, task_id: &str, attempt: u32) -> bool {
        keys_of(task_id, attempt).iter().any(|key| self.0.contains_key(key))
    }

    /// An attempt has ended: tells the lines that have not, and forgets it.
    pub(crate) fn stopped(&mut self, task_id: &str, attempt: u32) -> Vec<Line> {
        let mut lines = Vec::new();
        for key in keys_of(task_id, attempt) {
            if let Some(mut open) = self.0.remove(&key) {
                let mut out = Told { key: &key, time: open.time, lines: Vec::new() };
                open.break_line(&mut out);
                lines.append(&mut out.lines);
            }
        }
        lines
    }

    /// When [`Lines::idle`] has something to tell.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.values().filter_map(|open| open.since).min().map(|since| since + PATIENCE)
    }

    /// Lines that have not ended for too long.
    pub(crate) fn idle(&mut self, now: Instant) -> Vec<Line> {
        self.break_lines(|since| now.saturating_duration_since(since) >= PATIENCE)
    }

    /// All lines that have not ended.
    pub(crate) fn open(&mut self) -> Vec<Line> {
        self.break_lines(|_| true)
    }

    fn break_lines(&mut self, is_due: impl Fn(Instant) -> bool) -> Vec<Line> {
        let mut lines = Vec::new();
        for (key, open) in &mut self.0 {
            if open.since.is_some_and(&is_due) {
                let mut out = Told { key, time: open.time, lines: Vec::new() };
                open.break_line(&mut out);
                lines.append(&mut out.lines);
            }
        }
        lines
    }
}

impl Open {
    /// Takes the text that follows in the stream.
    fn push(&mut self, text: &str, now: Instant, out: &mut Told<'_>) {
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

    /// Tells the line that has not ended.
    fn break_line(&mut self, out: &mut Told<'_>) {
        self.since = None;
        if !self.partial.is_empty() {
            out.line(std::mem::take(&mut self.partial));
        }
    }
}

/// A stream's own text, and what was written below it of what is missing.
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

/// By this much of it a text is found again.
fn end_of(text: &str) -> &str {
    let from = (0..=text.len().saturating_sub(KNOWN)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[from..]
}

/// Lines that are told of a stream.
struct Told<'a> {
    key: &'a Key,
    time: Option<Timestamp>,
    lines: Vec<Line>,
}

impl Told<'_> {
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
