//! Options from a file: `--config FILE` provides defaults for the flags of the chosen command. A flag takes precedence
//! over the environment, the environment over the file, and the file over the built-in defaults.

use std::path::Path;

use clap::{Arg, Command};
use gleitzeit_workflow::suggest::did_you_mean;
use gleitzeit_workflow::yaml::{self, FileKind, Kind, Limits, Node, Problem};

use crate::error::CommandError;

/// Finds `--config FILE` among the arguments, without checking the others.
pub(crate) fn config_path(arguments: &[String]) -> Option<&str> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            return None;
        }
        if argument == "--config" {
            return arguments.next().map(String::as_str);
        }
        if let Some(path) = argument.strip_prefix("--config=") {
            return Some(path);
        }
    }
    None
}

/// Makes the options in a file the defaults of every command that has them.
///
/// # Errors
/// If the file cannot be read, is not a YAML object, or names an option that no command has.
pub(crate) fn with_file(command: Command, path: &Path) -> Result<Command, CommandError> {
    let shown = path.display();
    let text = crate::bounded::text_of(path)
        .map_err(|error| CommandError::usage(format!("cannot read the configuration `{shown}`: {error}")))?;
    let options = read(&text, path)?;
    let Kind::Object(options) = options.kind else {
        return Err(CommandError::usage(format!("the configuration `{shown}` must be a list of `flag: value` lines")));
    };
    let mut command = command;
    for (key, (_, value)) in options.iter() {
        let values = texts(value).ok_or_else(|| {
            CommandError::usage(format!(
                "`{key}` in `{shown}` must be a text, a number, true, false, or a list of them"
            ))
        })?;
        command = with_default(command, &key.replace('_', "-"), values).map_err(|command| {
            CommandError::usage(format!("unknown option `{key}` in `{shown}`")).hint(suggestion(&command, key))
        })?;
    }
    Ok(command)
}

fn read(text: &str, path: &Path) -> Result<Node, CommandError> {
    const LIMITS: Limits = Limits::DEFINITION;
    let shown = path.display();
    if text.len() > LIMITS.bytes {
        let message = format!("the configuration `{shown}` has more than {} bytes", LIMITS.bytes);
        return Err(CommandError::usage(message));
    }
    // Faults that did not stop the parsing, such as a repeated key, are errors here; only the first is reported.
    let problem = match yaml::read(yaml::without_mark(text), "", FileKind::Configuration, &LIMITS) {
        Ok((options, noted)) => match noted.into_iter().next() {
            None => return Ok(options),
            Some(problem) => problem,
        },
        Err(problem) => *problem,
    };
    let hint = problem.hint.clone();
    let problem = Problem { hint: None, ..problem };
    let error = CommandError::usage(format!("the configuration `{shown}` is not valid YAML: {problem}"));
    Err(CommandError { hint, ..error })
}

/// Sets an option's default in every command that has it, or globally if it is a global option; if none has it, the
/// unchanged command is the error.
fn with_default(mut command: Command, flag: &str, values: Vec<String>) -> Result<Command, Box<Command>> {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let is_it = |argument: &&Arg| argument.get_long() == Some(flag);
    let has_flag = |command: &Command| command.get_arguments().find(is_it).map(|it| it.get_id().clone());
    let mut found = false;
    if let Some(id) = has_flag(&command).filter(|_| !matches!(flag, "config" | "help" | "version")) {
        found = true;
        command = command.mut_arg(id, |argument| argument.default_values(values.clone()));
    }
    for name in names {
        command = command.mut_subcommand(name, |sub| match has_flag(&sub) {
            Some(id) => {
                found = true;
                sub.mut_arg(id, |argument| argument.default_values(values.clone()))
            }
            None => sub,
        });
    }
    if found { Ok(command) } else { Err(Box::new(command)) }
}

fn suggestion(command: &Command, key: &str) -> String {
    let all = std::iter::once(command).chain(command.get_subcommands());
    let flags = all.flat_map(|it| it.get_arguments().filter_map(|a| a.get_long()));
    did_you_mean(&key.replace('_', "-"), flags)
        .unwrap_or_else(|| "options are named like the flags: see `gleitzeit COMMAND --help`".to_owned())
}

fn texts(value: &Node) -> Option<Vec<String>> {
    match &value.kind {
        Kind::Text(text) => Some(vec![text.clone()]),
        Kind::Number(number) => Some(vec![number.to_string()]),
        Kind::Bool(yes) => Some(vec![yes.to_string()]),
        Kind::List(items) => items.iter().map(|item| texts(item)?.pop()).collect(),
        Kind::Null | Kind::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::cli::{Cli, Command as Chosen};

    fn parse(config: &str, arguments: &[&str]) -> Result<Chosen, CommandError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, config).expect("written");
        let command = with_file(Cli::command(), &path)?;
        let matches = command.try_get_matches_from(arguments).expect("valid arguments");
        Ok(Cli::from_arg_matches(&matches).expect("the grammar's own").command)
    }

    #[test]
    fn flags_take_precedence_over_the_file_and_the_file_over_defaults() {
        let config = "slots: 8\nport: 9000\nqueues: [a, b]\ndrain_timeout: 5s\n";
        let Chosen::Start(start) = parse(config, &["gleitzeit", "start", "--port", "9001"]).expect("valid") else {
            panic!("`start` was asked for");
        };
        assert_eq!((start.worker.slots, start.hub.port), (8, 9001));
        assert_eq!(start.worker.queues, ["a", "b"]);
        assert_eq!(start.worker.drain_timeout, std::time::Duration::from_secs(5));
    }

    #[test]
    fn options_of_every_command_are_read_from_the_file_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, "color: never\nutc: true\nlog_level: debug\n").expect("written");
        let command = with_file(Cli::command(), &path).expect("valid");
        for (line, expected) in [(["gz", "list", "--full"], "Never"), (["gz", "list", "--color=always"], "Always")] {
            let matches = command.clone().try_get_matches_from(line).expect("valid arguments");
            let global = Cli::from_arg_matches(&matches).expect("the grammar's own").global;
            assert_eq!(format!("{:?}", global.color), expected);
            assert!(global.utc && global.log_level.as_deref() == Some("debug"));
        }
    }

    #[test]
    fn unknown_options_are_refused_with_the_nearest_name() {
        for (config, expected) in [
            ("slotz: 8", "did you mean `slots`?"),
            ("port: {a: 1}", "must be a text"),
            ("- port", "flag: value"),
            ("port: [", "not valid YAML"),
            ("port: 1\nport: 2", "not valid YAML: 2:1: `port` is given twice"),
        ] {
            let error = parse(config, &["gleitzeit", "start"]).expect_err(config).to_string();
            assert!(error.contains(expected), "{config}: {error}");
        }
    }
}
