//! Runs of `gleitzeit run` are inspected afterwards, and no control plane is started for it.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::RwLockReadGuard;

use serde_json::{Value, json};

use crate::support::{
    Beat, Cluster, PATIENCE, Sandbox, beat, default_port_is_left_alone, default_port_is_used, example, text, until,
};

/// A home where commands find no control plane at the default address.
struct Quiet(Sandbox, #[expect(dead_code, reason = "it is held")] RwLockReadGuard<'static, ()>);

impl Quiet {
    fn new() -> Self {
        Self(Sandbox::new(), default_port_is_left_alone())
    }
}

impl Deref for Quiet {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.0
    }
}

const ECHO: &str =
    "name: Echo\ninputs: {n: 0}\ntasks:\n  - {id: a, method: util/echo, parameters: {n: \"${inputs.n}\"}}\n";
const FAILS: &str = "name: Fails\ntasks:\n  - id: bad\n    method: python/execute\n    parameters: {code: \
                     \"print('before')\\nraise ValueError('no luck')\"}\n";

#[track_caller]
fn run(sandbox: &Sandbox, n: u32) -> String {
    let file = sandbox.file("echo.yaml", ECHO);
    let ended = sandbox.gleitzeit(&["run", &file, &format!("n={n}"), "--label", &format!("n={n}"), "-o", "json"]);
    text(&ended.exits(0).json()["run_id"])
}

#[track_caller]
fn list(sandbox: &Sandbox, more: &[&str]) -> Value {
    sandbox.gleitzeit(&[&["list", "-o", "json"], more].concat()).exits(0).json()
}

fn ids(list: &Value) -> Vec<String> {
    list["items"].as_array().expect("a list").iter().map(|run| text(&run["run_id"])).collect()
}

/// No control plane has left any files in the home.
#[track_caller]
fn nothing_was_started(sandbox: &Sandbox) {
    let left = |folder: &str| -> Vec<String> {
        let found = fs::read_dir(sandbox.home().join(folder)).into_iter().flatten().flatten();
        found.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name != "runs").collect()
    };
    assert_eq!(left(".local/share/gleitzeit"), Vec::<String>::new(), "no marker, log or store");
    assert_eq!(left(".local/state/gleitzeit"), Vec::<String>::new(), "no token");
}

#[test]
fn a_run_can_be_inspected_afterwards_without_a_server() {
    let sandbox = Quiet::new();
    let ended = sandbox.gleitzeit(&["run", &example("chain.yaml"), "-o", "json"]).exits(0);
    let failed = sandbox.gleitzeit(&["run", &sandbox.file("w.yaml", FAILS), "-o", "json"]).exits(1);
    let (done, broken) = (ended.json(), failed.json());
    let (id, bad) = (text(&done["run_id"]), text(&broken["run_id"]));
    let ask = |arguments: &[&str]| sandbox.gleitzeit(&[arguments, &["-o", "json"]].concat()).exits(0).json();
    assert_eq!(ask(&["status", &id]), done, "the document that `run` printed");
    assert_eq!(ask(&["status", "last"]), broken);
    assert_eq!(ids(&list(&sandbox, &[])), [bad.clone(), id.clone()]);
    assert_eq!(ids(&list(&sandbox, &["--status", "completed"])), std::slice::from_ref(&id));
    assert_eq!(ids(&list(&sandbox, &["--name", "Fails"])), std::slice::from_ref(&bad));
    assert!(list(&sandbox, &[])["items"][0].get("where").is_none(), "all are at one place");
    let logs = ask(&["logs", "last", "bad"]);
    assert_eq!(logs["tasks"][0]["output"], "before\n", "{logs:#}");
    assert!(ask(&["trace", &id])["spans"].as_array().is_some_and(|spans| spans.len() > 4));
    assert_eq!(ask(&["explain", &bad])["error"]["name"], "WORKFLOW_EXECUTION_FAILED");
    let watched = sandbox.gleitzeit(&["watch", &id]).exits(0);
    assert!(watched.stdout.contains("run completed"), "{watched}");
    sandbox.gleitzeit(&["watch", &bad]).exits(1);
    nothing_was_started(&sandbox);
}

