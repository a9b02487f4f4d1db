//! Providers that violate the rules of the mesh: each gets an error that says what is wrong, and no run is harmed.

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Socket, until};

const STARTED: [&str; 3] = ["task_ready", "task_dispatched", "task_started"];

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("worker", "all");
    cluster
}

/// A provider of `math/v1`, whose schemas a test can violate.
fn math(cluster: &Cluster) -> Socket {
    let sum = json!({"type": "object", "required": ["sum"], "additionalProperties": false,
        "properties": {"sum": {"type": "number"}}});
    let methods = json!({"math/add": {"parameters": {"type": "object"}, "returns": sum}});
    let protocol = json!({"name": "math", "version": "v1", "methods": methods});
    let body = json!({"component_type": "provider", "name": "math", "protocols": [protocol], "max_concurrency": 4});
    Socket::register(&cluster.url, &body)
}

/// Submits one task `work` that calls it; `more` has further fields of the task.
fn submit(cluster: &Cluster, more: Value) -> String {
    let mut task = json!({"id": "work", "method": "math/add", "parameters": {}});
    task.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    cluster.submit(&cluster.sandbox.file("work.json", json!({"name": "Work", "tasks": [task]}).to_string()))
}

/// Expects a refusal of this kind.
#[track_caller]
fn refused(socket: &mut Socket, name: &str, said: &str) {
    let error = socket.receive("mesh_error");
    assert_eq!((&error["name"], &error["in_reply_to"]), (&json!(name), &json!("method_result")), "{error:#}");
    assert!(error["message"].as_str().expect("text").contains(said), "{error:#}");
}

#[test]
fn an_invalid_answer_is_refused_and_the_call_continues() {
    let cluster = cluster();
    let mut provider = math(&cluster);
    let run = submit(&cluster, json!({}));
    let call = provider.receive("execute_method");
    let id = &call["id"];
    let good = json!({"jsonrpc": "2.0", "id": id, "result": {"sum": 1}});
    let error = json!({"code": -29002, "message": "no"});
    for (body, said) in [
        (json!({}), "missing field `jsonrpc`"),
        (json!([]), "takes one JSON object"),
        (json!("text"), "takes one JSON object"),
        (json!([good]), "takes one JSON object"),
        (json!({"id": id, "result": {"sum": 1}}), "missing field `jsonrpc`"),
        (json!({"jsonrpc": "1.0", "id": id, "result": {"sum": 1}}), "expected `2.0`, found `1.0`"),
        (json!({"jsonrpc": 2.0, "id": id, "result": {"sum": 1}}), "in `jsonrpc`"),
        (json!({"jsonrpc": "2.0", "result": {"sum": 1}}), "missing field `id`"),
        (json!({"jsonrpc": "2.0", "id": null, "result": {"sum": 1}}), "in `id`"),
        (json!({"jsonrpc": "2.0", "id": 1, "result": {"sum": 1}}), "in `id`"),
        (json!({"jsonrpc": "2.0", "id": id}), "expected `result` or `error`"),
        (json!({"jsonrpc": "2.0", "id": id, "result": {"sum": 1}, "error": error}), "found both"),
        (json!({"jsonrpc": "2.0", "id": id, "result": null, "error": error}), "found both"),
        (json!({"jsonrpc": "2.0", "id": id, "error": null}), "in `error`"),
        (json!({"jsonrpc": "2.0", "id": id, "error": "no"}), "in `error`"),
        (json!({"jsonrpc": "2.0", "id": id, "error": {"message": "no"}}), "missing field `code`"),
        (json!({"jsonrpc": "2.0", "id": id, "error": {"code": "7", "message": "no"}}), "in `error.code`"),
        (json!({"jsonrpc": "2.0", "id": id, "error": {"code": 7}}), "missing field `message`"),
        (json!({"results": []}), "at least one"),
        (json!({"results": [good, {"jsonrpc": "2.0", "id": id}]}), "in `results[1]`"),
    ] {
        provider.send("method_result", &body);
        refused(&mut provider, "INVALID_REQUEST", said);
    }
    for wrong in ["", "nonsense", "a/b/c/d"] {
        provider.send("method_result", &json!({"jsonrpc": "2.0", "id": wrong, "result": {"sum": 1}}));
        refused(&mut provider, "CALL_NOT_FOUND", wrong);
    }
    // Events that do not exist, or that belong to another role, are refused as well.
    provider.send("method_results", &good);
    assert!(provider.receive("mesh_error")["message"].as_str().expect("text").contains("unknown mesh event"));
    provider.send("append", &json!({"proposals": []}));
    assert!(provider.receive("mesh_error")["message"].as_str().expect("text").contains("does not send"));
    assert_eq!(provider.so_far("cancel_method"), Vec::<Value>::new(), "nobody gave up");

    provider.answer(&call, &json!({"sum": 2}));
    let run = cluster.until_ended(&run);
    let task = &run["tasks"]["work"];
    assert_eq!((&task["result"], &task["attempt"]), (&json!({"sum": 2}), &json!(1)), "{run:#}");
    assert_eq!(provider.so_far("mesh_error"), Vec::<Value>::new());
}

