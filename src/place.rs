//! Locations on this machine: the user's data folder, and stores given as URLs.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use gleitzeit_control_plane::StoreConfig;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::error::CommandError;

/// The user's data folder: `$XDG_DATA_HOME/gleitzeit`, or else `~/.local/share/gleitzeit`. It may not exist yet.
///
/// # Errors
/// If neither variable is set.
pub(crate) fn data_folder() -> Result<PathBuf, CommandError> {
    let absolute = |name: &str| gleitzeit_link::variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|folder| folder.join("gleitzeit"))
        .ok_or_else(|| {
            CommandError::usage("there is no data folder: neither XDG_DATA_HOME nor HOME is set, and the system knows no home of this user")
                .hint("set HOME, or name a store with `--store sqlite:PATH`")
        })
}

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

/// Creates a folder of the user if it does not exist; nobody else can read it. `instead` is the hint if that fails.
///
/// # Errors
/// If the folder cannot be created.
pub(crate) fn make_folder(path: &Path, instead: &str) -> Result<(), CommandError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        let message = format!("cannot make the folder `{}`: {error}", path.display());
        match Denied::of(path) {
            Some(denied) => CommandError::internal(format!("{message}; {denied}")).hint(denied.remedy(instead)),
            None => CommandError::internal(message).hint(instead),
        }
    })
}

/// Parses `sqlite:PATH` or `memory:`; without a value, uses a file in the data folder.
///
/// # Errors
/// If it is another kind of store.
pub(crate) fn store(url: Option<&str>) -> Result<StoreConfig, CommandError> {
    let Some(url) = url else { return Ok(StoreConfig::Sqlite(data_folder()?.join("journal.db"))) };
    let remedy = "write sqlite:PATH, such as `sqlite:/var/lib/gleitzeit/journal.db`, or memory: to keep nothing";
    match url.split_once(':') {
        Some(("memory", "")) => Ok(StoreConfig::Memory),
        Some(("sqlite", path)) => {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(CommandError::usage(format!("the store `{url}` names no file")).hint(remedy));
            }
            Ok(StoreConfig::Sqlite(PathBuf::from(path)))
        }
        Some((kind @ ("postgres" | "postgresql" | "redis"), _)) => {
            Err(CommandError::usage(format!("stores of type `{kind}:` are not supported yet")).hint(remedy))
        }
        _ => Err(CommandError::usage(format!("`{url}` is not a store")).hint(remedy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_or_memory_and_nothing_else_yet() {
        for (url, expected) in [
            ("sqlite:a/b.db", Some(StoreConfig::Sqlite("a/b.db".into()))),
            ("sqlite:/a/b.db", Some(StoreConfig::Sqlite("/a/b.db".into()))),
            ("sqlite:///a/b.db", Some(StoreConfig::Sqlite("/a/b.db".into()))),
            ("memory:", Some(StoreConfig::Memory)),
            ("sqlite:", None),
            ("memory:x", None),
            ("postgres://host/db", None),
            ("journal.db", None),
        ] {
            assert_eq!(store(Some(url)).ok(), expected, "{url}");
        }
    }
}
