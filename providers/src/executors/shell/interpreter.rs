//! Chooses the shell that runs a command, and its options.

use std::path::PathBuf;

use gleitzeit_workflow::error::ErrorCode;
use serde::Deserialize;

use super::options::Options;
use crate::call::CallError;
use crate::settings::Settings;

/// The shells that a task may ask for instead of the provider's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Named {
    Sh,
    Bash,
}

/// A shell and its options.
#[derive(Debug)]
pub(super) struct Interpreter {
    pub(super) path: PathBuf,
    pub(super) options: &'static [&'static str],
}

impl Interpreter {
    /// With `strict` the shell ends at the first command that fails and at an unset variable; if the shell supports it,
    /// a pipe fails if any of its commands fails.
    ///
    /// # Errors
    /// If that shell does not exist on this machine.
    pub(super) fn choose(
        named: Option<Named>,
        strict: Option<bool>,
        options: &Options,
        settings: &Settings,
    ) -> Result<Self, CallError> {
        let path = match named {
            None => options.shell.clone(),
            Some(Named::Sh) => "/bin/sh".into(),
            Some(Named::Bash) if options.shell.ends_with("bash") => options.shell.clone(),
            Some(Named::Bash) => {
                let found = std::env::split_paths(&settings.path).map(|folder| folder.join("bash"));
                found.into_iter().find(|path| path.is_absolute() && path.is_file()).ok_or_else(|| {
                    let message = "there is no `bash` in the PATH of this provider; install it, or leave `shell` out and \
                                   write the command for `sh`";
                    CallError::new(ErrorCode::ProviderInitializationFailed, message)
                })?
            }
        };
        let options: &[&str] = match strict.unwrap_or(options.strict) {
            false => &[],
            true if knows_pipefail(&path) => &["-e", "-u", "-o", "pipefail"],
            true => &["-e", "-u"],
        };
        Ok(Self { path, options })
    }
}

/// Judged by its name: `sh` is treated as a plain POSIX shell, so that a command behaves the same everywhere.
fn knows_pipefail(shell: &std::path::Path) -> bool {
    shell.file_name().is_some_and(|name| ["bash", "ksh", "mksh", "zsh"].iter().any(|known| name == *known))
}