#[test]
fn only_the_provider_that_was_given_a_call_may_answer_it() {
    let cluster = cluster();
    let mut provider = math(&cluster);
    let run = submit(&cluster, json!({}));
    let call = provider.receive("execute_method");
    let other = json!({"component_type": "provider", "name": "other", "methods": ["math/add"]});
    for mut impostor in [Socket::connect(&cluster.url), Socket::register(&cluster.url, &other)] {
        impostor.answer(&call, &json!({"sum": 666}));
        refused(&mut impostor, "CALL_NOT_YOURS", call["id"].as_str().expect("text"));
    }
    provider.answer(&call, &json!({"sum": 1}));
    assert_eq!(cluster.until_ended(&run)["tasks"]["work"]["result"], json!({"sum": 1}));
}

#[test]
fn an_answer_counts_once_and_in_time() {
    let cluster = cluster();
    let mut provider = math(&cluster);
    // The same answer twice.
    let run = submit(&cluster, json!({}));
    let call = provider.receive("execute_method");
    provider.answer(&call, &json!({"sum": 1}));
    provider.answer(&call, &json!({"sum": 2}));
    refused(&mut provider, "CALL_ENDED", call["id"].as_str().expect("text"));
    assert_eq!(cluster.until_ended(&run)["tasks"]["work"]["result"], json!({"sum": 1}));
    // An answer after a cancel.
    let run = submit(&cluster, json!({}));
    let call = provider.receive("execute_method");
    cluster.client(&["cancel", &run]).exits(0);
    assert_eq!(provider.receive("cancel_method")["id"], call["id"]);
    provider.answer(&call, &json!({"sum": 1}));
    refused(&mut provider, "CALL_ENDED", call["id"].as_str().expect("text"));
    let run = cluster.until_ended(&run);
    assert_eq!((&run["status"], &run["tasks"]["work"]["result"]), (&json!("cancelled"), &Value::Null), "{run:#}");
    // An answer after the timeout, when the next attempt is open.
    let run = submit(&cluster, json!({"timeout": 0.3, "retry": {"max_attempts": 2, "initial_delay": 0.05}}));
    let late = provider.receive("execute_method");
    assert_eq!(provider.receive("cancel_method")["id"], late["id"]);
    let call = provider.receive("execute_method");
    assert_eq!((&late["meta"]["attempt"], &call["meta"]["attempt"]), (&json!(1), &json!(2)));
    provider.answer(&late, &json!({"sum": 1}));
    refused(&mut provider, "CALL_ENDED", late["id"].as_str().expect("text"));
    provider.answer(&call, &json!({"sum": 2}));
    let run = cluster.until_ended(&run);
    let task = &run["tasks"]["work"];
    assert_eq!((&task["result"], &task["attempt"]), (&json!({"sum": 2}), &json!(2)), "{run:#}");
}

