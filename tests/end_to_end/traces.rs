//! One trace for each run, complete despite kills, at a receiver that speaks OTLP.

use std::collections::BTreeMap;
use std::path::Path;

use gleitzeit_llm_server::LlmServer;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    Cluster, PATIENCE, Process, Receiver, Sandbox, attribute, example, hex, python, shown, text, until,
};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn exported_to(sandbox: &mut Sandbox, receiver: &Receiver, protocol: &str) {
    sandbox.set("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url);
    sandbox.set("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
}

fn length(span: &Span) -> u64 {
    span.end_time_unix_nano - span.start_time_unix_nano
}

/// Every span has a parent in the trace, except the run's, whose parent is the caller's span if there is one; and the
/// phases of a task fill its time. Returns the spans of tasks by name.
#[track_caller]
fn tasks<'a>(spans: &'a [Span], caller: &str) -> BTreeMap<String, &'a Span> {
    let ids: BTreeMap<String, &Span> = spans.iter().map(|span| (hex(&span.span_id), span)).collect();
    let roots: Vec<&Span> = spans.iter().filter(|span| hex(&span.parent_span_id) == caller).collect();
    assert!(matches!(roots[..], [root] if root.name.starts_with("workflow ")), "{roots:#?}");
    let orphans = spans.iter().filter(|span| !ids.contains_key(&hex(&span.parent_span_id)));
    assert_eq!(orphans.map(|span| &span.name).collect::<Vec<_>>(), [&roots[0].name], "no orphans");
    let mut tasks = BTreeMap::new();
    for task in spans.iter().filter(|span| span.name.starts_with("task ")) {
        let parts: u64 = spans.iter().filter(|span| span.parent_span_id == task.span_id).map(length).sum();
        let off = parts.abs_diff(length(task));
        assert!(off * 20 <= length(task), "{}: {parts} of {} ns are told", task.name, length(task));
        tasks.insert(task.name["task ".len()..].to_owned(), task);
    }
    tasks
}

/// The names of a span's children, in order.
fn parts(spans: &[Span], of: &Span) -> Vec<String> {
    let mut parts: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == of.span_id).collect();
    parts.sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
    parts.iter().map(|span| span.name.clone()).collect()
}

/// The options of the control plane that give up a killed engine soon.
const IMPATIENT: [&str; 2] = ["--engine-patience", "2s"];

/// Starts two agents for queues and engines, one for each other role, and a provider in another language.
fn start_components(cluster: &mut Cluster) -> Process {
    cluster.start_hub_with(&IMPATIENT);
    for (name, role) in [("q1", "queue"), ("q2", "queue"), ("r1", "resolver"), ("p1", "provider")] {
        cluster.start_agent(name, role);
    }
    for engine in ["e1", "e2"] {
        cluster.start_agent(engine, "engine");
    }
    let provider = TRACER.replace("http://localhost:8000", &cluster.url);
    let file = cluster.sandbox.file("provider.py", provider);
    let foreign = cluster.sandbox.start_command(python(&["-u", &file]));
    until("the foreign provider is there", PATIENCE, || {
        let providers = cluster.ask(&["protocols"]);
        providers.to_string().contains("tracer/show").then_some(())
    });
    foreign
}

/// A task that fails once, one that ends once the file `orders` exists, one of the foreign provider, and one after them.
fn traced_workflow(mark: &Path, orders: &Path) -> Value {
    let flaky = format!(
        "import os\nif not os.path.exists({mark:?}):\n    open({mark:?}, 'w').close()\n    raise OSError('not yet')\nresult = 1"
    );
    let wait = format!("import os, time\nwhile not os.path.exists({orders:?}):\n    time.sleep(0.01)\nresult = 2");
    json!({"name": "Traced", "tasks": [
        {"id": "flaky", "method": "python/execute", "parameters": {"code": flaky}, "retry": {"max_attempts": 2, "initial_delay": 0.2}},
        {"id": "long", "method": "python/execute", "parameters": {"code": wait}},
        {"id": "foreign", "method": "tracer/show", "parameters": {}},
        {"id": "last", "method": "util/echo", "dependencies": ["flaky", "long", "foreign"], "parameters": {"n": 1}},
    ]})
}

/// The names of the engine that holds the only task, and of the agent that owns its queue.
fn holders(cluster: &Cluster) -> (String, String) {
    let components = cluster.components();
    let name_of = |what: &str, is_it: &dyn Fn(&Value) -> bool| {
        text(&components.iter().find(|it| is_it(it)).unwrap_or_else(|| panic!("no {what}: {components:#?}"))["name"])
    };
    let owns_queues = |it: &Value| !it["owned_queues"].as_array().expect("a list").is_empty();
    let engine = name_of("busy engine", &|it| it["role"] == "engine" && it["in_use"] == 1);
    (engine, name_of("owner of the queue", &|it| it["role"] == "queue" && owns_queues(it)))
}

