//! The two providers of `examples/providers`, unchanged, with the packages that a user would install.

use std::fs;
use std::path::Path;

use gleitzeit_sdk::{Client, ClientConfig};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Process, Watch, example, node, python, shipped_providers, text, until};

const COMPLETED: [&str; 3] = ["task_dispatched", "task_started", "task_completed"];
const LOST: [&str; 4] = ["task_dispatched", "task_started", "task_attempt_stopped", "task_requeued"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Language {
    Python,
    JavaScript,
}
use Language::{JavaScript, Python};

impl Language {
    const BOTH: [Self; 2] = [Python, JavaScript];

    /// Starts the example and passes it the control plane's address as a person would.
    fn start(self, cluster: &Cluster, token: Option<&str>) -> Process {
        let sandbox = &cluster.sandbox;
        let mut command = match self {
            Python => python(&["-u", &example("providers/python_provider.py")]),
            JavaScript => {
                let text = fs::read_to_string(example("providers/node_provider.mjs")).expect("readable");
                node(sandbox, "node_provider.mjs", &text)
            }
        };
        command.env("GLEITZEIT_HUB_URL", &cluster.url).env_remove("GLEITZEIT_TOKEN").current_dir(sandbox.path());
        if let Some(token) = token {
            command.env("GLEITZEIT_TOKEN", token);
        }
        sandbox.start_command(command)
    }

    fn serves(self, cluster: &Cluster) -> Process {
        let mut process = self.start(cluster, None);
        process.said("component_registered", PATIENCE);
        process
    }

    fn name(self) -> &'static str {
        match self {
            Python => "stats",
            JavaScript => "report",
        }
    }

    /// The task of the example workflow that this provider serves.
    fn task(self) -> &'static str {
        match self {
            Python => "describe",
            JavaScript => "report",
        }
    }

    /// A task named `work` that pauses `times` times for `pause` seconds.
    fn pausing(self, times: usize, pause: f64) -> Value {
        let (method, parameters) = match self {
            Python => ("stats/describe", json!({"numbers": vec![1; times], "pause": pause})),
            JavaScript => {
                let values = (0..times).map(|n| (format!("n{n}"), json!(n))).collect::<serde_json::Map<_, _>>();
                ("report/render", json!({"title": "Slow", "values": values, "pause": pause}))
            }
        };
        json!({"id": "work", "method": method, "parameters": parameters})
    }
}

/// Both examples, ready to serve.
pub(crate) fn start_both(cluster: &Cluster) -> [Process; 2] {
    Language::BOTH.map(|language| language.serves(cluster))
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("worker", "all");
    cluster
}

fn submit(cluster: &Cluster, task: &Value) -> String {
    let workflow = json!({"name": "Foreign", "tasks": [task]});
    cluster.submit(&cluster.sandbox.file("workflow.json", workflow.to_string()))
}

fn kinds(watch: Watch) -> Vec<String> {
    watch.finish().kinds("work").into_iter().map(str::to_owned).collect()
}

/// The outputs of the example workflow.
fn report() -> Value {
    json!({"report": "What the numbers say\n- mean: 5.00\n- deviation: 2.14"})
}

#[test]
fn each_provider_is_short() {
    for file in ["python_provider.py", "node_provider.mjs"] {
        let text = fs::read_to_string(Path::new(&example("providers")).join(file)).expect("readable");
        assert!(text.lines().count() < 40, "{file} has {} lines", text.lines().count());
    }
}

#[test]
fn a_workflow_uses_both_languages() {
    let cluster = cluster();
    let _providers = start_both(&cluster);
    let run = cluster.ask(&["submit", &example("custom_provider_workflow.yaml"), "--wait"]);
    assert_eq!((&run["status"], &run["outputs"]), (&json!("completed"), &report()), "{run:#}");
    for language in Language::BOTH {
        assert_eq!(run["tasks"][language.task()]["attempt"], 1, "{run:#}");
    }
}

