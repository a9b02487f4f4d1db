//! `gleitzeit logs`: shows what tasks printed and returned, or why they failed; for running tasks, their output so far.

mod follow;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gleitzeit_sdk::{Client, OutputStream, RunEvent, Task, TaskFilter, TaskStatus, Timestamp};
use gleitzeit_workflow::{ErrorCode, Failure, Payload};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::LogsArgs;
use crate::color::Tone;
use crate::error::{CommandError, CommandResult, Exit};
use crate::find_runs::{self, Found};
use crate::json::indented;
use crate::lines::Lines;
use crate::signals::{OnSignal, block_on};
use crate::{causes, client, color, output, text, when};

/// The fields of results and errors that hold output, and their headings; output goes before the returned value.
const SAID: [(&str, &str); 3] =
    [("output", "printed"), ("error_output", "printed to stderr"), ("response", "answered")];

pub(crate) fn run(args: LogsArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let found = find_runs::find(&args.client, &args.run).await?;
        found.note_if_elsewhere().await?;
        let Found { client, run_id, .. } = found;
        if args.follow {
            return follow::follow(&client, &run_id, &args).await;
        }
        let since = args.since.map(before);
        let tasks = tasks(&client, &run_id, args.task.as_deref()).await?;
        let mut so_far = so_far(&client, &run_id, &tasks).await?;
        let shown: Vec<Shown<'_>> = tasks
            .iter()
            .filter(|task| is_since(task, since))
            .map(|task| Shown::of(task, so_far.remove(&task.id), since, args.tail))
            .collect();
        let document = Logs { run_id: &run_id, tasks: shown.iter().map(TaskLog::from).collect() };
        output::document(args.output.format(), &document, |_| shown.iter().map(text).collect())?;
        Ok(Exit::Success)
    })
}

/// The tasks of a run with their results, or one of them.
async fn tasks(client: &Client, run_id: &str, wanted: Option<&str>) -> Result<Vec<Task>, CommandError> {
    let tasks = client::all_pages(async |token: Option<&str>| {
        let task_ids = wanted.map(str::to_owned).into_iter().collect();
        let filter = TaskFilter { task_ids, page_token: token.map(str::to_owned), ..TaskFilter::default() };
        client.list_tasks(run_id, &filter).await
    });
    let tasks = tasks.await?;
    if let (Some(task), []) = (wanted, &tasks[..]) {
        let message = format!("run {run_id} has no task `{task}`");
        return Err(CommandError::new(Exit::Failed, ErrorCode::TaskNotFound, message)
            .hint(format!("`gleitzeit status {run_id}` shows its tasks")));
    }
    Ok(tasks)
}

/// Whether the task has an open attempt.
fn is_open(task: &Task) -> bool {
    matches!(task.status, TaskStatus::Dispatched | TaskStatus::Running)
}

/// The output so far of those tasks that have an open attempt, by task.
async fn so_far(client: &Client, run_id: &str, tasks: &[Task]) -> Result<HashMap<String, Vec<RunEvent>>, CommandError> {
    let mut by_task: HashMap<String, Vec<RunEvent>> = HashMap::new();
    // Tasks are named only for a single one: a run may have very many.
    let wanted = if let [only] = tasks { vec![only.id.clone()] } else { Vec::new() };
    if tasks.iter().any(is_open) {
        for event in client.progress_so_far(run_id, &wanted).await? {
            if let Some(task_id) = event.task_id.clone() {
                by_task.entry(task_id).or_default().push(event);
            }
        }
    }
    Ok(by_task)
}

/// The time this long ago.
fn before(age: Duration) -> Timestamp {
    when::now().minus_ms(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// Whether a task is unfinished or ended at or after a time.
fn is_since(task: &Task, since: Option<Timestamp>) -> bool {
    since.is_none_or(|since| task.finished_at.is_none_or(|finished| finished >= since))
}

#[derive(Serialize)]
struct Logs<'a> {
    run_id: &'a str,
    tasks: Vec<TaskLog<'a>>,
}

#[derive(Serialize)]
struct TaskLog<'a> {
    id: &'a str,
    status: TaskStatus,
    attempt: u32,
    error: Option<&'a Failure>,
    output: Option<String>,
    error_output: Option<String>,
    traceback: Option<String>,
    result: Option<&'a Payload>,
}

