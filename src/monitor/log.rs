//! A task's output as lines: of a process, a language model, or whatever else providers report. Pure.
//!
//! The invariant: a log holds at most [`LINES`] lines and [`BYTES`] bytes, whatever is reported; the oldest lines are
//! dropped first.

use std::collections::VecDeque;
use std::time::Instant;

use gleitzeit_sdk::{OutputStream, Payload, RunEvent};

use crate::color::Tone;
use crate::lines::{Line, Lines};
use crate::{text, view};

/// The most lines that are kept.
const LINES: usize = 1_000;
/// The most bytes that are kept.
const BYTES: usize = 256 * 1024;
/// A longer line is split.
const LINE_BYTES: usize = 4_096;

/// The origin of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Output(Option<OutputStream>),
    /// A remark rather than output, such as that a new attempt began.
    Note,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    source: Source,
    attempt: u32,
    /// The text as it was reported.
    raw: String,
    /// Whether the next text from the same source continues this line.
    is_open: bool,
    /// The text as it is displayed.
    pub(super) text: String,
}

impl LogLine {
    pub(super) fn tone(&self) -> Tone {
        match self.source {
            Source::Output(Some(OutputStream::Stderr)) => Tone::Warning,
            Source::Output(_) => Tone::Plain,
            Source::Note => Tone::Dim,
        }
    }
}

