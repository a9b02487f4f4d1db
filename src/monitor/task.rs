//! An open task: its details as text, and its output. Pure.

use std::time::Instant;

use gleitzeit_sdk::{Payload, RunEvent, Task, TaskStatus, Timestamp};

use super::list::Scroll;
use super::log::{Log, Parameters};
use crate::color::Tone;
use crate::json::indented;
use crate::{causes, states, text, view, width};

/// How many bytes of a JSON text are shown.
const SHOWN_BYTES: usize = 64 * 1024;
/// The column in which the value of a fact begins.
const FACT: usize = 12;

/// The part of a task that fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskPart {
    Details,
    Log,
}

/// A line of text with its colour.
pub(super) type TextLine = (String, Tone);

/// A task that is open.
#[derive(Debug)]
pub(super) struct OpenTask {
    pub(super) id: String,
    pub(super) part: TaskPart,
    /// The task at the last query, with its result.
    task: Option<Task>,
    parameters: Parameters,
    /// Parameters, result and error, as lines.
    blocks: Vec<TextLine>,
    pub(super) details: Scroll,
    pub(super) log: Log,
    pub(super) tail: Scroll,
    /// The width in which the log was last drawn.
    pub(super) columns: usize,
}

impl OpenTask {
    pub(super) fn new(id: String, part: TaskPart) -> Self {
        Self {
            id,
            part,
            task: None,
            parameters: Parameters::default(),
            blocks: Vec::new(),
            details: Scroll::default(),
            log: Log::default(),
            tail: Scroll::at_end(),
            columns: usize::MAX,
        }
    }

    /// Whether it is final, so that it cannot change any more.
    pub(super) fn is_known(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.status.is_final())
    }

    /// Updates the task.
    pub(super) fn see(&mut self, task: Task) {
        self.task = Some(task);
        self.rebuild();
    }

    /// Discards the output, which is then read again from its beginning.
    pub(super) fn restart_output(&mut self) {
        self.log = Log::default();
    }

    /// Adds an event of the task.
    pub(super) fn happened(&mut self, event: &RunEvent, now: Instant) {
        if let Some(parameters) = Parameters::from_event(event) {
            self.parameters = parameters;
            self.rebuild();
        }
        for line in self.log.add(event, now) {
            self.tail.first_removed(width::fold(&line.text, self.columns).len());
        }
    }

    /// The scroll position of the current part.
    pub(super) fn scroll(&mut self) -> &mut Scroll {
        match self.part {
            TaskPart::Details => &mut self.details,
            TaskPart::Log => &mut self.tail,
        }
    }

    fn rebuild(&mut self) {
        let Some(task) = &self.task else { return };
        self.blocks.clear();
        let error = task.error.as_ref();
        if let Some(error) = error {
            block(&mut self.blocks, "error", causes::failure(error).lines().map(str::to_owned), Tone::Bad);
        }
        let elsewhere = "`gleitzeit status RUN -o json` shows results, `watch RUN -o json` the rest";
        match &self.parameters {
            Parameters::Known(parameters) => json(&mut self.blocks, "parameters", parameters, elsewhere),
            Parameters::Omitted => omitted(&mut self.blocks, "parameters"),
            Parameters::Unknown if task.status == TaskStatus::Waiting => {
                let text = "(known once it is ready)".to_owned();
                block(&mut self.blocks, "parameters", [text].into_iter(), Tone::Dim);
            }
            Parameters::Unknown => {}
        }
        match &task.result {
            Some(result) => json(&mut self.blocks, "result", result, elsewhere),
            None if task.result_omitted => omitted(&mut self.blocks, "result"),
            None => {}
        }
        if let Some(data) = error.and_then(|error| error.data.as_ref()) {
            json(&mut self.blocks, "error's data", data, elsewhere);
        }
    }

    /// All details, in lines of at most `columns` columns.
    pub(super) fn text(&self, columns: usize, when: impl Fn(Timestamp) -> String, now: Timestamp) -> Vec<TextLine> {
        let Some(task) = &self.task else { return vec![("looking …".to_owned(), Tone::Plain)] };
        let mut lines = Vec::new();
        for (name, value, tone) in facts(task, when, now) {
            let fact = format!("{}{}", width::padded(name, FACT), text::first_line(&value, 500));
            let wrapped = width::wrap(&fact, columns, FACT);
            lines.extend(wrapped.split('\n').flat_map(|line| folded(line, columns, tone)));
        }
        lines.extend(self.blocks.iter().flat_map(|(line, tone)| folded(line, columns, *tone)));
        lines
    }
}

