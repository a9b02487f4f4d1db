//! `gleitzeit run`: from a file to its result, in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Sandbox, example, time_ms};

/// The words that the quickstart leaves out.
const SHORT: [&str; 15] =
    ["a", "and", "at", "for", "in", "is", "it", "like", "of", "so", "the", "to", "who", "that", ""];

const FAILS: &str = "\
name: Fails
tasks:
  - {id: ok, method: util/echo, parameters: {n: 1}}
  - id: bad
    method: python/execute
    dependencies: [ok]
    parameters: {code: \"print('before')\\nraise ValueError('no luck')\"}
  - {id: after, method: util/echo, dependencies: [bad]}
  - {id: later, method: util/echo, dependencies: [after]}
  - {id: free, method: util/sleep, parameters: {seconds: 0.3}}
";

/// The quickstart's outputs, computed here.
fn quickstart(top: usize) -> Value {
    let text = fs::read_to_string(example("data/notes.txt")).expect("readable");
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    let words = text.split_whitespace().count();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for word in text.to_lowercase().split(|c: char| !c.is_ascii_lowercase()).filter(|word| !SHORT.contains(word)) {
        *times.entry(word.to_owned()).or_default() += 1;
    }
    let mut ranked: Vec<(String, usize)> = times.into_iter().collect();
    ranked.sort_by(|(a, a_times), (b, b_times)| b_times.cmp(a_times).then(a.cmp(b)));
    ranked.truncate(top);
    let mut report = format!("{words} words in {lines} lines; most used: {}", ranked[0].0);
    for (word, times) in &ranked {
        report.push_str(&format!("\n  {times} x {word}"));
    }
    let mut longest = "";
    for sentence in text.split(['.', ';']).map(str::trim) {
        if sentence.chars().count() > longest.chars().count() {
            longest = sentence;
        }
    }
    json!({
        "report": report,
        "counts": {"lines": lines, "words": words, "characters": text.chars().count()},
        "frequent": ranked.iter().map(|(word, times)| json!({"word": word, "times": times})).collect::<Vec<_>>(),
        "longest_sentence": longest,
    })
}

#[test]
fn every_example_gives_the_right_outputs() {
    let expected = BTreeMap::from([
        ("chain.yaml", json!({"message": "the value is 20", "value": 20})),
        ("parallel.yaml", json!({"joined": {"sum": 55 + 225}})),
        ("quickstart.yaml", quickstart(3)),
        ("shell_workflow.yaml", json!({"report": "1 times time, and the longest word is everybody"})),
    ]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").file_name());
    let names: BTreeSet<String> = files.filter_map(|name| name.into_string().ok()).collect();
    let sandbox = Sandbox::new();
    // Examples that need more than the binary are run elsewhere.
    let asks_others = |name: &str| {
        let text = fs::read_to_string(example(name)).expect("readable");
        text.contains("method: llm/") || text.contains("method: http/")
    };
    let own =
        |name: &&String| name.ends_with(".yaml") && *name != "custom_provider_workflow.yaml" && !asks_others(name);
    for name in names.iter().filter(own) {
        let run = sandbox.gleitzeit(&["run", &example(name), "-o", "json"]).exits(0).json();
        assert_eq!(run["status"], "completed", "{name}");
        let expected = expected.get(name.as_str()).unwrap_or_else(|| panic!("what does {name} give?"));
        assert_eq!(&run["outputs"], expected, "{name}");
    }
    for name in expected.keys() {
        assert!(names.contains(*name), "{name} is gone");
    }
}

#[test]
fn inputs_change_what_an_example_gives() {
    let sandbox = Sandbox::new();
    let quick = sandbox.gleitzeit(&["run", &example("quickstart.yaml"), "--input", "top=5", "-o", "json"]).exits(0);
    assert_eq!(quick.json()["outputs"], quickstart(5));
    let file = example("chain.yaml");
    for given in [&["--input", "start=7"][..], &["start=7"]] {
        let chain = [&["run", &file], given, &["--json"]].concat();
        let outputs = sandbox.gleitzeit(&chain).exits(0).json()["outputs"].clone();
        assert_eq!(outputs, json!({"message": "the value is 80", "value": 80}));
    }
    let refused = sandbox.gleitzeit(&["run", &example("chain.yaml"), "start=7", "start=8"]).exits(2).stderr;
    assert!(refused.contains("the input `start` is given twice"), "{refused}");
    let refused = sandbox.gleitzeit(&["run", &example("chain.yaml"), "second.yaml"]).exits(2).stderr;
    assert!(refused.contains("expected an input, NAME=VALUE; only one file is accepted"), "{refused}");
}

#[test]
fn people_see_progress_on_stderr_and_outputs_on_stdout() {
    let ended = Sandbox::new().gleitzeit(&["run", &example("chain.yaml")]).exits(0);
    assert_eq!(ended.stdout, "message: the value is 20\nvalue: 20\n");
    for task in ["first", "second", "third", "last"] {
        assert!(ended.stderr.contains(&format!("task {task} completed")), "{ended}");
    }
    assert!(!ended.stderr.contains('\u{1b}'), "no colours where no terminal is: {ended}");
}

/// The shape of a run's document, as documented. `keys` lists all keys.
#[track_caller]
fn has_exactly(value: &Value, keys: &[&str]) {
    let found: BTreeSet<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(found, keys.iter().copied().collect(), "{value:#}");
}

#[track_caller]
fn is_error(error: &Value) {
    assert!(error["code"].is_i64() && error["name"].is_string() && error["message"].is_string(), "{error:#}");
}

#[track_caller]
fn is_run_document(run: &Value) {
    has_exactly(
        run,
        &["run_id", "correlation_id", "name", "status", "submitted_at", "finished_at", "outputs", "error", "tasks"],
    );
    let run_id = run["run_id"].as_str().expect("text");
    assert_eq!(run_id.replace('-', ""), run["correlation_id"].as_str().expect("text"), "a run's own trace");
    assert_eq!((run_id.len(), run_id.as_bytes()[14]), (36, b'7'), "a UUIDv7");
    assert!(run["name"].is_string() && run["status"].is_string());
    assert!(time_ms(&run["submitted_at"]) <= time_ms(&run["finished_at"]));
    if !run["error"].is_null() {
        is_error(&run["error"]);
    }
    for (id, task) in run["tasks"].as_object().expect("an object") {
        has_exactly(task, &["status", "attempt", "result", "error", "waiting", "started_at", "finished_at"]);
        assert!(task["status"].is_string() && task["attempt"].is_u64(), "{id}: {task:#}");
        assert!(task["waiting"].is_null(), "nothing waits in a run that has ended: {id}: {task:#}");
        let finished = time_ms(&task["finished_at"]);
        match task["attempt"].as_u64() {
            Some(0) => assert!(task["started_at"].is_null() && task["result"].is_null(), "{id}: {task:#}"),
            _ => assert!(time_ms(&task["started_at"]) <= finished, "{id}: {task:#}"),
        }
        assert_eq!(task["status"] == "completed", task["error"].is_null(), "{id}: {task:#}");
        if !task["error"].is_null() {
            is_error(&task["error"]);
        }
    }
}

#[test]
fn json_is_one_document_with_exactly_the_documented_fields() {
    let sandbox = Sandbox::new();
    let ended = sandbox.gleitzeit(&["run", &example("chain.yaml"), "-o", "json"]).exits(0);
    let run = ended.json();
    is_run_document(&run);
    assert_eq!((&run["name"], &run["status"], &run["error"]), (&json!("Chain"), &json!("completed"), &Value::Null));
    let ids: Vec<&String> = run["tasks"].as_object().expect("an object").keys().collect();
    assert_eq!(ids, ["first", "second", "third", "last"], "in the order of the workflow");
    for id in ids {
        assert_eq!((&run["tasks"][id]["status"], &run["tasks"][id]["attempt"]), (&json!("completed"), &json!(1)));
    }
    assert_eq!(run["tasks"]["first"]["result"]["result"], 2);
    assert_eq!(ended.stderr, "", "without a terminal there is no progress beside a document");
}

#[test]
fn yaml_is_the_same_document() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("w.yaml", FAILS);
    for (file, code) in [(example("chain.yaml"), 0), (file, 1)] {
        let ended = sandbox.gleitzeit(&["run", &file, "-o", "yaml"]).exits(code);
        let run: Value = serde_yaml::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
        is_run_document(&run);
    }
}

#[test]
fn a_failed_task_fails_the_run_and_skips_its_dependents_with_a_reason() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("w.yaml", FAILS);
    let run = sandbox.gleitzeit(&["run", &file, "-o", "json"]).exits(1).json();
    is_run_document(&run);
    assert_eq!((&run["status"], &run["outputs"]), (&json!("failed"), &Value::Null));
    assert_eq!(run["error"]["name"], "WORKFLOW_EXECUTION_FAILED");
    let message = run["error"]["message"].as_str().expect("text");
    assert!(message.contains("`bad`") && message.contains("no luck"), "{message}");
    let tasks = &run["tasks"];
    let statuses = ["ok", "bad", "after", "later", "free"].map(|id| tasks[id]["status"].as_str().expect("text"));
    assert_eq!(statuses, ["completed", "failed", "skipped", "skipped", "completed"], "other branches finish");
    assert_eq!(tasks["bad"]["error"]["name"], "TASK_EXECUTION_FAILED");
    let data = &tasks["bad"]["error"]["data"];
    assert!(data["traceback"].as_str().expect("text").contains("line 2"), "{data:#}");
    assert_eq!(data["output"], "before\n");
    for id in ["after", "later"] {
        let error = &tasks[id]["error"];
        assert_eq!(error["name"], "TASK_DEPENDENCY_FAILED");
        assert!(error["message"].as_str().expect("text").contains("`bad`"), "{id}: {error:#}");
    }
}

