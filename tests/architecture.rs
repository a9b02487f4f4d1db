//! The house: imports point one way, and the core stays pure.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which crates of ours each crate may see.
const ARROWS: &[(&str, &[&str])] = &[
    ("gleitzeit-core", &[]),
    ("gleitzeit-proto", &["gleitzeit-core"]),
    ("gleitzeit-protocols", &["gleitzeit-core"]),
    ("gleitzeit-tls", &[]),
    ("gleitzeit-providers", &["gleitzeit-core", "gleitzeit-protocols", "gleitzeit-tls"]),
    ("gleitzeit-link", &["gleitzeit-core", "gleitzeit-tls"]),
    ("gleitzeit-control-plane", &["gleitzeit-core", "gleitzeit-proto", "gleitzeit-protocols"]),
    ("gleitzeit-agent", &["gleitzeit-core", "gleitzeit-protocols", "gleitzeit-providers", "gleitzeit-link"]),
    ("gleitzeit-sdk", &["gleitzeit-core", "gleitzeit-proto", "gleitzeit-link", "gleitzeit-tls"]),
];

/// What must never be among the dependencies of the core, directly or through others.
const IMPURE: &[&str] = &["tokio", "tonic", "axum", "rusqlite", "socketioxide", "rust_socketio", "reqwest", "tracing"];

fn metadata() -> serde_json::Value {
    let out = Command::new(env!("CARGO"))
        // Not offline: what no build for this platform has needed may have to be fetched.
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo prints JSON")
}

#[test]
fn imports_follow_the_arrows() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(name, sees)| (*name, sees.iter().copied().collect())).collect();
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name");
        let Some(allowed) = allowed.get(name) else { continue };
        seen += 1;
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let dependency_name = dependency["name"].as_str().expect("name");
            if dependency_name.starts_with("gleitzeit") && dependency["kind"] != "dev" {
                assert!(allowed.contains(dependency_name), "{name} must not see {dependency_name}");
            }
        }
    }
    assert_eq!(seen, ARROWS.len(), "every crate of the house is checked");
}

#[test]
fn the_core_builds_without_a_runtime() {
    let metadata = metadata();
    let nodes: BTreeMap<&str, &serde_json::Value> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| (node["id"].as_str().expect("id"), node))
        .collect();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| (package["id"].as_str().expect("id"), package["name"].as_str().expect("name")))
        .collect();
    let core = names.iter().find(|(_, name)| **name == "gleitzeit-core").expect("the core is there").0;
    let (mut open, mut reached) = (vec![*core], BTreeSet::new());
    while let Some(id) = open.pop() {
        if !reached.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().expect("deps") {
            let kinds = dependency["dep_kinds"].as_array().expect("kinds");
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                open.push(dependency["pkg"].as_str().expect("pkg"));
            }
        }
    }
    for id in reached {
        assert!(!IMPURE.contains(&names[id]), "the core depends on {}", names[id]);
    }
}
