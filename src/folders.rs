//! Folders of this user: the data folder, and private ones.

use std::path::{Path, PathBuf};

use crate::denied::Denied;
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

/// Creates a folder of the user if it does not exist; nobody else can read it. `instead` is the hint if that fails.
///
/// # Errors
/// If the folder cannot be created.
pub(crate) fn make_private(path: &Path, instead: &str) -> Result<(), CommandError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        let message = format!("cannot make the folder `{}`: {error}", path.display());
        match Denied::of(path) {
            Some(denied) => CommandError::internal(format!("{message}; {denied}")).hint(denied.remedy(instead)),
            None => CommandError::internal(message).hint(instead),
        }
    })
}
