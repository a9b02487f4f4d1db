//! Trouble with the store: no room, no permission to write, damage, death between two writes; and its remedies: remove
//! old runs, back up, restore.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gleitzeit_sdk::{Client, ClientConfig, RunStatus, Submission};
use serde_json::Value;

use super::support::{Cluster, PATIENCE, Process, Sandbox, free_port, text, until};

/// For machines where file systems cannot be mounted: tests that need one then pass without testing anything.
const SKIP_MOUNTS: &str = "GLEITZEIT_TEST_SKIP_MOUNTS";

const ECHO: &str =
    "name: e\ninputs: {text: hello}\ntasks: [{id: a, method: util/echo, parameters: {text: '${inputs.text}'}}]\n";

/// A small file system, unmounted on drop.
struct Mount {
    path: PathBuf,
}

impl Mount {
    /// `None` if the test is to be skipped.
    #[track_caller]
    fn new(path: PathBuf, size: &str) -> Option<Self> {
        if std::env::var_os(SKIP_MOUNTS).is_some() {
            return None;
        }
        fs::create_dir(&path).expect("writable");
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], &path);
        assert!(mounted, "no file system can be mounted here, which takes root; {SKIP_MOUNTS}=1 skips this test");
        Some(Self { path })
    }

    #[track_caller]
    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], &self.path), "remounted with {options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).output();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    Command::new("mount").args(arguments).arg(at).output().is_ok_and(|output| output.status.success())
}

/// A control plane with a worker, on its own store and port.
struct Plane {
    store: PathBuf,
    port: String,
    url: String,
}

impl Plane {
    fn new(store: PathBuf) -> Self {
        let port = free_port().to_string();
        let url = format!("http://127.0.0.1:{port}");
        Self { store, port, url }
    }

    /// Starts without waiting until it is ready, which it may never be.
    fn begin(&self, sandbox: &Sandbox, command: &str) -> Process {
        let store = format!("sqlite:{}", self.store.display());
        sandbox.start(&[command, "--port", &self.port, "--store", &store, "--no-auth"])
    }

    #[track_caller]
    fn start(&self, sandbox: &Sandbox, command: &str) -> Process {
        let mut process = self.begin(sandbox, command);
        process.said("ready at ", PATIENCE);
        process
    }

    fn caller(&self) -> Caller {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        // Without repeats: the test wants to see which calls are acknowledged and which are not.
        let config = ClientConfig { max_retries: 0, ..ClientConfig::new(self.url.clone()) };
        let client = runtime.block_on(Client::connect(config)).expect("it listens");
        Caller { runtime, client }
    }
}

/// A client for tests that wait for each answer.
struct Caller {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Caller {
    /// The id of the run, if the submission is acknowledged.
    fn try_submit(&self, text: &str) -> gleitzeit_sdk::Result<String> {
        let submission = Submission::yaml(ECHO).input("text", text)?;
        self.runtime.block_on(self.client.submit(submission)).map(|run| run.id().to_owned())
    }

    #[track_caller]
    fn submit(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.try_submit("hello").expect("acknowledged")).collect()
    }

    /// Every run is there, and with a worker each comes to its end.
    #[track_caller]
    fn all_end(&self, runs: &[String]) {
        for run in runs {
            let ended = self.runtime.block_on(self.client.wait(run, Some(PATIENCE)));
            let ended = ended.unwrap_or_else(|error| panic!("{run}: {error}"));
            assert_eq!(ended.status, RunStatus::Completed, "{run}");
        }
    }

    #[track_caller]
    fn does_not_know(&self, run: &str) {
        let error = self.runtime.block_on(self.client.get_run(run)).expect_err("it is not there");
        assert_eq!(error.name(), "WORKFLOW_NOT_FOUND", "{error}");
    }
}