/// A task and its output: its result, its error's data, or the output so far.
struct Shown<'a> {
    task: &'a Task,
    left: Option<Value>,
    /// Whether there is more to show than the returned value.
    has_said: bool,
}

impl<'a> Shown<'a> {
    fn of(task: &'a Task, so_far: Option<Vec<RunEvent>>, since: Option<Timestamp>, tail: Option<usize>) -> Self {
        let left = so_far.filter(|_| is_open(task)).map(|events| said(events, since)).or_else(|| left(task));
        let says = |left: &Value, name| left.get(name).and_then(Value::as_str).is_some_and(|said| !said.is_empty());
        let has_said = left.as_ref().is_some_and(|left| SAID.iter().any(|(name, _)| says(left, name)));
        let left = left.map(|mut left| {
            for (name, _) in SAID {
                if let (Some(Value::String(text)), Some(most)) = (left.get_mut(name), tail) {
                    *text = last_lines(text, most);
                }
            }
            left
        });
        Self { task, left, has_said }
    }
}

/// The output of a running task, in the form that it will have in its result.
fn said(events: Vec<RunEvent>, since: Option<Timestamp>) -> Value {
    let (mut lines, mut told, now) = (Lines::default(), Vec::new(), Instant::now());
    for event in events {
        let Some(piece) = event.output() else { continue };
        told.extend(lines.add(piece, now));
        // Also the last incomplete line, with the time when it was printed.
        told.extend(lines.open());
    }
    let mut said = Map::new();
    for line in told {
        if line.time.zip(since).is_some_and(|(time, since)| time < since) {
            continue;
        }
        let name = match line.stream {
            Some(OutputStream::Stdout) => "output",
            Some(OutputStream::Stderr) => "error_output",
            None => "response",
        };
        if let Value::String(text) = said.entry(name).or_insert_with(|| Value::from("")) {
            text.push_str(&line.text);
        }
    }
    Value::Object(said)
}

/// The last lines of a text.
fn last_lines(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines[lines.len().saturating_sub(most)..].concat()
}

impl<'a> From<&'a Shown<'a>> for TaskLog<'a> {
    fn from(Shown { task, left, .. }: &'a Shown<'a>) -> Self {
        let said = |name: &str| left.as_ref()?.get(name)?.as_str().map(str::to_owned);
        Self {
            id: &task.id,
            status: task.status,
            attempt: task.attempt,
            error: task.error.as_ref(),
            output: said("output"),
            error_output: said("error_output"),
            traceback: said("traceback"),
            result: task.result.as_ref(),
        }
    }
}

/// What a finished task left: its result, or its error's data.
fn left(task: &Task) -> Option<Value> {
    let data = task.error.as_ref().and_then(|error| error.data.as_ref());
    task.result.as_ref().or(data).map(Payload::shown)
}

