//! Where things lie on this machine: the user's data folder, and stores given as URLs.

use std::path::{Path, PathBuf};

use gleitzeit_control_plane::StoreConfig;

use crate::error::CommandError;

/// The user's data folder: `$XDG_DATA_HOME/gleitzeit`, else `~/.local/share/gleitzeit`. It may not be there yet.
///
/// # Errors
/// If there is neither.
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

/// A folder of the user's, made if it is not there; nobody else may look into it.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn make_folder(path: &Path) -> Result<(), CommandError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        CommandError::internal(format!("cannot make the folder `{}`: {error}", path.display()))
            .hint("name a folder that you may write to with XDG_DATA_HOME, or a store with `--store sqlite:PATH`")
    })
}

/// Reads `sqlite:PATH` or `memory:`; nothing given means a file in the data folder.
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
            Err(CommandError::usage(format!("stores of the kind `{kind}:` are not supported yet")).hint(remedy))
        }
        _ => Err(CommandError::usage(format!("`{url}` is no store")).hint(remedy)),
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