#[test]
fn the_token_is_taken_from_the_environment() {
    let cluster = Cluster::all_in_one(&["--token", "secret"]);
    let _providers = Language::BOTH.map(|language| language.start(&cluster, Some("secret")));
    let list = || cluster.client(&["providers", "--token", "secret", "-o", "json"]).exits(0).json();
    until("both are connected", PATIENCE, || {
        let names: Vec<String> =
            list()["items"].as_array().expect("a list").iter().map(|it| text(&it["name"])).collect();
        Language::BOTH.iter().all(|it| names.iter().any(|name| name == it.name())).then_some(())
    });
    let workflow = example("custom_provider_workflow.yaml");
    let run = cluster.client(&["submit", &workflow, "--wait", "--token", "secret", "-o", "json"]).exits(0).json();
    assert_eq!(run["outputs"], report());
}

#[test]
fn a_provider_that_is_killed_during_a_call_and_restarted_completes_the_run() {
    // The example workflow, slowed down so that there is time to kill the provider.
    let mut text = fs::read_to_string(example("custom_provider_workflow.yaml")).expect("readable");
    for (parameter, pause) in
        [("      numbers: ${inputs.numbers}\n", 0.2), ("      title: What the numbers say\n", 0.8)]
    {
        assert_eq!(text.matches(parameter).count(), 1, "{parameter}");
        text = text.replace(parameter, &format!("{parameter}      pause: {pause}\n"));
    }
    for killed in Language::BOTH {
        let cluster = cluster();
        let mut providers = start_both(&cluster);
        let run = cluster.submit(&cluster.sandbox.file("slow.yaml", &text));
        let mut watch = cluster.watch(&run);
        watch.until_task(killed.task(), 1, "task_started");
        providers[Language::BOTH.iter().position(|it| *it == killed).expect("one of both")].kill_9();
        let _again = killed.serves(&cluster);
        let journal = watch.finish();
        for language in Language::BOTH {
            let lost = if language == killed { &LOST[..] } else { &[] };
            assert_eq!(
                journal.kinds(language.task()),
                [&["task_ready"], lost, &COMPLETED].concat(),
                "{killed:?} killed"
            );
        }
        assert_eq!(journal.only("task_attempt_stopped").payload["reason"], "provider_lost");
        let run = cluster.until_ended(&run);
        assert_eq!((&run["status"], &run["outputs"]), (&json!("completed"), &report()), "{run:#}");
        assert_eq!(run["tasks"][killed.task()]["attempt"], 2, "{run:#}");
    }
}

#[test]
fn a_loss_uses_up_no_attempt() {
    let cluster = cluster();
    let mut provider = JavaScript.serves(&cluster);
    // Without a retry setting there is only one attempt.
    let run = submit(&cluster, &JavaScript.pausing(4, 0.3));
    let mut watch = cluster.watch(&run);
    watch.until_task("work", 1, "task_started");
    provider.kill_9();
    let _again = JavaScript.serves(&cluster);
    assert_eq!(kinds(watch), [&["task_ready"], &LOST[..], &COMPLETED].concat());
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
}

#[test]
fn calls_go_on_while_the_control_plane_is_away() {
    for language in Language::BOTH {
        let mut cluster = cluster();
        let mut provider = language.serves(&cluster);
        let run = submit(&cluster, &language.pausing(4, 0.5));
        cluster.watch(&run).until_task("work", 1, "task_started");
        cluster.kill_9_hub();
        cluster.start_hub();
        let watch = cluster.watch(&run);
        assert_eq!(kinds(watch), [&["task_ready"], &COMPLETED[..]].concat(), "{language:?} kept its call");
        assert!(provider.is_running());
    }
}