#[test]
fn a_run_ends_with_a_note_how_to_inspect_it_again() {
    let sandbox = Quiet::new();
    let ended = sandbox.gleitzeit(&["run", &example("chain.yaml")]).exits(0);
    assert!(ended.stderr.trim_end().ends_with("`gleitzeit logs last`"), "{ended}");
    assert!(sandbox.gleitzeit(&["logs", "last"]).exits(0).stdout.contains("── first (completed)"));
    // Everything is in one file; it and its folder are readable only by their owner.
    let folder = &sandbox.kept_stores()[0];
    assert!(fs::metadata(folder.join("journal.db-wal")).map_or(true, |log| log.len() == 0), "the log was written back");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(folder), mode(folder.parent().expect("a folder"))), (0o700, 0o700));
    for file in fs::read_dir(folder).expect("there").flatten() {
        assert_eq!(mode(&file.path()), 0o600, "{file:?}");
    }
}

#[test]
fn without_a_data_folder_a_run_leaves_nothing_and_says_so() {
    let sandbox = Quiet::new();
    let temporary = sandbox.path().join("temporary");
    fs::create_dir(&temporary).expect("made");
    let mut command = sandbox.command(&["run", &example("chain.yaml")]);
    command.env("HOME", "no/absolute/path").env("TMPDIR", &temporary);
    let ended = sandbox.start_command(command).wait(PATIENCE).exits(0);
    assert!(ended.stderr.contains("the run is not kept") && !ended.stderr.contains("see it again"), "{ended}");
    let left: Vec<_> = fs::read_dir(&temporary).expect("there").flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("run-")), "{left:?}");
}

#[test]
fn without_runs_the_commands_name_how_to_make_one() {
    let sandbox = Quiet::new();
    assert_eq!(list(&sandbox, &[]), json!({"items": [], "next_page_token": null}));
    let none = sandbox.gleitzeit(&["list"]).exits(0);
    assert!(none.stdout.starts_with("RUN ") && none.stderr.contains("gleitzeit run FILE"), "{none}");
    for command in ["status", "logs", "trace", "explain", "watch", "retry", "cancel"] {
        let none = sandbox.gleitzeit(&[command, "last"]).exits(1);
        assert!(none.stderr.contains("no runs yet") && none.stderr.contains("gleitzeit run FILE"), "{none}");
    }
    let removed = sandbox.gleitzeit(&["prune", "--older-than", "0", "-o", "json"]).exits(0).json();
    assert_eq!(removed, json!({"runs": 0, "entries": 0, "run_stores": 0, "protocols": 0}));
    nothing_was_started(&sandbox);
}

#[test]
fn commands_that_need_a_control_plane_say_so_and_work_on_one() {
    let sandbox = Quiet::new();
    let failed = sandbox.gleitzeit(&["run", &sandbox.file("w.yaml", FAILS), "-o", "json"]).exits(1).json();
    let id = text(&failed["run_id"]);
    let store = format!("sqlite:{}/journal.db", sandbox.kept_stores()[0].display());
    let refused = sandbox.gleitzeit(&["retry", &id]).exits(1);
    assert!(refused.stderr.contains(&store) && refused.stderr.contains("gleitzeit start"), "{refused}");
    assert!(sandbox.gleitzeit(&["cancel", &id]).exits(1).stderr.contains("is failed"));
    let mut plane = sandbox.start(&["start", "--port", "0", "--store", &store]);
    let url = plane.said("ready at ", PATIENCE);
    let ask = |arguments: &[&str]| {
        let more = ["--hub-url", &url, "-o", "json"];
        sandbox.gleitzeit(&[arguments, &more[..]].concat()).exits(0).json()
    };
    assert_eq!(ask(&["status", &id]), failed, "what was looked at is as it was");
    let again = text(&ask(&["retry", &id])["run_id"]);
    sandbox.gleitzeit(&["watch", &again, "--hub-url", &url]).exits(1);
    plane.terminate(PATIENCE).exits(0);
    // Both are in the store of the first, and found by either id.
    assert_eq!(ids(&list(&sandbox, &[])), [again.clone(), id]);
    let last = sandbox.gleitzeit(&["status", "last", "-o", "json"]).exits(0).json();
    assert_eq!(last["run_id"], again.as_str());
}

