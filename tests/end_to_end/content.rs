//! The checks of `validate` on the content of tasks, and the messages about inputs: with the place in the file, and
//! without running anything.

use serde_json::{Value, json};

use crate::support::{Cluster, Sandbox};

const FILE: &str = r#"name: Content
inputs: {word: x}
tasks:
  - id: python
    method: python/execute
    parameters:
      code: |
        open('touched', 'w').write('${inputs.word}')
        if ${inputs.word}
            result = 1
  - id: inline
    method: python/execute
    parameters: {code: "result = ("}
  - id: fine
    method: python/execute
    parameters: {code: "result = f'${inputs.word} {1 + 1}'"}
  - id: shell
    method: shell/run
    parameters:
      command: |
        touch touched
        if true; then
          echo ${inputs.word}
        done
  - {id: scheme, method: http/request, parameters: {url: "ftp://example.com/"}}
  - {id: secret, method: http/request, parameters: {url: "https://me:pass@example.com/"}}
  - {id: both, method: http/request, parameters: {url: "https://example.com/", body: a, json: 1}}
  - {id: text, method: http/request, parameters: {url: "https://${inputs.word}/", headers: {Content-Type: application/json}, body: "{a}"}}
"#;

fn told(list: &Value) -> Vec<String> {
    let place = |it: &Value| format!("{}:{}", it["line"], it["column"]);
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
    list.as_array()
        .expect("a list")
        .iter()
        .map(|it| format!("{} {}: {}", place(it), text(it, "field"), text(it, "message")))
        .collect()
}

/// Each expected beginning matches one of the messages, in order.
#[track_caller]
fn begin(told: &[String], expected: &[&str]) {
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told} is not {expected}");
    }
}

#[test]
fn mistakes_in_programs_and_addresses_are_reported_with_their_places_and_nothing_is_run() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("content.yaml", FILE);
    let refused = sandbox.gleitzeit(&["validate", &file, "-o", "json"]).exits(2).json();
    begin(
        &told(&refused["errors"]),
        &[
            "9:",
            "13:",
            "24:9 tasks[3].parameters.command: the shell cannot read the command: ",
            "25:59 tasks[4].parameters.url: `url`: `ftp://example.com/` is not an http or https address",
            "26:59 tasks[5].parameters.url: `url` contains a user or password",
            "27:86 tasks[6].parameters.body: `body` and `json` are both given",
        ],
    );
    let python = told(&refused["errors"]);
    assert!(python[0].contains(" tasks[0].parameters.code: the Python code does not compile: "), "{python:#?}");
    assert!(python[1].contains(" tasks[1].parameters.code: the Python code does not compile: "), "{python:#?}");
    begin(&told(&refused["notes"]), &["28:133 tasks[7].parameters.body: `body` is declared as JSON but is not: "]);
    assert!(!sandbox.path().join("touched").exists(), "nothing is run");
}

#[test]
fn a_missing_python_is_a_note_and_many_programs_are_checked_in_one_process() {
    let sandbox = Sandbox::new();
    let tasks: Vec<Value> = (0..300)
        .map(|number| json!({"id": format!("t{number}"), "method": "python/execute", "parameters": {"code": format!("result = {number}")}}))
        .collect();
    let file = sandbox.file("many.yaml", json!({"name": "Many", "tasks": tasks}).to_string());
    // An interpreter that records each start.
    let (counting, starts) = (sandbox.file("counting", ""), sandbox.path().join("starts"));
    let script = format!("#!/bin/sh\necho started >> '{}'\nexec python3 \"$@\"\n", starts.display());
    std::fs::write(&counting, script).expect("written");
    std::fs::set_permissions(&counting, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
    let with = |interpreter: &str| {
        let provider = format!(
            "name: python_local\nprotocol: python/v1\nexecutor: python-local\noptions: {{python_executable: \
             {interpreter}}}\n"
        );
        let provider = sandbox.file("python.yaml", provider);
        sandbox.gleitzeit(&["validate", &file, "--provider", &provider, "-o", "json"]).exits(0).json()
    };
    assert_eq!(with(&counting), json!({"errors": [], "notes": []}));
    assert_eq!(std::fs::read_to_string(&starts).expect("it was started"), "started\n");
    let noted = with("no-such-python");
    let notes = told(&noted["notes"]);
    assert_eq!(notes.len(), 1, "{notes:#?}");
    assert!(notes[0].contains("Python code was not checked: `no-such-python` cannot be started"), "{notes:#?}");
}

#[test]
fn an_input_of_another_type_than_its_default_is_refused_by_every_command() {
    let text = "name: Inputs\ninputs: {n: 3, flag: true, word: hello, any: null}\ntasks:\n- {id: a, method: util/echo, \
                parameters: {n: \"${inputs.n}\", word: \"${inputs.word}\"}}\noutputs: {n: \"${a.n}\", word: \"${a.word}\"}\n";
    let cluster = Cluster::all_in_one(&[]);
    let file = cluster.sandbox.file("inputs.yaml", text);
    for command in [&["run"][..], &["submit", "--hub-url", &cluster.url], &["run", "--hub-url", &cluster.url]] {
        let arguments = [command, &[&file, "-i", "n=abc", "flag=1", "any=x", "-o", "json"]].concat();
        let refused = cluster.sandbox.gleitzeit(&arguments).exits(2).json();
        begin(
            &told(&refused["errors"]),
            &[
                "2:22 inputs.flag: input `flag` takes true or false, as its default is, and was given the number 1",
                "2:13 inputs.n: input `n` takes a number, as its default is, and was given the text `abc`",
            ],
        );
        assert_eq!(refused["errors"][1]["name"], "INVALID_PARAMS");
    }
    let run = cluster.sandbox.gleitzeit(&["run", &file, "n=1.5", "word=5", "any=[1]", "-o", "json"]).exits(0).json();
    assert_eq!(run["outputs"], json!({"n": 1.5, "word": "5"}), "{run:#}");
}

#[test]
fn a_tab_as_indentation_is_reported_as_a_tab() {
    let sandbox = Sandbox::new();
    for (text, told) in [
        ("name: W\ntasks:\n\t- id: a\n\t  method: util/echo\n", "3:1 : invalid YAML: a tab stands in the indentation"),
        ("name: W\ntasks:\n  - id: a\n\tmethod: util/echo\n", "4:1 : invalid YAML: a tab stands in the indentation"),
        (
            "name: W\ntasks:\n  - id: a\n\n  \tmethod: util/echo\n",
            "5:3 : invalid YAML: a tab stands in the indentation",
        ),
        ("name: |\n\tW\ntasks: []\n", "2:1 : invalid YAML: a tab stands in the indentation"),
        // Inside a text a tab is allowed.
        ("name: |\n  W\n  \tX\ntasks: ]\n", "4:8 : invalid YAML: misplaced bracket"),
    ] {
        let refused = sandbox.gleitzeit(&["validate", &sandbox.file("tab.yaml", text), "-o", "json"]).exits(2).json();
        begin(&self::told(&refused["errors"]), &[told]);
        let hint = refused["errors"][0]["hint"].as_str().unwrap_or_default();
        assert_eq!(hint.contains("indent with spaces"), told.contains("a tab"), "{refused}");
    }
}
