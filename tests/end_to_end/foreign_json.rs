//! Foreign values that are not JSON, or JSON that cannot be carried: each is refused with its place, wherever it
//! enters, and never changed silently.

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Raw, node, python, text};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("worker", "all");
    cluster
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn submit(cluster: &Cluster, tasks: &Value, outputs: &Value) -> String {
    let workflow = json!({"name": "Values", "tasks": tasks, "outputs": outputs});
    cluster.submit(&cluster.sandbox.file("values.json", workflow.to_string()))
}

fn one_task(cluster: &Cluster) -> String {
    let retry = json!({"max_attempts": 3, "initial_delay": 0.05});
    submit(cluster, &json!([{"id": "a", "method": "m/x", "retry": retry}]), &json!({}))
}

/// The text of an answer whose result is this text.
fn answer(call: &Value, result: &str) -> String {
    format!("42[\"method_result\",{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}]", call["id"])
}

/// The run failed with the first attempt of its task, whose result was invalid.
#[track_caller]
fn fails_once(cluster: &Cluster, run: &str, said: &str) {
    let run = cluster.until_ended(run);
    let task = &run["tasks"]["a"];
    assert_eq!((&task["error"]["name"], &task["attempt"]), (&json!("TASK_RESULT_INVALID"), &json!(1)), "{run:#}");
    assert!(text(&task["error"]["message"]).contains(said), "{said}: {run:#}");
}

#[test]
fn invalid_json_ends_the_call_that_it_names_and_keeps_the_connection() {
    let cluster = cluster();
    let mut provider = Raw::provider(&cluster.url, "m/x");
    for number in ["NaN", "Infinity", "-Infinity"] {
        let run = one_task(&cluster);
        let call = provider.event("execute_method");
        provider.send(&answer(&call, &format!("{{\"x\": [1, {number}]}}")));
        let said = format!("in `result.x[1]`: {number} is no JSON");
        let error = provider.event("mesh_error");
        assert_eq!((&error["name"], &error["in_reply_to"]), (&json!("INVALID_REQUEST"), &json!("method_result")));
        assert!(text(&error["message"]).contains(&said), "{error}");
        fails_once(&cluster, &run, &said);
    }
    let log = cluster.hub_log();
    let line = log.lines().find(|line| line.contains("an event could not be read")).expect("it is logged");
    assert!(line.contains("WARN") && line.contains("NaN") && !line.contains("socket "), "{line}");

    // If a message has several answers, the valid ones count. Invalid progress is refused, and the call goes on. The
    // connection stays open.
    let run = one_task(&cluster);
    let call = provider.event("execute_method");
    let id = &call["id"];
    provider.send(&format!("42[\"method_progress\",{{\"id\":{id},\"data\":{{\"loss\":NaN}}}}]"));
    assert!(text(&provider.event("mesh_error")["message"]).contains("in `data.loss`: NaN is no JSON"));
    provider.send(&format!("42[\"method_progress\",{{\"id\":{id},\"data\":{{\"loss\":1e400}}}}]"));
    assert!(text(&provider.event("mesh_error")["message"]).contains("in `data.loss`: the number 1e400"));
    for packet in ["42[\"method_result\",{]", "42{}", "42", "49", "451-[\"method_result\",{}]", "42/x,[\"watch\",{}]"] {
        provider.send(packet);
        assert_eq!(provider.event("mesh_error")["name"], "INVALID_REQUEST", "{packet}");
    }
    let bad = r#"{"jsonrpc":"2.0","id":"elsewhere","result":NaN}"#;
    let good = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"x\":1}}}}");
    provider.send(&format!("42[\"method_result\",{{\"results\":[{bad},{good}]}}]"));
    let run = cluster.until_ended(&run);
    assert_eq!(run["tasks"]["a"]["result"], json!({"x": 1}), "{run:#}");
}