#[test]
fn a_trace_is_complete_although_engine_queue_owner_and_hub_were_killed() {
    let (receiver, mut cluster) = (Receiver::start(), Cluster::new());
    exported_to(&mut cluster.sandbox, &receiver, "grpc");
    cluster.sandbox.set("TRACEPARENT", CALLER);
    let foreign = start_components(&mut cluster);
    let [mark, orders] = ["mark", "orders"].map(|name| cluster.sandbox.path().join(name));
    let workflow = traced_workflow(&mark, &orders).to_string();
    let run = cluster.submit(&cluster.sandbox.file("traced.json", workflow));
    let held = cluster.until_run(&run, "only the long task goes on", |run| {
        let status = |task: &str| run["tasks"][task]["status"].clone();
        status("long") == "running" && status("flaky") == "completed" && status("foreign") == "completed"
    });
    assert_eq!(held["correlation_id"], TRACE);

    let (engine, owner) = holders(&cluster);
    cluster.kill_9_agent(&engine);
    cluster.kill_9_agent(&owner);
    cluster.kill_9_hub();
    cluster.start_hub_with(&IMPATIENT);
    std::fs::write(&orders, "").expect("writable");
    let ended = cluster.until_ended(&run);
    assert_eq!(ended["status"], "completed", "{ended:#}");
    drop(foreign);
    cluster.terminate(PATIENCE);

    let spans = receiver.trace(TRACE);
    let tasks = tasks(&spans, "00f067aa0ba902b7");
    assert_eq!(tasks.keys().collect::<Vec<_>>(), ["flaky", "foreign", "last", "long"]);
    let flaky = parts(&spans, tasks["flaky"]);
    for part in ["queue", "attempt 1", "backoff", "attempt 2"] {
        assert!(flaky.iter().any(|name| name == part), "{flaky:?}");
    }
    let long = parts(&spans, tasks["long"]);
    assert!(long.iter().any(|name| name == "attempt 2"), "{long:?}");
    assert_eq!(
        text(&held["tasks"]["foreign"]["result"]["traceparent"]),
        format!("00-{TRACE}-{}-01", hex(&first_attempt(&spans, tasks["foreign"]).span_id)),
        "a provider gets the attempt as its parent"
    );
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == "call python/execute").collect();
    assert!(calls.len() >= 3, "two of the flaky task and at least one of the long one: {calls:#?}");
    assert_eq!(attribute(calls[0], "gleitzeit.provider"), "python_local");
}

/// The first attempt of a task.
fn first_attempt<'a>(spans: &'a [Span], task: &Span) -> &'a Span {
    let attempt = spans.iter().find(|span| span.parent_span_id == task.span_id && span.name == "attempt 1");
    attempt.expect("it was attempted")
}

/// A provider that returns the trace context that it was given.
const TRACER: &str = r#"
import socketio, uuid
hub = socketio.Client()
METHODS = {"tracer/show": {"parameters": {"type": "object"}, "returns": {"type": "object"}}}
ME = {"component_type": "provider", "component_id": str(uuid.uuid4()), "name": "tracer", "max_concurrency": 1, "calls": [],
      "protocols": [{"name": "tracer", "version": "v1", "methods": METHODS}]}
hub.on("welcome", lambda _: hub.emit("register_component", ME))
hub.on("execute_method", lambda call: hub.emit("method_result", {"jsonrpc": "2.0", "id": call["id"],
       "result": {"traceparent": call["meta"]["traceparent"]}}))
hub.connect("http://localhost:8000", transports=["websocket"])
hub.wait()
"#;

#[test]
fn a_run_in_one_process_is_exported_over_http_before_it_ends() {
    let (receiver, mut sandbox) = (Receiver::start(), Sandbox::new());
    exported_to(&mut sandbox, &receiver, "http/protobuf");
    let run = sandbox.gleitzeit(&["run", &example("parallel.yaml"), "-o", "json"]).exits(0).json();
    let metrics = receiver.metrics();
    for name in [
        "gleitzeit.runs.ended",
        "gleitzeit.attempt.duration",
        "process.memory.usage",
        "process.cpu.time",
        "process.unix.file_descriptor.count",
    ] {
        assert!(metrics.contains(name), "{metrics:?}");
    }
    let spans = receiver.trace(&text(&run["correlation_id"]));
    let tasks = tasks(&spans, "");
    let expected: Vec<&String> = run["tasks"].as_object().expect("tasks").keys().collect();
    assert_eq!(tasks.len(), expected.len());
    for task in expected {
        assert_eq!(
            parts(&spans, first_attempt(&spans, tasks[task])),
            [format!("call {}", attribute(tasks[task], "gleitzeit.method"))]
        );
    }
}

