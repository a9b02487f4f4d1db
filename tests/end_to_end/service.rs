//! What runs the program as a service: the first process of a container, systemd, a health check.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, Process, Sandbox, free_port, until};

/// The children of a process: their ids and states.
fn children(of: i32) -> Vec<(i32, char)> {
    let processes = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let read = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold blanks.
        let mut fields = stat.rsplit(')').next()?.split_whitespace();
        let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse::<i32>().ok()?);
        (parent == of).then_some((pid, state))
    };
    ids.filter_map(read).collect()
}

/// `gleitzeit start` as the first process of a namespace of its own.
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
    // Each leaves a process behind, which loses its parent.
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
fn what_the_program_ends_with_in_a_container_is_what_the_container_ends_with() {
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
fn systemd_is_told_when_it_can_be_used_that_it_lives_and_that_it_ends() {
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
