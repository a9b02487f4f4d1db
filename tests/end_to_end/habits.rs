//! What users of other tools expect from commands about runs: several at once, a preview, a list that is updated.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Process, Sandbox, example, free_port, text, until};

const SLEEP: &str = "name: Sleep\ninputs: {seconds: 600}\ntasks: [{id: a, method: util/sleep, parameters: {seconds: \
                     '${inputs.seconds}'}}]\n";
const ECHO: &str = "name: Echo\ninputs: {n: 1}\ntasks: [{id: a, method: util/echo, parameters: {n: '${inputs.n}'}}]\n\
                    outputs: {n: '${a.n}'}\n";

/// Runs a command on a terminal, and types a line once the command has printed a given text.
const ON_TERMINAL: &str = "import os, pty, sys\n\
    pid, terminal = pty.fork()\n\
    if pid == 0:\n    os.execv(sys.argv[3], sys.argv[3:])\n\
    said, typed = b'', False\n\
    while True:\n    try:\n        data = os.read(terminal, 65536)\n    except OSError:\n        break\n\
    \x20   if not data:\n        break\n\
    \x20   said += data\n    os.write(1, data)\n\
    \x20   if not typed and sys.argv[1].encode() in said:\n        typed = True\n        os.write(terminal, sys.argv[2].encode().decode('unicode_escape').encode())\n\
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";

/// The client on a terminal; `typed` is typed once `after` was printed.
fn on_terminal(cluster: &Cluster, after: &str, typed: &str, arguments: &[&str]) -> Process {
    let plain = cluster.sandbox.command(arguments);
    let mut command = Command::new("python3");
    command.args(["-c", ON_TERMINAL, after, typed]).arg(plain.get_program()).args(plain.get_args());
    command.stdin(Stdio::null()).args(["--hub-url", &cluster.url]);
    command.env("HOME", cluster.sandbox.home()).env("TERM", "xterm");
    cluster.sandbox.start_command(command)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value:#}")).clone()
}

fn ids(listed: &Value) -> Vec<String> {
    list(&listed["items"]).iter().map(|it| text(&it["run_id"])).collect()
}

fn sleeping(cluster: &Cluster, label: &str) -> String {
    let file = cluster.sandbox.file("sleep.yaml", SLEEP);
    text(&cluster.ask(&["submit", &file, "--label", label])["run_id"])
}

#[test]
fn several_files_are_checked_together_and_then_sent_in_order() {
    let cluster = Cluster::all_in_one(&[]);
    let (echo, parallel) = (cluster.sandbox.file("echo.yaml", ECHO), example("parallel.yaml"));
    let refused = cluster.client(&["submit", &echo, &parallel, "n=5", "-o", "json"]).exits(2).json();
    assert_eq!(list(&refused["errors"]).len(), 1, "{refused:#}");
    assert_eq!(refused["errors"][0]["field"], "inputs.n");
    let wrong = cluster.sandbox.file("wrong.yaml", "name: W\ntasks: [{id: a, method: util/eko}]\n");
    let refused = cluster.client(&["submit", &echo, &wrong, "missing.yaml", &wrong]).exits(2);
    assert!(refused.stderr.contains("missing.yaml"), "{refused}");
    let refused = cluster.client(&["submit", &wrong, &echo, &wrong, "-o", "json"]).exits(2).json();
    assert_eq!(list(&refused["errors"]).len(), 2, "{refused:#}");
    assert_eq!(ids(&cluster.ask(&["list"])), [""; 0], "nothing was sent");

    let submitted = list(&cluster.ask(&["submit", &echo, "n=5", &echo, "--label", "x=y"]));
    let files: Vec<&Value> = submitted.iter().map(|it| &it["file"]).collect();
    assert_eq!(files, [&json!(echo), &json!(echo)]);
    let runs: Vec<String> = submitted.iter().map(|it| text(&it["run_id"])).collect();
    for run in &runs {
        assert_eq!(cluster.until_ended(run)["outputs"], json!({"n": 5}));
    }
    let newest: Vec<String> = runs.iter().rev().cloned().collect();
    assert_eq!(ids(&cluster.ask(&["list", "--label", "x=y"])), newest);

    let plain = cluster.client(&["submit", &echo, &parallel]).exits(0);
    assert_eq!(plain.stdout.lines().filter(|line| line.len() == 36).count(), 2, "ids and nothing else: {plain}");
    for option in [&["--follow"][..], &["--request-id", "one"]] {
        let refused = cluster.client(&[&["submit", &echo, &parallel], option].concat()).exits(2);
        assert!(refused.stderr.contains("2 files are given"), "{refused}");
    }
    assert!(cluster.client(&["submit", "n=5"]).exits(2).stderr.contains("no workflow is named"));
    assert!(cluster.client(&["submit", "-", "-"]).exits(2).stderr.contains("named twice"));
}