/// The attributes `gen_ai.request.*` of a request, by the name's last part; empty for those that it must not have.
type Requested = [(&'static str, &'static str); 6];

/// Two tasks that ask a model: with options among the parameters, and with options in `options`.
fn asking_workflow() -> Value {
    let options = json!({"temperature": 0.5, "max_tokens": 10, "top_p": 0.9, "seed": 3, "stop": ["x", "y"], "frequency_penalty": 1});
    json!({"name": "Asked", "tasks": [
        {"id": "beside", "method": "llm/chat", "parameters": {"model": "llama3.2", "prompt": "hi", "temperature": 1, "max_tokens": 9}},
        {"id": "within", "method": "llm/complete", "parameters": {"model": "llama3.2", "prompt": "hi", "options": options}},
    ]})
}

const BESIDE: Requested = [
    ("temperature", "1.0"),
    ("max_tokens", "9"),
    ("top_p", ""),
    ("seed", ""),
    ("stop_sequences", ""),
    ("frequency_penalty", ""),
];
const WITHIN: Requested = [
    ("temperature", "0.5"),
    ("max_tokens", "10"),
    ("top_p", "0.9"),
    ("seed", "3"),
    ("stop_sequences", "x y"),
    ("frequency_penalty", "1.0"),
];

#[test]
fn a_request_to_a_model_follows_the_conventions_and_carries_its_trace() {
    for (executor, server_name) in [("ollama-llm", "ollama"), ("openai-llm", "openai")] {
        let (receiver, mut sandbox, server) = (Receiver::start(), Sandbox::new(), LlmServer::start());
        exported_to(&mut sandbox, &receiver, "http/protobuf");
        let url = if server_name == "ollama" { server.url() } else { server.openai_url() };
        let provider =
            format!("name: ollama\nprotocol: llm/v1\nexecutor: {executor}\nconnection: {{base_url: \"{url}\"}}\n");
        let provider = sandbox.file("provider.yaml", provider);
        let file = sandbox.file("asked.json", asking_workflow().to_string());
        let run = sandbox.gleitzeit(&["run", &file, "--provider", &provider, "-o", "json"]).exits(0).json();
        let trace_id = text(&run["correlation_id"]);
        let spans = receiver.trace(&trace_id);
        for (task, name, requested) in
            [("beside", "chat llama3.2", BESIDE), ("within", "text_completion llama3.2", WITHIN)]
        {
            let span = model_request(&spans, task);
            assert_eq!(span.name, name);
            follows_the_conventions(span, requested, server_name, &run);
            // The server's own spans would be below the request's span.
            let header = format!("00-{trace_id}-{}-01", hex(&span.span_id));
            let asked = server.asked();
            assert!(asked.iter().any(|asked| asked.traceparent.as_ref() == Some(&header)), "{header}: {asked:?}");
        }
        spans.iter().for_each(has_no_fields_of_logs);
    }
}

/// The only request of a task to a model.
#[track_caller]
fn model_request<'a>(spans: &'a [Span], task: &str) -> &'a Span {
    let is_it = |span: &&Span| span.kind == SpanKind::Client as i32 && attribute(span, "gleitzeit.task.id") == task;
    let found: Vec<&Span> = spans.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "requests of {task}: {spans:#?}");
    found[0]
}

