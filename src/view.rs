//! Formats tables, runs and events for people. Nothing here is meant for programs.

use std::fmt::Write as _;
use std::time::Duration;

use gleitzeit_sdk::{Failure, Payload, Run, RunEvent, RunStatus, Task, TaskStatus, Timestamp, Waiting};
use serde_json::Value;

use crate::causes::failure;
use crate::color::Tone;
use crate::json::indented;
use crate::states::{run_status, standing, task_status};
use crate::table::Table;
use crate::text::{clean, first_line};
use crate::{causes, color, output, output_settings, when, width};

/// The most characters of a text on a line of its own: a reason with its remedy must not be cut.
const LONG: usize = 500;
/// The gap between a fact's name and its value.
const GAP: usize = 2;

/// Formats columns, each as wide as its widest cell; on a terminal no wider than that.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    fitted(&Table::new(head, rows))
}

/// The lines of a table, for stdout.
pub(crate) fn fitted(table: &Table<'_>) -> String {
    table.lines(output::fitting_columns(), color::stdout())
}

/// Formats lines of `name  value`; on a terminal none is wider than that.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let facts: Vec<Fact<'_>> = facts.iter().map(|(name, value)| (*name, value.clone(), Tone::Plain)).collect();
    toned_facts(&facts)
}

/// A name, a value, and the value's colour.
type Fact<'a> = (&'a str, String, Tone);

fn toned_facts(facts: &[Fact<'_>]) -> String {
    let (paint, name_width) =
        (color::stdout(), facts.iter().map(|(name, ..)| width::of(name)).max().unwrap_or_default());
    facts.iter().fold(String::new(), |mut text, (name, value, tone)| {
        let name = paint.text(Tone::Dim, &width::padded(name, name_width));
        let fact = format!("{name}  {}", paint.text(*tone, &clean(value)));
        let _ = writeln!(text, "{}", output::wrapped(&fact, name_width + GAP));
        text
    })
}

/// Formats a run: its status, its tasks, and its outputs or error.
pub(crate) fn run(run: &Run) -> String {
    let (status, tone) = status_of(run.status, run.error.as_ref());
    let mut lines = vec![
        ("run", run.run_id.clone(), Tone::Id),
        ("name", run.name.clone(), Tone::Plain),
        ("status", status.to_owned(), tone),
        ("submitted", time(run.submitted_at), Tone::Plain),
    ];
    if run.finished_at.is_some() {
        lines.push(("finished", time(run.finished_at), Tone::Plain));
    }
    if let Some(earlier) = &run.retry_of {
        lines.push(("retry of", earlier.clone(), Tone::Id));
    }
    let rows: Vec<Vec<String>> = run.tasks.iter().map(task_row).collect();
    let mut text = toned_facts(&lines);
    if !rows.is_empty() {
        let _ = write!(text, "\n{}", table(&["task", "status", "attempt", "about"], &rows));
    }
    let paint = color::stdout();
    let about = match &run.error {
        Some(error) => {
            let told = format!("{}\n{}", paint.failure(&failure(error)), paint.causes(&causes::of(run)));
            output::wrapped_prose(&told, 2)
        }
        None => results(run, None),
    };
    if !about.is_empty() {
        let _ = write!(text, "\n{about}");
    }
    text
}

/// The word for a run's status, and its colour.
pub(crate) fn status_of(status: RunStatus, error: Option<&Failure>) -> (&'static str, Tone) {
    let is_stuck = status == RunStatus::Running && error.is_some();
    (standing(status, error), if is_stuck { Tone::Warning } else { Tone::of_run(status) })
}

/// A cell with the first line of a text, cut to `limit` columns unless everything is to be shown.
pub(crate) fn cell(text: &str, limit: usize) -> String {
    first_line(text, if output_settings::in_full() { usize::MAX } else { limit })
}

fn task_row(task: &Task) -> Vec<String> {
    let about = match (&task.error, &task.waiting) {
        (_, Some(waiting)) => reason(waiting),
        (Some(error), None) => error.message.clone(),
        (None, None) => String::new(),
    };
    vec![clean(&task.id), color::stdout().task(task.status), task.attempt.to_string(), cell(&about, LONG)]
}

/// Such as `task a waits: no connected provider serves …`.
pub(crate) fn waits(task: &Task) -> Option<String> {
    let waiting = task.waiting.as_ref()?;
    Some(first_line(&format!("task {} waits: {}", task.id, reason(waiting)), LONG))
}

fn reason(waiting: &Waiting) -> String {
    match &waiting.remedy {
        Some(remedy) => format!("{} ({remedy})", waiting.reason),
        None => waiting.reason.clone(),
    }
}

/// One line about a run's end: `Two failed after 3.0 s: 1 completed, 1 failed (run ID)`.
pub(crate) fn summary(run: &Run) -> String {
    let paint = color::stderr();
    let mut text =
        format!("{} {}", first_line(&run.name, 60), paint.bold(Tone::of_run(run.status), run_status(run.status)));
    if let (Some(from), Some(to)) = (run.submitted_at, run.finished_at) {
        let _ = write!(text, " after {}", duration(Duration::from_millis(to.ms_since(from))));
    }
    let mut counts: Vec<(TaskStatus, usize)> = Vec::new();
    for task in &run.tasks {
        match counts.iter_mut().find(|(status, _)| *status == task.status) {
            Some((_, count)) => *count += 1,
            None => counts.push((task.status, 1)),
        }
    }
    let counts: Vec<String> =
        counts.iter().map(|(status, count)| format!("{count} {}", task_status(*status))).collect();
    let _ = write!(text, ": {} (run {})", counts.join(", "), paint.text(Tone::Id, &run.run_id));
    text
}

/// A run's outputs, or the results of its last tasks. `last` names the tasks that nothing depends on; without it the
/// last completed one is shown. Empty if the run did not complete.
pub(crate) fn results(run: &Run, last: Option<&[String]>) -> String {
    if run.status != RunStatus::Completed {
        return String::new();
    }
    if let Some(outputs) = &run.outputs {
        return match outputs.shown() {
            Value::Object(outputs) => outputs.iter().map(|(name, value)| field(name, value)).collect(),
            other => field("outputs", &other),
        };
    }
    let mut completed = run.tasks.iter().filter(|task| task.status == TaskStatus::Completed);
    let shown: Vec<&Task> = match last {
        Some(ids) => completed.filter(|task| ids.contains(&task.id)).collect(),
        None => completed.next_back().into_iter().collect(),
    };
    let result = |task: &&Task| {
        let payload: Option<&Payload> = task.result.as_ref();
        payload.map(|result| field(&task.id, &result.shown()))
    };
    shown.iter().filter_map(result).collect()
}

fn field(name: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => indented(&value.to_string()),
        other => other.to_string(),
    };
    let text = clean(&text);
    if !text.contains('\n') {
        return format!("{}: {text}\n", clean(name));
    }
    let mut block = format!("{}:\n", clean(name));
    for line in text.lines() {
        let _ = writeln!(block, "  {line}");
    }
    block
}

