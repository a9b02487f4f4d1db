//! The command line: arguments select a command, and a command returns an exit code.
//!
//! Only this crate installs a log, reads the environment, handles signals and chooses exit codes; the libraries take
//! arguments. Results go to stdout as one document, everything else to stderr.

mod background;
mod batch;
mod bounded;
mod causes;
mod cli;
mod client;
mod color;
mod commands;
mod complete;
mod content;
mod definitions;
mod denied;
mod diagnostics;
mod document;
mod error;
mod find_runs;
mod folders;
mod follow;
mod graph;
mod hub_url;
mod ids;
mod inputs;
mod json;
mod lines;
mod method_view;
mod monitor;
mod output;
mod output_settings;
mod own_token;
mod pid_one;
mod plan;
mod plane;
mod plane_config;
mod platform;
mod progress;
mod return_memory;
mod run_stores;
mod service;
mod settings;
mod signals;
mod sink;
mod states;
mod store_url;
mod table;
mod telemetry;
mod text;
mod timeline;
mod trust;
mod view;
mod when;
mod width;
mod worker_config;
mod workers;
mod workflow;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Format};
use crate::error::{CommandError, Exit};
use crate::output_settings::Choices;
use crate::telemetry::Telemetry;

/// Runs the command line with the process's arguments.
pub fn main() -> ExitCode {
    platform::settle_allocator();
    sink::take_panics();
    if let Some(exit) = pid_one::run_as_init() {
        return exit;
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(exit) = complete::answer(&arguments) {
        return exit;
    }
    let exit = match parse(&arguments) {
        Ok(cli) => {
            let format = cli.command.format_of_failure();
            run(cli).unwrap_or_else(|error| {
                output::failure(format, &error);
                error.exit
            })
        }
        Err(exit) => exit,
    };
    sink::flush();
    ExitCode::from(exit as u8)
}

fn run(cli: Cli) -> Result<Exit, CommandError> {
    if cli.command.may_connect() {
        trust::settle(cli.global.ca.clone())?;
    }
    // This must happen before there are threads; a failure is reported once there is a log.
    let concealed = if cli.command.keeps_secrets() { platform::conceal() } else { Ok(()) };
    let telemetry = Telemetry::install(&cli.global, &cli.command)?;
    if let Err(error) = concealed {
        tracing::warn!(%error, "other processes of this user can read the memory of this process, including its token");
    }
    let result = commands::run(cli.command, &telemetry);
    telemetry.finish();
    result
}

/// Parses the arguments. If they form no command, the reason has been printed when this returns.
fn parse(arguments: &[OsString]) -> Result<Cli, Exit> {
    let lossy: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let refused = |error: CommandError| {
        output::failure(wanted_format(&lossy), &error);
        error.exit
    };
    // Provisional settings, until the arguments are parsed.
    output_settings::settle(&Choices { colour: output_settings::wanted_colour(&lossy), ..Choices::default() });
    let mut command = Cli::command();
    if let Some(path) = settings::config_path(&lossy) {
        command = settings::with_file(command, Path::new(path)).map_err(refused)?;
    }
    let parsed = command.try_get_matches_from_mut(arguments).and_then(|matches| {
        let mut cli = Cli::from_arg_matches(&matches)?;
        cli.global.prefer_flags(&matches);
        output_settings::settle(&Choices::from(&cli.global));
        Ok(cli)
    });
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match output::print(&cli::shown_help(&error.render(), color::stdout())) {
                Ok(_) => Exit::Success,
                Err(error) => refused(error),
            }
        }
        // The message is a whole screen of help, not a sentence.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::say(cli::shown_help(&error.render(), color::stderr()).trim_end());
            Exit::Usage
        }
        _ => refused(cli::refusal(error, &lossy)),
    })
}

/// The requested format, as far as it can be found in arguments that could not be parsed.
fn wanted_format(arguments: &[String]) -> Format {
    let mut wanted = Format::Table;
    for (index, argument) in arguments.iter().enumerate() {
        let value = match argument.as_str() {
            "--" => break,
            "--json" => Some("json"),
            "-o" | "--output" => arguments.get(index + 1).map(String::as_str),
            other => other.strip_prefix("--output=").or_else(|| other.strip_prefix("-o=")).or(other.strip_prefix("-o")),
        };
        match value {
            Some("json") => wanted = Format::Json,
            Some("yaml") => wanted = Format::Yaml,
            _ => {}
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_format_is_found_among_invalid_arguments() {
        for (line, expected) in [
            ("gz list --nope -o json", Format::Json),
            ("gz list -ojson --nope", Format::Json),
            ("gz ps --json --nope", Format::Json),
            ("gz list --output=yaml", Format::Yaml),
            ("gz list --nope", Format::Table),
            ("gz list -- -o json", Format::Table),
        ] {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(wanted_format(&arguments), expected, "{line}");
        }
    }
}
