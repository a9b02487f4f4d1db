//! The options that every command takes: how the output looks, what is logged, and where other options come from. They
//! come last in every help text.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, ValueEnum};

use crate::output_settings::{Choices, ColorWhen};

/// The heading of these options in help texts.
const HEADING: &str = "Global options";

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct Global {
    /// Colour the output: auto, always, never
    ///
    /// With `auto`, NO_COLOR turns colours off, else CLICOLOR_FORCE turns them on, else they are on for a terminal that
    /// supports them, separately for stdout and stderr. JSON and YAML have none.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) color: ColorWhen,

    /// Show times in UTC (ISO 8601) instead of relative ones
    ///
    /// Only terminals get relative times; files, pipes and documents always have ISO 8601.
    #[arg(long, global = true)]
    pub(crate) utc: bool,

    /// Show whole ids and cells, however wide the terminal
    #[arg(long, global = true)]
    pub(crate) full: bool,

    /// Print only results and errors: no notes, no progress, no summary
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Log more on stderr: -v info, -vv debug, -vvv trace
    ///
    /// `--log-level` takes precedence over it, and it takes precedence over GLEITZEIT_LOG_LEVEL.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// What to log: error, warn, info, debug, trace, or a filter
    ///
    /// A filter such as `gleitzeit=debug,warn` has the syntax of Rust's `tracing`. The log goes to stderr.
    #[arg(long, global = true, env = "GLEITZEIT_LOG_LEVEL", value_name = "LEVEL", hide_env_values = true)]
    pub(crate) log_level: Option<String>,

    /// The format of the log: text for people, json for programs
    #[arg(
        long,
        global = true,
        env = "GLEITZEIT_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        hide_default_value = true,
        hide_possible_values = true,
        hide_env_values = true
    )]
    pub(crate) log_format: LogFormat,

    /// A file (PEM) with the root of a private authority, for https
    ///
    /// It is trusted in addition to the bundled roots and those of the machine (or of SSL_CERT_FILE and SSL_CERT_DIR), for all
    /// connections of the command: to the control plane, to services that providers call, to receivers of telemetry.
    #[arg(long, global = true, env = "GLEITZEIT_CA", value_name = "FILE", hide_env_values = true,
        value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) ca: Option<PathBuf>,

    /// A YAML file with options, named like the flags
    ///
    /// Flags take precedence over the environment, the environment over the file, and the file over the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Print help: -h in short, --help with more
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, global = true, action = ArgAction::Version)]
    version: Option<bool>,
}

impl Global {
    /// Lets `-v` and `-q` override a level that was not given as a flag.
    pub(crate) fn prefer_flags(&mut self, matches: &ArgMatches) {
        let is_flag = matches.value_source("log_level") == Some(ValueSource::CommandLine);
        if !is_flag && (self.quiet || self.verbose > 0) {
            self.log_level = None;
        }
    }

    /// The log level; `default` is the command's own if nothing else is requested.
    pub(crate) fn log_level<'a>(&'a self, default: &'a str) -> &'a str {
        match (&self.log_level, self.quiet, self.verbose) {
            (Some(level), ..) => level,
            (None, true, _) => "error",
            (None, false, 0) => default,
            (None, false, 1) => "info",
            (None, false, 2) => "debug",
            (None, false, _) => "trace",
        }
    }
}

impl From<&Global> for Choices {
    fn from(global: &Global) -> Self {
        Self { colour: global.color, utc: global.utc, full: global.full, quiet: global.quiet }
    }
}

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line of text for each event
    #[default]
    Text,
    /// A JSON object for each event
    Json,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::super::Cli;

    fn level(line: &str) -> String {
        let matches = Cli::command().try_get_matches_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
        let mut global = Cli::from_arg_matches(&matches).expect("the grammar's own").global;
        global.prefer_flags(&matches);
        global.log_level("warn").to_owned()
    }

    #[test]
    fn the_log_level_takes_precedence_over_quiet_and_verbose() {
        for (line, expected) in [
            ("gz list", "warn"),
            ("gz list -v", "info"),
            ("gz -v list", "info"),
            ("gz list -vv", "debug"),
            ("gz list -vvv --utc", "trace"),
            ("gz list -q", "error"),
            ("gz --quiet list", "error"),
            ("gz list -vv --log-level gleitzeit=warn", "gleitzeit=warn"),
            ("gz --log-level info list -q", "info"),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
        Cli::command().try_get_matches_from(["gz", "list", "-q", "-v"]).expect_err("both make no sense");
    }

    #[test]
    fn flags_take_precedence_over_the_log_level_of_the_configuration() {
        let command = Cli::command().mut_arg("log_level", |it| it.default_value("trace"));
        let matches = command.try_get_matches_from(["gz", "list", "-v"]).expect("valid");
        let mut global = Cli::from_arg_matches(&matches).expect("the grammar's own").global;
        assert_eq!(global.log_level.as_deref(), Some("trace"));
        global.prefer_flags(&matches);
        assert_eq!(global.log_level("warn"), "info");
    }
}