#[test]
fn a_wait_for_several_runs_exits_by_all_outcomes() {
    let cluster = Cluster::all_in_one(&[]);
    let echo = cluster.sandbox.file("echo.yaml", ECHO);
    let fails = cluster
        .sandbox
        .file("fails.yaml", "name: F\ntasks: [{id: no, method: util/fail, parameters: {message: bad}}]\n");
    let ended = cluster.client(&["submit", &echo, &fails, "--wait", "-o", "json"]).exits(1);
    let runs = list(&ended.json());
    let statuses: Vec<&Value> = runs.iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, [&json!("completed"), &json!("failed")]);
    assert_eq!((&runs[0]["file"], &runs[0]["outputs"]), (&json!(echo), &json!({"n": 1})));
    let told = cluster.client(&["submit", &echo, &echo, "--wait"]).exits(0);
    assert_eq!(told.stdout, format!("── {echo} (completed)\nn: 1\n").repeat(2), "{told}");

    let sleep = cluster.sandbox.file("sleep.yaml", SLEEP);
    let waiting = cluster.sandbox.start(&["submit", &sleep, &sleep, "--wait", "--hub-url", &cluster.url]);
    until("both run", PATIENCE, || (waiting.stderr().matches(": run ").count() == 2).then_some(()));
    waiting.signal(Signal::INT);
    let left = waiting.wait(PATIENCE).exits(130);
    assert!(left.stderr.contains("the runs continue"), "{left}");
    assert_eq!(ids(&cluster.ask(&["list", "--status", "running"])).len(), 2);
    let followed = cluster.client(&["submit", &echo, "--follow", "-o", "json"]).exits(0);
    assert_eq!(followed.json()["status"], "completed");
}

#[test]
fn a_plan_shows_what_would_happen_and_runs_nothing() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let workflow = "name: Plan\ntimeout: 1h\ninputs: {n: null, m: 2}\ntasks:\n  - {id: a, method: util/echo, timeout: \
                    5}\n  - {id: b, method: llm/chat, dependencies: [a], parameters: {prompt: hi}, retry: \
                    {max_attempts: 3}}\n";
    let file = cluster.sandbox.file("plan.yaml", workflow);
    let missing = cluster.client(&["submit", &file, "--dry-run", "-o", "json"]).exits(2).json();
    assert_eq!(missing["errors"][0]["field"], "inputs.n", "{missing:#}");
    let plan = cluster.ask(&["submit", &file, "n=1", "--dry-run"]);
    assert_eq!((&plan["steps"], &plan["timeout_ms"]), (&json!(2), &json!(3_600_000)), "{plan:#}");
    assert_eq!(plan["inputs"], json!({"n": 1, "m": 2}));
    assert_eq!(plan["control_plane"], cluster.url.as_str());
    let (a, b) = (&plan["tasks"][0], &plan["tasks"][1]);
    assert_eq!((&a["timeout_ms"], &a["max_attempts"], &a["providers"]), (&json!(5_000), &json!(1), &json!([])));
    assert_eq!((&b["dependencies"], &b["step"], &b["max_attempts"]), (&json!(["a"]), &json!(2), &json!(3)));
    assert_eq!(plan["unserved"], json!(["llm/chat", "util/echo"]));
    let told = cluster.client(&["submit", &file, "n=1", "--dry-run"]).exits(0);
    assert!(told.stdout.contains("2 tasks in 2 steps; nothing was sent or run"), "{told}");
    assert!(told.stdout.contains("nobody") && told.stderr.contains("no provider serves `util/echo`"), "{told}");
    cluster.start_agent("worker", "provider");
    until("the provider is there", PATIENCE, || {
        let plan = cluster.ask(&["submit", &file, "n=1", "--dry-run"]);
        (plan["tasks"][0]["providers"][0]["name"] == "util").then_some(())
    });
    let both = list(&cluster.ask(&["submit", &file, &file, "n=1", "--dry-run"]));
    assert_eq!((both.len(), &both[1]["file"]), (2, &json!(file)));
    assert_eq!(ids(&cluster.ask(&["list"])), [""; 0], "nothing was sent");
}

