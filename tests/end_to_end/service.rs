//! Running the program as a service: as the first process of a container, under systemd, with a health check.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::support::{Cluster, PATIENCE, Process, Sandbox, free_port, until};

/// The children of a process: their ids and states.
fn children(of: i32) -> Vec<(i32, char)> {
    let processes = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let read = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The process name, in parentheses, may contain blanks.
        let mut fields = stat.rsplit(')').next()?.split_whitespace();
        let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse::<i32>().ok()?);
        (parent == of).then_some((pid, state))
    };
    ids.filter_map(read).collect()
}

/// Starts `gleitzeit start` as the first process of a new namespace.
fn start_contained(sandbox: &Sandbox, port: &str) -> Process {
    let store = format!("sqlite:{}", sandbox.path().join("hub.db").display());
    let program = sandbox.command(&["start", "--port", port, "--store", &store]);
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(program.get_program())
        .args(program.get_args());
    let variables = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(variables).current_dir(sandbox.path());
    sandbox.start_command(command)
}

#[test]
fn as_the_first_process_of_a_container_it_leaves_no_zombies_and_ends_in_order() {
    let sandbox = Sandbox::new();
    let port = free_port().to_string();
    let mut contained = start_contained(&sandbox, &port);
    contained.said("ready at ", PATIENCE);
    let first = children(contained.pid())[0].0;

    let url = format!("http://127.0.0.1:{port}");
    // Each task leaves a process behind that loses its parent.
    let text = "name: W\ntasks: [{id: a, method: shell/run, parameters: {command: 'sleep 300 & echo hi'}}]\n";
    let workflow = sandbox.file("w.yaml", text);
    for _ in 0..4 {
        sandbox.gleitzeit(&["submit", &workflow, "--wait", "--hub-url", &url]).exits(0);
    }
    until("nothing that has ended is left", PATIENCE, || {
        children(first).iter().all(|(_, state)| *state != 'Z').then_some(())
    });

    let pid = Pid::from_raw(first).expect("a process");
    kill_process(pid, Signal::TERM).expect("it runs");
    contained.wait(PATIENCE).exits(0);
}

#[test]
fn a_container_exits_with_the_exit_code_of_its_program() {
    let sandbox = Sandbox::new();
    let port = free_port().to_string();
    let mut contained = start_contained(&sandbox, &port);
    contained.said("ready at ", PATIENCE);
    let first = children(contained.pid())[0].0;
    let program = children(first).into_iter().find(|(_, state)| *state != 'Z').expect("the program").0;
    kill_process(Pid::from_raw(program).expect("a process"), Signal::KILL).expect("it runs");
    contained.wait(PATIENCE).exits(128 + 9);
}

#[test]
fn a_health_check_says_by_its_exit_code_whether_a_control_plane_can_be_used() {
    let sandbox = Sandbox::new();
    let url = format!("http://127.0.0.1:{}", free_port());
    let nobody = sandbox.gleitzeit(&["healthcheck", "--hub-url", &url]).exits(3);
    assert!(nobody.stderr.contains("nothing listens"), "{nobody}");

    let store = format!("sqlite:{}", sandbox.path().join("hub.db").display());
    let mut hub = sandbox.start(&["hub", "--port", "0", "--store", &store, "--token", "secret"]);
    let url = hub.said("ready at ", PATIENCE);
    let ready = sandbox.gleitzeit(&["healthcheck", "--url", &url, "-o", "json"]).exits(0);
    assert_eq!(ready.json(), serde_json::json!({ "url": url, "ready": true }));
}

#[test]
fn systemd_is_notified_of_readiness_liveness_and_the_end() {
    let mut sandbox = Sandbox::new();
    let path = sandbox.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("set");
    sandbox.set("NOTIFY_SOCKET", path.to_str().expect("UTF-8"));
    sandbox.set("WATCHDOG_USEC", "400000");
    let next = || {
        let mut message = [0; 1024];
        let length = manager.recv(&mut message).expect("it is told");
        String::from_utf8(message[..length].to_vec()).expect("UTF-8")
    };
    for command in ["hub", "start"] {
        let store = format!("sqlite:{}", sandbox.path().join("hub.db").display());
        let hub = sandbox.start(&[command, "--port", "0", "--store", &store]);
        assert_eq!(next(), "READY=1\n");
        for _ in 0..3 {
            assert_eq!(next(), "WATCHDOG=1\n");
        }
        hub.signal(Signal::TERM);
        let end = Instant::now() + PATIENCE;
        let stopping = std::iter::repeat_with(next).find(|told| told != "WATCHDOG=1\n" || Instant::now() > end);
        assert_eq!(stopping.expect("told"), "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000\nWATCHDOG=1\n");
        hub.wait(PATIENCE).exits(0);
        manager.set_nonblocking(true).expect("set");
        assert_eq!(manager.recv(&mut [0]).expect_err("no more is told").kind(), ErrorKind::WouldBlock);
        manager.set_nonblocking(false).expect("set");
    }
}