fn text(Shown { task, left, has_said }: &Shown<'_>) -> String {
    let attempt = if task.attempt > 1 { format!(", attempt {}", task.attempt) } else { String::new() };
    let paint = color::stdout();
    let mut text = format!("── {} ({}{attempt})\n", paint.bold(Tone::Plain, &task.id), paint.task(task.status));
    if let Some(error) = &task.error {
        let said = paint.failure(&text::clean(&causes::failure(error)));
        let _ = writeln!(text, "{}", output::wrapped(&said, 2));
    }
    for (name, head) in SAID {
        let Some(said) = left.as_ref().and_then(|left| left.get(name)?.as_str()).filter(|said| !said.is_empty()) else {
            continue;
        };
        let _ = writeln!(text, "{}", paint.text(Tone::Dim, &format!("{head}:")));
        said.lines().for_each(|line| {
            let _ = writeln!(text, "  {}", text::clean(line));
        });
    }
    let returned = match (&task.result, left.as_ref().and_then(|left| left.get("result"))) {
        // For code, the returned value is separate from the printed output.
        (Some(_), Some(result)) => Some(result.to_string()),
        (Some(result), None) if !*has_said => Some(result.get().to_owned()),
        _ => None,
    };
    if let Some(returned) = returned.filter(|returned| returned != "null") {
        let _ = writeln!(text, "{}", paint.text(Tone::Dim, "returned:"));
        indented(&returned).lines().for_each(|line| {
            let _ = writeln!(text, "  {}", text::clean(line));
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(result: &str) -> Task {
        Task {
            id: "a".to_owned(),
            status: TaskStatus::Completed,
            attempt: 1,
            result: Some(Payload::grammatical(result.to_owned()).expect("grammatical")),
            result_omitted: false,
            error: None,
            waiting: None,
            started_at: None,
            finished_at: None,
            method: "m/x".to_owned(),
            queue: "default".to_owned(),
            engine: None,
            dependencies: Vec::new(),
            provider: None,
        }
    }

    #[test]
    fn unchecked_results_of_old_runs_are_shown_unchanged() {
        for (result, shown) in [
            (r#"{"title":"\ud83c","output":"said"}"#, "printed:\n  said"),
            (r#"{"result":"\ud83c","output":"said"}"#, r"ud83c"),
            ("[1e400]", "1e400"),
            ("12345678901234567890123", "12345678901234567890123"),
        ] {
            let task = task(result);
            let log = Shown::of(&task, None, None, None);
            assert!(text(&log).contains(shown), "{}", text(&log));
            let json = serde_json::to_string(&TaskLog::from(&log)).expect("written");
            assert!(json.contains(&format!("\"result\":{result}")), "{json}");
        }
        let levels = 50_000;
        let task = task(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        assert!(text(&Shown::of(&task, None, None, None)).len() < 10 * levels);
    }

    #[test]
    fn running_tasks_show_their_output_and_tail_limits_the_lines_of_all() {
        let piece = |ms, payload: Value| RunEvent {
            seq: 0,
            time: Some(Timestamp(ms)),
            kind: "method_progress".to_owned(),
            task_id: Some("a".to_owned()),
            attempt: 1,
            payload: Some(Payload::from(payload)),
            payload_omitted: false,
        };
        let events = || {
            vec![
                piece(1, json!({"stream": "stdout", "offset": 0, "text": "one\ntwo\nthr"})),
                piece(2, json!({"stream": "stderr", "offset": 0, "text": "why\n"})),
                piece(3, json!({"done": 5})),
                piece(4, json!({"stream": "stdout", "offset": 11, "text": "ee"})),
            ]
        };
        let running = Task { status: TaskStatus::Running, result: None, ..task("null") };
        let left =
            |task: &Task, since, tail| Shown::of(task, Some(events()), since, tail).left.expect("it said something");
        assert_eq!(left(&running, None, None), json!({"output": "one\ntwo\nthree", "error_output": "why\n"}));
        assert_eq!(left(&running, None, Some(2)), json!({"output": "two\nthree", "error_output": "why\n"}));
        assert_eq!(left(&running, Some(Timestamp(3)), None), json!({"output": "ee"}));
        let ended = task(r#"{"output": "one\ntwo\n"}"#);
        assert_eq!(left(&ended, None, Some(1)), json!({"output": "two\n"}), "its result has it all");
        let none = Shown::of(&ended, None, None, Some(0));
        assert_eq!(text(&none), "── a (completed)\n", "what was printed is not what was returned");
        let since = |ms| is_since(&Task { finished_at: Some(Timestamp(5)), ..ended.clone() }, Some(Timestamp(ms)));
        assert_eq!([since(5), since(6), is_since(&running, Some(Timestamp(9)))], [true, false, true]);
    }
}
