//! What a submitter provides for a workflow, and what is refused.

use gleitzeit_run::submission::{Environment, Given, bind};
use gleitzeit_workflow::spec::{Problem, Workflow};
use gleitzeit_workflow::template::FileContent;
use serde_json::{Value, json};

struct Env;

impl Environment for Env {
    fn allows(&self, name: &str) -> bool {
        name != "SECRET"
    }
    fn read(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/me".to_owned())
    }
}

fn workflow(outputs: Value) -> Workflow {
    serde_json::from_value(json!({
        "name": "w", "inputs": {"topic": "time", "count": null}, "files": {"style": "style.txt"}, "tasks": [],
        "labels": {"team": "a", "kind": "x"}, "outputs": outputs,
    }))
    .expect("a workflow")
}

fn given(inputs: Value, files: &[(&str, &[u8])]) -> Given {
    let Value::Object(inputs) = inputs else { panic!("an object") };
    let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    Given { inputs, files, labels: [("team".to_owned(), "b".to_owned())].into() }
}

fn fields(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.field.as_str()).collect()
}

#[test]
fn defaults_are_filled_in_and_labels_overlaid() {
    let outputs = json!({"home": "${env.HOME}"});
    let bound = bind(workflow(outputs), given(json!({"count": 3}), &[("style", b"plain")]), &Env, "w.yaml");
    let bound = bound.expect("complete");
    assert_eq!(bound.inputs.to_value().expect("JSON"), json!({"topic": "time", "count": 3}));
    assert_eq!(bound.files["style"], FileContent::Text("plain".to_owned()));
    assert_eq!(bound.env["HOME"], "/home/me");
    assert_eq!((bound.labels["team"].as_str(), bound.labels["kind"].as_str()), ("b", "x"));
}

#[test]
fn an_input_of_another_type_than_its_default_is_refused() {
    let given = given(json!({"topic": ["a"], "count": "any"}), &[("style", b"")]);
    let problems = bind(workflow(json!({})), given, &Env, "w.yaml").expect_err("a list is no text");
    assert_eq!(fields(&problems), ["inputs.topic"]);
    assert_eq!(problems[0].message, "input `topic` takes text, as its default is, and was given a list");
}

#[test]
fn binary_files_are_sent_as_base64() {
    let bound = bind(workflow(json!({})), given(json!({"count": 1}), &[("style", &[0xff, 0])]), &Env, "");
    assert_eq!(bound.expect("complete").files["style"], FileContent::Base64("/wA=".to_owned()));
}

#[test]
fn all_missing_and_unknown_inputs_are_reported_together() {
    let outputs = json!({"a": "${env.SECRET}", "b": "${env.NOWHERE}"});
    let given = given(json!({"topik": 1}), &[("stile", b"")]);
    let problems = bind(workflow(outputs), given, &Env, "w.yaml").expect_err("incomplete");
    let expected = ["inputs.count", "inputs.topik", "files.style", "files.stile", "env.NOWHERE", "env.SECRET"];
    assert_eq!(fields(&problems), expected);
    assert_eq!(problems[1].hint.as_deref(), Some("did you mean `topic`?"));
}