#[test]
fn people_read_why_a_run_failed() {
    let sandbox = Sandbox::new();
    let ended = sandbox.gleitzeit(&["run", &sandbox.file("w.yaml", FAILS)]).exits(1);
    assert_eq!(ended.stdout, "", "there is no result");
    for expected in ["task `bad` failed", "ValueError: no luck", "Traceback", "2 skipped"] {
        assert!(ended.stderr.contains(expected), "`{expected}` is missing: {ended}");
    }
}

#[test]
fn the_store_of_a_run_is_kept_and_a_control_plane_can_serve_it() {
    let sandbox = Sandbox::new();
    sandbox.gleitzeit(&["run", &example("parallel.yaml")]).exits(0);
    assert_eq!(sandbox.kept_stores().len(), 1);
    let failed = sandbox.gleitzeit(&["run", &sandbox.file("w.yaml", FAILS), "-o", "json"]).exits(1);
    let mut kept = sandbox.kept_stores();
    kept.sort();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let store = format!("sqlite:{}/journal.db", kept[1].display());

    let mut hub = sandbox.start(&["hub", "--port", "0", "--store", &store]);
    let url = hub.said("ready at ", PATIENCE);
    let run = sandbox.gleitzeit(&["status", "last", "--hub-url", &url, "-o", "json"]).exits(0).json();
    assert_eq!(run, failed.json());
}

