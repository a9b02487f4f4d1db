//! How a scenario shows the state of a run and of its tasks. Nothing else in the scenarios depends on the fields of a
//! task's state.

use gleitzeit_run::phase::Ending;
use gleitzeit_run::{Outcome, Owed, Phase, Position, State, Waiting};
use gleitzeit_workflow::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::line::write_failure;

/// One line for the run and one for each task, without what is absent.
pub(crate) fn state(state: &State) -> Vec<String> {
    let mut lines = vec![("run".to_owned(), run(state))];
    lines.extend((0..state.tasks.len()).map(|at| (state.task(at).id.to_string(), task(state, at))));
    aligned(&lines)
}

/// Why the run and its unfinished tasks wait, and which tasks block them.
pub(crate) fn waiting(state: &State) -> Vec<String> {
    let mut lines: Vec<(String, String)> =
        state.run_waiting().iter().map(|waiting| ("run".to_owned(), reason(waiting))).collect();
    for at in 0..state.tasks.len() {
        let Some(waiting) = state.waiting(at) else { continue };
        let mut text = reason(&waiting);
        let blockers = state.blockers_of(at);
        if !blockers.is_empty() {
            let ids: Vec<&str> = blockers.iter().map(|&at| state.task(at).id.as_str()).collect();
            text.push_str(&format!("; blocked by {}", ids.join(", ")));
        }
        lines.push((state.task(at).id.to_string(), text));
    }
    if lines.is_empty() { vec!["nothing waits".to_owned()] } else { aligned(&lines) }
}

/// The state of a run, without its tasks.
fn run(state: &State) -> String {
    let mut parts = Parts(vec![word(&state.status)]);
    parts.text(counts(state));
    if let Some(cancel) = &state.cancel {
        parts.text(format!("to end as {} {}", word(&cancel.cause), json!(cancel.reason)));
    }
    parts.some("finished at", state.finished_at.map(Timestamp::as_millis));
    parts.some("outputs", state.outputs.as_ref().map(|outputs| outputs.get()));
    parts.some("error", state.error.as_ref().map(write_failure));
    parts.0.join(", ")
}

/// How many tasks are not final, and how many attempts are open.
pub(crate) fn counts(state: &State) -> String {
    format!("{} unfinished, {} open", state.unfinished(), state.open_attempts())
}

/// The state of a task.
pub(crate) fn task(state: &State, at: usize) -> String {
    let task = &state.tasks[at];
    let mut parts = Parts(vec![word(&task.status())]);
    parts.some("attempt", task.latest().map(|lease| lease.attempt));
    parts.some("engine", task.engine());
    parts.some("queue", task.queue());
    let priority = task.entered().map(|entered| entered.priority);
    parts.some("priority", priority.filter(|priority| !priority.is_normal()).map(|priority| priority.0));
    parts.some("parameters", task.parameters().map(|parameters| parameters.get()));
    parts.some("ready at", task.entered().map(|entered| moment(entered.at, entered.position)));
    parts.some("dispatched at", task.latest().map(|lease| moment(lease.dispatched_at, lease.position)));
    parts.some("started at", task.started_at().map(Timestamp::as_millis));
    parts.some("finished at", task.finished_at().map(Timestamp::as_millis));
    if let Phase::Queued { not_before } = task.phase() {
        parts.some("not before", not_before.map(Timestamp::as_millis));
    }
    parts.some("failures", Some(task.failures()).filter(|failures| *failures > 0));
    if task.losses() > 0 {
        let stops = task.stops().iter();
        let stops = stops.map(|stop| format!("{} {} {}", stop.attempt, stop.engine, word(&stop.reason)));
        parts.text(format!("losses {} ({})", task.losses(), stops.collect::<Vec<_>>().join("; ")));
    }
    parts.some("error", task.error().map(write_failure));
    if let Phase::Ended(ended) = task.phase()
        && let Ending::Failed { retryable, retry_after_ms, .. } = &ended.how
    {
        parts.text(if *retryable { "retryable" } else { "not retryable" });
        parts.some("retry_after_ms", *retry_after_ms);
    }
    if let Some(Outcome::Skipped { because }) = task.outcome() {
        parts.some("because", Some(because));
    }
    parts.some("result", task.result().map(|result| result.get()));
    parts.some("needs", state.owed(at).map(needs));
    parts.0.join(", ")
}

/// A time, and the entry that was recorded at it.
fn moment(time: Timestamp, entry: Position) -> String {
    format!("{} (entry {entry})", time.as_millis())
}

fn needs(owed: Owed) -> String {
    match owed {
        Owed::Dependencies => "dependencies".to_owned(),
        Owed::Ready => "to be made ready".to_owned(),
        Owed::Dispatch { not_before: None } => "dispatch".to_owned(),
        Owed::Dispatch { not_before: Some(time) } => format!("dispatch from {}", time.as_millis()),
        Owed::Decision => "a decision".to_owned(),
        Owed::Report { engine } => format!("a report of {engine}"),
        Owed::Stop { engine } => format!("a stop by {engine}"),
    }
}

fn reason(waiting: &Waiting) -> String {
    let mut text = waiting.reason.clone();
    let time = |name: &str, time: Option<Timestamp>| time.map(|time| format!("; {name} {}", time.as_millis()));
    text.extend(time("since", waiting.since));
    text.extend(time("until", waiting.until));
    text.extend(waiting.remedy.iter().map(|remedy| format!("; {remedy}")));
    text
}

/// The name of a value in JSON, which is a single word.
fn word<T: Serialize>(value: &T) -> String {
    json!(value).as_str().expect("it is written as text").to_owned()
}

/// The parts of a line, of which absent ones are left out.
struct Parts(Vec<String>);

impl Parts {
    fn text(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }

    fn some<T: std::fmt::Display>(&mut self, name: &str, value: Option<T>) {
        self.0.extend(value.map(|value| format!("{name} {value}")));
    }
}

/// Puts the second parts of the lines below each other.
pub(crate) fn aligned(lines: &[(String, String)]) -> Vec<String> {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines.iter().map(|(name, text)| format!("{name:width$}  {text}")).collect()
}
