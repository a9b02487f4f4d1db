//! The provider host with real executors behind it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::hub::{TestHub, call, call_id, config, wait_until};
use gleitzeit_providers::Definition;
use serde_json::{Value, json};

/// Writes its process id into a file, then waits for long.
const LONG: &str = "import os, time\nwith open(context['file'] + '.tmp', 'w') as f:\n    f.write(os.readlink('/proc/self'))\n\
                    os.rename(context['file'] + '.tmp', context['file'])\ntime.sleep(600)\n";

async fn process_id(file: &Path) -> u32 {
    wait_until("the code runs", || file.exists()).await;
    std::fs::read_to_string(file).expect("readable").parse().expect("a process id")
}

fn is_gone(process: u32) -> bool {
    // A process that nobody has waited for yet is dead already.
    std::fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[tokio::test]
async fn calls_are_served_and_answered() {
    let (mut hub, agent) = TestHub::with_agent(config(&["provider"], "util,python_local"), None);
    let mut ids = std::collections::HashMap::new();
    while ids.len() < 2 {
        let (id, registration) = hub.receives("provider-", "register_component").await;
        assert_ne!(registration["health"]["state"], "unhealthy", "{registration}");
        assert_eq!(registration["component_id"], json!(id));
        assert_eq!(registration["batch"], json!(true));
        ids.insert(registration["name"].as_str().expect("a name").to_owned(), (id, registration));
    }
    let (util, registration) = &ids["util"];
    assert_eq!(registration["max_concurrency"], json!(256));
    assert_eq!(registration["protocols"][0]["methods"]["util/sleep"]["parameters"]["required"], json!(["seconds"]));
    let (python, registration) = &ids["python_local"];
    assert_eq!(registration["methods"], json!(["python/execute", "python/validate"]));

    hub.sends(util, "execute_method", &call("a", "util/echo", json!({"greeting": "hello"})));
    let (_, answer) = hub.receives(util, "method_result").await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": call_id("a"), "result": {"greeting": "hello"}}));

    let code = json!({"code": "result = context['n'] + 1", "context": {"n": 41}});
    hub.sends(python, "execute_method", &call("b", "python/execute", code));
    let (_, answer) = hub.receives(python, "method_result").await;
    assert_eq!(answer["result"]["result"], json!(42), "{answer}");

    let code = json!({"code": "raise ValueError('no')"});
    hub.sends(python, "execute_method", &call("c", "python/execute", code));
    let (_, answer) = hub.receives(python, "method_result").await;
    assert_eq!(answer["error"]["name"], json!("TASK_EXECUTION_FAILED"), "{answer}");
    assert_eq!(answer["error"]["data"]["type"], json!("ValueError"), "{answer}");

    hub.sends(util, "execute_method", &call("d", "util/none", json!({})));
    let (_, answer) = hub.receives(util, "method_result").await;
    assert_eq!(answer["error"]["name"], json!("METHOD_NOT_SUPPORTED"), "{answer}");
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn a_cancelled_call_kills_its_process_within_a_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    let (mut hub, agent) = TestHub::with_agent(config(&["provider"], "python_local"), None);
    let (id, _) = hub.receives("provider-", "register_component").await;
    let code = json!({"code": LONG, "context": {"file": file}});
    hub.sends(&id, "execute_method", &call("long", "python/execute", code));
    let process = process_id(&file).await;
    assert!(!is_gone(process));

    let cancelled = Instant::now();
    hub.sends(&id, "cancel_method", &json!({"id": call_id("long")}));
    wait_until("the process is gone", || is_gone(process)).await;
    assert!(cancelled.elapsed() < Duration::from_secs(1), "{:?}", cancelled.elapsed());

    // A cancelled call is not answered: the next answer is of the next call.
    hub.sends(&id, "execute_method", &call("next", "python/execute", json!({"code": "result = 1"})));
    let (_, answer) = hub.receives(&id, "method_result").await;
    assert_eq!(answer["id"], json!(call_id("next")), "{answer}");
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn force_ends_calls_and_agent_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    let (mut hub, agent) = TestHub::with_agent(config(&["provider"], "python_local"), None);
    let (id, _) = hub.receives("provider-", "register_component").await;
    let code = json!({"code": LONG, "context": {"file": file}});
    hub.sends(&id, "execute_method", &call("long", "python/execute", code));
    let process = process_id(&file).await;

    agent.shutdown.cancel();
    let registration = loop {
        // It may still have had to say how it is.
        let (_, registration) = hub.receives(&id, "register_component").await;
        if registration["max_concurrency"] == 0 {
            break registration;
        }
    };
    assert_eq!(registration["calls"], json!([call_id("long")]));
    let forced = Instant::now();
    agent.force.cancel();
    agent.ends().await.expect("as wanted");
    wait_until("the process is gone", || is_gone(process)).await;
    assert!(forced.elapsed() < Duration::from_secs(2), "{:?}", forced.elapsed());
}

#[tokio::test]
async fn no_more_calls_run_than_the_concurrency_allows() {
    let text = "name: one\nprotocol: util/v1\nexecutor: builtin\nmax_concurrency: 1\n";
    let mut config = config(&["provider"], "");
    config.providers = vec![Definition::parse("one.yaml", text).expect("valid")];
    let (mut hub, agent) = TestHub::with_agent(config, None);
    let (id, _) = hub.receives("provider-", "register_component").await;
    let long = call("long", "util/sleep", json!({"seconds": 600}));
    let next = call("next", "util/sleep", json!({"seconds": 600}));
    hub.sends(&id, "execute_method", &json!({"calls": [long, next]}));
    let (_, waiting) = hub.receives(&id, "method_waiting").await;
    assert_eq!(waiting["ids"], json!([call_id("next")]));
    for _ in 0..20 {
        hub.sends(&id, "heartbeat", &json!({}));
        let crate::hub::Saw::Message { event, body, .. } = hub.next().await else { panic!("the agent is there") };
        assert_eq!((event.as_str(), &body["load"]), ("heartbeat_response", &json!(2)), "{body}");
    }
    hub.sends(&id, "cancel_method", &json!({"id": call_id("long")}));
    let (_, started) = hub.receives(&id, "method_started").await;
    assert_eq!(started["ids"], json!([call_id("next")]));
    hub.sends(&id, "cancel_method", &json!({"id": call_id("next")}));
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn the_timeout_of_a_call_starts_when_it_gets_a_slot() {
    let text = "name: one\nprotocol: util/v1\nexecutor: builtin\nmax_concurrency: 1\n";
    let mut config = config(&["provider"], "");
    config.providers = vec![Definition::parse("one.yaml", text).expect("valid")];
    let (mut hub, agent) = TestHub::with_agent(config, None);
    let (id, _) = hub.receives("provider-", "register_component").await;
    let first = call("first", "util/sleep", json!({"seconds": 1.5}));
    let mut second = call("second", "util/sleep", json!({"seconds": 0.05}));
    second["meta"]["timeout_ms"] = json!(1_000);
    hub.sends(&id, "execute_method", &json!({"calls": [first, second]}));
    for expected in ["first", "second"] {
        let (_, answer) = hub.receives(&id, "method_result").await;
        assert_eq!((&answer["id"], &answer["error"]), (&json!(call_id(expected)), &Value::Null), "{answer}");
    }
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn a_result_above_the_limit_fails_the_call() {
    let mut config = config(&["provider"], "util");
    config.max_payload_bytes = 1_000;
    let (mut hub, agent) = TestHub::with_agent(config, None);
    let (id, _) = hub.receives("provider-", "register_component").await;
    hub.sends(&id, "execute_method", &call("a", "util/echo", json!({"text": "x".repeat(1_000)})));
    let (_, answer) = hub.receives(&id, "method_result").await;
    assert_eq!(answer["error"]["name"], json!("TASK_RESULT_INVALID"));
    assert!(answer["error"]["message"].as_str().is_some_and(|it| it.contains("the limit is 1000")), "{answer}");
    hub.sends(&id, "execute_method", &call("b", "util/fail", json!({"message": "y".repeat(5_000)})));
    let (_, answer) = hub.receives(&id, "method_result").await;
    assert_eq!(answer["error"]["name"], json!("TASK_EXECUTION_FAILED"));
    assert_eq!(answer["error"]["data"], json!({"retryable": true}), "what decides about retries stays");
    assert_ne!(answer["error"]["message"], Value::String("y".repeat(5_000)));
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}