/// An event on one line, such as `task a completed (12 ms)`. `None` for events that only record how work was assigned.
pub(crate) fn event(event: &RunEvent) -> Option<String> {
    let payload = event.payload.as_ref().map_or(Value::Null, Payload::shown);
    let task = event.task_id.as_deref().unwrap_or_default();
    let attempt = event.attempt;
    let text = match event.kind.as_str() {
        "workflow_submitted" => "run submitted".to_owned(),
        "workflow_cancel_requested" => format!("run is being stopped: {}", text_at(&payload, "reason")),
        "workflow_completed" => "run completed".to_owned(),
        "workflow_failed" => format!("run failed: {}", message_at(&payload)),
        "workflow_cancelled" => "run cancelled".to_owned(),
        "task_dispatched" if attempt > 1 => format!("task {task} started (attempt {attempt})"),
        "task_dispatched" => format!("task {task} started"),
        "task_completed" if payload.get("carried").and_then(Value::as_bool) == Some(true) => {
            format!("task {task} keeps its result")
        }
        "task_completed" => format!("task {task} completed{}", ran(&payload)),
        "task_attempt_failed" => {
            format!("task {task} attempt {attempt} failed{}: {}", ran(&payload), message_at(&payload))
        }
        "task_attempt_stopped" => format!("task {task} attempt {attempt} stopped: {}", text_at(&payload, "reason")),
        "task_retry_scheduled" => match payload.get("delay_ms").and_then(Value::as_u64) {
            Some(delay) => format!("task {task} is retried in {}", duration(Duration::from_millis(delay))),
            None => format!("task {task} is retried"),
        },
        "task_failed" => format!("task {task} failed: {}", message_at(&payload)),
        "task_skipped" => format!("task {task} skipped"),
        "task_cancelled" => format!("task {task} cancelled"),
        "task_ready" | "task_started" | "task_requeued" | "method_progress" => return None,
        // Kinds of later versions or of providers.
        other if task.is_empty() => other.replace('_', " "),
        other => format!("task {task}: {}", other.replace('_', " ")),
    };
    Some(first_line(&text, LONG))
}

