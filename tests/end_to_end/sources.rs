//! The sources of providers and protocols: built in, a folder, and files named one by one.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Sandbox, shipped_providers};

fn util(max_concurrency: u32) -> String {
    format!("name: util\nprotocol: util/v1\nexecutor: builtin\nmax_concurrency: {max_concurrency}\n")
}

fn folder(sandbox: &Sandbox, name: &str, files: &[(&str, &str)]) -> String {
    let folder = sandbox.path().join(name);
    fs::create_dir(&folder).expect("a folder");
    for (file, text) in files {
        fs::write(folder.join(file), text).expect("written");
    }
    folder.to_str().expect("UTF-8").to_owned()
}

/// Name and capacity of each provider of an agent that is started in this way.
fn served(environment: &[(&str, &str)], arguments: &[&str], count: usize) -> Vec<(String, u64)> {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let mut command = cluster.sandbox.command(&["agent", "--role", "provider", "--hub-url", &cluster.url]);
    command.args(arguments).envs(environment.iter().copied());
    let _agent = cluster.sandbox.start_command(command);
    cluster.until_connected("provider", count);
    let providers = cluster.ask(&["providers"]);
    let item = |it: &Value| (it["name"].as_str().expect("text").to_owned(), it["capacity"].as_u64().expect("a number"));
    providers["items"].as_array().expect("a list").iter().map(item).collect()
}

#[track_caller]
fn capacity(served: &[(String, u64)], name: &str) -> u64 {
    let mut found = served.iter().filter(|(it, _)| it == name);
    let capacity = found.next().unwrap_or_else(|| panic!("no {name} in {served:?}")).1;
    assert!(found.next().is_none(), "it was replaced, not added: {served:?}");
    capacity
}

#[test]
fn a_folder_replaces_built_in_providers_and_named_files_replace_both() {
    let sandbox = Sandbox::new();
    let second = "name: second\nprotocol: util/v1\nexecutor: builtin\nmax_concurrency: 7\n";
    let from = folder(&sandbox, "from", &[("a.yaml", &util(1)), ("b.yml", second), ("notes.txt", "no provider")]);
    let named = sandbox.file("named.yaml", util(2));
    let environment = [("GLEITZEIT_PROVIDERS_DIR", from.as_str())];

    let all = shipped_providers();
    assert_eq!(capacity(&served(&[], &[], all), "util"), 256);
    let with_folder = served(&environment, &[], all + 1);
    assert_eq!((capacity(&with_folder, "util"), capacity(&with_folder, "second")), (1, 7));
    let with_file = served(&environment, &["--provider", &named], all + 1);
    assert_eq!((capacity(&with_file, "util"), capacity(&with_file, "second")), (2, 7));
    // A flag takes precedence over its variable, and the last of several files over the first.
    let empty = folder(&sandbox, "empty", &[]);
    let last = sandbox.file("last.yaml", util(3));
    let flags = ["--providers", &empty, "--provider", &named, "--provider", &last];
    assert_eq!(capacity(&served(&environment, &flags, all), "util"), 3);
}

#[test]
fn a_provider_file_replaces_a_built_in_provider() {
    let sandbox = Sandbox::new();
    let named = sandbox.file("named.yaml", util(1));
    let task = |n| json!({"id": format!("t{n}"), "method": "util/sleep", "parameters": {"seconds": 0.3}});
    let workflow = json!({"name": "Sleep", "tasks": (0..3).map(task).collect::<Vec<_>>()});
    let file = sandbox.file("sleep.json", workflow.to_string());
    let run = sandbox.gleitzeit(&["run", &file, "--provider", &named, "-o", "json"]).exits(0).json();
    let ms = |name: &str| crate::support::time_ms(&run[name]);
    let took = ms("finished_at") - ms("submitted_at");
    assert!(took >= 900, "one after the other: {took} ms");
}

