//! The agent as a whole: validation in the engine, readiness, drain, refusal.

use crate::hub::{DEADLINE, Running, Saw, TestHub, attempt, call, call_id, config, wait_until};
use gleitzeit_agent::{Agent, AgentError};
use gleitzeit_protocols::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Tells an engine the shipped protocols and a provider that serves `util`.
fn introduce(hub: &TestHub, engine: &str) {
    let protocols: Vec<_> = Registry::shipped().iter().map(|it| it.to_definition()).collect();
    hub.sends(engine, "protocols", &json!({"protocols": protocols}));
    let status = json!({
        "component_id": "p", "role": "provider", "status": "connected", "capacity": 1,
        "methods": ["util/echo", "util/sleep"], "health": {"state": "healthy"},
    });
    hub.sends(engine, "component_status", &status);
}

/// The one command of the next `append`, by name and body; it is answered with `ok`.
async fn report(hub: &mut TestHub, engine: &str) -> (String, Value) {
    loop {
        let (_, body) = hub.receives(engine, "append").await;
        let proposals = body["proposals"].as_array().expect("a list").clone();
        let mut wanted = None;
        for proposal in proposals {
            let answer = json!({"results": [{"proposal_id": proposal["proposal_id"], "verdict": "ok", "position": 1}]});
            hub.sends(engine, "append_result", &answer);
            let kind = proposal["command"]["type"].as_str().expect("a name").to_owned();
            // How slow the test's machine is decides whether an attempt counts as started.
            if kind != "start_attempt" {
                wanted = Some((kind, proposal["command"]["data"].clone()));
            }
        }
        if let Some(wanted) = wanted {
            return wanted;
        }
    }
}