#[test]
fn a_plan_needs_no_control_plane_unless_one_is_named() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("echo.yaml", ECHO);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    sandbox.gleitzeit(&["submit", &file, "--dry-run", "--hub-url", &nobody]).exits(3);
    let own = sandbox.gleitzeit(&["run", &file, "n=2", "--dry-run", "-o", "json"]).exits(0).json();
    assert_eq!((&own["control_plane"], &own["inputs"]), (&Value::Null, &json!({"n": 2})));
    let provider = &own["tasks"][0]["providers"][0];
    assert_eq!((&provider["name"], &provider["health"]), (&json!("util"), &json!("healthy")));
    assert_eq!(own["unserved"], json!([]));
    assert_eq!(sandbox.kept_stores().len(), 0, "nothing ran");
    let model = "name: M\ntasks: [{id: a, method: llm/chat, parameters: {prompt: hi}}]\n";
    let model = sandbox.file("model.yaml", model);
    let told = sandbox.gleitzeit(&["run", &model, "--dry-run"]).exits(0);
    assert!(told.stdout.contains("ollama"), "{told}");
    let variable = "name: V\ntasks: [{id: a, method: util/echo, parameters: {x: '${env.SECRET}'}}]\n";
    let variable = sandbox.file("variable.yaml", variable);
    let refused = sandbox.gleitzeit(&["run", &variable, "--dry-run"]).exits(2);
    assert!(refused.stderr.contains("`SECRET` is not allowed"), "{refused}");
}

#[test]
fn runs_are_listed_by_when_they_were_submitted() {
    let cluster = Cluster::all_in_one(&[]);
    let echo = cluster.sandbox.file("echo.yaml", ECHO);
    let runs: Vec<String> = (0..3).map(|_| cluster.submit(&echo)).collect();
    let times: Vec<String> = runs.iter().map(|run| text(&cluster.ask(&["status", run])["submitted_at"])).collect();
    let newest: Vec<String> = runs.iter().rev().cloned().collect();
    assert_eq!(ids(&cluster.ask(&["list", "--since", "1h"])), newest);
    assert_eq!(ids(&cluster.ask(&["list", "--until", "1h"])), [""; 0]);
    // Two runs may be from the same millisecond.
    let expected = |keep: &dyn Fn(&String) -> bool| -> Vec<String> {
        runs.iter().zip(&times).filter(|(_, time)| keep(time)).map(|(run, _)| run.clone()).rev().collect()
    };
    assert_eq!(ids(&cluster.ask(&["list", "--since", &times[1]])), expected(&|time| *time >= times[1]));
    assert_eq!(ids(&cluster.ask(&["list", "--until", &times[1]])), expected(&|time| *time < times[1]));
    let paged = cluster.client(&["list", "--since", "1h", "--limit", "2"]).exits(0);
    let again = paged
        .stderr
        .split("there are more runs: `gleitzeit ")
        .nth(1)
        .expect("there are more")
        .trim()
        .trim_end_matches('`')
        .to_owned();
    // Used unchanged: it includes the control plane's address.
    let next: Vec<&str> = again.split(' ').map(|word| word.trim_matches('\'')).collect();
    assert!(cluster.sandbox.gleitzeit(&next).exits(0).stdout.contains(&runs[0]), "{again}");
    let never = cluster.client(&["list", "--since", "1h", "--until", "2h"]).exits(2);
    assert!(never.stderr.contains("no run can be listed"), "{never}");
    assert!(cluster.client(&["list", "--since", "soon"]).exits(2).stderr.contains("an age such as 10m"));
}

