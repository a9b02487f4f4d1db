//! Checks the architecture: imports point one way, and the core stays pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// The domain crates, from the innermost outwards: each depends only on those before it.
const CORE: [&str; 3] = ["gleitzeit-workflow", "gleitzeit-run", "gleitzeit-mesh"];

/// Which crates of ours each other crate may see, besides those of the domain.
const ARROWS: &[(&str, &[&str])] = &[
    ("gleitzeit-proto", &[]),
    ("gleitzeit-protocols", &[]),
    ("gleitzeit-tls", &[]),
    ("gleitzeit-providers", &["gleitzeit-protocols", "gleitzeit-tls"]),
    ("gleitzeit-link", &["gleitzeit-tls"]),
    ("gleitzeit-control-plane", &["gleitzeit-proto", "gleitzeit-protocols"]),
    ("gleitzeit-agent", &["gleitzeit-protocols", "gleitzeit-providers", "gleitzeit-link"]),
    ("gleitzeit-sdk", &["gleitzeit-proto", "gleitzeit-link", "gleitzeit-tls"]),
];

/// Crates that the core must not depend on, directly or indirectly.
const IMPURE: &[&str] = &["tokio", "tonic", "axum", "rusqlite", "socketioxide", "rust_socketio", "reqwest", "tracing"];

fn metadata() -> serde_json::Value {
    let out = Command::new(env!("CARGO"))
        // Not offline: a dependency that no build for this platform has needed may have to be fetched.
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
    let others = ARROWS.iter().map(|(name, sees)| (*name, sees.iter().chain(&CORE).copied().collect()));
    let core = CORE.iter().enumerate().map(|(at, name)| (*name, CORE[..at].iter().copied().collect()));
    let allowed: BTreeMap<&str, BTreeSet<&str>> = core.chain(others).collect();
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name");
        let Some(sees) = allowed.get(name) else { continue };
        seen += 1;
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let dependency_name = dependency["name"].as_str().expect("name");
            if dependency_name.starts_with("gleitzeit") && dependency["kind"] != "dev" {
                assert!(sees.contains(dependency_name), "{name} must not see {dependency_name}");
            }
        }
    }
    assert_eq!(seen, allowed.len(), "every crate of the house is checked");
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
    let core = names.iter().find(|(_, name)| **name == "gleitzeit-mesh").expect("the core is there").0;
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

/// The only modules that may check the operating system; others ask them.
const PLATFORMS: [&str; 4] =
    ["providers/src/platform", "control-plane/src/platform", "src/platform", "sdk/rust/src/regular.rs"];

#[test]
fn only_the_platform_modules_ask_which_system_this_is() {
    const QUESTIONS: [&str; 6] =
        ["target_os", "target_vendor", "target_family", "cfg(unix", "cfg(windows", "cfg!(unix"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut open, mut asked) = (Vec::new(), BTreeSet::new());
    for room in ["core", "proto", "protocols", "providers", "control-plane", "agent", "sdk/rust", "src"] {
        open.push(root.join(room));
    }
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let is_test = path
                .file_name()
                .is_some_and(|name| ["tests", "examples", "benches", "target"].map(OsStr::new).contains(&name));
            if !is_test {
                open.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
            }
            continue;
        }
        let name = path.strip_prefix(root).expect("below it").to_str().expect("text").to_owned();
        if !name.ends_with(".rs") || name.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        // Tests may check whether there is something to test.
        let end = ["#[cfg(test)]", "#[test]", "#[tokio::test]"].iter().filter_map(|mark| text.find(mark)).min();
        let text = &text[..end.unwrap_or(text.len())];
        if let Some(question) = QUESTIONS.iter().find(|question| text.contains(**question)) {
            let place = PLATFORMS.iter().find(|place| name.starts_with(**place));
            asked.insert(
                *place.unwrap_or_else(|| panic!("{name} asks for the system (`{question}`): let `platform` say it")),
            );
        }
    }
    assert_eq!(asked, BTreeSet::from(PLATFORMS), "each of them is one");
}
