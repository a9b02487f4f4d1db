//! Commands that need no control plane, and `logs`: the first commands that people try.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Sandbox, example};

#[test]
fn a_workflow_is_drawn_for_the_terminal_mermaid_graphviz_and_programs() {
    let sandbox = Sandbox::new();
    let chain = example("chain.yaml");
    let drawn = sandbox.gleitzeit(&["graph", &chain]).exits(0).stdout;
    assert!(drawn.contains("│ first ├────▶│ second ├────▶│ third ├────▶│ last │"), "{drawn}");
    let mermaid = sandbox.gleitzeit(&["graph", &chain, "--as", "mermaid"]).exits(0).stdout;
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("t0 --> t1"), "{mermaid}");
    let dot = sandbox.gleitzeit(&["graph", &chain, "--as", "dot"]).exits(0).stdout;
    assert!(dot.starts_with("digraph \"Chain\" {") && dot.contains("\"first\" -> \"second\";"), "{dot}");
    let document = sandbox.gleitzeit(&["graph", &chain, "-o", "json"]).exits(0).json();
    assert_eq!(document["tasks"][1]["dependencies"], json!(["first"]));
    assert_eq!((&document["name"], &document["tasks"][3]["step"]), (&json!("Chain"), &json!(4)));
    let unknown = sandbox.file("far.yaml", "name: Far\ntasks:\n  - {id: a, method: far/away}\n");
    sandbox.gleitzeit(&["graph", &unknown]).exits(0);
    let wrong = sandbox.file("wrong.yaml", "name: W\ntasks:\n  - {id: a, methd: util/echo}\n");
    assert!(sandbox.gleitzeit(&["graph", &wrong]).exits(2).stderr.contains("did you mean `method`?"));
}

const OLD: &str = "name: Old\nwait_for_completion: true\ntasks:\n  - id: first\n    name: First task          # kept\n    \
                   protocol: echo/v1\n    method: echo\n    params: {message: hello}\noutputs: {said: first.response}\n";

#[test]
fn a_file_of_the_original_is_shown_then_migrated_then_runs() {
    let sandbox = Sandbox::new();
    let old = sandbox.file("old.yaml", OLD);
    let shown = sandbox.gleitzeit(&["migrate", &old]).exits(0);
    assert!(shown.stdout.contains("\n-    params: {message: hello}\n"), "{shown}");
    assert!(shown.stdout.contains("\n+    parameters: {message: hello}\n"), "{shown}");
    assert!(shown.stderr.contains("would be migrated with `--write`; valid"), "{shown}");
    assert_eq!(std::fs::read_to_string(&old).expect("there"), OLD, "only shown");
    let document = sandbox.gleitzeit(&["migrate", "--write", &old, "-o", "json"]).exits(0).json();
    let file = &document["files"][0];
    assert_eq!((&file["changed"], &file["written"], &file["valid"]), (&json!(true), &json!(true), &json!(true)));
    assert_eq!(file["changes"][4], json!({"field": "tasks[0].params", "message": "renamed to `parameters`"}));
    assert_eq!((&file["left"], &file["errors"], &file["notes"]), (&json!([]), &json!([]), &json!([])));
    assert_eq!(file["text"], std::fs::read_to_string(&old).expect("there"));
    assert!(file["text"].as_str().is_some_and(|text| text.contains("# First task          # kept\n")), "{file}");
    let run = sandbox.gleitzeit(&["run", &old, "-o", "json"]).exits(0).json();
    assert_eq!(run["outputs"], json!({"said": "hello"}));
    let again = sandbox.gleitzeit(&["migrate", &old]).exits(0);
    assert!(again.stdout.is_empty() && again.stderr.contains("nothing to migrate; valid"), "{again}");
}