#[test]
fn a_provider_that_never_answers_times_out() {
    let cluster = cluster();
    let mut provider = math(&cluster);
    let run = submit(&cluster, json!({"timeout": 0.3, "retry": {"max_attempts": 2, "initial_delay": 0.05}}));
    let journal = cluster.watch(&run).finish();
    let errors: Vec<&Value> = journal.all("task_attempt_failed").map(|event| &event.payload["error"]["name"]).collect();
    assert_eq!(errors, ["TASK_TIMEOUT", "TASK_TIMEOUT"], "a time that is up is worth another try");
    for attempt in [1, 2] {
        let call = provider.receive("execute_method");
        assert_eq!((&call["meta"]["attempt"], &call["meta"]["run_id"]), (&json!(attempt), &json!(run)));
        assert!(call["meta"]["timeout_ms"].as_u64().is_some_and(|left| left <= 300), "{call:#}");
        assert_eq!(provider.receive("cancel_method")["id"], call["id"], "its answer is no longer wanted");
    }
    let run = cluster.until_ended(&run);
    assert_eq!(run["tasks"]["work"]["error"]["name"], "TASK_TIMEOUT", "{run:#}");
}

#[test]
fn a_result_that_breaks_the_schema_fails_the_task_and_names_the_field() {
    let cluster = cluster();
    let mut provider = math(&cluster);
    for (result, field) in [
        (json!({"sum": "one"}), "`sum`"),
        (json!({}), "`sum`"),
        (json!({"sum": 1, "product": 2}), "`product`"),
        (json!(null), "result"),
    ] {
        let run = submit(&cluster, json!({"retry": {"max_attempts": 3, "initial_delay": 0.05}}));
        let call = provider.receive("execute_method");
        provider.answer(&call, &result);
        let run = cluster.until_ended(&run);
        let (task, error) = (&run["tasks"]["work"], &run["tasks"]["work"]["error"]);
        assert_eq!((&error["name"], &task["attempt"]), (&json!("TASK_RESULT_INVALID"), &json!(1)), "{run:#}");
        assert!(error["message"].as_str().expect("text").contains(field), "{result}: {error:#}");
    }
}

#[test]
fn a_call_whose_provider_goes_away_is_given_to_another() {
    let cluster = cluster();
    let mut leaving = math(&cluster);
    let run = submit(&cluster, json!({}));
    let mut watch = cluster.watch(&run);
    leaving.receive("execute_method");
    watch.until_task("work", 1, "task_started");
    // A goodbye takes effect at once; the call is lost all the same.
    drop(leaving);
    let mut staying = math(&cluster);
    let call = staying.receive("execute_method");
    assert_eq!(call["meta"]["attempt"], 2);
    staying.answer(&call, &json!({"sum": 1}));
    let journal = watch.finish();
    let lost = ["task_attempt_stopped", "task_requeued", "task_dispatched"];
    let kinds = journal.kinds("work");
    assert_eq!(kinds[..6], [STARTED, lost].concat(), "{kinds:?}");
    assert_eq!(journal.only("task_attempt_stopped").payload["reason"], "provider_lost");
    assert_eq!(cluster.until_ended(&run)["tasks"]["work"]["result"], json!({"sum": 1}));
}

#[test]
fn other_schemas_under_a_known_name_and_version_are_refused_and_named() {
    let cluster = cluster();
    let _provider = math(&cluster);
    let register = |version: &str, methods: Value| {
        let socket = Socket::connect(&cluster.url);
        let protocol = json!({"name": "math", "version": version, "methods": methods});
        let body = json!({"component_type": "provider", "name": "other", "protocols": [protocol]});
        socket.send("register_component", &body);
        socket
    };
    let other = json!({"math/add": {"parameters": {"type": "object"}, "returns": {"type": "number"}}, "math/sub": {}});
    let error = &register("v1", other.clone()).receive("registration_rejected")["error"];
    assert_eq!(error["name"], "PROTOCOL_VERSION_MISMATCH", "{error:#}");
    let message = error["message"].as_str().expect("text");
    for part in ["`math/v1`", "`math/add`", "`returns.type`", "`math/sub`", "new version"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // The error also says what a schema must be, and under a new version everything works.
    let error = &register("v2", json!({"math/add": {"parameters": {"type": "objekt"}}}))
        .receive("registration_rejected")["error"];
    assert!(error["message"].as_str().expect("text").contains("`parameters` of method `math/add`"), "{error:#}");
    register("v2", other).receive("component_registered");
    until("both versions are known", PATIENCE, || {
        let protocols = cluster.ask(&["protocols"]);
        let items = protocols["items"].as_array().expect("a list");
        let of_math = items.iter().filter(|it| it["name"] == "math").count();
        (of_math == 2).then_some(())
    });
}
