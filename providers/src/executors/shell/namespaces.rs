//! How a call gets a process namespace of its own; tried once.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// A process namespace; what dies last in it is its first process, and nothing survives that.
const COMMON: &[&str] = &["--fork", "--pid", "--mount-proc", "--kill-child"];
/// `unshare` does its work in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to a process namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespaces {
    /// By the rights of root.
    Root,
    /// By a user namespace.
    User,
    /// There is none: a call is held together by its session only.
    None,
}

impl Namespaces {
    /// The first way that works here.
    pub(super) async fn find(path: &OsStr) -> Self {
        for way in [Self::Root, Self::User] {
            if way.works(path).await {
                return way;
            }
        }
        tracing::warn!("no process namespaces: a process of a command that leaves its session outlives the call");
        Self::None
    }

    async fn works(self, path: &OsStr) -> bool {
        let mut command = Command::new("unshare");
        command
            .args(self.arguments())
            .args(["setsid", "/bin/sh", "-c", "test $$ = 1"])
            .env_clear()
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let Ok(mut child) = command.spawn() else { return false };
        matches!(timeout(PATIENCE, child.wait()).await, Ok(Ok(status)) if status.success())
    }

    /// For `unshare`.
    pub(super) fn arguments(self) -> impl Iterator<Item = &'static str> {
        let own: &[&str] = if self == Self::User { &["--user", "--map-current-user"] } else { &[] };
        own.iter().chain(COMMON).copied()
    }

    /// As `outer.sh` names it.
    pub(super) fn kind(self) -> &'static str {
        if self == Self::None { "group" } else { "space" }
    }
}
