//! Why a file or folder cannot be written to, and what to do about it.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// A file or folder that this process may not write to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    path: PathBuf,
    /// What would have to be created there first; `None` if it exists.
    missing: Option<PathBuf>,
    owner: u32,
    mode: u32,
    is_read_only: bool,
    user: u32,
}

impl Denied {
    /// Why a file or folder cannot be created or changed: because of itself, if it exists, or of its first existing
    /// ancestor. `None` if this process may write there.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let absolute = std::path::absolute(path).ok()?;
        let mut missing = None;
        for path in absolute.ancestors() {
            let Ok(about) = std::fs::metadata(path) else {
                missing = Some(path.to_owned());
                continue;
            };
            let wanted = if about.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
            let error = accessat(CWD, path, wanted, AtFlags::EACCESS).err();
            if let Some(error @ (Errno::ACCESS | Errno::ROFS)) = error {
                let user = rustix::process::geteuid().as_raw();
                let (owner, mode, is_read_only) = (about.uid(), about.mode() & 0o7777, error == Errno::ROFS);
                return Some(Self { path: path.to_owned(), missing, owner, mode, is_read_only, user });
            }
            if about.is_dir() {
                return None;
            }
        }
        None
    }

    /// What to do about it; `instead` is an alternative.
    pub(crate) fn remedy(&self, instead: &str) -> String {
        if self.is_read_only {
            return format!("mount a volume there that user {} may write to, or {instead}", self.user);
        }
        let user = self.user;
        match &self.missing {
            // Changing the existing folder could affect others.
            Some(missing) => {
                let folder = quoted(missing);
                format!("make a folder there for that user (`install -d -o {user} {folder}`), or {instead}")
            }
            None => format!("give it to that user (`chown {user} {}`), or {instead}", quoted(&self.path)),
        }
    }
}

/// A path quoted for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, mode, user, .. } = self;
        let read_only = if self.is_read_only { "is mounted read-only and " } else { "" };
        let path = self.path.display();
        write!(f, "`{path}` {read_only}belongs to user {owner} (mode {mode:04o}), and this process runs as user {user}")
    }
}