#[test]
fn a_watched_list_prints_each_change_once_and_ends_with_ctrl_c() {
    let cluster = Cluster::all_in_one(&[]);
    let first = sleeping(&cluster, "n=1");
    let arguments = ["list", "--watch", "--status", "running", "--limit", "1", "--hub-url", &cluster.url, "-o", "json"];
    let watch = cluster.sandbox.start(&arguments);
    until("the first run", PATIENCE, || watch.stdout().contains(&first).then_some(()));
    let second = sleeping(&cluster, "n=2");
    until("the second run", PATIENCE, || watch.stdout().contains(&second).then_some(()));
    // It is no longer among the newest runs, nor running.
    cluster.client(&["cancel", &first]).exits(0);
    until("its end", PATIENCE, || watch.stdout().contains("\"cancelled\"").then_some(()));
    watch.signal(Signal::INT);
    let ended = watch.wait(PATIENCE).exits(0);
    let told: Vec<(String, String)> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|it| (text(&it["run_id"]), text(&it["status"])))
        .collect();
    let expected =
        [(&first, "running"), (&second, "running"), (&first, "cancelled")].map(|(id, it)| (id.clone(), it.to_owned()));
    assert_eq!(told, expected);

    let plain = cluster.sandbox.start(&["list", "-w", "--hub-url", &cluster.url]);
    until("both runs", PATIENCE, || (plain.stdout().lines().count() >= 2).then_some(()));
    plain.signal(Signal::TERM);
    let ended = plain.wait(PATIENCE).exits(0);
    assert!(ended.stdout.starts_with(&first) && !ended.stdout.contains('\x1b'), "the oldest first: {ended}");

    let shortened = &second[..13];
    let screen = on_terminal(&cluster, shortened, "\\x03", &["list", "-w"]);
    let ended = screen.wait(PATIENCE).exits(0);
    assert!(ended.stdout.contains("STATUS") && ended.stdout.contains("cancelled"), "{ended}");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    cluster.sandbox.gleitzeit(&["list", "-w", "--hub-url", &nobody]).exits(3);
}

#[test]
fn runs_are_cancelled_together_by_name_label_or_all_of_them() {
    let cluster = Cluster::all_in_one(&[]);
    let echo = cluster.sandbox.file("echo.yaml", ECHO);
    let ended = cluster.submit(&echo);
    cluster.until_ended(&ended);
    let runs: Vec<String> = (0..4).map(|n| sleeping(&cluster, &format!("team={}", n % 2))).collect();
    let refused = cluster.client(&["cancel", &runs[0], "ffff"]).exits(1);
    assert!(refused.stderr.contains("ffff"), "{refused}");
    assert_eq!(ids(&cluster.ask(&["list", "--status", "running"])).len(), 4, "a wrong name cancels nothing");

    let two = list(&cluster.ask(&["cancel", &runs[0], &ended, &runs[0]]));
    assert_eq!(two.len(), 2, "each once");
    assert_eq!((&two[0]["status"], &two[1]["status"]), (&json!("cancelled"), &json!("completed")), "{two:?}");
    let refused = cluster.client(&["cancel", "--label", "team=1"]).exits(2);
    assert!(refused.stderr.contains("2 runs would be cancelled") && refused.stderr.contains("--yes"), "{refused}");
    let told = cluster.client(&["cancel", "--label", "team=1", "--yes", "--reason", "enough"]).exits(0);
    assert!(told.stdout.contains("cancelled 2 of 2 runs"), "{told}");
    let run = cluster.until_ended(&runs[1]);
    assert!(text(&run["error"]["message"]).contains("enough"), "{run:#}");
    assert_eq!(list(&cluster.ask(&["cancel", "--name", "Other", "-y"])), [] as [Value; 0]);
    assert_eq!(ids(&cluster.ask(&["list", "--status", "running"])), runs[2..3]);
    let all = list(&cluster.ask(&["cancel", "--all", "-y"]));
    assert_eq!(all.iter().map(|it| text(&it["run_id"])).collect::<Vec<_>>(), runs[2..3]);
    let none = cluster.client(&["cancel", "--all"]).exits(0);
    assert!(none.stdout.contains("nothing was cancelled"), "there is nothing to ask: {none}");
    for wrong in [&["cancel"][..], &["cancel", "--all", &ended]] {
        cluster.client(wrong).exits(2);
    }
}

#[test]
fn cancelling_many_runs_on_a_terminal_asks_for_confirmation() {
    let cluster = Cluster::all_in_one(&[]);
    let runs = [sleeping(&cluster, "n=1"), sleeping(&cluster, "n=2")];
    let no = on_terminal(&cluster, "[y/N]", "\\n", &["cancel", "--all"]).wait(PATIENCE).exits(1);
    assert!(no.stdout.contains("cancel 2 runs? [y/N]") && no.stdout.contains(&runs[0]), "{no}");
    assert_eq!(ids(&cluster.ask(&["list", "--status", "running"])).len(), 2);
    let yes = on_terminal(&cluster, "[y/N]", "y\\n", &["cancel", "--all"]).wait(PATIENCE).exits(0);
    assert!(yes.stdout.contains("cancelled 2 of 2 runs"), "{yes}");
}

