//! User-defined protocols: from a folder, and in addition to those that providers register.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Cluster, Ended, PATIENCE, Sandbox, Socket, example};

/// A folder with one protocol of two methods.
fn written(sandbox: &Sandbox, text: &str) -> String {
    let folder = sandbox.path().join("protocols");
    fs::create_dir_all(&folder).expect("writable");
    fs::write(folder.join("text_v1.yaml"), text).expect("writable");
    folder.to_str().expect("UTF-8").to_owned()
}

const TEXT: &str = "
name: text
version: v1
methods:
  text/count:
    parameters:
      type: object
      required: [text]
      additionalProperties: false
      properties: {text: {type: string}}
    returns:
      type: object
      required: [words]
      additionalProperties: false
      properties: {words: {type: integer}}
    examples:
      - {text: one two}
  text/anything:
";

fn workflow(sandbox: &Sandbox, parameters: &Value) -> String {
    let tasks = json!([
        {"id": "count", "method": "text/count", "parameters": parameters},
        {"id": "echo", "method": "util/echo", "parameters": {"words": "${count.words}"}},
    ]);
    sandbox.file("count.json", json!({"name": "Count", "tasks": tasks}).to_string())
}

/// The messages of all problems.
fn problems(ended: Ended) -> Vec<String> {
    let errors = ended.exits(2).json()["errors"].as_array().expect("a list").clone();
    errors.iter().map(|it| format!("{}:{} {}", it["file"].as_str().expect("text"), it["line"], it["message"])).collect()
}

#[test]
fn a_folder_makes_methods_known_offline() {
    let sandbox = Sandbox::new();
    let folder = written(&sandbox, TEXT);
    let (good, bad) = (json!({"text": "one two"}), json!({"text": 2}));
    let file = workflow(&sandbox, &good);
    let found = problems(sandbox.gleitzeit(&["validate", &file, "-o", "json"]));
    assert!(found.len() == 1 && found[0].contains("text/count"), "nobody knows it: {found:?}");
    sandbox.gleitzeit(&["validate", &file, "--protocols", &folder]).exits(0);
    // The same through the environment.
    for (parameters, code) in [(good, 0), (bad, 2)] {
        let mut command = sandbox.command(&["validate", &workflow(&sandbox, &parameters)]);
        command.env("GLEITZEIT_PROTOCOLS_DIR", &folder);
        sandbox.start_command(command).wait(PATIENCE).exits(code);
    }
    let listed = sandbox.gleitzeit(&["protocols", "--offline", "--protocols", &folder, "-o", "json"]).exits(0).json();
    let text =
        listed["items"].as_array().expect("a list").iter().find(|it| it["name"] == "text").expect("listed").clone();
    assert_eq!(text["methods"].as_array().map(Vec::len), Some(2), "{text:#}");
}

#[test]
fn a_protocol_file_that_is_wrong_is_refused_with_its_place() {
    let sandbox = Sandbox::new();
    for (from, to, said) in [
        ("type: string", "type: strin", "text_v1.yaml:10"),
        ("{text: one two}", "{text: 2}", "text_v1.yaml:17"),
        ("{text: one two}", "{txt: one}", "an example of method `text/count` does not fit `parameters`"),
        ("version: v1", "version: v1\nauthor: me", "unknown field `author`"),
        ("text/anything:", "other/anything:", "`other/anything` is not in protocol `text`"),
    ] {
        assert_eq!(TEXT.matches(from).count(), 1, "{from}");
        let folder = written(&sandbox, &TEXT.replace(from, to));
        for command in ["validate", "run"] {
            let file = example("quickstart.yaml");
            let found = problems(sandbox.gleitzeit(&[command, &file, "--protocols", &folder, "-o", "json"]));
            assert!(found.iter().any(|it| it.contains(said)), "{to}: {found:?}");
        }
    }
    // Two files that define the same name differently.
    let folder = written(&sandbox, TEXT);
    let other = TEXT.replace("type: integer", "type: string");
    fs::write(sandbox.path().join("protocols/z.yaml"), other).expect("writable");
    let found = problems(sandbox.gleitzeit(&["protocols", "--offline", "--protocols", &folder, "-o", "json"]));
    assert!(found[0].contains("z.yaml"), "{found:?}");
    assert!(found[0].contains("`returns.properties.words.type` of `text/count` differs"), "{found:?}");
}

