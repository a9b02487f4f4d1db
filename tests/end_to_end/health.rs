//! Healthy and unhealthy providers: what people see of them, and what happens to tasks.

use std::time::Duration;

use gleitzeit_llm_server::LlmServer;
use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Sandbox, Socket, example, free_port, text, time_ms, until};

/// Far longer than a check of an unhealthy provider takes, far shorter than the regular interval.
const SOON: Duration = Duration::from_secs(8);

fn ollama(sandbox: &Sandbox, name: &str, port: u16) -> String {
    let definition = format!(
        "name: {name}\nprotocol: llm/v1\nexecutor: ollama-llm\ncapabilities: [near]\n\
         connection: {{base_url: \"http://localhost:{port}\"}}\n"
    );
    sandbox.file(&format!("{name}.yaml"), definition)
}

fn ask(sandbox: &Sandbox) -> String {
    sandbox.file("ask.yaml", "name: Ask\ntasks: [{id: ask, method: llm/chat, parameters: {prompt: hello}}]\n")
}

fn provider(cluster: &Cluster, name: &str) -> Option<Value> {
    let providers = cluster.ask(&["providers"]);
    providers["items"].as_array().expect("a list").iter().find(|it| it["name"] == name).cloned()
}

#[track_caller]
fn until_health(cluster: &Cluster, name: &str, wanted: &str, limit: Duration) -> Value {
    until(&format!("`{name}` is {wanted}"), limit, || provider(cluster, name).filter(|it| it["health"] == wanted))
}

#[test]
fn a_provider_gets_no_work_while_it_is_unhealthy_and_returns_when_it_recovers() {
    let (mut cluster, port) = (Cluster::new(), free_port());
    cluster.start_hub();
    cluster.start_agent("worker", "queue,resolver,engine");
    // No provider serves the method: the task waits and says so.
    let ask = ask(&cluster.sandbox);
    let waiting = cluster.submit(&ask);
    let reason = "no connected provider serves `llm/chat`";
    cluster.until_run(&waiting, "what it waits for", |run| run["tasks"]["ask"]["waiting"]["reason"] == reason);

    let file = ollama(&cluster.sandbox, "ollama", port);
    let server = LlmServer::start_with(port, None);
    cluster.start_agent_with("models", "provider", &["--provider", &file]);
    assert_eq!(cluster.until_ended(&waiting)["status"], "completed");
    let seen = until_health(&cluster, "ollama", "healthy", PATIENCE);
    assert_eq!(seen["capabilities"][0], "near");
    assert_eq!(
        (&seen["health_reason"], &seen["in_flight"], &seen["status"]),
        (&Value::Null, &json!(0), &json!("connected"))
    );
    assert!(seen["capacity"].as_u64().is_some_and(|it| it > 0), "{seen:#}");
    assert!(seen["methods"].as_array().is_some_and(|it| it.contains(&json!("llm/chat"))), "{seen:#}");

    drop(server);
    let seen = until_health(&cluster, "ollama", "unhealthy", PATIENCE);
    assert!(text(&seen["health_reason"]).contains("start it with `ollama serve`"), "{seen:#}");
    let table = cluster.client(&["providers"]).exits(0);
    let line = table.stdout.lines().find(|line| line.starts_with("ollama")).expect("a line of it");
    for part in ["connected", "unhealthy", "0/", "llm/chat", "near", "Ollama is not reachable"] {
        assert!(line.contains(part), "`{part}` in {line}");
    }
    let failed = cluster.until_ended(&cluster.submit(&ask));
    let error = &failed["tasks"]["ask"]["error"];
    assert_eq!((&failed["status"], &error["name"]), (&json!("failed"), &json!("PROVIDER_UNHEALTHY")), "{failed:#}");
    assert!(text(&error["message"]).contains(text(&seen["health_reason"]).as_str()), "{error:#}");

    let _server = LlmServer::start_with(port, None);
    until_health(&cluster, "ollama", "healthy", PATIENCE);
    assert_eq!(cluster.until_ended(&cluster.submit(&ask))["status"], "completed");
}

#[test]
fn all_unhealthy_providers_of_a_method_are_named_with_their_reasons() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let (one, two) = (ollama(&sandbox, "ollama", port), ollama(&sandbox, "another", port));
    let file = ask(&sandbox);
    let arguments = ["run", &file, "--provider", &one, "--provider", &two, "-o", "json"];
    let run = sandbox.gleitzeit(&arguments).exits(1).json();
    let error = &run["tasks"]["ask"]["error"];
    assert_eq!((&error["name"], &run["tasks"]["ask"]["attempt"]), (&json!("PROVIDER_UNHEALTHY"), &json!(1)), "{run:#}");
    let message = text(&error["message"]);
    let mut from = 0;
    for part in
        ["all providers of `llm/chat` are unhealthy: another: Ollama is not", "; ollama: Ollama is not", "; openai: "]
    {
        let at = message[from..].find(part).unwrap_or_else(|| panic!("`{part}` after {from} in: {message}"));
        from += at + part.len();
    }
    let took = time_ms(&run["finished_at"]) - time_ms(&run["submitted_at"]);
    assert!(took < 5_000, "it took {took} ms");
}