fn text_at(payload: &Value, key: &str) -> String {
    payload.get(key).and_then(Value::as_str).unwrap_or("no reason given").replace('_', " ")
}

fn message_at(payload: &Value) -> String {
    let message = payload.get("error").and_then(|error| error.get("message")).and_then(Value::as_str);
    message.unwrap_or("no reason given").to_owned()
}

fn ran(payload: &Value) -> String {
    match payload.get("ran_ms").and_then(Value::as_u64) {
        Some(ms) => format!(" ({})", duration(Duration::from_millis(ms))),
        None => String::new(),
    }
}

/// How long something took; for something unfinished, in whole seconds, since tenths would only flicker. `None` if it
/// has not begun.
pub(crate) fn elapsed(from: Option<Timestamp>, to: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let ms = to.unwrap_or(now).ms_since(from?);
    Some(match ms / 1_000 {
        seconds @ 0..60 if to.is_none() => format!("{seconds} s"),
        _ => duration(Duration::from_millis(ms)),
    })
}

/// `12 ms`, `1.2 s`, `2 min 5 s`, `10 min`, `3 h 12 min`.
pub(crate) fn duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let seconds = duration.as_secs();
    let two = |count: u64, unit: &str, rest: u64, part: &str| match rest {
        0 => format!("{count} {unit}"),
        rest => format!("{count} {unit} {rest} {part}"),
    };
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        _ => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
    }
}

/// A time for people on stdout, `-` if there is none.
pub(crate) fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), when::shown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::event as event_line;
    use super::*;
    use crate::document::tests::run as failed_run;

    #[test]
    fn only_a_completed_run_has_results_and_outputs_go_before_those_of_the_last_tasks() {
        let mut run = failed_run();
        assert_eq!(results(&run, None), "");
        assert!(super::run(&run).ends_with("\nTASK_TIMEOUT (-29003): too slow\n"));
        assert!(summary(&run).starts_with("Two failed after 3.0 s: 1 completed, 1 failed (run 0193"));
        run.status = RunStatus::Completed;
        run.error = None;
        run.tasks[0].result = Some(Payload::from(json!({"n": 1})));
        run.outputs = Some(Payload::from(json!({"text": "a\nb", "n": 1})));
        assert_eq!(results(&run, None), "text:\n  a\n  b\nn: 1\n");
        run.outputs = None;
        assert_eq!(results(&run, None), "z:\n  {\n    \"n\": 1\n  }\n");
        assert_eq!(results(&run, Some(&["a".to_owned()])), "", "only what completed has a result");
    }

    #[test]
    fn events_are_described_in_words() {
        let event = |kind: &str, attempt, payload: Value| {
            let told = RunEvent {
                seq: 1,
                time: None,
                kind: kind.to_owned(),
                task_id: Some("a".to_owned()),
                attempt,
                payload: Some(Payload::from(payload)),
                payload_omitted: false,
            };
            event_line(&told)
        };
        let failed = json!({"error": {"message": "no\nmore"}, "ran_ms": 61_000});
        for (told, expected) in [
            (event("task_completed", 1, json!({"ran_ms": 12})), Some("task a completed (12 ms)")),
            (event("task_completed", 0, json!({"carried": true})), Some("task a keeps its result")),
            (event("task_attempt_failed", 2, failed), Some("task a attempt 2 failed (1 min 1 s): no")),
            (event("task_retry_scheduled", 1, json!({"delay_ms": 1500})), Some("task a is retried in 1.5 s")),
            (
                event("task_attempt_stopped", 1, json!({"reason": "engine_lost"})),
                Some("task a attempt 1 stopped: engine lost"),
            ),
            (event("task_ready", 0, Value::Null), None),
            (event("task_of_the_future", 1, Value::Null), Some("task a: task of the future")),
        ] {
            assert_eq!(told.as_deref(), expected);
        }
    }

    #[test]
    fn running_time_is_counted_in_whole_seconds() {
        let at = |ms| Some(Timestamp(ms));
        for (from, to, expected) in [
            (at(1_000), at(1_340), Some("340 ms")),
            (at(1_000), None, Some("3 s")),
            (at(5_000), None, Some("0 s")),
            (at(-60_500), None, Some("1 min 5 s")),
            (None, at(1), None),
        ] {
            assert_eq!(elapsed(from, to, Timestamp(4_900)).as_deref(), expected, "clocks may differ");
        }
    }
}
