//! Finds out how a call can get its own process namespace; tried once.

use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use crate::executors::process::limits::Sandbox;
use crate::executors::process::readiness::{NotReady, PATIENCE};
use crate::platform::Way;
use crate::settings::Settings;

/// A process namespace. Its first process dies last, and nothing survives it.
const COMMON: &[&str] = &["--fork", "--pid", "--mount-proc", "--kill-child"];
/// For a call that sees nothing but itself: no network, and its own mounts.
const STRICT: &[&str] = &["--mount", "--net", "--ipc", "--uts"];

const NONE: &str = "no process namespaces: a process of a command that leaves its session outlives the call";

/// Process numbers that the kernel assigns only once.
const RESERVED: u64 = 300;

/// The kernel's version; zeros if it cannot be parsed.
fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// How to get a process namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespaces {
    /// With the rights of root.
    Root,
    /// With a user namespace.
    User,
    /// No namespace: a call is held together by its process group, and its processes are found by their parents.
    None,
}

impl Namespaces {
    /// The first way that works on this machine.
    ///
    /// # Errors
    /// If the attempt does not finish in time: even a busy machine may have namespaces, so nothing is concluded from
    /// that.
    pub(super) async fn find(settings: &Settings, sandbox: Sandbox) -> Result<Self, NotReady> {
        if let Way::Portable(why) = settings.way() {
            tracing::warn!(reason = why, "{NONE}");
            return Ok(Self::None);
        }
        for way in [Self::Root, Self::User] {
            if way.works(&settings.path, sandbox).await? {
                return Ok(way);
            }
        }
        tracing::warn!("{NONE}");
        Ok(Self::None)
    }

    async fn works(self, path: &std::ffi::OsStr, sandbox: Sandbox) -> Result<bool, NotReady> {
        let mut command = Command::new("unshare");
        command
            .args(self.arguments(sandbox))
            .args(["setsid", "/bin/sh", "-c", "test $$ = 1"])
            .env_clear()
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let Ok(mut child) = command.spawn() else { return Ok(false) };
        let ended = timeout(PATIENCE, child.wait()).await.map_err(|_elapsed| {
            NotReady::Slow(format!("`unshare` did not make a process namespace within {} s", PATIENCE.as_secs()))
        })?;
        Ok(ended.is_ok_and(|status| status.success()))
    }

    /// The arguments of `unshare`.
    pub(super) fn arguments(self, sandbox: Sandbox) -> impl Iterator<Item = &'static str> {
        let own: &[&str] = match (self, sandbox) {
            (Self::User, Sandbox::Limits) => &["--user", "--map-current-user"],
            // Root within the namespace, because it has to mount. The command is started without any rights.
            (Self::User, Sandbox::Strict) => &["--user", "--map-root-user"],
            _ => &[],
        };
        let more = if sandbox == Sandbox::Strict { STRICT } else { &[] };
        own.iter().chain(COMMON).chain(more).copied()
    }

    /// The kernel's own limits on processes, in the form that `first.sh` and `inner.sh` expect: on the process numbers
    /// of a namespace, and on the processes of a user in one. Watching comes too late for code that multiplies fast;
    /// these limits leave only enough room for watching to see that there are too many.
    pub(super) fn bounds(self, most: u64) -> (String, String) {
        let kernel = kernel();
        match self {
            // Before that version, the limit applied to the whole machine.
            Self::Root if kernel >= (6, 14) => ((RESERVED + 4 * most).to_string(), String::new()),
            // Before that version, the user's processes everywhere were counted.
            Self::User if kernel >= (5, 14) => (String::new(), (most + 32).to_string()),
            _ => (String::new(), String::new()),
        }
    }

    /// What this machine does not provide, in words.
    pub(super) fn lacks(self, way: &Way) -> Option<String> {
        match (self, way) {
            (Self::None, Way::Portable(why)) => Some(format!("{NONE} ({why})")),
            (Self::None, Way::Kernel) => Some(NONE.to_owned()),
            _ => None,
        }
    }

    /// The name that `outer.sh` uses.
    pub(super) fn kind(self) -> &'static str {
        if self == Self::None { "group" } else { "space" }
    }
}