#[test]
fn a_migration_names_what_is_left_and_where_files_are() {
    let sandbox = Sandbox::new();
    for folder in ["docs", "flows"] {
        std::fs::create_dir(sandbox.path().join(folder)).expect("made");
    }
    sandbox.file("docs/a.txt", "hello");
    let seen = sandbox.file(
        "flows/seen.yaml",
        "name: S\ntasks:\n- id: a\n  method: llm/chat\n  params:\n    file_path: docs/a.txt\n    messages: [{role: user, content: hi}]\n",
    );
    let batch = sandbox.file("batch.yaml", "name: B\ntype: batch\nbatch: {directory: d}\n");
    let broken = sandbox.file("broken.yaml", "name: [");
    let ended = sandbox.gleitzeit(&["migrate", &seen, &batch, &broken, "nowhere.yaml", "-o", "json"]).exits(2);
    let files = ended.json()["files"].clone();
    assert!(files[0]["text"].as_str().is_some_and(|text| text.contains("  f1: ../docs/a.txt\n")), "{files:#}");
    assert_eq!(files[0]["valid"], true);
    assert_eq!((&files[1]["left"][0]["field"], &files[1]["valid"]), (&json!("batch"), &json!(false)));
    assert_eq!((&files[2]["errors"][0]["name"], &files[2]["text"]), (&json!("PARSE_ERROR"), &Value::Null));
    assert!(files[3]["errors"][0]["message"].as_str().is_some_and(|it| it.contains("cannot be read")), "{files:#}");
    let refused = sandbox.gleitzeit(&["migrate", "--write", "-"]).exits(2);
    assert!(refused.stderr.contains("`-` is stdin"), "{refused}");
}

#[test]
fn notes_are_printed_and_do_not_prevent_a_run() {
    let cluster = Cluster::all_in_one(&[]);
    let sandbox = Sandbox::new();
    let noted =
        sandbox.file("noted.yaml", "wait_for_completion: true\nname: N\ntasks:\n- {id: a, method: util/echo}\n");
    let note = format!("{noted}:1:1: note: `wait_for_completion` is not needed: `run` and `submit --wait` wait");
    let is_told = |notes: &Value| {
        assert_eq!(notes[0]["field"], "wait_for_completion");
        assert_eq!(
            (&notes[0]["line"], &notes[0]["column"], &notes[0]["hint"]),
            (&json!(1), &json!(1), &json!("remove it"))
        );
    };
    assert!(sandbox.gleitzeit(&["validate", &noted]).exits(0).stderr.contains(&note));
    is_told(&sandbox.gleitzeit(&["validate", &noted, "-o", "json"]).exits(0).json()["notes"]);
    is_told(&cluster.client(&["validate", &noted, "-o", "json"]).exits(0).json()["notes"]);
    let run = sandbox.gleitzeit(&["run", &noted, "-o", "json"]).exits(0);
    assert!(run.stderr.contains(&note) && run.json()["status"] == "completed", "{run}");
    let submitted = cluster.client(&["submit", &noted, "-o", "json"]).exits(0);
    assert!(submitted.stderr.contains(&note), "{submitted}");
    is_told(&submitted.json()["notes"]);
    let wrong = sandbox.file("wrong.yaml", "wait_for_completion: true\nname: N\n");
    let document = sandbox.gleitzeit(&["validate", &wrong, "-o", "json"]).exits(2);
    is_told(&document.json()["notes"]);
    assert!(document.stderr.contains("note: `wait_for_completion`"), "{document}");
}

#[test]
fn a_new_workflow_is_valid_and_never_overwrites_a_file() {
    let sandbox = Sandbox::new();
    for kind in ["python", "llm", "mixed"] {
        sandbox.gleitzeit(&["init", kind, "--type", kind]).exits(0);
        sandbox.gleitzeit(&["validate", &format!("{kind}.yaml")]).exits(0);
    }
    let run = sandbox.gleitzeit(&["run", "python.yaml", "-o", "json"]).exits(0).json();
    assert!(run["outputs"]["report"].as_str().is_some_and(|text| text.starts_with("9 words")), "{run:#}");
    let again = sandbox.gleitzeit(&["init", "python"]).exits(2);
    assert!(again.stderr.contains("`python.yaml` already exists"), "{again}");
    assert!(sandbox.gleitzeit(&["init", "../evil"]).exits(2).stderr.contains("cannot be a workflow's name"));
    sandbox.gleitzeit(&["init", "2026"]).exits(0);
    sandbox.gleitzeit(&["validate", "2026.yaml"]).exits(0);
}