#[test]
fn a_full_disk_stops_the_control_plane_with_a_remedy_and_loses_nothing() {
    let sandbox = Sandbox::new();
    let Some(disk) = Mount::new(sandbox.path().join("disk"), "4m") else { return };
    let plane = Plane::new(disk.path.join("journal.db"));
    let process = plane.start(&sandbox, "start");
    // Runs that need much room, until one is not acknowledged.
    let caller = plane.caller();
    let mut acknowledged = Vec::new();
    while let Ok(run) = caller.try_submit(&"x".repeat(60_000)) {
        acknowledged.push(run);
        assert!(acknowledged.len() < 500, "4 MiB hold 30 MB");
    }
    assert!(!acknowledged.is_empty());
    let ended = process.wait(PATIENCE).exits(1);
    let store = plane.store.display().to_string();
    assert!(ended.stderr.contains("no room is left") && ended.stderr.contains(&store), "{ended}");
    assert!(ended.stderr.contains("free some space") && !ended.stderr.contains("panicked"), "{ended}");
    assert!(ended.stderr.contains("hint: check disk space"), "{ended}");
    // While there is still no room, the control plane reports it again, or serves what it has.
    let mut again = plane.begin(&sandbox, "hub");
    until("it is ready or has ended", PATIENCE, || {
        (again.stdout().contains("ready at ") || !again.is_running()).then_some(())
    });
    if again.is_running() {
        again.terminate(PATIENCE);
    } else {
        let ended = again.wait(PATIENCE).exits(1);
        assert!(ended.stderr.contains(&store), "{ended}");
    }
    disk.remount("size=200m");
    let process = plane.start(&sandbox, "start");
    let caller = plane.caller();
    caller.all_end(&acknowledged);
    caller.all_end(&caller.submit(1));
    process.terminate(PATIENCE).exits(0);
}

#[test]
fn a_store_that_cannot_be_written_is_refused_at_the_start() {
    let sandbox = Sandbox::new();
    let Some(disk) = Mount::new(sandbox.path().join("disk"), "16m") else { return };
    let plane = Plane::new(disk.path.join("journal.db"));
    plane.start(&sandbox, "hub").terminate(PATIENCE).exits(0);
    disk.remount("ro");
    for plane in [plane, Plane::new(disk.path.join("other.db")), Plane::new(disk.path.join("folder/other.db"))] {
        let ended = plane.begin(&sandbox, "hub").wait(PATIENCE).exits(1);
        assert!(ended.stderr.contains(&plane.store.display().to_string()), "{ended}");
        assert!(ended.stderr.contains("PERSISTENCE") || ended.stderr.contains("hint:"), "{ended}");
        assert!(!ended.stdout.contains("ready at "), "{ended}");
    }
}

#[test]
fn a_damaged_store_is_refused_at_the_start_with_its_name() {
    let sandbox = Sandbox::new();
    let plane = Plane::new(sandbox.path().join("journal.db"));
    let process = plane.start(&sandbox, "hub");
    let runs = plane.caller().submit(50);
    process.terminate(PATIENCE).exits(0);
    let whole = fs::read(&plane.store).expect("readable");
    let refused = |content: &[u8], what: &str| {
        fs::write(&plane.store, content).expect("writable");
        let ended = plane.begin(&sandbox, "hub").wait(PATIENCE).exits(1);
        assert!(ended.stderr.contains("PERSISTENCE_INTEGRITY_ERROR"), "{what}: {ended}");
        assert!(ended.stderr.contains("journal.db"), "{what}: {ended}");
        assert!(ended.stderr.contains("restore a backup"), "{what}: {ended}");
    };
    refused(&[], "emptied");
    refused(&whole[..whole.len() / 2], "cut in half");
    refused(&b"somebody's notes\n".repeat(9_999), "another file");
    let mut flipped = whole.clone();
    let run = uuid::Uuid::parse_str(&runs[25]).expect("an id");
    let places: Vec<_> =
        whole.windows(16).enumerate().filter(|(_, it)| it == run.as_bytes()).map(|(at, _)| at).collect();
    assert!(places.len() > 3, "it is stored: {places:?}");
    // The same bit everywhere, so that no table contradicts another.
    places.iter().for_each(|at| flipped[at + 15] ^= 1);
    refused(&flipped, "a bit of an id");
    // With the original store it continues.
    fs::write(&plane.store, &whole).expect("writable");
    let process = plane.start(&sandbox, "start");
    plane.caller().all_end(&runs);
    process.terminate(PATIENCE).exits(0);
}

#[test]
fn acknowledged_work_survives_a_kill_at_any_moment() {
    let sandbox = Sandbox::new();
    let plane = Plane::new(sandbox.path().join("journal.db"));
    let mut acknowledged: Vec<String> = Vec::new();
    // Arbitrary moments, the same in each test run.
    for round in 0_u64..6 {
        let mut process = plane.start(&sandbox, "start");
        let stop = Arc::new(AtomicBool::new(false));
        let submitters: Vec<_> = (0..3)
            .map(|_| {
                let (caller, stop) = (plane.caller(), stop.clone());
                std::thread::spawn(move || {
                    let mut runs = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        let Ok(run) = caller.try_submit("hello") else { break };
                        runs.push(run);
                    }
                    runs
                })
            })
            .collect();
        let moment = Duration::from_micros(20_000 + round * 7_919 * 13 % 180_000);
        std::thread::sleep(moment);
        process.kill_9();
        stop.store(true, Ordering::SeqCst);
        for submitter in submitters {
            acknowledged.extend(submitter.join().expect("no panic"));
        }
    }
    assert!(acknowledged.len() > 6, "only {} were acknowledged", acknowledged.len());
    let process = plane.start(&sandbox, "start");
    plane.caller().all_end(&acknowledged);
    process.terminate(PATIENCE).exits(0);
}