/// The end of a task's output.
#[derive(Debug, Default)]
pub(super) struct Log {
    heard: Lines,
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl Log {
    pub(super) fn lines(&self) -> &VecDeque<LogLine> {
        &self.lines
    }

    /// Adds an event of the task. Returns the lines that were dropped to make room.
    pub(super) fn add(&mut self, event: &RunEvent, now: Instant) -> Vec<LogLine> {
        if event.kind == "task_dispatched" && event.attempt > 1 {
            self.note(event.attempt, &format!("── attempt {} ──", event.attempt));
        }
        let mut told = self.heard.event(event, now);
        // Also incomplete lines: a later event continues them here.
        told.extend(self.heard.open());
        told.into_iter().for_each(|line| self.take(line));
        if let Some(text) = remark(event) {
            self.note(event.attempt, &text);
        }
        self.surplus()
    }

    fn take(&mut self, line: Line) {
        let source = if line.note { Source::Note } else { Source::Output(line.stream) };
        self.push(source, line.attempt, &line.text);
    }

    fn note(&mut self, attempt: u32, text: &str) {
        self.push(Source::Note, attempt, &format!("{text}\n"));
    }

    fn push(&mut self, source: Source, attempt: u32, text: &str) {
        let (text, is_open) = match text.strip_suffix('\n') {
            Some(line) => (line, false),
            None => (text, true),
        };
        let mut rest = text;
        loop {
            let can_go_on = |last: &&mut LogLine| {
                last.is_open && (last.source, last.attempt) == (source, attempt) && last.raw.len() < LINE_BYTES
            };
            let (piece, after) = rest.split_at(cut(rest, LINE_BYTES));
            match self.lines.back_mut().filter(can_go_on) {
                Some(last) => {
                    self.bytes -= last.size();
                    last.raw.push_str(piece);
                    last.text = visible(&last.raw);
                }
                None => {
                    let (raw, text) = (piece.to_owned(), visible(piece));
                    self.lines.push_back(LogLine { source, attempt, raw, is_open: true, text });
                }
            }
            rest = after;
            if let Some(last) = self.lines.back_mut() {
                self.bytes += last.size();
                last.is_open = rest.is_empty() && is_open;
            }
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Removes lines beyond the limits.
    fn surplus(&mut self) -> Vec<LogLine> {
        let mut gone = Vec::new();
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes -= line.size();
            gone.push(line);
        }
        gone
    }
}

impl LogLine {
    fn size(&self) -> usize {
        self.raw.len() + self.text.len()
    }
}

/// A remark about an event that is not output.
fn remark(event: &RunEvent) -> Option<String> {
    match event.kind.as_str() {
        "method_progress" if event.output().is_none() => {
            event.payload.as_ref().map(|data| text::first_line(data.get(), LINE_BYTES))
        }
        "task_completed" | "task_attempt_failed" if event.payload_omitted => {
            Some("[the output is too long for this view: `gleitzeit logs` shows it]".to_owned())
        }
        "task_completed"
        | "task_attempt_failed"
        | "task_attempt_stopped"
        | "task_retry_scheduled"
        | "task_skipped"
        | "task_cancelled" => view::event(event),
        _ => None,
    }
}

/// The last position at which a text can be cut with at most this many bytes before it.
fn cut(text: &str, most: usize) -> usize {
    (0..=text.len().min(most)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The text without colours; of a line that overwrites itself (as progress bars do), only its final state.
fn visible(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let mut rest = line.rsplit('\r').next().unwrap_or_default();
    let mut text = String::with_capacity(rest.len());
    // A control sequence is ESC [, parameters, and a final letter (ECMA-48, 5.4).
    while let Some((before, after)) = rest.split_once("\x1b[") {
        text.push_str(before);
        let end = after.find(|c: char| ('\u{40}'..='\u{7e}').contains(&c));
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    text.push_str(rest);
    text::clean(&text).replace('\t', "    ").replace('\n', " ")
}

/// What is known of a task's parameters; the event that makes it ready carries them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Parameters {
    #[default]
    Unknown,
    /// The parameters as JSON.
    Known(Payload),
    /// The parameters are too large for an event.
    Omitted,
}

impl Parameters {
    /// The parameters in an event, if it has any.
    pub(super) fn from_event(event: &RunEvent) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Ready {
            parameters: Payload,
        }
        if event.kind != "task_ready" {
            return None;
        }
        if event.payload_omitted {
            return Some(Self::Omitted);
        }
        let ready: Ready = event.payload.as_ref()?.read().ok()?;
        Some(Self::Known(ready.parameters))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(kind: &str, attempt: u32, payload: Value) -> RunEvent {
        RunEvent {
            seq: 0,
            time: None,
            kind: kind.to_owned(),
            task_id: Some("a".to_owned()),
            attempt,
            payload: Some(Payload::from(payload)),
            payload_omitted: false,
        }
    }

    fn said(log: &mut Log, payload: Value) -> Vec<LogLine> {
        log.add(&event("method_progress", 1, payload), Instant::now())
    }

    fn texts(log: &Log) -> Vec<&str> {
        log.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn pieces_of_text_become_lines_and_streams_stay_apart() {
        let mut log = Log::default();
        for data in [
            json!({"text": "Once upon "}),
            json!({"text": "a time\nthere"}),
            json!({"stream": "stderr", "offset": 0, "text": "warning\n"}),
            json!({"stream": "stdout", "offset": 0, "text": "one\ntwo\n"}),
            json!({"percent": 40}),
            json!({"stream": "stdout", "offset": 18, "text": "end"}),
        ] {
            said(&mut log, data);
        }
        let missing = "[10 bytes of the output are missing here]";
        let expected = ["Once upon a time", "there", "warning", "one", "two", r#"{"percent":40}"#, missing, "end"];
        assert_eq!(texts(&log), expected);
        let tones: Vec<Tone> = log.lines.iter().map(LogLine::tone).collect();
        assert_eq!((tones[1], tones[2], tones[5]), (Tone::Plain, Tone::Warning, Tone::Dim));
    }

    #[test]
    fn the_rest_of_an_attempt_is_logged_once_and_attempts_are_separated() {
        let mut log = Log::default();
        let now = Instant::now();
        log.add(&event("task_dispatched", 1, Value::Null), now);
        said(&mut log, json!({"stream": "stdout", "offset": 0, "text": "one\n"}));
        let error = json!({"message": "exit code 3", "data": {"output": "one\ntwo\n"}});
        log.add(&event("task_attempt_failed", 1, json!({"error": error, "ran_ms": 5})), now);
        log.add(&event("task_dispatched", 2, Value::Null), now);
        log.add(&event("task_completed", 2, json!({"result": {"output": "three\n"}, "ran_ms": 5})), now);
        let expected = [
            "one",
            "two",
            "task a attempt 1 failed (5 ms): exit code 3",
            "── attempt 2 ──",
            "three",
            "task a completed (5 ms)",
        ];
        assert_eq!(texts(&log), expected);
        let omitted = RunEvent { payload: None, payload_omitted: true, ..event("task_completed", 1, Value::Null) };
        log.add(&omitted, now);
        assert!(log.lines.back().is_some_and(|line| line.text.contains("gleitzeit logs")), "{:?}", texts(&log));
    }

    #[test]
    fn a_log_stays_within_its_bounds() {
        let (mut many, mut long, mut one_by_one) = (Log::default(), Log::default(), Log::default());
        let gone = said(&mut many, json!({"text": "line\n".repeat(LINES + 10)}));
        assert_eq!((many.lines.len(), gone.len()), (LINES, 10));
        said(&mut long, json!({"text": "é".repeat(BYTES)}));
        (0..10_000).for_each(|_| drop(said(&mut one_by_one, json!({"text": "x"}))));
        for log in [&many, &long, &one_by_one] {
            assert_eq!(log.bytes, log.lines.iter().map(LogLine::size).sum::<usize>());
            assert!(log.bytes <= BYTES && log.lines.iter().all(|line| line.raw.len() <= 2 * LINE_BYTES));
        }
        assert!(long.lines.len() > 10 && one_by_one.lines.len() == 3, "{}", one_by_one.lines.len());
    }

    #[test]
    fn output_cannot_control_the_terminal() {
        assert_eq!(visible("\x1b[31mred\x1b[0m and 10%\r20%\r"), "20%");
        assert_eq!(visible("\x1b[31mred\x1b[0m\tok"), "red    ok");
        assert!(!visible("\x1b]0;title\x07x\x1b[").contains('\x1b'));
    }

    #[test]
    fn parameters_are_logged_when_a_task_becomes_ready() {
        let ready = event("task_ready", 0, json!({"method": "m/x", "parameters": {"n": 1}}));
        assert_eq!(Parameters::from_event(&ready), Some(Parameters::Known(Payload::from(json!({"n": 1})))));
        let omitted = RunEvent { payload: None, payload_omitted: true, ..ready.clone() };
        assert_eq!(Parameters::from_event(&omitted), Some(Parameters::Omitted));
        assert_eq!(Parameters::from_event(&RunEvent { kind: "task_started".to_owned(), ..ready }), None);
        assert_eq!(Parameters::from_event(&event("task_ready", 0, json!({}))), None);
    }
}
