//! What the hub learns about a provider's health.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gleitzeit_agent::AgentConfig;
use gleitzeit_providers::Definition;
use serde_json::{Value, json};

use crate::hub::{TestHub, config};

/// A provider whose Python is at this path.
fn python_at(name: &str, path: &Path) -> Definition {
    let options = format!("{{python_executable: {}}}", path.display());
    let text = format!("name: {name}\nprotocol: python/v1\nexecutor: python-local\noptions: {options}\n");
    Definition::parse("p.yaml", &text).expect("valid")
}

fn serving(definitions: Vec<Definition>) -> AgentConfig {
    AgentConfig { providers: definitions, ..config(&["provider"], "") }
}

fn system_python() -> PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::split_paths(&path).map(|it| it.join("python3")).find(|it| it.exists()).expect("python3 is there")
}

/// Registrations until one says this of the health.
async fn until_health(hub: &mut TestHub, component: &str, wanted: &str) -> Value {
    loop {
        let (_, registration) = hub.receives(component, "register_component").await;
        if registration["health"]["state"] == wanted {
            return registration;
        }
    }
}

#[tokio::test]
async fn an_unhealthy_provider_is_checked_again_soon() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("python3");
    // The interval is far longer than this test may take.
    let config =
        AgentConfig { health_interval: Duration::from_secs(3_600), ..serving(vec![python_at("flipping", &path)]) };
    let (mut hub, agent) = TestHub::with_agent(config, None);
    let registration = until_health(&mut hub, "provider-", "unhealthy").await;
    let reason = registration["health"]["reason"].as_str().expect("a reason");
    assert!(reason.contains(&*path.to_string_lossy()), "{reason}");
    symlink(system_python(), &path).expect("a link");
    until_health(&mut hub, "provider-", "healthy").await;
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn a_slow_health_check_blocks_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("python3");
    fs::write(&path, "#!/bin/sh\nexec sleep 600\n").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it may be run");
    let begun = Instant::now();
    let (mut hub, mut agent) = TestHub::with_agent(serving(vec![python_at("slow", &path)]), None);
    let registration = until_health(&mut hub, "provider-", "starting").await;
    assert_eq!(registration["max_concurrency"].as_u64().map(|it| it > 0), Some(true), "it has room: {registration}");
    agent.becomes_ready(true).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "sooner than the check's own limit: {:?}", begun.elapsed());
    let registration = until_health(&mut hub, "provider-", "healthy").await;
    assert_eq!(registration["health"]["slow"], true, "it gets work, and says that it is slow: {registration}");
    assert!(registration["health"]["reason"].is_string(), "{registration}");
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn no_provider_is_reported_unhealthy_before_the_others_had_time_to_register() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = |name: &str| python_at(name, &folder.path().join(name));
    let (mut hub, agent) = TestHub::with_agent(serving(vec![missing("a"), missing("b"), missing("c")]), None);
    let mut registered = Vec::new();
    while registered.len() < 3 {
        let (id, registration) = hub.receives("provider-", "register_component").await;
        if !registered.contains(&id) {
            assert_eq!(registration["health"]["state"], "starting", "{registration}");
            registered.push(id);
        } else {
            assert_eq!(registered.len(), 3, "one was told early: {registration}");
        }
    }
    for id in &registered {
        until_health(&mut hub, id, "unhealthy").await;
    }
    // The same after the hub was away, for the work that waits there.
    hub.disconnects_all();
    hub.connects_all();
    for id in &registered {
        let (_, registration) = hub.receives(id, "register_component").await;
        assert_eq!(registration["health"]["state"], "starting", "{registration}");
    }
    for id in &registered {
        until_health(&mut hub, id, "unhealthy").await;
    }
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}

#[tokio::test]
async fn a_provider_registers_with_its_capabilities() {
    let text = "name: util\nprotocol: util/v1\nexecutor: builtin\ncapabilities: [near, quick]\n";
    let definition = Definition::parse("util.yaml", text).expect("valid");
    let (mut hub, agent) = TestHub::with_agent(serving(vec![definition]), None);
    let (_, registration) = hub.receives("provider-", "register_component").await;
    assert_eq!(registration["capabilities"], json!(["near", "quick"]));
    assert_eq!(registration["name"], "util");
    agent.shutdown.cancel();
    agent.ends().await.expect("a clean end");
}
