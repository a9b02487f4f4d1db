//! One process of the binary: its output, its end, and a guarantee that it never outlives its test.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::wait::until;

/// How many bytes of the output are shown if its test fails.
const SHOWN: usize = 4_000;

/// A running process. Dropping it kills it and its children.
pub(crate) struct Process {
    child: Child,
    command_line: String,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Children of a killed process, which no longer have a parent.
    orphans: Vec<Id>,
}

/// How a process ended, and its output.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) command_line: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A process id with its start time, so that a later process with the same id is not confused with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    pid: i32,
    started: u64,
}

impl Process {
    pub(crate) fn start(mut command: Command, folder: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let command_line = command.get_args().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let (stdout, stderr) = (folder.join(format!("{number}.out")), folder.join(format!("{number}.err")));
        let open = |path: &Path| File::create(path).expect("writable");
        // A Ctrl-C on the terminal is for the tests, which end what they started.
        command.stdout(open(&stdout)).stderr(open(&stderr)).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start `{command_line}`: {error}"));
        Self { child, command_line, stdout, stderr, orphans: Vec::new() }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    pub(crate) fn stdout(&self) -> String {
        read(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal `{}`: {error}", self.command_line));
    }

    /// Sends SIGKILL to this process only: what happens to its children is the product's responsibility.
    pub(crate) fn kill_9(&mut self) {
        self.orphans = descendants(self.pid());
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// Waits for a line on stdout with this beginning, and returns the rest of it.
    #[track_caller]
    pub(crate) fn said(&mut self, beginning: &str, limit: Duration) -> String {
        until(&format!("`{}` says `{beginning}`", self.command_line), limit, || {
            let said = self.stdout();
            let found = said.lines().find_map(|line| line.strip_prefix(beginning)).map(str::to_owned);
            assert!(found.is_some() || self.is_running(), "`{}` ended:\n{}", self.command_line, self.stderr());
            found
        })
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self, limit: Duration) -> Ended {
        let what = format!("the end of `{}`", self.command_line);
        let status = until(&what, limit, || self.child.try_wait().expect("a child of ours"));
        Ended { command_line: self.command_line.clone(), status, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Sends SIGTERM and waits for its end.
    #[track_caller]
    pub(crate) fn terminate(self, limit: Duration) -> Ended {
        self.signal(Signal::TERM);
        self.wait(limit)
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "what the processes said explains why a test failed")]
    fn drop(&mut self) {
        let mut left = descendants(self.pid());
        left.append(&mut self.orphans);
        let _ = self.child.kill();
        let _ = self.child.wait();
        for id in left {
            id.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- stderr of `{}`\n{}", self.command_line, tail(&self.stderr()));
        }
    }
}

impl Ended {
    /// The exit code; panics on a signal.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("`{}` was ended by signal {:?}", self.command_line, self.status.signal()))
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// Stdout as a single JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        gleitzeit_workflow::json::decode(&self.stdout)
            .unwrap_or_else(|error| panic!("not one JSON document ({error}): {self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command_line,
            self.status,
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }
}

impl Id {
    fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, started: stat.started })
    }

    fn kill(self) {
        if Self::of(self.pid) == Some(self)
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

/// The fields of `/proc/PID/stat` after the name in parentheses, which may contain anything.
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// Whether this process is alive. A zombie does not count.
pub(crate) fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

fn all_processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn descendants(of: i32) -> Vec<Id> {
    let parents: Vec<(i32, i32)> = all_processes().filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    let (mut open, mut found) = (vec![of], Vec::new());
    while let Some(parent) = open.pop() {
        for (pid, _) in parents.iter().filter(|(_, above)| *above == parent) {
            open.push(*pid);
            found.extend(Id::of(*pid));
        }
    }
    found
}

/// Kills every process with this home.
pub(crate) fn end_all_of(home: &Path) {
    let wanted = format!("HOME={}", home.display()).into_bytes();
    for pid in all_processes() {
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted) {
            let mut left = descendants(pid);
            left.extend(Id::of(pid));
            left.into_iter().rev().for_each(Id::kill);
        }
    }
}

fn read(path: &Path) -> String {
    // The file of a process whose folder is gone cannot be read any more.
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(SHOWN);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