#[test]
fn a_run_in_another_process_is_followed_and_one_that_was_killed_is_interrupted() {
    let sandbox = Quiet::new();
    let file = sandbox.path().join("beat");
    let workflow = format!(
        "name: Endless\ntasks:\n  - id: beat\n    method: python/execute\n    parameters:\n      code: |\n{}",
        beat(&file)
    );
    let mut run = sandbox.start(&["run", &sandbox.file("endless.yaml", workflow)]);
    Beat::first(&file);
    let listed = list(&sandbox, &[]);
    let id = text(&listed["items"][0]["run_id"]);
    let shown = sandbox.gleitzeit(&["status", "last", "-o", "json"]).exits(0).json();
    assert_eq!((&shown["run_id"], &shown["status"]), (&json!(id), &json!("running")));
    assert!(shown.get("interrupted").is_none() && shown["error"].is_null(), "{shown:#}");
    let explained = sandbox.gleitzeit(&["explain", &id]).exits(0);
    assert!(explained.stdout.contains("it runs in another process"), "{explained}");
    assert!(sandbox.gleitzeit(&["cancel", &id]).exits(1).stderr.contains("press Ctrl-C in the"));
    let watching = sandbox.start(&["watch", &id, "-o", "json"]);
    until("it is watched", PATIENCE, || watching.stdout().contains("task_dispatched").then_some(()));
    assert_eq!(sandbox.gleitzeit(&["prune", "--older-than", "0", "--json"]).exits(0).json()["run_stores"], 0);

    run.kill_9();
    let watched = watching.wait(PATIENCE).exits(1);
    assert!(watched.stderr.contains("WORKFLOW_INTERRUPTED"), "{watched}");
    let store = format!("gleitzeit start --store sqlite:{}/journal.db", sandbox.kept_stores()[0].display());
    let listed = list(&sandbox, &["--status", "running"]);
    assert_eq!(listed["items"][0]["interrupted"], true, "{listed:#}");
    assert_eq!(list(&sandbox, &["--status", "interrupted"]), listed);
    assert_eq!(list(&sandbox, &["--status", "completed,interrupted"]), listed);
    for (elsewhere, remedy) in
        [(["--watch"].as_slice(), "without --watch"), (&["--hub-url", "http://127.0.0.1:1"], "name no control plane")]
    {
        let refused = sandbox.gleitzeit(&[&["list", "--status", "interrupted"], elsewhere].concat()).exits(2);
        assert!(refused.stderr.contains("none of them is interrupted"), "{refused}");
        assert!(refused.stderr.contains(remedy), "{refused}");
    }
    let shown = sandbox.gleitzeit(&["status", "last", "-o", "json"]).exits(0).json();
    assert_eq!((&shown["status"], &shown["interrupted"]), (&json!("running"), &json!(true)));
    assert!(shown["error"]["message"].as_str().is_some_and(|it| it.contains(&store)), "{shown:#}");
    let table = sandbox.gleitzeit(&["list"]).exits(0).stdout;
    assert!(table.contains("interrupted"), "{table}");
    assert!(sandbox.gleitzeit(&["cancel", &id]).exits(1).stderr.contains("is interrupted"));
    let removed = sandbox.gleitzeit(&["prune", "--older-than", "0", "--json"]).exits(0).json();
    assert_eq!(removed["run_stores"], 0, "it has not ended");
    nothing_was_started(&sandbox);

    // A control plane on its store continues the run, as the hint says.
    let store = format!("sqlite:{}/journal.db", sandbox.kept_stores()[0].display());
    let mut plane = sandbox.start(&["start", "--port", "0", "--store", &store]);
    let url = plane.said("ready at ", PATIENCE);
    let shown = sandbox.gleitzeit(&["status", &id, "-o", "json"]).exits(0).json();
    assert!(shown.get("interrupted").is_none(), "{shown:#}");
    sandbox.gleitzeit(&["cancel", &id, "--hub-url", &url]).exits(0);
    plane.terminate(PATIENCE).exits(0);
    assert_eq!(sandbox.gleitzeit(&["status", &id, "-o", "json"]).exits(0).json()["status"], "cancelled");
}

