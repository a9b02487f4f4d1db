//! Explains to people why a run failed: each failed task by name, with the end of its output. Tasks that failed for the
//! same reason are grouped.

use std::fmt::Write as _;

use gleitzeit_sdk::{Failure, Payload, Run, RunEvent, Task, TaskStatus};
use serde::Deserialize;
use serde_json::Value;

use crate::text::{clean, first_line, last_lines};

/// How many different causes are shown; `gleitzeit logs` shows the others.
const CAUSES: usize = 5;
/// How many tasks of one cause are named.
const NAMED: usize = 5;
/// How many lines of a task's output are shown: the last ones, since they usually hold the reason.
const SAID: usize = 10;
/// How many lines of a traceback are shown.
const TRACEBACK: usize = 30;
/// How many characters of an answer's body are shown.
const BODY: usize = 300;
/// How many characters of a message are shown.
const MESSAGE: usize = 2_000;

/// Tasks that failed in the same way.
struct Cause<'a> {
    tasks: Vec<&'a Task>,
    failure: &'a Failure,
    detail: String,
}

/// A failure with its name, and the traceback if it brought one.
pub(crate) fn failure(failure: &Failure) -> String {
    let text = format!("{} ({}): {}", failure.name(), failure.code, clean(&failure.message));
    traceback(failure).map(|traceback| format!("{text}\n{traceback}")).unwrap_or(text)
}

/// The traceback that a failure brought, indented.
pub(crate) fn traceback(failure: &Failure) -> Option<String> {
    let data = failure.data.as_ref().map(Payload::shown)?;
    let lines = data.get("traceback")?.as_str()?.lines().map(|line| format!("  {}", clean(line)));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// What to tell of a run's failed tasks; empty if that says no more than the run's own error.
pub(crate) fn of(run: &Run) -> String {
    let (causes, others) = causes(run);
    let is_said = |cause: &Cause<'_>| {
        let error = run.error.as_ref();
        cause.detail.is_empty() && error.is_some_and(|error| error.message.contains(&cause.failure.message))
    };
    if let ([only], 0) = (&causes[..], others)
        && only.tasks.len() == 1
        && is_said(only)
    {
        return String::new();
    }
    let mut text = String::new();
    for cause in &causes {
        let failure = cause.failure;
        let message = first_line(&failure.message, MESSAGE);
        let _ = writeln!(text, "{}: {} ({}): {message}", named(&cause.tasks), failure.name(), failure.code);
        text.push_str(&cause.detail);
    }
    if others > 0 {
        let more = if others == 1 { "task" } else { "tasks" };
        let _ = writeln!(text, "{others} more {more} failed for other reasons: see `gleitzeit logs {}`", run.run_id);
    }
    text
}

/// The first causes, and how many tasks failed for others.
fn causes(run: &Run) -> (Vec<Cause<'_>>, usize) {
    let mut causes: Vec<Cause<'_>> = Vec::new();
    let mut others = 0;
    for task in run.tasks.iter().filter(|task| task.status == TaskStatus::Failed) {
        let Some(failure) = &task.error else { continue };
        let detail = detail(failure);
        let is_same = |cause: &Cause<'_>| {
            cause.failure.code == failure.code && cause.failure.message == failure.message && cause.detail == detail
        };
        match causes.iter().position(is_same) {
            Some(at) => causes[at].tasks.push(task),
            None if causes.len() == CAUSES => others += 1,
            None => causes.push(Cause { tasks: vec![task], failure, detail }),
        }
    }
    (causes, others)
}

/// `task a failed`, `tasks a, b and 3 more failed (attempt 2)`.
fn named(tasks: &[&Task]) -> String {
    let ids: Vec<String> = tasks.iter().take(NAMED).map(|task| clean(&task.id)).collect();
    let more = match tasks.len() - ids.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let attempt = match tasks.iter().map(|task| task.attempt).max() {
        Some(attempt @ 2..) => format!(" on attempt {attempt}"),
        _ => String::new(),
    };
    format!("task{} {}{more} failed{attempt}", if tasks.len() == 1 { "" } else { "s" }, ids.join(", "))
}