#[test]
fn an_input_is_json_where_it_can_be_and_text_where_the_default_is() {
    let sandbox = Sandbox::new();
    let file = sandbox.file(
        "w.yaml",
        "name: Inputs\ninputs: {zip: '10115', n: 1, any: null, text: null, list: []}\ntasks:\n  - id: echo\n    \
         method: util/echo\n    parameters: {zip: \"${inputs.zip}\", n: \"${inputs.n}\", any: \"${inputs.any}\", text: \
         \"${inputs.text}\", list: \"${inputs.list}\", said: \"n=${inputs.n} ${inputs.any}\"}\n",
    );
    let words = sandbox.file("words.txt", "{\"not\": \"read as JSON\"}\nzwei Zeilen, größer\n");
    let text = format!("text=@{words}");
    let given = ["zip=00123", "n=5", "any={\"a\": [1, true]}", &text, "list=[1.5, null]"];
    let mut arguments = vec!["run", &file, "-o", "json"];
    given.iter().for_each(|given| arguments.extend(["--input", given]));
    let run = sandbox.gleitzeit(&arguments).exits(0).json();
    assert_eq!(
        run["tasks"]["echo"]["result"],
        json!({
            "zip": "00123",
            "n": 5,
            "any": {"a": [1, true]},
            "text": "{\"not\": \"read as JSON\"}\nzwei Zeilen, größer\n",
            "list": [1.5, null],
            "said": "n=5 {\"a\":[1,true]}",
        })
    );
}

