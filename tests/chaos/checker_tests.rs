//! Tests of the checker: histories with one mistake each, all of which it must find. They run before every chaos test,
//! which has no test runner of its own.

use std::collections::BTreeMap;

use gleitzeit_sdk::{Payload, Run, RunEvent, RunStatus, Task, TaskStatus, Timestamp};
use serde_json::json;

use crate::checker::{Case, Counts, Execution};
use crate::workload::{Expected, Plan};

#[derive(Clone)]
struct History {
    plan: Plan,
    watched: Vec<u64>,
    run: Run,
    events: Vec<RunEvent>,
    executions: BTreeMap<String, Vec<Execution>>,
}

fn at(ms: i64) -> Timestamp {
    Timestamp(1_700_000_000_000 + ms)
}

fn event(seq: u64, kind: &str, attempt: u32, ms: i64) -> RunEvent {
    RunEvent {
        seq,
        time: Some(at(ms)),
        kind: kind.to_owned(),
        task_id: kind.starts_with("task").then(|| "a".to_owned()),
        attempt,
        payload: None,
        payload_omitted: false,
    }
}

fn execution(from: i64, to: Option<i64>) -> Execution {
    Execution { begin_ms: at(from).as_millis(), end_ms: to.map(|to| at(to).as_millis()) }
}

/// A task whose first attempt was lost and that then completed.
fn good() -> History {
    let events = vec![
        event(1, "workflow_submitted", 0, 0),
        event(2, "task_ready", 0, 1),
        event(3, "task_dispatched", 1, 2),
        event(4, "task_attempt_stopped", 1, 20_000),
        event(5, "task_requeued", 1, 20_001),
        event(6, "task_dispatched", 2, 20_002),
        event(7, "task_completed", 2, 21_000),
        event(8, "workflow_completed", 0, 21_000),
    ];
    let results = BTreeMap::from([("a".to_owned(), json!({"result": 1}))]);
    let executions = vec![execution(10, None), execution(20_100, Some(20_900))];
    History {
        plan: Plan {
            shape: "test",
            workflow: json!(null),
            expected: Expected::Completed(results),
            marked: vec!["a".to_owned()],
        },
        watched: (1..=8).collect(),
        run: completed_run(),
        events,
        executions: BTreeMap::from([("a".to_owned(), executions)]),
    }
}

fn completed_run() -> Run {
    let task = Task {
        id: "a".to_owned(),
        status: TaskStatus::Completed,
        attempt: 2,
        result: Payload::parse(r#"{"result":1}"#.to_owned()).ok(),
        result_omitted: false,
        error: None,
        waiting: None,
        started_at: None,
        finished_at: None,
        method: "python/execute".to_owned(),
        queue: "default".to_owned(),
        engine: None,
        dependencies: Vec::new(),
        provider: None,
    };
    Run {
        run_id: "r".to_owned(),
        correlation_id: String::new(),
        name: "r".to_owned(),
        status: RunStatus::Completed,
        submitted_at: None,
        finished_at: None,
        outputs: None,
        error: None,
        tasks: vec![task],
        tasks_truncated: false,
        task_count: 1,
        labels: BTreeMap::new(),
        retry_of: None,
        seq: 8,
    }
}

fn found(history: &History) -> Vec<String> {
    let History { plan, watched, run, events, executions } = history;
    let case = Case { plan, cancelled: false, watched: Some(watched), run, events, executions };
    case.check(&mut Counts::default())
}

/// Panics if the checker misses any mistake.
pub(crate) fn run() {
    assert_eq!(found(&good()), [""; 0], "nothing is wrong with it");
    type Wrong = fn(&mut History);
    let planted: [(&str, Wrong); 12] = [
        ("its events have the places", |it| drop(it.events.remove(1))),
        ("a watcher saw", |it| it.watched[3] = 3),
        ("did not end exactly once", |it| it.events[7].kind = "task_requeued".to_owned()),
        ("out of order", |it| it.events[5].attempt = 3),
        ("out of order", |it| it.events[3].kind = "task_started".to_owned()),
        ("which was not open", |it| it.events[4].kind = "task_completed".to_owned()),
        ("completed twice", |it| it.events[4].kind = "task_completed".to_owned()),
        ("is open in a run that has ended", |it| it.events[6].kind = "task_started".to_owned()),
        ("a task of it has not", |it| it.run.tasks[0].status = TaskStatus::Running),
        ("not completed", |it| it.run.status = RunStatus::Failed),
        ("gave {\"result\":2}, not", |it| {
            it.run.tasks[0].result = Payload::parse(r#"{"result":2}"#.to_owned()).ok();
        }),
        ("ran 3 times in 2 attempts", |it| {
            let again = it.executions["a"][1];
            it.executions.get_mut("a").expect("there").push(again);
        }),
    ];
    for (expected, plant) in planted {
        let mut history = good();
        plant(&mut history);
        let found = found(&history);
        assert!(found.iter().any(|wrong| wrong.contains(expected)), "not found: {expected}; but {found:?}");
    }
    let mut late = good();
    late.executions.get_mut("a").expect("there")[1].end_ms = Some(1_700_000_100_000);
    assert!(found(&late).iter().any(|wrong| wrong.contains("after its attempt had ended")));
}
