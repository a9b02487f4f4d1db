//! What a task says while it runs, as lines: pieces of a language model's text, lines of stdout and stderr, and whatever
//! else providers report. Pure.
//!
//! The invariant: a log holds at most [`LINES`] lines and [`BYTES`] bytes, whatever is said; the oldest lines go first.

use std::collections::VecDeque;

use gleitzeit_sdk::Payload;
use serde_json::Value;

use crate::view;

/// So many lines are kept of a task.
const LINES: usize = 2_000;
/// And so many bytes.
const BYTES: usize = 256 * 1024;
/// A longer line goes on in the next one.
const LINE_BYTES: usize = 4_096;
/// So many tasks of a run have a log; beyond that the one that was silent for longest loses its.
const TASKS: usize = 64;

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Source {
    /// A language model, or stdout.
    Text,
    /// Stderr.
    Errors,
    /// The monitor itself, such as about a new attempt.
    Note,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct LogLine {
    pub(in super::super) source: Source,
    pub(in super::super) text: String,
}

/// The end of what a task has said.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Log {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Whether what comes next from the same source continues the last line.
    is_open: bool,
    attempt: u32,
    /// How many lines were dropped since this was last asked.
    dropped: usize,
}

impl Log {
    pub(in super::super) fn lines(&self) -> &VecDeque<LogLine> {
        &self.lines
    }

    /// How many lines at the beginning have gone since the last call.
    pub(super) fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }

    /// Takes what an attempt said: `{"stream": "stdout"|"stderr", "text": …}`, `{"text": …}`, or any other JSON, which
    /// is a line of its own.
    pub(super) fn add(&mut self, attempt: u32, data: &Payload) {
        if self.attempt != attempt {
            if self.attempt != 0 {
                self.is_open = false;
                self.push(Source::Note, &format!("── attempt {attempt} ──\n"));
            }
            self.attempt = attempt;
        }
        let data = data.shown();
        let Some(text) = data.get("text").and_then(Value::as_str) else {
            self.is_open = false;
            self.push(Source::Text, &format!("{data}\n"));
            return;
        };
        match data.get("stream").and_then(Value::as_str) {
            Some("stderr") => self.push(Source::Errors, text),
            _ => self.push(Source::Text, text),
        }
    }

    fn push(&mut self, source: Source, text: &str) {
        // Of a long text only its end can stay.
        let from = text.len().saturating_sub(BYTES);
        let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        for piece in text[from..].split_inclusive('\n') {
            let (piece, is_whole) = match piece.strip_suffix('\n') {
                Some(line) => (line, true),
                None => (piece, false),
            };
            self.continue_line(source, &visible(piece));
            self.is_open = !is_whole;
        }
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes -= line.text.len();
            self.dropped += 1;
        }
    }

    fn continue_line(&mut self, source: Source, mut rest: &str) {
        loop {
            let can_go_on = |last: &&mut LogLine| last.source == source && last.text.len() < LINE_BYTES;
            match self.lines.back_mut().filter(|_| self.is_open).filter(can_go_on) {
                Some(last) => {
                    let cut = (1..=rest.len().min(LINE_BYTES)).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
                    last.text.push_str(&rest[..cut]);
                    self.bytes += cut;
                    rest = &rest[cut..];
                    if rest.is_empty() {
                        return;
                    }
                }
                None => {
                    self.lines.push_back(LogLine { source, text: String::new() });
                    self.is_open = true;
                }
            }
        }
    }
}

/// Without colours, and of a line that rewrites itself (as progress bars do) only what stands there in the end.
pub(in super::super) fn visible(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or_default();
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    // A control sequence is ESC [, parameters, and a letter that ends it (ECMA-48, 5.4).
    while let Some((before, after)) = rest.split_once("\x1b[") {
        text.push_str(before);
        let end = after.find(|c: char| ('\u{40}'..='\u{7e}').contains(&c));
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    text.push_str(rest);
    view::clean(&text).replace('\t', "    ")
}

/// The logs of an open run's tasks.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Logs {
    /// The one that spoke last is the last.
    of: Vec<(String, Log)>,
}

impl Logs {
    pub(in super::super) fn get(&self, task: &str) -> Option<&Log> {
        self.of.iter().find(|(id, _)| id == task).map(|(_, log)| log)
    }

    pub(super) fn get_mut(&mut self, task: &str) -> Option<&mut Log> {
        self.of.iter_mut().find(|(id, _)| id == task).map(|(_, log)| log)
    }

    /// Takes what a task said.
    pub(super) fn add(&mut self, task: &str, attempt: u32, data: &Payload) {
        let at = self.of.iter().position(|(id, _)| id == task);
        let mut entry = match at {
            Some(at) => self.of.remove(at),
            None => (task.to_owned(), Log::default()),
        };
        entry.1.add(attempt, data);
        self.of.push(entry);
        if self.of.len() > TASKS {
            self.of.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(said: &[Value]) -> Log {
        let mut log = Log::default();
        for data in said {
            log.add(1, &Payload::from_value(data));
        }
        log
    }

    fn texts(log: &Log) -> Vec<&str> {
        log.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn pieces_of_text_become_lines_and_streams_stay_apart() {
        let log = log(&[
            json!({"text": "Once upon "}),
            json!({"text": "a time\nthere"}),
            json!({"stream": "stderr", "text": "warning\n"}),
            json!({"stream": "stdout", "text": "one\ntwo\n"}),
            json!({"percent": 40}),
            json!({"text": "end"}),
        ]);
        assert_eq!(texts(&log), ["Once upon a time", "there", "warning", "one", "two", r#"{"percent":40}"#, "end"]);
        assert_eq!(log.lines[2].source, Source::Errors);
    }

    #[test]
    fn a_new_attempt_is_told_apart() {
        let mut log = log(&[json!({"text": "first"})]);
        log.add(2, &Payload::from_value(&json!({"text": "second"})));
        assert_eq!(texts(&log), ["first", "── attempt 2 ──", "second"]);
    }

    #[test]
    fn a_log_stays_within_its_bounds() {
        let mut many = log(&[json!({"text": "line\n".repeat(LINES + 10)})]);
        assert_eq!((many.lines.len(), many.take_dropped(), many.take_dropped()), (LINES, 10, 0));
        let long = log(&[json!({"text": "é".repeat(BYTES)})]);
        assert!(long.bytes <= BYTES && long.lines.len() > 10);
        assert!(long.lines.iter().all(|line| line.text.len() <= 2 * LINE_BYTES));
        let one_by_one = log(&vec![json!({"text": "x"}); 10_000]);
        assert_eq!(one_by_one.bytes, one_by_one.lines.iter().map(|line| line.text.len()).sum::<usize>());
        assert!(one_by_one.lines.iter().all(|line| line.text.len() <= LINE_BYTES));
        let mut logs = Logs::default();
        for task in 0..200 {
            logs.add(&format!("t{task}"), 1, &Payload::from_value(&json!({"text": "x"})));
        }
        assert!(logs.of.len() == TASKS && logs.get("t0").is_none() && logs.get("t199").is_some());
    }

    #[test]
    fn what_is_said_cannot_steer_the_terminal() {
        assert_eq!(visible("\x1b[31mred\x1b[0m and 10%\r20%\r"), "20%");
        assert_eq!(visible("\x1b[31mred\x1b[0m\tok"), "red    ok");
        assert!(!visible("\x1b]0;title\x07x\x1b[").contains('\x1b'));
    }
}