fn folded(line: &str, columns: usize, tone: Tone) -> impl Iterator<Item = TextLine> {
    width::fold(line, columns).into_iter().map(move |piece| (piece.to_owned(), tone))
}

fn facts(task: &Task, when: impl Fn(Timestamp) -> String, now: Timestamp) -> Vec<(&'static str, String, Tone)> {
    let status = match task.attempt {
        0 | 1 => states::task_status(task.status).to_owned(),
        attempt => format!("{}, attempt {attempt}", states::task_status(task.status)),
    };
    let mut facts = vec![("status", status, Tone::of_task(task.status))];
    if let Some(waiting) = &task.waiting {
        facts.push(("waits", waiting.reason.clone(), Tone::Plain));
        facts.extend(waiting.remedy.as_ref().map(|remedy| ("what helps", remedy.clone(), Tone::Mark)));
        facts.extend(waiting.since.map(|since| ("since", when(since), Tone::Plain)));
        facts.extend(waiting.until.map(|until| ("at most", when(until), Tone::Plain)));
    }
    facts.push(("method", task.method.clone(), Tone::Plain));
    facts.extend(task.provider.as_ref().map(|provider| ("provider", provider.clone(), Tone::Plain)));
    facts.push(("queue", task.queue.clone(), Tone::Plain));
    facts.extend(task.engine.as_ref().map(|engine| ("engine", engine.clone(), Tone::Plain)));
    if !task.dependencies.is_empty() {
        facts.push(("after", task.dependencies.join(", "), Tone::Plain));
    }
    facts.extend(task.started_at.map(|started| ("started", when(started), Tone::Plain)));
    facts.extend(task.finished_at.map(|finished| ("finished", when(finished), Tone::Plain)));
    facts.extend(worked(task, now).map(|took| ("took", took, Tone::Plain)));
    facts
}

/// How long the latest attempt of a task took, or has taken so far; `None` between two attempts.
pub(super) fn worked(task: &Task, now: Timestamp) -> Option<String> {
    let is_open = matches!(task.status, TaskStatus::Dispatched | TaskStatus::Running);
    view::elapsed(task.started_at.filter(|_| is_open || task.finished_at.is_some()), task.finished_at, now)
}

fn block(blocks: &mut Vec<TextLine>, title: &str, lines: impl Iterator<Item = String>, tone: Tone) {
    blocks.push((String::new(), Tone::Plain));
    blocks.push((title.to_owned(), Tone::Heading));
    blocks.extend(lines.map(|line| (format!("  {}", text::clean(&line).replace('\t', "    ")), tone)));
}

/// A note for a value that exists but was not sent.
fn omitted(blocks: &mut Vec<TextLine>, title: &str) {
    block(blocks, title, ["(too large to be shown here)".to_owned()].into_iter(), Tone::Dim);
}