#[test]
fn a_missing_or_unknown_input_is_reported_before_anything_runs() {
    let sandbox = Sandbox::new();
    let file = sandbox.file(
        "w.yaml",
        "name: Needs\ninputs: {topic: null}\ntasks:\n  - {id: a, method: util/echo, parameters: {t: \"${inputs.topic}\"}}\n",
    );
    for (given, expected) in [(None, "topic"), (Some("topik=x"), "topik")] {
        let mut arguments = vec!["run", &file, "-o", "json"];
        arguments.extend(given.iter().flat_map(|given| ["--input", given]));
        let ended = sandbox.gleitzeit(&arguments).exits(2);
        assert!(ended.json()["errors"].to_string().contains(expected), "{ended}");
    }
    assert!(sandbox.kept_stores().is_empty(), "nothing was started");
}

#[test]
fn two_runs_of_one_file_at_once_do_not_see_each_other() {
    let sandbox = Sandbox::new();
    let file = sandbox.file(
        "w.yaml",
        "name: Twice\ninputs: {n: 0}\ntasks:\n  - {id: wait, method: util/sleep, parameters: {seconds: 0.5}}\n  - id: \
         double\n    method: python/execute\n    dependencies: [wait]\n    parameters: {code: \"result = ${inputs.n} * \
         2\"}\noutputs: {doubled: \"${double.result}\"}\n",
    );
    let started: Vec<_> =
        (1..=2).map(|n| sandbox.start(&["run", &file, "--input", &format!("n={n}"), "-o", "json"])).collect();
    let runs: Vec<Value> = started.into_iter().map(|run| run.wait(PATIENCE).exits(0).json()).collect();
    assert_eq!(runs[0]["outputs"], json!({"doubled": 2}));
    assert_eq!(runs[1]["outputs"], json!({"doubled": 4}));
    let between = |run: &Value| (time_ms(&run["submitted_at"]), time_ms(&run["finished_at"]));
    let ((from, to), (other_from, other_to)) = (between(&runs[0]), between(&runs[1]));
    assert!(from < other_to && other_from < to, "they ran side by side");
    assert_eq!(sandbox.kept_stores().len(), 2);
}

#[test]
fn a_missing_python_is_reported_with_a_remedy() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["run", &example("chain.yaml")]);
    command.env("PATH", sandbox.home());
    let ended = sandbox.start_command(command).wait(PATIENCE).exits(1);
    for expected in ["Python was not found", "`python3`", "install Python 3"] {
        assert!(ended.stderr.contains(expected), "`{expected}` is missing: {ended}");
    }
}

#[test]
fn bad_usage_exits_with_2_and_a_document_if_one_is_requested() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["run"][..],
        &["run", "w.yaml", "--nonsense"],
        &["run", "w.yaml", "-o", "toml"],
        &["nonsense"],
        &["run", "not-there.yaml"],
        &["start", "--store", "postgres://db/x"],
        &["agent", "--role", "cook"],
    ] {
        let ended = sandbox.gleitzeit(arguments).exits(2);
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended}");
    }
    let ended = sandbox.gleitzeit(&["run", "not-there.yaml", "-o", "json"]).exits(2);
    let document = ended.json();
    has_exactly(&document, &["errors"]);
    let error = &document["errors"][0];
    has_exactly(error, &["file", "line", "column", "field", "code", "name", "message", "hint"]);
    assert_eq!(error["file"], "not-there.yaml");
    assert!(ended.stderr.contains("not-there.yaml"), "the text is on stderr: {ended}");
}

#[test]
fn an_unreachable_control_plane_exits_with_3_and_a_remedy() {
    let sandbox = Sandbox::new();
    let nobody = format!("http://127.0.0.1:{}", crate::support::free_port());
    let file = example("chain.yaml");
    for arguments in [
        &["submit", &file][..],
        &["submit", &file, "--wait"],
        &["run", &file],
        &["status"],
        &["status", "last"],
        &["list"],
        &["watch", "last"],
        &["cancel", "last"],
        &["retry", "last"],
        &["providers"],
        &["components"],
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--hub-url", &nobody, "-o", "json"]);
        let ended = sandbox.gleitzeit(&all).exits(3);
        // A failure has no place among the events of a stream.
        if arguments[0] == "watch" {
            assert_eq!(ended.stdout, "", "{ended}");
        } else {
            assert_eq!(ended.json()["errors"][0]["name"], "CONNECTION_REFUSED", "{ended}");
        }
        assert!(ended.stderr.contains(&nobody) && ended.stderr.contains("gleitzeit start"), "{ended}");
    }
}
