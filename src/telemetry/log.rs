//! The log: its filter and its format.

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::cli::{Global, LogFormat};
use crate::error::CommandError;
use crate::{color, sink};

/// An additional layer beside the log.
pub(super) type ExtraLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Builds the log filter.
///
/// # Errors
/// If the text is neither a level nor a filter.
pub(super) fn filter(global: &Global, default: &str) -> Result<EnvFilter, CommandError> {
    let text = global.log_level(default);
    // In JSON logs, each line includes the call that it is about.
    let calls = match global.log_format {
        LogFormat::Text => "",
        LogFormat::Json => ",gleitzeit::call=debug",
    };
    EnvFilter::try_new(format!("{text}{calls}")).map_err(|error| {
        CommandError::usage(format!("`{text}` is not a log level: {error}"))
            .hint("use error, warn, info, debug, trace, or a filter such as `gleitzeit=debug,warn`")
    })
}

/// Installs the log. A second installation (in a test) leaves the first in place.
pub(super) fn install(filter: EnvFilter, format: LogFormat, extra: Option<ExtraLayer>) {
    let colour = color::stderr().is_on();
    let log = tracing_subscriber::fmt::layer().with_writer(|| sink::Stderr).with_ansi(colour).with_target(false);
    let log: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let _ = tracing_subscriber::registry().with(extra).with(log.with_filter(filter)).try_init();
}
