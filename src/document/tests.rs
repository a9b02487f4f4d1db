use std::collections::BTreeMap;

use gleitzeit_sdk::{Failure, Payload, Run, RunStatus, Task, TaskStatus, Timestamp, Waiting};

use super::*;

/// A failed run of two tasks.
pub(crate) fn run() -> Run {
    let task = |id: &str, status| Task {
        id: id.to_owned(),
        status,
        attempt: 1,
        result: None,
        result_omitted: false,
        error: None,
        waiting: None,
        started_at: Some(Timestamp(1_000)),
        finished_at: Some(Timestamp(2_000)),
        method: "util/echo".to_owned(),
        queue: "default".to_owned(),
        engine: None,
        dependencies: Vec::new(),
        provider: None,
    };
    let failure = Failure::new(gleitzeit_workflow::ErrorCode::TaskTimeout, "too slow");
    Run {
        run_id: "01930000-0000-7000-8000-000000000001".to_owned(),
        correlation_id: "01930000000070008000000000000001".to_owned(),
        name: "Two".to_owned(),
        status: RunStatus::Failed,
        submitted_at: Some(Timestamp(0)),
        finished_at: Some(Timestamp(3_000)),
        outputs: None,
        error: Some(failure.clone()),
        tasks: vec![
            Task {
                result: Some(Payload::grammatical("{\"n\":100000000000000000000001}".to_owned()).expect("JSON")),
                ..task("z", TaskStatus::Completed)
            },
            Task {
                error: Some(failure),
                waiting: Some(Waiting { reason: "r".to_owned(), since: None, until: None, remedy: None }),
                ..task("a", TaskStatus::Failed)
            },
        ],
        tasks_truncated: false,
        task_count: 2,
        labels: BTreeMap::new(),
        retry_of: None,
        seq: 9,
    }
}

#[test]
fn a_run_has_the_documented_fields_in_order_and_its_tasks_in_that_of_the_workflow() {
    let json = serde_json::to_string(&RunDocument::from(&run())).expect("serializes");
    assert_eq!(
        json,
        r#"{"run_id":"01930000-0000-7000-8000-000000000001","correlation_id":"01930000000070008000000000000001","name":"Two","status":"failed","submitted_at":"1970-01-01T00:00:00.000Z","finished_at":"1970-01-01T00:00:03.000Z","outputs":null,"error":{"code":-29003,"name":"TASK_TIMEOUT","message":"too slow"},"tasks":{"z":{"status":"completed","attempt":1,"result":{"n":100000000000000000000001},"error":null,"waiting":null,"started_at":"1970-01-01T00:00:01.000Z","finished_at":"1970-01-01T00:00:02.000Z"},"a":{"status":"failed","attempt":1,"result":null,"error":{"code":-29003,"name":"TASK_TIMEOUT","message":"too slow"},"waiting":{"reason":"r","since":null,"until":null,"remedy":null},"started_at":"1970-01-01T00:00:01.000Z","finished_at":"1970-01-01T00:00:02.000Z"}}}"#
    );
}