#[test]
fn concurrent_runs_are_all_listed_and_a_common_prefix_is_ambiguous() {
    let sandbox = Quiet::new();
    let file = sandbox.file("echo.yaml", ECHO);
    let started: Vec<_> = (0..4).map(|_| sandbox.start(&["run", &file, "-o", "json"])).collect();
    let mut runs: Vec<String> =
        started.into_iter().map(|run| text(&run.wait(PATIENCE).exits(0).json()["run_id"])).collect();
    runs.sort();
    runs.reverse();
    assert_eq!(ids(&list(&sandbox, &[])), runs);
    let (mut seen, mut token) = (Vec::new(), None::<String>);
    for _ in 0..runs.len() {
        let more = token.iter().flat_map(|token| ["--page-token", token.as_str()]);
        let page = list(&sandbox, &["--limit", "3"].into_iter().chain(more).collect::<Vec<_>>());
        seen.extend(ids(&page));
        token = page["next_page_token"].as_str().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, runs);
    let ambiguous = sandbox.gleitzeit(&["status", &runs[0][..6]]).exits(1);
    assert!(runs.iter().all(|run| ambiguous.stderr.contains(run)), "{ambiguous}");
    let unknown = sandbox.gleitzeit(&["status", "12345678-0000-7000-8000-000000000000"]);
    assert!(unknown.code() != 0 && unknown.stderr.contains("12345678"), "{unknown}");
}

#[test]
fn a_named_control_plane_is_asked_alone() {
    let cluster = Cluster::all_in_one(&[]);
    run(&cluster.sandbox, 1);
    let submitted = cluster.submit(&example("parallel.yaml"));
    cluster.until_ended(&submitted);
    assert_eq!(ids(&cluster.ask(&["list"])), std::slice::from_ref(&submitted));
    assert_eq!(cluster.ask(&["status", "last"])["run_id"], submitted.as_str());
    let pruned = cluster.ask(&["prune", "--older-than", "0"]);
    assert_eq!((&pruned["runs"], &pruned["run_stores"]), (&json!(1), &json!(0)));
    assert_eq!(cluster.sandbox.kept_stores().len(), 1);
}

#[test]
fn the_control_plane_at_the_default_address_and_the_stores_are_one_list() {
    let (_mine, sandbox) = (default_port_is_used(), Sandbox::new());
    let mut plane = sandbox.start(&["start"]);
    let url = plane.said("ready at ", PATIENCE);
    let file = sandbox.file("echo.yaml", ECHO);
    let submit = |_| text(&sandbox.gleitzeit(&["submit", &file, "--wait", "-o", "json"]).exits(0).json()["run_id"]);
    let mut runs: Vec<String> = (0..3).flat_map(|n| [run(&sandbox, n), submit(n)]).collect();
    let failed = sandbox.gleitzeit(&["run", &sandbox.file("w.yaml", FAILS), "-o", "json"]).exits(1).json();
    runs.push(text(&failed["run_id"]));
    runs.reverse();
    let (mut seen, mut token) = (Vec::new(), None::<String>);
    for _ in 0..runs.len() {
        let more = token.iter().flat_map(|token| ["--page-token", token.as_str()]);
        let page = list(&sandbox, &["--limit", "2"].into_iter().chain(more).collect::<Vec<_>>());
        let places = page["items"].as_array().expect("a list").iter().map(|it| it["where"].as_str().map(str::to_owned));
        seen.extend(ids(&page).into_iter().zip(places));
        token = page["next_page_token"].as_str().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), runs);
    assert_eq!((seen[0].1.as_deref(), seen[1].1.as_deref()), (Some("run"), Some("http://localhost:8000")), "{url}");
    for run in &runs {
        let shown = sandbox.gleitzeit(&["status", &run[..20], "-o", "json"]).exits(0).json();
        assert_eq!(shown["run_id"], run.as_str());
    }
    let last = sandbox.gleitzeit(&["status", "last", "-o", "json"]).exits(0).json();
    assert_eq!(last["run_id"], runs[0].as_str());
    // The port is taken, so the hint names another.
    let refused = sandbox.gleitzeit(&["retry", "last"]).exits(1);
    let hint = format!("`gleitzeit retry {} --hub-url http://localhost:8001`", runs[0]);
    assert!(refused.stderr.contains("--port 8001") && refused.stderr.contains(&hint), "{refused}");
    let pruned = sandbox.gleitzeit(&["prune", "--older-than", "0", "--json"]).exits(0).json();
    assert_eq!((&pruned["runs"], &pruned["run_stores"]), (&json!(3), &json!(4)));
    let gone = sandbox.gleitzeit(&["status", &runs[1]]).exits(1);
    assert!(gone.stderr.contains("removed long after its end"), "{gone}");
    plane.terminate(PATIENCE).exits(0);
}