/// A file, and line, column, and parts of message and hint of its one problem.
const BAD: [(&str, u64, u64, &str, &str); 7] = [
    ("name: p\nprotocol: util/v1\nexecutor: buildin\n", 3, 11, "unknown executor `buildin`", "`builtin`"),
    ("name: p\nprotocol: util\nexecutor: builtin\n", 2, 11, "not a protocol with a version", "python/v1"),
    ("name: p\nprotocol: util/v9\nexecutor: builtin\n", 2, 11, "unknown protocol `util/v9`", "`util/v1`"),
    ("name: p\nprotocol: chess/v1\nexecutor: builtin\n", 2, 11, "unknown protocol `chess/v1`", "--protocols DIR"),
    (
        "name: p\nprotocol: util/v1\nexecutor: builtin\nmax_concurency: 3\n",
        4,
        1,
        "`max_concurency`",
        "`max_concurrency`",
    ),
    ("name: p\nprotocol: util/v1\nexecutor: builtin\nmax_concurrency: 0\n", 4, 18, "max_concurrency", ""),
    ("name: p\nprotocol: llm/v1\nexecutor: ollama-llm\n", 1, 1, "`connection` is missing", "base_url"),
];

#[test]
fn a_bad_provider_file_names_its_place_and_a_remedy_and_nothing_is_started() {
    let sandbox = Sandbox::new();
    let workflow = sandbox.file("w.yaml", "name: W\ntasks: [{id: a, method: util/echo}]\n");
    for (number, (bad, line, column, message, hint)) in BAD.iter().enumerate() {
        let named = sandbox.file("bad.yaml", bad);
        let ended = sandbox.gleitzeit(&["run", &workflow, "--provider", &named, "-o", "json"]).exits(2);
        let errors = &ended.json()["errors"];
        assert_eq!(errors.as_array().map(Vec::len), Some(1), "{bad}: {ended}");
        let error = &errors[0];
        assert_eq!(
            (&error["file"], &error["name"]),
            (&json!(named), &json!("CONFIGURATION_ERROR")),
            "{bad}: {error:#}"
        );
        assert_eq!((&error["line"], &error["column"]), (&json!(line), &json!(column)), "{bad}: {error:#}");
        let said = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        assert!(said("message").contains(message) && said("hint").contains(hint), "{bad}: {error:#}");

        let dir = folder(&sandbox, &format!("bad{number}"), &[("good.yaml", &util(1)), ("bad.yaml", bad)]);
        for arguments in [&["agent"][..], &["start", "--port", "0"], &["run", &workflow]] {
            let mut command = sandbox.command(arguments);
            command.env("GLEITZEIT_PROVIDERS_DIR", &dir);
            let ended = sandbox.start_command(command).wait(PATIENCE).exits(2);
            let place = format!("{dir}/bad.yaml:{line}:{column}");
            assert!(ended.stderr.contains(&place) && ended.stderr.contains(message), "{bad}: {ended}");
            assert!(!ended.stdout.contains("ready at"), "{ended}");
        }
    }
    assert!(sandbox.kept_stores().is_empty());
}

#[test]
fn two_files_of_a_folder_with_the_same_name_are_refused() {
    let sandbox = Sandbox::new();
    let dir = folder(&sandbox, "twice", &[("a.yaml", &util(1)), ("b.yaml", &util(2))]);
    let mut command = sandbox.command(&["agent"]);
    command.env("GLEITZEIT_PROVIDERS_DIR", &dir);
    let ended = sandbox.start_command(command).wait(PATIENCE).exits(2);
    assert!(ended.stderr.contains(&format!("{dir}/b.yaml:1:7")), "{ended}");
    assert!(ended.stderr.contains(&format!("`{dir}/a.yaml` already has a provider named `util`")), "{ended}");
}

#[test]
fn all_problems_of_all_files_are_reported_at_once() {
    let sandbox = Sandbox::new();
    let one = sandbox.file("one.yaml", "name: p\nprotocol: util/v9\nexecutor: buildin\n");
    let two = sandbox.file("two.yaml", "protocol: util/v1\nexecutor: builtin\n");
    let three = sandbox.file("three.yaml", "name: q\nprotocol: chess/v1\nexecutor: builtin\n");
    let missing = sandbox.path().join("missing.yaml");
    let missing = missing.to_str().expect("UTF-8");
    let mut arguments = vec!["agent"];
    for file in [&one, &two, &three, missing] {
        arguments.extend(["--provider", file]);
    }
    let ended = sandbox.gleitzeit(&arguments).exits(2);
    for part in ["one.yaml:3:11", "two.yaml:1:1", "three.yaml:2:11", "missing.yaml"] {
        assert!(ended.stderr.contains(part), "{part}: {ended}");
    }
}