#[tokio::test]
async fn an_engine_validates_parameters_and_results() {
    let (mut hub, agent) = TestHub::with_agent(config(&["engine"], ""), None);
    let (engine, registration) = hub.receives("engine-", "register_component").await;
    assert_eq!(registration["slots"], json!(256));
    introduce(&hub, &engine);

    hub.sends(&engine, "execute_task", &attempt("a", "util/sleep", json!({"seconds": "long"})));
    let (_, taken) = hub.receives(&engine, "task_taken").await;
    assert_eq!(taken["attempts"][0]["task_id"], json!("a"));
    let (kind, body) = report(&mut hub, &engine).await;
    assert_eq!((kind.as_str(), &body["error"]["name"]), ("fail_attempt", &json!("INVALID_PARAMS")), "{body}");
    assert_eq!(body["error"]["data"]["violations"][0]["path"], json!("seconds"));
    assert_eq!(body["retryable"], json!(false));

    hub.sends(&engine, "execute_task", &attempt("b", "none/such", json!({})));
    let (kind, body) = report(&mut hub, &engine).await;
    assert_eq!((kind.as_str(), &body["error"]["name"]), ("fail_attempt", &json!("METHOD_NOT_FOUND")), "{body}");

    for (task, result, expected) in
        [("c", json!({"slept_seconds": 1}), "complete_attempt"), ("d", json!(7), "fail_attempt")]
    {
        hub.sends(&engine, "execute_task", &attempt(task, "util/sleep", json!({"seconds": 1})));
        let (_, call) = hub.receives(&engine, "execute_method").await;
        assert_eq!((&call["providers"], &call["params"]), (&json!(["p"]), &json!({"seconds": 1})));
        hub.sends(&engine, "method_result", &json!({"jsonrpc": "2.0", "id": call["id"], "result": result}));
        let (kind, body) = report(&mut hub, &engine).await;
        assert_eq!(kind, expected, "{body}");
        if expected == "fail_attempt" {
            assert_eq!(body["error"]["name"], json!("TASK_RESULT_INVALID"), "{body}");
        }
    }
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn unreadable_messages_are_ignored() {
    let (mut hub, agent) = TestHub::with_agent(config(&["queue"], ""), None);
    let (queue, _) = hub.receives("queue-", "register_component").await;
    hub.sends(&queue, "from_the_future", &json!({"a": 1}));
    hub.sends(&queue, "ownership", &json!({"status": "lent"}));
    hub.sends(&queue, "heartbeat", &json!({"meta": {"id": "7"}, "unknown": true}));
    assert!(matches!(hub.next().await, Saw::Message { event, .. } if event == "heartbeat_response"));
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn a_message_that_is_not_json_is_requested_again_on_a_new_connection() {
    let (mut hub, agent) = TestHub::with_agent(config(&["queue"], ""), None);
    let (queue, _) = hub.receives("queue-", "register_component").await;
    hub.sends_text(&queue, "events", r#"{"entries":[}"#);
    let (again, _) = hub.receives("queue-", "register_component").await;
    assert_eq!(again, queue);
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn an_agent_is_ready_while_the_hub_is_connected() {
    let (mut hub, mut agent) = TestHub::with_agent(config(&["all"], "util"), None);
    agent.becomes_ready(true).await;
    hub.disconnects_all();
    agent.becomes_ready(false).await;
    assert!(!agent.task.is_finished());
    hub.connects_all();
    agent.becomes_ready(true).await;
    agent.shutdown.cancel();
    let mut closed = 0;
    while closed < 4 {
        closed += usize::from(matches!(hub.next().await, Saw::Closed { .. }));
    }
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn engines_are_drained_before_providers_and_owners_last() {
    let (mut hub, mut agent) = TestHub::with_agent(config(&["all"], "util"), None);
    agent.becomes_ready(true).await;
    let mut ids = Vec::new();
    while ids.len() < 4 {
        let Saw::Message { component, event, .. } = hub.next().await else { panic!("all are there") };
        assert_eq!(event, "register_component");
        ids.push(component);
    }
    let of = |role: &str| ids.iter().find(|id| id.starts_with(role)).expect("every role is there").clone();
    let (engine, provider) = (of("engine-"), of("provider-"));
    introduce(&hub, &engine);
    hub.sends(&engine, "execute_task", &attempt("a", "util/sleep", json!({"seconds": 1})));
    let (_, open) = hub.receives(&engine, "execute_method").await;
    hub.sends(&provider, "execute_method", &call("b", "util/sleep", json!({"seconds": 0.2})));

    agent.shutdown.cancel();
    let (_, registration) = hub.receives(&engine, "register_component").await;
    assert_eq!(registration["slots"], json!(0), "{registration}");
    // The foreign engine's call is answered while this process's engine still works.
    let (_, answer) = hub.receives(&provider, "method_result").await;
    assert_eq!(answer["id"], json!(call_id("b")));
    hub.sends(&engine, "method_result", &json!({"jsonrpc": "2.0", "id": open["id"], "result": {"slept_seconds": 1}}));
    assert_eq!(report(&mut hub, &engine).await.0, "complete_attempt");

    let mut closed = Vec::new();
    let mut draining = None;
    while closed.len() < 4 {
        match hub.next().await {
            Saw::Closed { component } => closed.push(component.split('-').next().unwrap_or_default().to_owned()),
            Saw::Message { component, event, body } if event == "register_component" => {
                assert_eq!((&component, &body["max_concurrency"]), (&provider, &json!(0)));
                draining = Some(closed.clone());
            }
            Saw::Message { .. } => {}
        }
    }
    assert_eq!(draining, Some(vec!["engine".to_owned()]), "only the engine had left when the provider began to drain");
    assert_eq!(closed[..2], ["engine", "provider"]);
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn a_component_refused_for_good_ends_the_agent() {
    let (mut hub, agent) = TestHub::with_agent(config(&["all"], "util"), Some("provider-"));
    let error = agent.ends().await.expect_err("the provider was refused");
    let AgentError::Rejected { component, error } = error else { panic!("{error}") };
    assert!(component.starts_with("provider-"));
    assert_eq!(error.name(), "PROTOCOL_VERSION_MISMATCH");
    let mut closed = 0;
    while closed < 4 {
        closed += usize::from(matches!(hub.next().await, Saw::Closed { .. }));
    }
}

#[tokio::test]
async fn an_agent_does_not_end_without_a_hub() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut config = config(&["queue"], "");
    config.hub_url = format!("http://{}", listener.local_addr().expect("bound"));
    let agent = Running::start(Agent::new(config).expect("valid"));
    for _ in 0..3 {
        drop(timeout(DEADLINE, listener.accept()).await.expect("it tries again").expect("a connection"));
    }
    assert!(!agent.task.is_finished());
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn a_dropped_agent_leaves_no_process_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alive");
    let (mut hub, agent) = TestHub::with_agent(config(&["provider"], "python_local"), None);
    let (id, _) = hub.receives("provider-", "register_component").await;
    let code = "import os, time\nopen(context['file'] + os.readlink('/proc/self'), 'w').close()\ntime.sleep(600)\n";
    hub.sends(&id, "execute_method", &call("a", "python/execute", json!({"code": code, "context": {"file": file}})));
    let mut process = None;
    wait_until("the code runs", || {
        let entry = std::fs::read_dir(folder.path()).expect("readable").next();
        process = entry.and_then(|it| it.ok()?.file_name().to_str()?.strip_prefix("alive")?.parse::<u32>().ok());
        process.is_some()
    })
    .await;
    agent.task.abort();
    let process = format!("/proc/{}/stat", process.expect("it runs"));
    wait_until("the process is gone", || std::fs::read_to_string(&process).map_or(true, |stat| stat.contains(") Z ")))
        .await;
}
