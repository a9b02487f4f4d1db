//! Stores that are given as URLs.

use std::path::PathBuf;

use gleitzeit_control_plane::StoreConfig;

use crate::error::CommandError;
use crate::folders;

/// Parses `sqlite:PATH` or `memory:`; without a value, uses a file in the data folder.
///
/// # Errors
/// If it is another kind of store.
pub(crate) fn parse(url: Option<&str>) -> Result<StoreConfig, CommandError> {
    let Some(url) = url else { return Ok(StoreConfig::Sqlite(folders::data_folder()?.join("journal.db"))) };
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
            assert_eq!(parse(Some(url)).ok(), expected, "{url}");
        }
    }
}