#[test]
fn runs_of_a_control_plane_that_does_not_run_are_listed_with_the_others() {
    let sandbox = Quiet::new();
    let first = run(&sandbox, 1);
    let mut plane = sandbox.start(&["start", "--port", "0", "--no-auth"]);
    let url = plane.said("ready at ", PATIENCE);
    let file = sandbox.file("echo.yaml", ECHO);
    let submit = ["submit", &file, "--wait", "--hub-url", &url, "-o", "json"];
    let second = text(&sandbox.gleitzeit(&submit).exits(0).json()["run_id"]);
    plane.terminate(PATIENCE).exits(0);
    let third = run(&sandbox, 3);
    let listed = list(&sandbox, &[]);
    assert_eq!(ids(&listed), [third, second.clone(), first.clone()]);
    let store = format!("sqlite:{}/.local/share/gleitzeit/journal.db", sandbox.home().display());
    let places: Vec<String> = (0..3).map(|at| text(&listed["items"][at]["where"])).collect();
    assert_eq!(places, ["run", &store, "run"]);
    assert!(sandbox.gleitzeit(&["list"]).exits(0).stdout.contains("WHERE"));
    let shown = sandbox.gleitzeit(&["status", &second, "-o", "json"]).exits(0).json();
    assert_eq!(shown["run_id"], second.as_str());
    assert_eq!(ids(&list(&sandbox, &["--label", "n=1"])), [first]);
}

#[test]
fn unreadable_stores_are_one_line_and_the_rest_is_listed() {
    let sandbox = Quiet::new();
    let (first, second) = (run(&sandbox, 1), run(&sandbox, 2));
    let mut folders = sandbox.kept_stores();
    folders.sort();
    let damaged = folders[0].join("journal.db");
    fs::write(&damaged, "this is no database".repeat(300)).expect("written");
    fs::write(sandbox.home().join(".local/share/gleitzeit/runs/notes.txt"), "mine").expect("written");
    let listed = sandbox.gleitzeit(&["list", "-o", "json"]).exits(0);
    assert_eq!(ids(&listed.json()), [second]);
    let told: Vec<&str> = listed.stderr.lines().filter(|line| line.contains(&damaged.display().to_string())).collect();
    assert!(told.len() == 1 && told[0].contains("remove its folder"), "{listed}");
    assert_ne!(sandbox.gleitzeit(&["status", &first]).code(), 0);
}

#[test]
fn old_runs_are_removed_by_later_runs_and_by_prune() {
    let sandbox = Quiet::new();
    run(&sandbox, 1);
    let file = sandbox.file("echo.yaml", ECHO);
    assert_eq!(sandbox.kept_stores().len(), 1);
    // A later run removes the earlier ones once its own result is printed; this one also keeps nothing of its own.
    let last = sandbox.gleitzeit(&["run", &file, "--retention", "0"]).exits(0);
    assert!(!last.stderr.contains("see it again"), "{last}");
    assert_eq!(sandbox.kept_stores(), Vec::<std::path::PathBuf>::new());
    sandbox.gleitzeit(&["run", &file, "--retention", "1d", "--hub-url", "http://127.0.0.1:1"]).exits(2);
    run(&sandbox, 3);
    run(&sandbox, 4);
    let before = sandbox.kept_stores().len();
    assert_eq!(before, 2);
    let removed = sandbox.gleitzeit(&["prune", "--older-than", "1d", "--json"]).exits(0).json();
    assert_eq!((&removed["run_stores"], sandbox.kept_stores().len()), (&json!(0), before));
    let removed = sandbox.gleitzeit(&["prune", "--older-than", "0", "--json"]).exits(0).json();
    assert_eq!((&removed["run_stores"], sandbox.kept_stores().len()), (&json!(before), 0));
    let text = sandbox.gleitzeit(&["prune"]).exits(0).stdout;
    assert!(text.contains("removed 0 stores of `gleitzeit run`"), "{text}");
}
