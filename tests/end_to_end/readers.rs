//! Pipes that nobody reads: writing to them does not block any work, and every process ends on a signal.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, pipe};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, Sandbox, free_port, get, until};

/// A process that is killed on drop.
struct Started(Child);

impl Started {
    fn new(mut command: Command) -> Self {
        Self(command.process_group(0).spawn().expect("it starts"))
    }

    /// Sends SIGTERM; returns the exit code.
    #[track_caller]
    fn terminate(&mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a process id")).expect("a process id");
        kill_process(pid, Signal::TERM).expect("it runs");
        self.end()
    }

    #[track_caller]
    fn end(&mut self) -> Option<i32> {
        until("the end", PATIENCE, || self.0.try_wait().expect("a child of ours")).code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pipe whose buffer is full.
fn full() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().expect("a pipe");
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("a pipe");
    let full = std::io::copy(
        &mut std::io::repeat(b'x'),
        &mut File::from(std::os::fd::OwnedFd::from(writer.try_clone().expect("a pipe"))),
    );
    assert!(full.is_err(), "it would block");
    fcntl_setfl(&writer, OFlags::empty()).expect("a pipe");
    (reader, writer)
}

fn works(sandbox: &Sandbox, url: &str) {
    let file = sandbox.file("echo.yaml", "name: e\ntasks: [{id: a, method: util/echo}]\n");
    sandbox.gleitzeit(&["submit", &file, "--wait", "--hub-url", url]).exits(0);
}

#[test]
fn a_log_that_is_not_read_blocks_no_work_and_reports_dropped_lines_later() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let port_text = port.to_string();
    let start = ["--log-level", "trace", "start", "--no-auth", "--store", "memory:", "--port", &port_text];
    let mut command = sandbox.command(&start);
    let (mut log, writer) = pipe().expect("a pipe");
    command.stdout(Stdio::null()).stderr(writer);
    let mut plane = Started::new(command);
    until("it is ready", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(()));
    let dropped = || {
        let (status, text) = get(&url, "/metrics", &[]);
        let line = text.lines().find_map(|line| line.strip_prefix("gleitzeit_log_lines_dropped_total "));
        line.and_then(|count| count.parse::<f64>().ok()).unwrap_or_else(|| panic!("{status}: {text}"))
    };
    until("lines are dropped", PATIENCE * 2, || {
        works(&sandbox, &url);
        (dropped() > 0.0).then_some(())
    });
    works(&sandbox, &url);
    // Now the pipe is read.
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let mut buffer = [0; 65_536];
        while let Ok(read) = log.read(&mut buffer)
            && read > 0
        {
            text.extend_from_slice(&buffer[..read]);
            if String::from_utf8_lossy(&text).contains("log lines were dropped") {
                break;
            }
        }
        (String::from_utf8_lossy(&text).into_owned(), log)
    });
    let (said, _unread) = reader.join().expect("it reads");
    assert!(said.contains("because they were not read"), "{} bytes", said.len());
    // The pipe is not read any more.
    assert_eq!(plane.terminate(), Some(0));
}

#[test]
fn a_control_plane_whose_stdout_is_not_read_serves_and_ends() {
    let sandbox = Sandbox::new();
    for what in ["hub", "start"] {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let mut command = sandbox.command(&[what, "--store", "memory:", "--port", &port.to_string()]);
        let (_unread, stdout) = full();
        command.stdout(stdout).stderr(Stdio::null());
        let mut plane = Started::new(command);
        until("it listens", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(()));
        until("it serves", PATIENCE, || (get(&url, "/readyz", &[]).0 == 200).then_some(()));
        if what == "start" {
            works(&sandbox, &url);
        }
        assert_eq!(plane.terminate(), Some(0), "{what}");
    }
}

#[test]
fn a_command_whose_output_is_not_read_ends_on_a_signal() {
    let sandbox = Sandbox::new();
    let (_unread, stdout) = full();
    let (_unread_either, stderr) = full();
    let file = sandbox.file("echo.yaml", "name: e\ntasks: [{id: a, method: util/echo}]\n");
    let mut command = sandbox.command(&["run", &file, "-o", "json"]);
    command.stdout(stdout).stderr(stderr);
    let mut run = Started::new(command);
    let runs = sandbox.home().join(".local/share/gleitzeit/runs");
    until("it has begun", PATIENCE, || {
        std::fs::read_dir(&runs).is_ok_and(|mut runs| runs.next().is_some()).then_some(())
    });
    run.terminate();
}

#[test]
fn a_hang_up_drains_as_a_termination_does_unless_it_is_ignored() {
    let sandbox = Sandbox::new();
    let port = free_port().to_string();
    let mut hub = sandbox.start(&["hub", "--store", "memory:", "--port", &port]);
    hub.said("ready at ", PATIENCE);
    hub.signal(Signal::HUP);
    hub.wait(PATIENCE).exits(0);

    let command = sandbox.command(&["hub", "--store", "memory:", "--port", &port]);
    let mut nohup = Command::new("nohup");
    nohup.arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        nohup.envs(value.map(|value| (name, value)));
    }
    nohup.stdin(Stdio::null());
    let mut hub = sandbox.start_command(nohup);
    let url = hub.said("ready at ", PATIENCE);
    hub.signal(Signal::HUP);
    assert_eq!(get(&url, "/readyz", &[]).0, 200);
    assert!(hub.is_running());
    hub.terminate(PATIENCE).exits(0);
}