#[test]
fn a_run_is_drawn_with_the_states_of_its_tasks() {
    let cluster = Cluster::all_in_one(&[]);
    let workflow = "name: Drawn\ntasks:\n  - {id: ok, method: util/echo}\n  - {id: no, method: util/fail, dependencies: \
                    [ok], parameters: {message: bad}}\n  - {id: later, method: util/echo, parameters: {x: '${no.attempt}'}}\n";
    let run = cluster.submit(&cluster.sandbox.file("drawn.yaml", workflow));
    cluster.until_ended(&run);
    let drawn = cluster.client(&["graph", "last"]).exits(0).stdout;
    assert!(drawn.contains("│ ✓ ok ├────▶│ ✗ no ├────▶│ – later │"), "{drawn}");
    assert!(drawn.ends_with("✓ completed  ✗ failed  – skipped\n"), "{drawn}");
    let document = cluster.ask(&["graph", &run[..30]]);
    assert_eq!((&document["run_id"], &document["status"]), (&json!(run), &json!("failed")), "{document:#}");
    assert_eq!((&document["tasks"][2]["status"], &document["tasks"][2]["step"]), (&json!("skipped"), &json!(3)));
    assert_eq!(document["tasks"][2]["dependencies"], json!(["no"]));
    let mermaid = cluster.client(&["graph", &run, "--as", "mermaid"]).exits(0).stdout;
    assert!(mermaid.contains(":::failed\n") && mermaid.contains("    classDef skipped fill:"), "{mermaid}");
    let dot = cluster.client(&["graph", &run, "--as", "dot"]).exits(0).stdout;
    assert!(dot.contains("\"ok\" [label=\"✓ ok\\nutil/echo\", style=\"rounded,filled\", fillcolor="), "{dot}");
    let coloured = on_terminal(&cluster, "never", "", &["graph", "last"]).wait(PATIENCE).exits(0);
    assert!(coloured.stdout.contains("\x1b[31m│ ✗ no ├\x1b[0m"), "{coloured}");
    let neither = cluster.client(&["graph", "nowhere.yaml"]).exits(2);
    assert!(neither.stderr.contains("or a run"), "{neither}");
    // In the folder of the tests' home.
    cluster.sandbox.file("last", ECHO);
    assert!(cluster.client(&["graph", "last"]).exits(0).stdout.starts_with("Echo:"), "a file goes first");
}

#[test]
fn the_address_in_the_environment_is_used_and_a_default_is_mentioned() {
    let mut cluster = Cluster::all_in_one(&[]);
    let echo = cluster.sandbox.file("echo.yaml", ECHO);
    let url = cluster.url.clone();
    cluster.sandbox.set("GLEITZEIT_HUB_URL", &url);
    let there = cluster.sandbox.gleitzeit(&["validate", &echo]).exits(0);
    assert!(there.stderr.contains(&format!("checked against {url}")), "{there}");
    let here = cluster.sandbox.gleitzeit(&["validate", &echo, "--offline"]).exits(0);
    assert!(!here.stderr.contains("checked against"), "{here}");

    let mut sandbox = Sandbox::new();
    let echo = sandbox.file("echo.yaml", ECHO);
    let nobody = format!("http://localhost:{}", free_port());
    sandbox.set("GLEITZEIT_HUB_URL", &nobody);
    let away = sandbox.gleitzeit(&["validate", &echo]).exits(3);
    assert!(away.stderr.contains("GLEITZEIT_HUB_URL") && away.stderr.contains("--offline"), "{away}");
    let stop = sandbox.gleitzeit(&["stop"]).exits(0);
    assert!(stop.stdout.contains(&nobody["http://localhost:".len()..]), "that port: {stop}");
    sandbox.set("GLEITZEIT_HUB_URL", "http://hub.example:8000");
    let stop = sandbox.gleitzeit(&["stop", "--port", &free_port().to_string()]).exits(0);
    assert!(!stop.stderr.contains("hub.example"), "{stop}");
}