fn finding<'a>(doctor: &'a Value, name: &str) -> &'a Value {
    let checks = doctor["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {doctor:#}"))
}

#[test]
fn the_doctor_names_what_is_missing_and_what_to_do() {
    let sandbox = Sandbox::new();
    let ask = |arguments: &[&str], code| {
        sandbox.gleitzeit(&[&["doctor", "-o", "json"], arguments].concat()).exits(code).json()
    };
    let fine = ask(&[], 0);
    assert_eq!(finding(&fine, "provider python_local")["finding"], "ok");
    assert_eq!(finding(&fine, "store")["finding"], "ok");
    let ollama = finding(&fine, "provider ollama");
    assert!(ollama["finding"] == "warning" && ollama["about"].to_string().contains("ollama serve"), "{ollama}");
    assert_eq!(finding(&fine, "platform")["finding"], "ok");
    let mut portable = sandbox.command(&["doctor", "-o", "json"]);
    portable.env("GLEITZEIT_PORTABLE", "1");
    let portable = sandbox.start_command(portable).wait(PATIENCE).exits(0).json();
    for name in ["platform", "provider python_local", "provider shell_local"] {
        let found = finding(&portable, name);
        assert!(found["finding"] == "warning" && found["about"].to_string().contains("GLEITZEIT_PORTABLE"), "{found}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
    let away = ask(&["--hub-url", &format!("http://{nobody}")], 1);
    assert_eq!(finding(&away, "control plane")["finding"], "failed");
    let no_store = ask(&["--store", "sqlite:/proc/nowhere/journal.db"], 1);
    assert!(finding(&no_store, "store")["remedy"].to_string().contains("GLEITZEIT_STORE_URL"));
    let cluster = Cluster::all_in_one(&[]);
    let there = cluster.ask(&["doctor"]);
    assert_eq!(finding(&there, "control plane")["finding"], "ok");
    assert_eq!(finding(&there, "components")["finding"], "ok");
}

#[test]
fn every_command_has_a_manual_page() {
    let sandbox = Sandbox::new();
    let page = sandbox.gleitzeit(&["man"]).exits(0).stdout;
    assert!(page.contains(".TH gleitzeit 1") && page.contains("gleitzeit\\-run(1)"), "{page}");
    sandbox.gleitzeit(&["man", "pages"]).exits(0);
    let run = std::fs::read_to_string(sandbox.path().join("pages/gleitzeit-run.1")).expect("written");
    assert!(run.contains("\\-\\-input") && run.contains("examples/quickstart.yaml"), "{run}");
    assert!(std::fs::read_dir(sandbox.path().join("pages")).expect("a folder").count() > 20);
}

#[test]
fn logs_show_output_results_and_errors_of_tasks() {
    let cluster = Cluster::all_in_one(&[]);
    let workflow = json!({"name": "Logs", "tasks": [
        {"id": "talks", "method": "python/execute", "parameters": {"code": "print('hello')\nresult = {'n': 1}"}},
        {"id": "breaks", "method": "shell/run", "parameters": {"command": "echo out; echo err >&2; exit 3"}},
        {"id": "later", "method": "util/echo", "dependencies": ["breaks"]},
    ]});
    let run = cluster.submit(&cluster.sandbox.file("logs.json", workflow.to_string()));
    cluster.until_ended(&run);
    let text = cluster.client(&["logs", &run]).exits(0).stdout;
    for part in [
        "── talks (completed)\nprinted:\n  hello\nreturned:\n  {\n    \"n\": 1\n  }\n",
        "── breaks (failed)\nTASK_EXECUTION_FAILED (-29002): exit code 3\nprinted:\n  out\nprinted to stderr:\n  err\n",
        "── later (skipped)\n",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    let document = cluster.ask(&["logs", &run, "breaks"]);
    assert_eq!((&document["tasks"][0]["output"], &document["tasks"][0]["attempt"]), (&json!("out\n"), &json!(1)));
    assert!(cluster.client(&["logs", &run, "nobody"]).exits(1).stderr.contains("has no task `nobody`"));
}