/// The details that came with the failed attempt in an event; empty for other events.
pub(crate) fn of_event(event: &RunEvent) -> String {
    let failed = |payload: &Payload| payload.read::<Failed>().ok();
    match &event.payload {
        Some(payload) if event.kind == "task_attempt_failed" => {
            failed(payload).map(|it| detail(&it.error)).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// The payload of the event `task_attempt_failed`.
#[derive(Deserialize)]
struct Failed {
    error: Failure,
}

/// The details of a failure, indented: a traceback, the end of stderr (of stdout, if stderr is empty), or a server's
/// answer. Empty if there are none.
fn detail(failure: &Failure) -> String {
    let Some(data) = failure.data.as_ref().map(Payload::shown) else { return String::new() };
    let said = |name: &str| data.get(name).and_then(Value::as_str).filter(|said| !said.trim().is_empty());
    let mut text = String::new();
    if let Some(traceback) = said("traceback") {
        block(&mut text, "traceback", traceback, TRACEBACK);
    }
    match (said("error_output"), said("output")) {
        (Some(stderr), _) => block(&mut text, "stderr", stderr, SAID),
        (None, Some(stdout)) if said("traceback").is_none() => block(&mut text, "stdout", stdout, SAID),
        _ => {}
    }
    if let Some(status) = data.get("status").and_then(Value::as_u64) {
        match said("body") {
            Some(body) => {
                let _ = writeln!(text, "  the body of the answer ({status}) begins:");
                let start: String = body.chars().take(BODY).collect();
                lines(&mut text, &start);
            }
            None => {
                let _ = writeln!(text, "  the answer ({status}) has no body");
            }
        }
    }
    text
}

fn block(text: &mut String, what: &str, said: &str, most: usize) {
    let (shown, is_cut) = last_lines(said, most);
    let _ = writeln!(text, "  its {what}{}:", if is_cut { " ends" } else { "" });
    lines(text, shown);
}

fn lines(text: &mut String, said: &str) {
    for line in said.lines() {
        let _ = writeln!(text, "    {}", first_line(line, MESSAGE));
    }
}

#[cfg(test)]
mod tests {
    use gleitzeit_workflow::ErrorCode;
    use serde_json::json;

    use super::*;
    use crate::document::tests::run as failed_run;

    fn failed(id: &str, attempt: u32, message: &str, data: Value) -> Task {
        let mut task = failed_run().tasks.remove(0);
        task.id = id.to_owned();
        task.status = TaskStatus::Failed;
        task.attempt = attempt;
        let mut failure = Failure::new(ErrorCode::TaskExecutionFailed, message);
        failure.data = (!data.is_null()).then(|| Payload::from(data));
        task.error = Some(failure);
        task
    }

    fn text_of(tasks: Vec<Task>) -> String {
        let mut run = failed_run();
        run.error = Some(Failure::new(ErrorCode::WorkflowExecutionFailed, "task `a` failed: exit code 1"));
        run.tasks = tasks;
        of(&run)
    }

    #[test]
    fn each_task_has_its_own_error_under_its_name() {
        let traceback = "Traceback (most recent call last):\n  File \"<code>\", line 2\nValueError: no";
        let text = text_of(vec![
            failed("a", 1, "exit code 1", json!({"error_output": "cannot open x\n", "output": ""})),
            failed("b", 3, "ValueError: no", json!({"traceback": traceback, "output": "so far"})),
        ]);
        assert_eq!(
            text,
            "task a failed: TASK_EXECUTION_FAILED (-29002): exit code 1\n  its stderr:\n    cannot open x\n\
             task b failed on attempt 3: TASK_EXECUTION_FAILED (-29002): ValueError: no\n  its traceback:\n    Traceback (most recent call \
             last):\n      File \"<code>\", line 2\n    ValueError: no\n"
        );
    }

    #[test]
    fn equal_failures_are_shown_once_and_the_error_of_the_run_is_not_repeated() {
        let same = |id: &str| failed(id, 1, "exit code 1", Value::Null);
        assert_eq!(text_of(vec![same("a")]), "");
        let text = text_of((0..7).map(|n| same(&format!("t{n}"))).collect());
        assert_eq!(text, "tasks t0, t1, t2, t3, t4 and 2 more failed: TASK_EXECUTION_FAILED (-29002): exit code 1\n");
        let many = (0..8).map(|n| failed(&format!("t{n}"), 1, &format!("exit code {n}"), Value::Null)).collect();
        let text = text_of(many);
        assert_eq!(text.lines().count(), CAUSES + 1, "{text}");
        assert!(text.contains("3 more tasks failed for other reasons: see `gleitzeit logs "), "{text}");
    }

    #[test]
    fn the_end_of_a_commands_output_and_the_start_of_an_answer_are_shown() {
        let stderr: String = (0..30).map(|n| format!("line {n}\n")).collect();
        let text = text_of(vec![failed("a", 1, "exit code 1", json!({"error_output": stderr}))]);
        assert!(text.contains("its stderr ends:\n    line 20\n") && text.ends_with("    line 29\n"), "{text}");
        let answer = json!({"status": 404, "body": format!("{{\"error\": \"no such page\"}}{}", "x".repeat(500))});
        let text = text_of(vec![failed("a", 1, "http://x answers with 404", answer)]);
        assert!(text.contains("the body of the answer (404) begins:\n    {\"error\": \"no such page\"}x"), "{text}");
        assert!(text.len() < 500, "{text}");
    }

    #[test]
    fn output_of_a_task_cannot_control_the_terminal() {
        let text = text_of(vec![failed("a", 1, "no\u{1b}[2J", json!({"error_output": "\u{1b}[2Jx"}))]);
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
