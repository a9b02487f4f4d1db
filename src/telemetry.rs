//! Logging to stderr. Libraries only emit events; this is the one place that decides what becomes of them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::CommandError;

/// Installs logging. `level` is a level or a filter; without one only what went wrong is shown.
///
/// # Errors
/// If the filter cannot be read.
pub(crate) fn install(level: Option<&str>, default: &str) -> Result<(), CommandError> {
    let text = level.unwrap_or(default);
    let filter = EnvFilter::try_new(text).map_err(|error| {
        CommandError::usage(format!("`{text}` is no log level: {error}"))
            .hint("use error, warn, info, debug, trace, or a filter such as `gleitzeit=debug,warn`")
    })?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A second installation (in a test) leaves the first in place.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .try_init();
    Ok(())
}