#[test]
fn a_result_that_cannot_be_carried_is_invalid_and_one_at_the_limit_goes_everywhere() {
    let cluster = cluster();
    let mut provider = Raw::provider(&cluster.url, "m/x");
    for (result, said) in [
        (r#"{"title": "\ud83c"}"#, "in `title`: \\ud83c is half of a surrogate pair"),
        (r#"{"n": [1e400]}"#, "in `n[0]`: the number 1e400 is too large to be stored; send it as text"),
        (r#"{"n": 6E-578}"#, "in `n`: the number 6E-578 is too close to zero"),
        (r#"{"n": 18446744073709551616}"#, "the whole number 18446744073709551616 does not fit into 64 bits"),
        (&nested(129), "nested deeper than the limit of 128 levels"),
        (&nested(20_000), "nested deeper than the limit of 128 levels"),
    ] {
        let run = one_task(&cluster);
        let call = provider.event("execute_method");
        provider.send(&answer(&call, result));
        fails_once(&cluster, &run, said);
    }
    let tasks = json!([
        {"id": "a", "method": "m/x"},
        {"id": "whole", "method": "util/echo", "parameters": {"v": "${a.v[0]}", "n": "${a.n}"}},
        {"id": "wrapped", "method": "util/echo", "parameters": {"v": {"w": "${a}"}}},
    ]);
    let run = submit(&cluster, &tasks, &json!({}));
    let call = provider.event("execute_method");
    let result = format!("{{\"n\":18446744073709551615,\"v\":{}}}", nested(127));
    provider.send(&answer(&call, &result));
    let ended = cluster.until_ended(&run);
    let tasks = &ended["tasks"];
    assert_eq!((&tasks["a"]["status"], &tasks["whole"]["status"]), (&json!("completed"), &json!("completed")), "{run}");
    assert_eq!(tasks["whole"]["result"]["n"], json!(u64::MAX));
    let error = &tasks["wrapped"]["error"];
    assert_eq!(error["name"], "TASK_PARAMETER_ERROR", "{error}");
    assert!(text(&error["message"]).contains("nested deeper than the limit of 128 levels"), "{error}");
    for format in ["table", "json", "yaml"] {
        for command in ["status", "logs"] {
            let ended = cluster.client(&[command, &run, "-o", format]).exits(0);
            assert!(ended.stdout.contains("18446744073709551615") || command == "status", "{command} {format}");
        }
    }
}

#[test]
fn inputs_that_cannot_be_carried_are_refused_by_name() {
    let cluster = Cluster::all_in_one(&[]);
    let workflow = json!({"name": "In", "inputs": {"v": null}, "tasks": [
        {"id": "a", "method": "util/echo", "parameters": {"v": "${inputs.v}"}}]});
    let file = cluster.sandbox.file("in.json", workflow.to_string());
    for (given, said) in [
        (nested(128), "nested deeper than the limit of 128 levels"),
        ("1e400".to_owned(), "the number 1e400"),
        ("18446744073709551616".to_owned(), "does not fit into 64 bits; send it as text"),
        ("\"\\ud83d\"".to_owned(), "half of a surrogate pair"),
    ] {
        let ended = cluster.client(&["submit", &file, "--input", &format!("v={given}")]).exits(2);
        assert!(ended.stderr.contains("`--input v`") && ended.stderr.contains(said), "{given}: {}", ended.stderr);
    }
    let run = text(&cluster.ask(&["submit", &file, "--input", &format!("v={}", nested(126))])["run_id"]);
    let ended = cluster.until_ended(&run);
    assert!(ended["tasks"]["a"]["result"]["v"].is_array(), "{ended:#}");
}

#[test]
fn events_are_acknowledged_where_they_ask_for_it() {
    let cluster = cluster();
    let mut socket = Raw::connect(&cluster.url);
    socket.send("427[\"nonsense\",{}]");
    let refused: Value = serde_json::from_str(&socket.receive("437")).expect("JSON");
    assert_eq!((&refused[0]["name"], &refused[0]["in_reply_to"]), (&json!("INVALID_REQUEST"), &json!("nonsense")));
    socket.send("428[\"register_component\",{\"component_type\":\"provider\",\"name\":\"m\",\"methods\":[\"m/x\"]}]");
    assert_eq!(socket.receive("438"), "[]");

    // In the form that stock clients request.
    let file = cluster.sandbox.file(
        "acks.py",
        format!(
            "import socketio\nhub = socketio.Client()\nhub.connect('{}')\n\
             print(hub.call('register_component', {{'component_type': 'provider', 'name': 'p', 'methods': ['m/y']}}))\n\
             print(hub.call('nonsense', {{}})['name'])\nhub.disconnect()\n",
            cluster.url
        ),
    );
    let said = cluster.sandbox.start_command(python(&["-u", &file])).wait(PATIENCE).exits(0);
    assert_eq!(said.stdout, "None\nINVALID_REQUEST\n");
    let script = format!(
        "import {{ io }} from 'socket.io-client'\nconst hub = io('{}')\nhub.on('welcome', async () => {{\n\
         console.log(await hub.emitWithAck('register_component', {{component_type: 'provider', name: 'j', methods: \
         ['m/z']}}))\nconsole.log((await hub.emitWithAck('nonsense', {{}})).name)\nhub.close()\n}})\n",
        cluster.url
    );
    let said = cluster.sandbox.start_command(node(&cluster.sandbox, "acks.mjs", &script)).wait(PATIENCE).exits(0);
    assert_eq!(said.stdout, "undefined\nINVALID_REQUEST\n");
    let log = cluster.hub_log();
    assert!(!log.contains("not an Engine.IO packet") && !log.contains("not UTF-8 text"), "{log}");
}