/// Stock clients do not reconnect after the server has disconnected them.
#[test]
fn providers_reconnect_after_a_restart_and_after_they_were_declared_lost() {
    let mut cluster = cluster();
    let providers = start_both(&cluster);
    let until_registered = |times: usize| {
        until(&format!("both have registered {times} times"), PATIENCE, || {
            let count = |it: &Process| it.stdout().matches("component_registered").count();
            providers.iter().all(|it| count(it) == times).then_some(())
        });
    };
    let all = shipped_providers() + providers.len();
    cluster.terminate_hub().exits(0);
    cluster.start_hub();
    until_registered(2);
    cluster.until_connected("provider", all);

    // Neither example answers the heartbeats of the mesh, so those of the transport detect the stop.
    providers.iter().for_each(|it| it.signal(Signal::STOP));
    cluster.until_connected("provider", all - providers.len());
    until("they are given up", PATIENCE, || {
        let is_gone = |language: Language| cluster.components().iter().all(|it| it["name"] != language.name());
        Language::BOTH.into_iter().all(is_gone).then_some(())
    });
    providers.iter().for_each(|it| it.signal(Signal::CONT));
    until_registered(3);
}

#[test]
fn a_cancel_reaches_the_code() {
    for language in Language::BOTH {
        let cluster = cluster();
        let mut provider = language.serves(&cluster);
        let run = submit(&cluster, &language.pausing(1, 1_000.0));
        cluster.watch(&run).until_task("work", 1, "task_started");
        cluster.client(&["cancel", &run]).exits(0);
        let call = provider.said("cancelled: ", PATIENCE);
        assert!(call.contains(&run), "{call}");
        assert_eq!(cluster.until_ended(&run)["status"], "cancelled");
        // The provider serves the next task, and no error was logged.
        let next = submit(&cluster, &language.pausing(2, 0.0));
        assert_eq!(cluster.until_ended(&next)["status"], "completed");
        assert!(!provider.stdout().contains("mesh_error"), "{}", provider.stdout());
    }
}

#[test]
fn a_timeout_reaches_the_code() {
    for language in Language::BOTH {
        let cluster = cluster();
        let mut provider = language.serves(&cluster);
        let mut task = language.pausing(1, 1_000.0);
        task["timeout"] = json!(0.3);
        let run = cluster.until_ended(&submit(&cluster, &task));
        assert_eq!(run["tasks"]["work"]["error"]["name"], "TASK_TIMEOUT", "{run:#}");
        provider.said("cancelled: ", PATIENCE);
    }
}

#[test]
fn a_watcher_sees_the_progress() {
    let cluster = cluster();
    let _providers = start_both(&cluster);
    for (language, said) in
        [(Python, ["1\n", "1\n", "1\n"]), (JavaScript, ["- n0: 0.00\n", "- n1: 1.00\n", "- n2: 2.00\n"])]
    {
        let run = submit(&cluster, &language.pausing(3, 0.4));
        let progress = progress(&cluster.url, &run);
        // Progress from before the watch began is not repeated.
        assert!(said.ends_with(&progress.iter().map(String::as_str).collect::<Vec<_>>()), "{progress:?}");
        assert!(progress.len() >= 2, "{language:?}: {progress:?}");
    }
}

/// The progress of a run until its end.
fn progress(url: &str, run: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = Client::connect(ClientConfig::new(url)).await.expect("it answers");
        let mut watch = client.watch(run, 1).with_progress();
        let mut said = Vec::new();
        while let Some(event) = watch.next().await.expect("it answers") {
            if event.kind == "method_progress" {
                let payload = event.payload.expect("it is small");
                said.push(text(&payload.to_value().expect("JSON")["text"]));
            }
        }
        said
    })
}

/// A task with at most three attempts.
fn patient(mut task: Value, parameters: Value) -> Value {
    task["parameters"] = parameters;
    task["retry"] = json!({"max_attempts": 3, "initial_delay": 0.05, "max_delay": 0.05});
    task
}

