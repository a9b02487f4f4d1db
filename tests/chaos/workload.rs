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

/// Losses do not use up attempts, so a few attempts are enough for tasks that do not fail by themselves.
fn task(id: &str, method: &str, parameters: Value) -> Value {
    json!({"id": id, "method": method, "parameters": parameters})
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

/// Draws one.
pub(crate) fn draw(rng: &mut StdRng, ledger: &Path) -> Plan {
    let number = rng.random_range(0..1_000_000_i64);
    let pause = rng.random_range(0.0..1.5);
    let completed = |results: Vec<(String, Value)>| Expected::Completed(results.into_iter().collect());
    let named = |name: &str| name.to_owned();
    let (shape, tasks, expected, marked_tasks) = match rng.random_range(0..8) {
        0 => {
            let only = task("only", "util/echo", json!({"value": number}));
            ("single", vec![only], completed(vec![(named("only"), json!({"value": number}))]), vec![])
        }
        1 => {
            let length = rng.random_range(3..7);
            let ids: Vec<String> = (0..length).map(|n| format!("link{n}")).collect();
            let mut tasks = vec![marked(ledger, &ids[0], pause / 4.0, &number.to_string())];
            for pair in ids.windows(2) {
                tasks.push(marked(ledger, &pair[1], pause / 4.0, &format!("${{{}.result}} + 1", pair[0])));
            }
            let last = (ids[length - 1].clone(), json!({"result": number + i64::try_from(length).unwrap_or(0) - 1}));
            ("chain", tasks, completed(vec![last]), ids)
        }
        2 => {
            let width = rng.random_range(3..12);
            let mut tasks: Vec<Value> =
                (0..width).map(|n| task(&format!("part{n}"), "util/echo", json!({"n": n}))).collect();
            let sum = (0..width).map(|n| format!("${{part{n}.n}}")).collect::<Vec<_>>().join(" + ");
            tasks.push(marked(ledger, "join", pause / 4.0, &sum));
            let total = json!({"result": width * (width - 1) / 2});
            ("fan", tasks, completed(vec![(named("join"), total)]), vec![named("join")])
        }
        3 => {
            let mut flaky = task("flaky", "util/fail", json!({"message": "not yet", "until_attempt": 3}));
            flaky["retry"] = json!({"max_attempts": 5, "initial_delay": 0.2});
            ("retried", vec![flaky], completed(vec![]), vec![])
        }
        4 => {
            let mut doomed = task("doomed", "util/fail", json!({"message": "never"}));
            doomed["retry"] = json!({"max_attempts": 2, "initial_delay": 0.1});
            let mut after = task("after", "util/echo", json!({"value": 1}));
            after["dependencies"] = json!(["doomed"]);
            let beside = task("beside", "util/echo", json!({"value": 2}));
            ("failing", vec![doomed, after, beside], Expected::Failed("doomed"), vec![])
        }
        5 => {
            let sleep = task("sleep", "util/sleep", json!({"seconds": 1.0 + pause * 2.0}));
            let mut after = task("after", "util/echo", json!({"value": number}));
            after["dependencies"] = json!(["sleep"]);
            let results = completed(vec![(named("after"), json!({"value": number}))]);
            ("sleeping", vec![sleep, after], results, vec![])
        }
        6 => {
            let describe =
                task("describe", "stats/describe", json!({"numbers": [1, 2, 3, number], "pause": pause / 8.0}));
            let mut after = task("after", "util/echo", json!({"mean": "${describe.mean}"}));
            after["queue"] = json!("second");
            ("foreign", vec![describe, after], completed(vec![]), vec![])
        }
        _ => {
            let long = marked(ledger, "long", 1.0 + pause, &number.to_string());
            ("python", vec![long], completed(vec![(named("long"), json!({"result": number}))]), vec![named("long")])
        }
    };
    let workflow = json!({"name": shape, "tasks": tasks});
    Plan { shape, workflow, expected, marked: marked_tasks }
}