#[test]
fn a_store_that_is_removed_stops_the_control_plane_and_nothing_more_is_acknowledged() {
    let sandbox = Sandbox::new();
    let plane = Plane::new(sandbox.path().join("journal.db"));
    let process = plane.start(&sandbox, "hub");
    let caller = plane.caller();
    let before = caller.submit(3);
    fs::remove_file(&plane.store).expect("removed");
    let acknowledged = (0..30).filter(|_| caller.try_submit("hello").is_ok()).count();
    assert_eq!(acknowledged, 0, "of 30 after the file was deleted");
    let ended = process.wait(PATIENCE).exits(1);
    assert!(ended.stderr.contains("PERSISTENCE_STORE_LOST"), "{ended}");
    assert!(ended.stderr.contains("journal.db") && ended.stderr.contains("hint: put its file back"), "{ended}");
    // Nor does it silently start with a new journal.
    let ended = plane.begin(&sandbox, "hub").wait(PATIENCE).exits(1);
    assert!(ended.stderr.contains("PERSISTENCE_INTEGRITY_ERROR"), "{ended}");
    assert!(ended.stderr.contains("is not there") && ended.stderr.contains("journal.db.lock"), "{ended}");
    assert!(!plane.store.exists());
    fs::remove_file(sandbox.path().join("journal.db.lock")).expect("removed");
    let process = plane.start(&sandbox, "hub");
    plane.caller().does_not_know(&before[0]);
    process.terminate(PATIENCE).exits(0);
}

/// The list of request ids decides which submissions are duplicates.
#[test]
fn damaged_lists_are_reported_by_every_command_and_repaired_from_the_entries() {
    let sandbox = Sandbox::new();
    let plane = Plane::new(sandbox.path().join("journal.db"));
    let store = format!("sqlite:{}", plane.store.display());
    let file = sandbox.file("echo.yaml", ECHO);
    let submit = |sandbox: &Sandbox| {
        let asked = ["submit", &file, "--request-id", "mine-and-only-mine", "--hub-url", &plane.url, "-o", "json"];
        text(&sandbox.gleitzeit(&asked).exits(0).json()["run_id"])
    };
    let process = plane.start(&sandbox, "hub");
    let first = submit(&sandbox);
    process.terminate(PATIENCE).exits(0);
    sandbox.gleitzeit(&["store", "check", "--store", &store]).exits(0);
    let mut damaged = fs::read(&plane.store).expect("readable");
    let id = b"mine-and-only-mine";
    let places: Vec<_> = damaged.windows(id.len()).enumerate().filter(|(_, it)| it == id).map(|(at, _)| at).collect();
    // Once in its entry, which has a checksum of its own, and in two lists.
    let json = |at: usize| damaged[at + id.len()] == b'"';
    let lists: Vec<usize> = places.into_iter().filter(|at| !json(*at)).collect();
    assert_eq!(lists.len(), 2, "it is listed and indexed");
    lists.iter().for_each(|at| damaged[*at] ^= 4);
    fs::write(&plane.store, &damaged).expect("writable");

    let copy = sandbox.path().join("copy.db").display().to_string();
    let ended = plane.begin(&sandbox, "hub").wait(PATIENCE).exits(1);
    assert!(ended.stderr.contains("PERSISTENCE_INTEGRITY_ERROR") && ended.stderr.contains("--repair"), "{ended}");
    let ended = sandbox.gleitzeit(&["backup", &copy, "--store", &store]).exits(1);
    assert!(ended.stderr.contains("journal.db") && ended.stderr.contains("--repair"), "{ended}");
    let checked: Value = sandbox.gleitzeit(&["store", "check", "--store", &store, "-o", "json"]).exits(1).json();
    assert_eq!(checked["lists_damaged"], true, "{checked}");
    let repaired = ["store", "check", "--repair", "--store", &store, "-o", "json"];
    let repaired: Value = sandbox.gleitzeit(&repaired).exits(0).json();
    assert_eq!(repaired["whole"], true, "{repaired}");
    let kept = fs::read(repaired["replaced"].as_str().expect("a path")).expect("kept");
    assert!(kept == damaged, "what was damaged is kept as it was");
    let process = plane.start(&sandbox, "hub");
    assert_eq!(submit(&sandbox), first, "it is known and runs once");
    process.terminate(PATIENCE).exits(0);
    let again = ["store", "check", "--repair", "--store", &store, "-o", "json"];
    assert_eq!(sandbox.gleitzeit(&again).exits(0).json()["replaced"], Value::Null, "nothing was to be repaired");
}