/// Runs a program as a user that, unlike root, cannot write everywhere.
fn as_other_user(sandbox: &Sandbox, program: &str, arguments: &[&str]) -> crate::support::Ended {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let variables = ["HOME", "TMPDIR", "PATH"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.arg(program).args(arguments).env_clear().envs(variables);
    command
        .envs(sandbox.command(&[]).get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    sandbox.start_command(command).wait(PATIENCE)
}

#[test]
fn a_folder_that_cannot_be_written_is_named_with_its_owner_and_the_remedy() {
    use std::os::unix::fs::PermissionsExt as _;
    // The other user must be able to reach the program.
    let open = tempfile::Builder::new().prefix("gleitzeit-open-").tempdir().expect("a folder");
    let program = open.path().join("gleitzeit");
    fs::copy(env!("CARGO_BIN_EXE_gleitzeit"), &program).expect("copied");
    let locked = open.path().join("locked");
    fs::create_dir(&locked).expect("a folder");
    for (path, mode) in [(open.path(), 0o755), (&locked, 0o555)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    }
    let (program, locked) = (program.display().to_string(), locked.display().to_string());
    let owner = rustix::process::geteuid().as_raw();
    let user = if owner == 0 { 65534 } else { owner };
    let about = format!("`{locked}` belongs to user {owner} (mode 0555), and this process runs as user {user}");
    let made =
        |folder: &str| format!("make a folder there for that user (`install -d -o {user} {locked}/{folder}`), or ");
    let given = format!("give it to that user (`chown {user} {locked}`), or ");

    let mut sandbox = Sandbox::new();
    sandbox.set("HOME", &locked);
    let store = format!("sqlite:{locked}/deep/journal.db");
    let of_store = as_other_user(&sandbox, &program, &["hub", "--port", "0", "--store", &store, "--token", "t"]);
    let of_state = as_other_user(&sandbox, &program, &["hub", "--port", "0", "--store", "memory:"]);
    sandbox.set("TMPDIR", &locked);
    let of_temporary =
        as_other_user(&sandbox, &program, &["agent", "--role", "all", "--hub-url", "http://127.0.0.1:1"]);
    for (refused, remedy, instead) in [
        (of_store, made("deep"), "--store"),
        (of_state, made(".local"), "XDG_STATE_HOME"),
        (of_temporary, given, "TMPDIR"),
    ] {
        let stderr = refused.stderr.clone();
        assert!(refused.code() != 0 && stderr.contains(&about), "{refused}");
        // Other problems are logged before.
        let hint = stderr.lines().rfind(|line| line.contains(&remedy)).unwrap_or_else(|| panic!("{refused}"));
        assert!(hint.contains(instead), "{hint}");
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
fn a_signal_to_the_whole_process_group_leaves_the_tasks_that_a_drain_waits_for() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    for role in ["queue", "resolver"] {
        cluster.start_agent_with(role, role, &[]);
    }
    cluster.start_agent_with("worker", "all", &["--drain-timeout", "5m"]);
    cluster.until_connected("engine", 1);
    let gate = cluster.sandbox.path().join("gate").display().to_string();
    let text = format!(
        "name: W\ntasks:\n  - {{id: shell, method: shell/run, parameters: {{command: 'until [ -e {gate} ]; do sleep 0.05; done; echo done'}}}}\n  \
         - id: python\n    method: python/execute\n    parameters:\n      code: |\n        import os, time\n        \
         while not os.path.exists('{gate}'):\n            time.sleep(0.05)\n        result = 'done'\n"
    );
    let run = cluster.submit(&cluster.sandbox.file("w.yaml", &text));
    cluster.until_run(&run, "both are at work", |run| {
        ["shell", "python"].iter().all(|task| run["tasks"][task]["status"] == "running")
    });
    let worker = cluster.take_agent("worker");
    // As a shell that is the first process of a container does it, or a terminal.
    kill_process_group(Pid::from_raw(worker.pid()).expect("a process"), Signal::TERM).expect("it runs");
    until("it drains", PATIENCE, || {
        let engines = cluster.components().into_iter().filter(|it| it["role"] == "engine");
        engines.collect::<Vec<_>>().iter().all(|it| it["capacity"] == 0).then_some(())
    });
    fs::write(&gate, "").expect("written");
    worker.wait(PATIENCE).exits(0);
    let ended = cluster.until_run(&run, "it has ended", |run| run["status"] == "completed");
    for task in ["shell", "python"] {
        assert_eq!(ended["tasks"][task]["attempt"], 1, "{ended:#}");
    }
}

#[test]
fn readiness_goes_first_when_a_control_plane_ends_with_its_worker() {
    let sandbox = Sandbox::new();
    let store = format!("sqlite:{}", sandbox.path().join("hub.db").display());
    let mut plane = sandbox.start(&["start", "--port", "0", "--store", &store, "--drain-timeout", "5m"]);
    let url = plane.said("ready at ", PATIENCE);
    let (begun, gate) = (sandbox.path().join("begun"), sandbox.path().join("gate"));
    let command = format!("touch {}; until [ -e {} ]; do sleep 0.05; done", begun.display(), gate.display());
    let text = format!("name: W\ntasks: [{{id: a, method: shell/run, parameters: {{command: '{command}'}}}}]\n");
    sandbox.gleitzeit(&["submit", &sandbox.file("w.yaml", &text), "--hub-url", &url]).exits(0);
    until("the task is at work", PATIENCE, || begun.exists().then_some(()));
    sandbox.gleitzeit(&["healthcheck", "--hub-url", &url]).exits(0);
    plane.signal(Signal::TERM);
    until("it says that it cannot be used", PATIENCE, || {
        let asked = sandbox.gleitzeit(&["healthcheck", "--hub-url", &url]);
        (asked.code() == 1 && asked.stderr.contains("is starting or stopping")).then_some(())
    });
    fs::write(&gate, "").expect("written");
    plane.wait(PATIENCE).exits(0);
}
