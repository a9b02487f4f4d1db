//! Which shell runs a command, and how it is called.

use std::path::PathBuf;

use gleitzeit_workflow::error::ErrorCode;
use serde::Deserialize;

use super::options::Options;
use crate::call::CallError;
use crate::settings::Settings;

/// What a task may ask for instead of the provider's own shell.
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
    /// `strict` makes it end at the first command that fails and at a variable that is not set; where the shell can, a
    /// pipe fails with any of its commands.
    ///
    /// # Errors
    /// If there is no such shell here.
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

/// By its name: what is called `sh` is taken for a shell of POSIX alone, so that a command does the same everywhere.
fn knows_pipefail(shell: &std::path::Path) -> bool {
    shell.file_name().is_some_and(|name| ["bash", "ksh", "mksh", "zsh"].iter().any(|known| name == *known))
}