#[test]
fn permanent_errors_are_not_retried() {
    let cluster = cluster();
    let _providers = start_both(&cluster);
    for (language, parameters, said) in [
        (Python, json!({"numbers": [1]}), "at least two data points"),
        (JavaScript, json!({"title": "T", "values": {"a": 1}, "digits": 1_000}), "digits"),
    ] {
        let run = cluster.until_ended(&submit(&cluster, &patient(language.pausing(1, 0.0), parameters)));
        let task = &run["tasks"]["work"];
        assert_eq!((&run["status"], &task["attempt"]), (&json!("failed"), &json!(1)), "{run:#}");
        assert_eq!(task["error"]["name"], "TASK_EXECUTION_FAILED", "{run:#}");
        assert!(task["error"]["message"].as_str().expect("text").contains(said), "{run:#}");
    }
}

#[test]
fn retryable_errors_are_retried() {
    let cluster = cluster();
    let _providers = start_both(&cluster);
    let missing = cluster.sandbox.path().join("missing/file.txt");
    for (language, parameters) in
        [(Python, json!({"file": missing})), (JavaScript, json!({"title": "T", "values": {"a": 1}, "file": missing}))]
    {
        let run = cluster.until_ended(&submit(&cluster, &patient(language.pausing(1, 0.0), parameters)));
        let task = &run["tasks"]["work"];
        assert_eq!((&run["status"], &task["attempt"]), (&json!("failed"), &json!(3)), "{run:#}");
        assert!(task["error"]["message"].as_str().expect("text").contains("missing/file.txt"), "{run:#}");
    }
}

#[test]
fn a_parameter_that_breaks_the_schema_is_refused_before_anything_runs() {
    let cluster = cluster();
    let mut task = json!({"id": "work", "method": "stats/describe", "parameters": {"numbers": ["one"]}});
    let file = cluster.sandbox.file("bad.json", json!({"name": "Bad", "tasks": [task]}).to_string());
    // No provider has registered the method yet.
    let problems = cluster.client(&["submit", &file, "-o", "json"]).exits(2).json();
    assert!(problems["errors"][0]["message"].as_str().expect("text").contains("stats/describe"), "{problems:#}");
    let mut provider = Python.serves(&cluster);
    for command in ["submit", "validate"] {
        let problems = cluster.client(&[command, &file, "-o", "json"]).exits(2).json();
        let problem = &problems["errors"][0];
        assert_eq!(problem["field"], "tasks[0].parameters.numbers[0]", "{problems:#}");
    }
    // The method stays known while nobody serves it, also across restarts.
    provider.kill_9();
    cluster.client(&["validate", &file]).exits(2);
    task["parameters"] = json!({"numbers": [1, 2]});
    let file = cluster.sandbox.file("good.json", json!({"name": "Good", "tasks": [task]}).to_string());
    cluster.client(&["validate", &file]).exits(0);
    let run = cluster.submit(&file);
    let waiting = cluster.until_run(&run, "it waits", |run| !run["tasks"]["work"]["waiting"].is_null());
    assert!(waiting["tasks"]["work"]["waiting"].to_string().contains("stats/describe"), "{waiting:#}");
    let _again = Python.serves(&cluster);
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
}

#[test]
fn a_reference_to_a_field_that_is_never_returned_is_refused() {
    let cluster = cluster();
    let _provider = Python.serves(&cluster);
    let tasks = json!([
        {"id": "a", "method": "stats/describe", "parameters": {"numbers": [1, 2]}},
        {"id": "b", "method": "util/echo", "parameters": {"it": "${a.median}"}},
    ]);
    let file = cluster.sandbox.file("bad.json", json!({"name": "Bad", "tasks": tasks}).to_string());
    let problems = cluster.client(&["validate", &file, "-o", "json"]).exits(2).json();
    assert!(problems["errors"][0]["message"].as_str().expect("text").contains("median"), "{problems:#}");
}
