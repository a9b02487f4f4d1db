//! A separate home for everything that a test starts.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tempfile::TempDir;

use super::process::{Ended, Process, end_all_of};
use super::wait::PATIENCE;

/// A folder that is the home of all processes started here. Dropping it ends them.
pub(crate) struct Sandbox {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("gleitzeit-test-").tempdir().expect("a folder");
        fs::create_dir(folder.path().join("home")).expect("a home");
        fs::create_dir(folder.path().join("processes")).expect("a folder for what processes say");
        Self { folder, variables: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Sets a variable for everything that is started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Whether a variable is set.
    pub(crate) fn sets(&self, name: &str) -> bool {
        self.variables.iter().any(|(known, _)| known == name)
    }

    /// Writes a file; returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        fs::write(&path, content).expect("writable");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The binary, with nothing from this process's environment except `PATH`, and the variables that were set.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gleitzeit"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts a command and leaves it running.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        self.start_command(self.command(arguments))
    }

    pub(crate) fn start_command(&self, command: Command) -> Process {
        Process::start(command, &self.path().join("processes"))
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn gleitzeit(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait(PATIENCE)
    }

    /// The folders of runs, each with its store.
    pub(crate) fn kept_stores(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.home().join(".local/share/gleitzeit/runs")) else { return Vec::new() };
        entries.map(|entry| entry.expect("readable").path()).collect()
    }
}

impl Drop for Sandbox {
    /// Also ends background processes.
    fn drop(&mut self) {
        end_all_of(&self.home());
    }
}

/// The path of a workflow in `examples/`.
pub(crate) fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// All tests share one default port: some start something there, and some expect nothing there.
static DEFAULT_PORT: RwLock<()> = RwLock::new(());

/// Held by a test that starts something at the default port.
pub(crate) fn default_port_is_used() -> RwLockWriteGuard<'static, ()> {
    DEFAULT_PORT.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that expects nothing there.
pub(crate) fn default_port_is_left_alone() -> RwLockReadGuard<'static, ()> {
    DEFAULT_PORT.read().unwrap_or_else(PoisonError::into_inner)
}

/// A port that is free at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
