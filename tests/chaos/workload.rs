//! The workflows that are submitted during the faults, and their expected outcomes. Pure: a seed gives the same ones
//! every time.

use std::collections::BTreeMap;
use std::path::Path;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// A workflow and its outcome, unless it is cancelled.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shape: &'static str,
    pub(crate) workflow: Value,
    pub(crate) expected: Expected,
    /// Tasks whose code writes a line to the ledger file each time that it begins.
    pub(crate) marked: Vec<String>,
}

/// The expected end of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    /// Completed, with these results.
    Completed(BTreeMap<String, Value>),
    /// Failed because of this task.
    Failed(&'static str),
}

impl Plan {
    fn new(shape: &'static str, tasks: Vec<Value>, expected: Expected) -> Self {
        Self { shape, workflow: json!({"name": shape, "tasks": tasks}), expected, marked: Vec::new() }
    }

    fn marked(self, marked: Vec<String>) -> Self {
        Self { marked, ..self }
    }
}

/// Losses do not use up attempts, so a few attempts are enough for tasks that do not fail by themselves.
fn task(id: &str, method: &str, parameters: Value) -> Value {
    json!({"id": id, "method": method, "parameters": parameters})
}

fn task_after(before: &str, id: &str, parameters: Value) -> Value {
    let mut task = task(id, "util/echo", parameters);
    task["dependencies"] = json!([before]);
    task
}

fn completed<const N: usize>(results: [(&str, Value); N]) -> Expected {
    Expected::Completed(results.into_iter().map(|(task, result)| (task.to_owned(), result)).collect())
}

/// Code that writes to the ledger file when it begins and when it ends, takes some time in between, and returns a
/// value.
fn marked(ledger: &Path, id: &str, seconds: f64, value: &str) -> Value {
    let code = format!(
        "import os, time\n\
         run = '${{run.id}}'\n\
         token = f'{{os.getpid()}}.{{time.time_ns()}}'\n\
         def mark(what):\n\
         \u{20}   line = f'{{what}} {{run}} {id} {{token}} {{time.time_ns() // 1000000}}\\n'\n\
         \u{20}   file = os.open({ledger:?}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n\
         \u{20}   os.write(file, line.encode())\n\
         mark('begin')\n\
         time.sleep({seconds:.3})\n\
         result = {value}\n\
         mark('end')\n"
    );
    task(id, "python/execute", json!({"code": code}))
}

/// Draws a workflow of a random shape.
pub(crate) fn draw(rng: &mut StdRng, ledger: &Path) -> Plan {
    let number = rng.random_range(0..1_000_000);
    let pause = rng.random_range(0.0..1.5);
    match rng.random_range(0..8) {
        0 => single(number),
        1 => chain(ledger, rng.random_range(3..7), number, pause / 4.0),
        2 => fan(ledger, rng.random_range(3..12), pause / 4.0),
        3 => retried(),
        4 => failing(),
        5 => sleeping(number, 1.0 + pause * 2.0),
        6 => foreign(number, pause / 8.0),
        _ => python(ledger, number, 1.0 + pause),
    }
}

fn single(number: i64) -> Plan {
    let value = json!({"value": number});
    Plan::new("single", vec![task("only", "util/echo", value.clone())], completed([("only", value)]))
}

/// Each task adds one to the result of the task before it.
fn chain(ledger: &Path, length: usize, number: i64, seconds: f64) -> Plan {
    let ids: Vec<String> = (0..length).map(|n| format!("link{n}")).collect();
    let mut tasks = vec![marked(ledger, &ids[0], seconds, &number.to_string())];
    for pair in ids.windows(2) {
        tasks.push(marked(ledger, &pair[1], seconds, &format!("${{{}.result}} + 1", pair[0])));
    }
    let last = json!({"result": number + i64::try_from(length).unwrap_or(0) - 1});
    let expected = completed([(ids[length - 1].as_str(), last)]);
    Plan::new("chain", tasks, expected).marked(ids)
}

/// One task joins the results of the others.
fn fan(ledger: &Path, width: i32, seconds: f64) -> Plan {
    let mut tasks: Vec<Value> = (0..width).map(|n| task(&format!("part{n}"), "util/echo", json!({"n": n}))).collect();
    let sum = (0..width).map(|n| format!("${{part{n}.n}}")).collect::<Vec<_>>().join(" + ");
    tasks.push(marked(ledger, "join", seconds, &sum));
    let total = json!({"result": width * (width - 1) / 2});
    Plan::new("fan", tasks, completed([("join", total)])).marked(vec!["join".to_owned()])
}

/// Fails twice by itself, and then completes.
fn retried() -> Plan {
    let mut flaky = task("flaky", "util/fail", json!({"message": "not yet", "until_attempt": 3}));
    flaky["retry"] = json!({"max_attempts": 5, "initial_delay": 0.2});
    Plan::new("retried", vec![flaky], completed([]))
}

fn failing() -> Plan {
    let mut doomed = task("doomed", "util/fail", json!({"message": "never"}));
    doomed["retry"] = json!({"max_attempts": 2, "initial_delay": 0.1});
    let after = task_after("doomed", "after", json!({"value": 1}));
    let beside = task("beside", "util/echo", json!({"value": 2}));
    Plan::new("failing", vec![doomed, after, beside], Expected::Failed("doomed"))
}

fn sleeping(number: i64, seconds: f64) -> Plan {
    let sleep = task("sleep", "util/sleep", json!({"seconds": seconds}));
    let value = json!({"value": number});
    let after = task_after("sleep", "after", value.clone());
    Plan::new("sleeping", vec![sleep, after], completed([("after", value)]))
}

/// Uses the provider in another language, and a second queue.
fn foreign(number: i64, pause: f64) -> Plan {
    let describe = task("describe", "stats/describe", json!({"numbers": [1, 2, 3, number], "pause": pause}));
    let mut after = task("after", "util/echo", json!({"mean": "${describe.mean}"}));
    after["queue"] = json!("second");
    Plan::new("foreign", vec![describe, after], completed([]))
}

fn python(ledger: &Path, number: i64, seconds: f64) -> Plan {
    let long = marked(ledger, "long", seconds, &number.to_string());
    Plan::new("python", vec![long], completed([("long", json!({"result": number}))])).marked(vec!["long".to_owned()])
}