#[test]
fn a_control_plane_serves_what_its_folder_describes() {
    let mut cluster = Cluster::new();
    let folder = written(&cluster.sandbox, TEXT);
    cluster.start_hub_with(&["--protocols", &folder]);
    cluster.start_agent("worker", "all");
    // The schema is known before any provider serves the method.
    let bad = workflow(&cluster.sandbox, &json!({}));
    let found = problems(cluster.client(&["submit", &bad, "-o", "json"]));
    assert!(found[0].contains("`text` is missing"), "{found:?}");
    let run = cluster.submit(&workflow(&cluster.sandbox, &json!({"text": "one two"})));
    // A provider may register without schemas, and the known ones apply to it.
    let body = json!({"component_type": "provider", "name": "counter", "methods": ["text/count"]});
    let mut provider = Socket::register(&cluster.url, &body);
    let call = provider.receive("execute_method");
    provider.answer(&call, &json!({"words": 2}));
    assert_eq!(cluster.until_ended(&run)["tasks"]["echo"]["result"], json!({"words": 2}));
    let run = cluster.submit(&workflow(&cluster.sandbox, &json!({"text": "one two"})));
    let call = provider.receive("execute_method");
    provider.answer(&call, &json!({"words": "two"}));
    let error = &cluster.until_ended(&run)["tasks"]["count"]["error"];
    assert_eq!(error["name"], "TASK_RESULT_INVALID", "{error:#}");
    assert!(error["message"].as_str().expect("text").contains("`words`"), "{error:#}");
    // A provider that registers different schemas is refused.
    let mut other = Socket::connect(&cluster.url);
    let protocol = json!({"name": "text", "version": "v1", "methods": {"text/count": {}, "text/anything": null}});
    other.send("register_component", &json!({"component_type": "provider", "name": "other", "protocols": [protocol]}));
    let error = &other.receive("registration_rejected")["error"];
    assert_eq!(error["name"], "PROTOCOL_VERSION_MISMATCH", "{error:#}");
    assert!(error["message"].as_str().expect("text").contains("`parameters` of `text/count` differs"), "{error:#}");
}

#[test]
fn recorded_protocols_stay_when_their_file_changes() {
    let mut cluster = Cluster::new();
    let folder = written(&cluster.sandbox, TEXT);
    cluster.start_hub_with(&["--protocols", &folder]);
    cluster.kill_9_hub();
    // Descriptions may change, the contract may not.
    let words = TEXT.replace("text/anything:", "text/anything: {description: As you like it}");
    written(&cluster.sandbox, &words);
    cluster.start_hub_with(&["--protocols", &folder]);
    let said = cluster.kill_9_hub();
    assert!(!said.contains("differ"), "{said}");
    written(&cluster.sandbox, &TEXT.replace("type: integer", "type: string"));
    cluster.start_hub_with(&["--protocols", &folder]);
    let listed = cluster.ask(&["protocols"]);
    let text =
        listed["items"].as_array().expect("a list").iter().find(|it| it["name"] == "text").expect("kept").clone();
    assert!(text.to_string().contains("integer"), "{text:#}");
    let said = cluster.kill_9_hub();
    assert!(said.contains("`returns.properties.words.type` of `text/count` differs"), "{said}");
}

#[test]
fn the_example_protocol_files_equal_what_the_providers_register() {
    // With them the example workflow can be checked while nothing runs.
    let sandbox = Sandbox::new();
    let (workflow, folder) = (example("custom_provider_workflow.yaml"), example("protocols"));
    sandbox.gleitzeit(&["validate", &workflow, "--protocols", &folder]).exits(0);
    // If they were different, the providers would be refused.
    let mut cluster = Cluster::new();
    cluster.start_hub_with(&["--protocols", &folder]);
    cluster.start_agent("worker", "all");
    let _providers = crate::foreign_examples::start_both(&cluster);
    cluster.client(&["submit", &workflow, "--wait"]).exits(0);
}