#[test]
fn a_store_has_one_control_plane_under_all_its_names() {
    let sandbox = Sandbox::new();
    let plane = Plane::new(sandbox.path().join("journal.db"));
    let process = plane.start(&sandbox, "hub");
    let names = ["symbolic.db", "hard.db"].map(|name| sandbox.path().join(name));
    std::os::unix::fs::symlink(&plane.store, &names[0]).expect("linked");
    fs::hard_link(&plane.store, &names[1]).expect("linked");
    for name in names {
        let ended = Plane::new(name).begin(&sandbox, "hub").wait(PATIENCE).exits(1);
        assert!(ended.stderr.contains("is in use by another process"), "{ended}");
    }
    process.terminate(PATIENCE).exits(0);
}

/// Only the file is mounted elsewhere, as in containers, so a different lock file lies beside it.
#[cfg(target_os = "linux")]
#[test]
fn a_store_that_is_mounted_alone_has_one_control_plane() {
    let sandbox = Sandbox::new();
    let plane = Plane::new(sandbox.path().join("journal.db"));
    let process = plane.start(&sandbox, "hub");
    let folder = sandbox.path().join("elsewhere");
    fs::create_dir(&folder).expect("writable");
    let mounted = Mount { path: folder.join("journal.db") };
    fs::write(&mounted.path, "").expect("writable");
    if std::env::var_os(SKIP_MOUNTS).is_some() {
        return;
    }
    assert!(mount(&["--bind", &plane.store.display().to_string()], &mounted.path), "{SKIP_MOUNTS}=1 skips this test");
    let ended = Plane::new(mounted.path.clone()).begin(&sandbox, "hub").wait(PATIENCE).exits(1);
    assert!(ended.stderr.contains("is in use by another process"), "{ended}");
    process.terminate(PATIENCE).exits(0);
}

#[test]
fn pruned_runs_are_reported_as_pruned_and_pruning_again_changes_nothing() {
    let mut cluster = Cluster::all_in_one(&["--retention", "off", "--drain-timeout", "0"]);
    let file = cluster.sandbox.file("echo.yaml", ECHO);
    let slow = "name: s\ntasks: [{id: a, method: util/sleep, parameters: {seconds: 600}}]\n";
    let running = cluster.submit(&cluster.sandbox.file("slow.yaml", slow));
    let fail = "name: f\ntasks: [{id: a, method: util/fail, parameters: {message: no, retryable: false}}]\n";
    let failed = cluster.submit(&cluster.sandbox.file("fail.yaml", fail));
    cluster.until_ended(&failed);
    let repeated = text(&cluster.ask(&["retry", &failed])["run_id"]);
    cluster.until_ended(&repeated);
    let asked = ["submit", &file, "--request-id", "mine"];
    let first = text(&cluster.ask(&asked)["run_id"]);
    cluster.until_ended(&first);

    let refused = cluster.client(&["prune"]).exits(2);
    assert!(refused.stderr.contains("older_than"), "it is kept for ever: {refused}");
    cluster.client(&["prune", "--older-than", "soon"]).exits(2);
    assert_eq!(cluster.ask(&["prune", "--older-than", "1d"])["runs"], 0);
    let pruned = cluster.ask(&["prune", "--older-than", "0"]);
    assert_eq!(pruned["runs"], 3);
    assert!(pruned["entries"].as_u64().is_some_and(|entries| entries >= 9), "{pruned}");
    let nothing = serde_json::json!({"runs": 0, "entries": 0, "run_stores": 0, "protocols": 0});
    assert_eq!(cluster.ask(&["prune", "--older-than", "0"]), nothing);

    let left = cluster.ask(&["list"])["items"].as_array().expect("a list").clone();
    assert_eq!((left.len(), text(&left[0]["run_id"])), (1, running.clone()));
    for command in ["status", "watch", "cancel", "retry", "explain"] {
        let ended = cluster.client(&[command, &first]).exits(1);
        assert!(ended.stderr.contains("removed long after its end"), "{command}: {ended}");
    }
    assert_ne!(text(&cluster.ask(&asked)["run_id"]), first, "the request id is free again");
    // After a restart no removed run comes back, and running ones continue.
    cluster.terminate_hub().exits(0);
    cluster.start_hub_with(&["--retention", "off"]);
    cluster.client(&["status", &first]).exits(1);
    assert_eq!(cluster.ask(&["status", &running])["status"], "running");
    assert_eq!(cluster.ask(&["protocols"])["items"].as_array().map(Vec::is_empty), Some(false), "protocols stay");
    cluster.client(&["cancel", &running]);
}