/// A JSON text, cut to the length that is readable here.
fn json(blocks: &mut Vec<TextLine>, title: &str, payload: &Payload, where_all_is: &str) {
    let text = payload.get();
    let end = (0..=text.len().min(SHOWN_BYTES)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let more = (end < text.len()).then(|| format!("… ({} bytes more: {where_all_is})", text.len() - end));
    let shown = indented(&text[..end]);
    block(blocks, title, shown.lines().map(str::to_owned).chain(more), Tone::Plain);
}

#[cfg(test)]
mod tests {
    use gleitzeit_sdk::Waiting;
    use serde_json::json;

    use super::super::tests::samples;
    use super::*;

    fn text(task: &OpenTask, columns: usize) -> String {
        let lines = task.text(columns, |at| at.to_string(), Timestamp(1_000_000));
        assert!(lines.iter().all(|(line, _)| width::of(line) <= columns), "{lines:?}");
        lines.into_iter().map(|(line, _)| line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_task_is_shown_with_its_parameters_and_result() {
        let mut open = OpenTask::new("fetch".to_owned(), TaskPart::Details);
        assert_eq!(text(&open, 40), "looking …");
        let ready = RunEvent {
            payload: Some(Payload::from(json!({"parameters": {"url": "http://localhost"}}))),
            ..samples::event(2, "task_ready", "fetch")
        };
        open.happened(&ready, Instant::now());
        let running = samples::task("fetch", TaskStatus::Running);
        open.see(running.clone());
        assert!(!open.is_known());
        let result = Some(Payload::from(json!({"text": "a".repeat(40)})));
        open.see(Task { result, attempt: 2, dependencies: vec!["a".into(), "b".into()], ..running });
        let shown = text(&open, 40);
        for expected in [
            "status      running, attempt 2",
            "after       a, b",
            "took        9 s",
            "parameters\n  {\n    \"url\": \"http://localhost\"\n  }",
            "result\n  {\n    \"text\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaa\naaaaaaaaaaaaa\"\n  }",
        ] {
            assert!(shown.contains(expected), "{expected}\nis not in\n{shown}");
        }
    }

    #[test]
    fn blockers_and_errors_of_a_task_are_shown_and_cannot_control_the_terminal() {
        let mut open = OpenTask::new("last".to_owned(), TaskPart::Details);
        let waiting = Waiting {
            reason: "nobody serves `x/y`".to_owned(),
            since: None,
            until: None,
            remedy: Some("start a worker".to_owned()),
        };
        open.see(Task { waiting: Some(waiting), ..samples::task("last", TaskStatus::Waiting) });
        let shown = text(&open, 60);
        assert!(shown.contains("what helps  start a worker") && shown.contains("(known once it is ready)"), "{shown}");
        let mut failed = samples::detail().tasks.remove(2);
        failed.error.as_mut().expect("an error").message = "no\x1b[2J luck".to_owned();
        open.see(failed);
        let shown = text(&open, 60);
        assert!(shown.contains("TASK_EXECUTION_FAILED (-29002): no\u{fffd}[2J luck"), "{shown}");
        assert!(shown.contains("error's data\n  {\n    \"output\": \"a\\n\"") && open.is_known(), "{shown}");
    }

    #[test]
    fn between_two_attempts_nothing_takes_time() {
        let now = Timestamp(1_000_000);
        let took = |status| worked(&samples::task("a", status), now);
        assert_eq!(took(TaskStatus::Running).as_deref(), Some("9 s"));
        assert_eq!(took(TaskStatus::Completed).as_deref(), Some("4.4 s"));
        assert_eq!((took(TaskStatus::Backoff), took(TaskStatus::Ready)), (None, None));
    }

    #[test]
    fn only_the_beginning_of_large_values_is_shown() {
        let mut open = OpenTask::new("a".to_owned(), TaskPart::Details);
        let result = Some(Payload::from(json!({"text": "é".repeat(SHOWN_BYTES)})));
        open.see(Task { result, ..samples::task("a", TaskStatus::Completed) });
        let shown = text(&open, 80);
        assert!(shown.contains(&format!("… ({} bytes more", SHOWN_BYTES + 12)), "{}", &shown[shown.len() - 200..]);
        assert!(shown.len() < 2 * SHOWN_BYTES);
    }

    #[test]
    fn the_visible_lines_stay_while_the_oldest_are_dropped() {
        let mut open = OpenTask::new("a".to_owned(), TaskPart::Log);
        let say = |open: &mut OpenTask, count: usize| {
            let said = json!({"text": "0123456789abc\n".repeat(count)});
            let event = RunEvent { payload: Some(Payload::from(said)), ..samples::event(0, "method_progress", "a") };
            open.happened(&event, Instant::now());
        };
        open.columns = 10;
        say(&mut open, 1_000);
        open.scroll().settle(2_000, 10);
        assert_eq!(open.tail.visible(), 1_990..2_000, "the end");
        open.scroll().go(super::super::list::Motion::Up);
        say(&mut open, 5);
        open.scroll().settle(2_000, 10);
        assert_eq!(open.tail.visible(), 1_979..1_989, "five lines of two rows each went");
    }
}