/// A request to a model has the attributes of OpenTelemetry's conventions, and those of its run.
#[track_caller]
fn follows_the_conventions(span: &Span, requested: Requested, server_name: &str, run: &Value) {
    for (name, value) in requested {
        assert_eq!(attribute(span, &format!("gen_ai.request.{name}")), value, "{name} of {}", span.name);
    }
    for (name, value) in [
        ("gen_ai.provider.name", server_name),
        ("gen_ai.request.model", "llama3.2"),
        ("gen_ai.response.model", "llama3.2"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gleitzeit.run.id", run["run_id"].as_str().expect("an id")),
        ("gleitzeit.attempt", "1"),
        ("gleitzeit.provider", "ollama"),
        ("error.type", ""),
    ] {
        assert_eq!(attribute(span, name), value, "{name} of {}", span.name);
    }
    assert_eq!(
        attribute(span, "gen_ai.usage.input_tokens"),
        run["tasks"][attribute(span, "gleitzeit.task.id")]["result"]["usage"]["prompt_tokens"].to_string()
    );
}

#[track_caller]
fn has_no_fields_of_logs(span: &Span) {
    for of_logs in [
        "correlation_id",
        "trace_id",
        "span_id",
        "run_id",
        "task_id",
        "attempt",
        "target",
        "level",
        "thread.id",
        "code.file.path",
    ] {
        assert_eq!(attribute(span, of_logs), "", "{of_logs} of {}", span.name);
    }
}

#[test]
fn failed_spans_have_their_error_and_every_sender_is_identified() {
    let (receiver, mut sandbox) = (Receiver::start(), Sandbox::new());
    exported_to(&mut sandbox, &receiver, "grpc");
    sandbox.set("OTEL_RESOURCE_ATTRIBUTES", "service.version=mine,deployment.environment.name=lab");
    let workflow = json!({"name": "Fails", "tasks": [
        {"id": "a", "method": "util/fail", "parameters": {"message": "no luck", "retryable": false}},
    ]});
    let run =
        sandbox.gleitzeit(&["run", &sandbox.file("fails.json", workflow.to_string()), "-o", "json"]).exits(1).json();
    let trace_id = text(&run["correlation_id"]);
    let spans = receiver.trace(&trace_id);
    for name in ["workflow Fails", "task a", "attempt 1", "call util/fail"] {
        let span = spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}: {spans:#?}"));
        let of_run = text(&run["error"]["name"]);
        let expected = if name.starts_with("workflow") { of_run.as_str() } else { "TASK_EXECUTION_FAILED" };
        assert_eq!(attribute(span, "error.type"), expected, "{name}");
        let status = span.status.as_ref().expect("a status");
        assert!(status.code == StatusCode::Error as i32 && status.message.contains("no luck"), "{name}: {status:?}");
    }
    let call = spans.iter().find(|span| span.name == "call util/fail").expect("it was called");
    assert_eq!((call.kind, attribute(call, "gleitzeit.task.id").as_str()), (SpanKind::Server as i32, "a"));
    let senders = receiver.senders(&trace_id);
    let instance = shown(&senders[0].resource, "service.instance.id");
    assert_eq!(instance.len(), 36, "{senders:#?}");
    for sender in &senders {
        assert_eq!(sender.scope, "gleitzeit");
        assert_eq!(sender.schema_urls, ["https://opentelemetry.io/schemas/1.37.0"; 2]);
        for (name, value) in [
            ("service.name", "gleitzeit"),
            ("service.version", "mine"),
            ("service.instance.id", &instance),
            ("deployment.environment.name", "lab"),
        ] {
            assert_eq!(shown(&sender.resource, name), value, "{name}");
        }
    }
    let again = sandbox.gleitzeit(&["run", &example("parallel.yaml"), "-o", "json"]).exits(0).json();
    let senders = receiver.senders(&text(&again["correlation_id"]));
    assert_ne!(shown(&senders[0].resource, "service.instance.id"), instance, "another process");
}

#[test]
fn unsampled_runs_are_not_exported_and_a_missing_receiver_does_no_harm() {
    let (receiver, mut sandbox) = (Receiver::start(), Sandbox::new());
    exported_to(&mut sandbox, &receiver, "grpc");
    let unsampled = CALLER.replace("-01", "-00");
    sandbox.set("TRACEPARENT", &unsampled);
    let run = sandbox.gleitzeit(&["run", &example("parallel.yaml"), "-o", "json"]).exits(0).json();
    assert_eq!(run["correlation_id"], TRACE);
    assert_eq!(receiver.trace(TRACE), []);
    drop(receiver);
    sandbox.gleitzeit(&["run", &example("parallel.yaml")]).exits(0);
    sandbox.set("OTEL_TRACES_SAMPLER", "sometimes");
    let wrong = sandbox.gleitzeit(&["run", &example("parallel.yaml")]).exits(2);
    assert!(wrong.stderr.contains("OTEL_TRACES_SAMPLER is `sometimes`"), "{wrong}");
}

#[test]
fn the_json_log_identifies_each_call() {
    let mut cluster = Cluster::new();
    cluster.sandbox.set("GLEITZEIT_LOG_FORMAT", "json");
    cluster.sandbox.set("GLEITZEIT_LOG_LEVEL", "gleitzeit_agent=debug");
    cluster.start_hub();
    cluster.start_agent("all", "all");
    let run = cluster.submit(&example("parallel.yaml"));
    let run = cluster.until_ended(&run);
    let agent = cluster.take_agent("all").terminate(PATIENCE);
    let lines: Vec<Value> = agent
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let of_call =
        lines.iter().find(|line| line["span"]["run_id"] == run["run_id"]).expect("something is said in a call");
    let span = &of_call["span"];
    assert_eq!((&span["correlation_id"], &span["trace_id"]), (&run["correlation_id"], &run["correlation_id"]));
    assert_eq!(span["span_id"].as_str().map(str::len), Some(16));
    assert!(span["attempt"] == 1 && run["tasks"].get(text(&span["task_id"])).is_some(), "{span}");
}