/// Files may grow only so far that the log has room for a run but not for the removal of many.
#[test]
fn pruning_on_a_full_disk_is_an_error_and_the_control_plane_continues() {
    let sandbox = Sandbox::new();
    let plane = Plane::new(sandbox.path().join("journal.db"));
    let process = plane.start(&sandbox, "start");
    let caller = plane.caller();
    let runs: Vec<String> = (0..150).map(|_| caller.try_submit(&"x".repeat(6_000)).expect("acknowledged")).collect();
    caller.all_end(&runs);
    process.terminate(PATIENCE).exits(0);
    let length = fs::metadata(&plane.store).expect("there").len();
    assert!(length > 1_000_000, "{length} bytes");

    let store = format!("sqlite:{}", plane.store.display());
    let command = sandbox.command(&["hub", "--port", &plane.port, "--store", &store, "--no-auth"]);
    let mut limited = Command::new("bash");
    // In KiB.
    limited.args(["-c", "ulimit -f 256; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    limited.env_clear().envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    let mut process = sandbox.start_command(limited);
    process.said("ready at ", PATIENCE);
    let prune = ["prune", "--older-than", "0", "--hub-url", &plane.url];
    for _ in 0..2 {
        let refused = sandbox.gleitzeit(&prune).exits(1);
        assert!(refused.stderr.contains("hint: check disk space"), "{refused}");
        assert!(refused.stderr.contains("make some room") && refused.stderr.contains("ulimit -f"), "{refused}");
    }
    let after = plane.caller().submit(1);
    assert!(process.is_running());
    process.terminate(PATIENCE).exits(0);

    let process = plane.start(&sandbox, "start");
    plane.caller().all_end(&after);
    let pruned = sandbox.gleitzeit(&prune).exits(0);
    assert!(pruned.stdout.contains("removed 151 runs"), "{pruned}");
    process.terminate(PATIENCE).exits(0);
    sandbox.gleitzeit(&["store", "check", "--store", &store]).exits(0);
}

#[test]
fn a_retention_that_is_too_short_is_refused() {
    let sandbox = Sandbox::new();
    for (age, expected) in [("10s", "at least 1m"), ("never", "30d")] {
        let ended = sandbox.gleitzeit(&["hub", "--port", "0", "--store", "memory:", "--retention", age]).exits(2);
        assert!(ended.stderr.contains(expected), "{ended}");
    }
}

#[test]
fn a_backup_of_a_control_plane_that_works_is_restored_and_goes_on() {
    let sandbox = Sandbox::new();
    let plane = Plane::new(sandbox.path().join("journal.db"));
    let process = plane.start(&sandbox, "start");
    let caller = plane.caller();
    let before = caller.submit(20);
    let store = format!("sqlite:{}", plane.store.display());
    let backup = sandbox.path().join("backup.db").display().to_string();
    // During the work on them.
    let made: Value = sandbox.gleitzeit(&["backup", &backup, "--store", &store, "-o", "json"]).exits(0).json();
    assert!(made["runs"].as_u64().is_some_and(|runs| runs >= 20), "{made}");
    let after = caller.submit(5);
    sandbox.gleitzeit(&["backup", &backup, "--store", &store]).exits(2);
    let refused = sandbox.gleitzeit(&["restore", &backup, "--store", &store, "--replace"]).exits(1);
    assert!(refused.stderr.contains("in use"), "{refused}");
    caller.all_end(&after);
    process.terminate(PATIENCE).exits(0);
    sandbox.gleitzeit(&["restore", &backup, "--store", &store]).exits(2);
    let restored: Value =
        sandbox.gleitzeit(&["restore", &backup, "--store", &store, "--replace", "-o", "json"]).exits(0).json();
    assert_eq!(restored["entries"], made["entries"]);
    assert!(Path::new(restored["replaced"].as_str().expect("a path")).exists(), "{restored}");
    let process = plane.start(&sandbox, "start");
    let caller = plane.caller();
    caller.all_end(&before);
    // They were submitted after the backup.
    after.iter().for_each(|run| caller.does_not_know(run));
    process.terminate(PATIENCE).exits(0);
}