#[test]
fn providers_that_a_run_does_not_need_are_not_mentioned() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["run", &example("quickstart.yaml")]);
    command.env("GLEITZEIT_LOG_LEVEL", "info");
    let ended = sandbox.start_command(command).wait(PATIENCE).exits(0);
    for word in ["WARN", "ollama", "openai"] {
        assert!(!ended.stderr.contains(word), "{word}: {ended}");
    }
}

#[test]
fn only_a_provider_that_becomes_unhealthy_is_a_warning() {
    let (mut cluster, port) = (Cluster::new(), free_port());
    cluster.start_hub();
    let (down, up) = (ollama(&cluster.sandbox, "ollama", free_port()), ollama(&cluster.sandbox, "second", port));
    let server = LlmServer::start_with(port, None);
    cluster.start_agent_with("all", "all", &["--provider", &down, "--provider", &up]);
    until_health(&cluster, "ollama", "unhealthy", PATIENCE);
    until_health(&cluster, "second", "healthy", PATIENCE);
    drop(server);
    until_health(&cluster, "second", "unhealthy", PATIENCE);
    let _server = LlmServer::start_with(port, None);
    // Long before the regular check of a healthy provider.
    until_health(&cluster, "second", "healthy", SOON);
    let mut agent = cluster.take_agent("all");
    assert!(agent.is_running());
    let ended = agent.terminate(PATIENCE);
    let of = |provider: &str| -> Vec<&str> {
        let said = ended.stderr.lines().filter(|line| line.contains(&format!("provider=\"{provider}\"")));
        said.filter_map(|line| line.split_whitespace().nth(1)).collect()
    };
    assert_eq!(of("ollama"), ["INFO"], "{ended}");
    assert_eq!(of("second"), ["WARN", "INFO"], "{ended}");
}

#[test]
fn a_task_waits_for_a_provider_that_is_still_starting() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("worker", "queue,resolver,engine");
    let body = |state: &str| {
        let health = json!({"state": state, "reason": "the model is loading"});
        json!({"component_type": "provider", "component_id": "late", "name": "late", "methods": ["talk/say"],
            "health": health})
    };
    let mut late = Socket::register(&cluster.url, &body("starting"));
    let run = cluster.submit(&cluster.sandbox.file("talk.yaml", "name: Talk\ntasks: [{id: tell, method: talk/say}]\n"));
    cluster.until_run(&run, "what it waits for", |run| {
        let reason = "the providers of `talk/say` are still starting: late: the model is loading";
        run["tasks"]["tell"]["waiting"]["reason"] == reason
    });
    assert_eq!(provider(&cluster, "late").expect("it is there")["health"], "starting");
    // Another unhealthy provider changes nothing: it is not yet known whether all are unhealthy.
    let other = json!({"component_type": "provider", "name": "broken", "methods": ["talk/say"],
        "health": {"state": "unhealthy", "reason": "no disk"}});
    let _broken = Socket::register(&cluster.url, &other);
    late.send("register_component", &body("healthy"));
    let call = late.receive("execute_method");
    late.answer(&call, &json!({"said": "all"}));
    let run = cluster.until_ended(&run);
    assert_eq!((&run["status"], &run["tasks"]["tell"]["attempt"]), (&json!("completed"), &json!(1)), "{run:#}");
}

/// A service that answers everything except its health check, for which it has no time. Ends with the test's process.
fn busy_service() -> u16 {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut unanswered = Vec::new();
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut head = [0; 1024];
            let read = connection.read(&mut head).unwrap_or(0);
            if head[..read].starts_with(b"GET /health ") {
                unanswered.push(connection);
                continue;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone";
            connection.write_all(answer).expect("written");
        }
    });
    port
}

#[test]
fn a_provider_that_is_late_with_its_health_is_slow_and_gets_work() {
    let mut cluster = Cluster::new();
    let port = busy_service();
    // It replaces the built-in provider, so that no other serves the method.
    let definition = format!(
        "name: http\nprotocol: http/v1\nexecutor: http\nconnection: {{base_url: \"http://127.0.0.1:{port}\", \
         health_check: {{path: /health, timeout: 0.2}}}}\n"
    );
    let file = cluster.sandbox.file("http.yaml", definition);
    cluster.start_all(&["--provider", &file]);
    let seen = until_health(&cluster, "http", "slow", PATIENCE);
    assert!(text(&seen["health_reason"]).contains("did not answer within 0.2 s"), "{seen:#}");
    let table = cluster.client(&["providers"]).exits(0);
    let line = table.stdout.lines().find(|line| line.starts_with("http ")).expect("a line of it");
    assert!(line.contains("slow"), "{line}");
    let tasks = json!([{"id": "ask", "method": "http/request", "parameters": {"url": "/work"}}]);
    let run = cluster.sandbox.file("ask.json", json!({"name": "Ask", "tasks": tasks}).to_string());
    let ended = cluster.until_ended(&cluster.submit(&run));
    assert_eq!(ended["status"], "completed", "{ended:#}");
}
