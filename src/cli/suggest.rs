//! Suggests what was probably meant by arguments that do not form a command: a hint for each error that clap finds.
//! Pure: it uses only the grammar and the arguments.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory as _};
use gleitzeit_workflow::suggest::{closest, did_you_mean};

use super::Cli;
use crate::error::CommandError;

/// Names that other programs use for our commands.
const COMMANDS: &[(&str, &str)] = &[
    ("delete", "prune"),
    ("rm", "prune"),
    ("describe", "status"),
    ("get", "status"),
    ("show", "status"),
    ("info", "status"),
    ("down", "stop"),
    ("kill", "cancel"),
    ("terminate", "cancel"),
    ("log", "logs"),
    ("runs", "list"),
    ("serve", "start"),
    ("server", "start"),
    ("up", "start"),
    ("worker", "agent"),
    ("top", "monitor"),
    ("ui", "monitor"),
    ("why", "explain"),
    ("events", "watch"),
    ("follow", "watch"),
    ("rerun", "retry"),
    ("resume", "retry"),
    ("lint", "validate"),
    ("check", "validate"),
    ("new", "init"),
    ("create", "init"),
    ("methods", "protocols"),
    ("completion", "completions"),
];

/// Names that other programs use for our options.
const OPTIONS: &[(&str, &str)] = &[
    ("no-color", "--color never"),
    ("no-colour", "--color never"),
    ("colour", "--color"),
    ("silent", "--quiet"),
    ("debug", "-vv"),
    ("format", "--output"),
    ("url", "--hub-url"),
    ("hub", "--hub-url"),
    ("address", "--hub-url"),
    ("server", "--hub-url"),
    ("namespace", "--label"),
];

/// How many commands with an option are named.
const NAMED: usize = 3;

/// The error for a refused command line: clap's message, with our hint instead of clap's tips.
pub(crate) fn refusal(mut error: clap::Error, arguments: &[String]) -> CommandError {
    let mut root = Cli::command();
    root.build();
    let hint = hint(&root, &error, arguments);
    for tip in [
        ContextKind::Suggested,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedCommand,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ] {
        error.remove(tip);
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    CommandError::usage(text.trim_end()).hint(hint)
}

fn hint(root: &Command, error: &clap::Error, arguments: &[String]) -> String {
    let reached = Reached::by(root, arguments);
    let wrong = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let meant = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            wrong(ContextKind::InvalidSubcommand).and_then(|word| meant_command(root, &reached, word))
        }
        ErrorKind::UnknownArgument => {
            wrong(ContextKind::InvalidArg).and_then(|word| meant_option(root, &reached, &written(word, arguments)))
        }
        ErrorKind::InvalidValue => {
            wrong(ContextKind::InvalidValue).and_then(|word| meant_value(error.get(ContextKind::ValidValue)?, word))
        }
        _ => None,
    };
    let is_before = error.kind() == ErrorKind::InvalidSubcommand && !reached.command.has_subcommands();
    meant.unwrap_or_else(|| match reached.command.has_subcommands() {
        false if is_before => format!("did you mean `{}`?", reached.name),
        true => format!("`{} --help` lists the commands", reached.name),
        false => format!("see `{} --help`", reached.name),
    })
}

/// The command that the arguments lead to, as far as they can be followed.
struct Reached<'a> {
    /// The command as it is typed.
    name: String,
    command: &'a Command,
}

impl<'a> Reached<'a> {
    fn by(root: &'a Command, arguments: &[String]) -> Self {
        let mut reached = Self { name: "gleitzeit".to_owned(), command: root };
        let mut words = arguments.iter().skip(1);
        while let Some(word) = words.next() {
            if word == "--" {
                break;
            }
            if let Some(option) = word.strip_prefix('-') {
                let is_apart = !option.contains('=') && takes_value(reached.command, word);
                words.by_ref().take(usize::from(is_apart)).for_each(drop);
                continue;
            }
            match reached.command.find_subcommand(word) {
                Some(command) => {
                    reached.name = format!("{} {}", reached.name, command.get_name());
                    reached.command = command;
                }
                // Before the command name there may be any mistake.
                None if reached.command.get_name() == root.get_name() => {}
                None => break,
            }
        }
        reached
    }
}

/// Whether the next word is the value of this option.
fn takes_value(command: &Command, word: &str) -> bool {
    let is_it = |arg: &&Arg| match word.strip_prefix("--") {
        Some(long) => longs(arg).contains(&long),
        None => word.len() == 2 && shorts(arg).any(|short| word.ends_with(short)),
    };
    command.get_arguments().find(is_it).is_some_and(|arg| arg.get_action().takes_values())
}

fn longs(arg: &Arg) -> Vec<&str> {
    arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default()).collect()
}

fn shorts(arg: &Arg) -> impl Iterator<Item = char> {
    arg.get_short().into_iter().chain(arg.get_all_short_aliases().unwrap_or_default())
}

/// The option as it was typed: for `-json` clap names `-j`.
fn written(told: &str, arguments: &[String]) -> String {
    let is_it = |argument: &&String| argument.starts_with(told) && !argument.starts_with("--");
    let typed = if told.starts_with("--") { None } else { arguments.iter().find(is_it) };
    let word = typed.map_or(told, String::as_str);
    word.split('=').next().unwrap_or_default().to_owned()
}

fn meant_command(root: &Command, reached: &Reached<'_>, word: &str) -> Option<String> {
    if [".yaml", ".yml", ".json"].iter().any(|end| word.ends_with(end)) {
        return Some(format!("a workflow is run by `gleitzeit run {word}`"));
    }
    let names = |command: &Command| -> Vec<(String, String)> {
        let parts = command.get_subcommands().filter(|part| !part.is_hide_set());
        parts
            .flat_map(|part| {
                let name = part.get_name();
                let names = std::iter::once(name).chain(part.get_all_aliases());
                names.map(|typed| (typed.to_owned(), name.to_owned())).collect::<Vec<_>>()
            })
            .collect()
    };
    let known = names(reached.command);
    let near = closest(word, known.iter().map(|(typed, _)| typed));
    let exact = COMMANDS.iter().find(|(other, _)| *other == word.to_lowercase());
    let name = match (near, exact) {
        (_, Some((_, name))) if reached.command.get_name() == root.get_name() => Some(format!("gleitzeit {name}")),
        (Some(near), _) => {
            let meant = known.iter().find(|(typed, _)| *typed == near);
            meant.map(|(_, name)| format!("{} {name}", reached.name))
        }
        (None, _) => root.get_subcommands().find_map(|command| {
            let near = closest(word, names(command).iter().map(|(typed, _)| typed))?;
            Some(format!("gleitzeit {} {near}", command.get_name()))
        }),
    };
    name.map(|name| format!("did you mean `{name}`?"))
}

fn meant_option(root: &Command, reached: &Reached<'_>, word: &str) -> Option<String> {
    let bare = word.trim_start_matches('-');
    if bare.is_empty() || bare == word {
        return None;
    }
    let (name, command) = (&reached.name, reached.command);
    // An option in front of the command belongs to no command.
    if has(command, word) {
        return Some(format!("options come after the command: `{name} {word}`"));
    }
    let own: Vec<&str> = command.get_arguments().filter(|arg| !arg.is_hide_set()).flat_map(longs).collect();
    let is_one_letter = word.len() == 2;
    if !is_one_letter {
        if own.contains(&bare) {
            return Some(format!("did you mean `--{bare}`?"));
        }
        if let Some((_, meant)) = OPTIONS.iter().find(|(other, _)| *other == bare.to_lowercase())
            && meant.split(' ').next().is_some_and(|option| has(command, option))
        {
            return Some(format!("did you mean `{meant}`?"));
        }
        if let Some(near) = closest(bare, &own) {
            return Some(format!("did you mean `--{near}`?"));
        }
    }
    let all = leaves(root);
    let having = |option: &str| -> Vec<String> {
        let with = all.iter().filter(|(_, command)| has(command, option));
        with.map(|(name, _)| format!("`{name}`")).collect()
    };
    let exact = having(word);
    if !exact.is_empty() {
        return Some(format!("`{word}` is an option of {}", listed(&exact)));
    }
    if is_one_letter {
        return None;
    }
    let elsewhere = all.iter().flat_map(|(_, command)| command.get_arguments().filter(|arg| !arg.is_hide_set()));
    let near = closest(bare, elsewhere.flat_map(longs))?;
    let option = format!("--{near}");
    Some(format!("did you mean `{option}`? It is an option of {}", listed(&having(&option))))
}

/// The value that was probably meant, or else all values that the option takes.
fn meant_value(values: &ContextValue, word: &str) -> Option<String> {
    let ContextValue::Strings(values) = values else { return None };
    if values.is_empty() {
        return None;
    }
    Some(did_you_mean(word, values).unwrap_or_else(|| format!("use one of {}", values.join(", "))))
}

/// Whether a command has a visible option of this name, `--long` or `-s`.
fn has(command: &Command, option: &str) -> bool {
    let is_it = |arg: &&Arg| match option.strip_prefix("--") {
        Some(long) => longs(arg).contains(&long),
        None => shorts(arg).any(|short| option.chars().nth(1) == Some(short) && option.len() == 2),
    };
    command.get_arguments().filter(|arg| !arg.is_hide_set()).any(|arg| is_it(&arg))
}

/// Every command that is not merely a group, as it is typed.
fn leaves(root: &Command) -> Vec<(String, &Command)> {
    let (mut found, mut left) = (Vec::new(), vec![("gleitzeit".to_owned(), root)]);
    while let Some((name, command)) = left.pop() {
        let parts: Vec<_> =
            command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help").collect();
        if parts.is_empty() {
            found.push((name, command));
        } else {
            left.extend(parts.into_iter().rev().map(|part| (format!("{name} {}", part.get_name()), part)));
        }
    }
    found
}

fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [some @ .., last] if names.len() <= NAMED => format!("{} and {last}", some.join(", ")),
        _ => format!("{} and others", names[..NAMED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> CommandError {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = Cli::command().try_get_matches_from(&arguments).expect_err(line);
        refusal(error, &arguments)
    }

    #[test]
    fn hints_suggest_what_was_probably_meant() {
        for (line, expected) in [
            // Commands.
            ("gz lst", "did you mean `gleitzeit list`?"),
            ("gz validte f.yaml", "did you mean `gleitzeit validate`?"),
            ("gz cancle last", "did you mean `gleitzeit cancel`?"),
            ("gz sumbit f.yaml", "did you mean `gleitzeit submit`?"),
            ("gz Status", "did you mean `gleitzeit status`?"),
            ("gz control-plan", "did you mean `gleitzeit hub`?"),
            ("gz store chek", "did you mean `gleitzeit store check`?"),
            ("gz show last", "did you mean `gleitzeit status`?"),
            ("gz up", "did you mean `gleitzeit start`?"),
            ("gz log last", "did you mean `gleitzeit logs`?"),
            ("gz my.yaml", "a workflow is run by `gleitzeit run my.yaml`"),
            ("gz nonsense", "`gleitzeit --help` lists the commands"),
            ("gz store", "`gleitzeit store --help` lists the commands"),
            // Options of the command.
            ("gz list --limt 5", "did you mean `--limit`?"),
            ("gz list --status=failed --lable a=b", "did you mean `--label`?"),
            ("gz logs last --jsno", "did you mean `--json`?"),
            ("gz list -json", "did you mean `--json`?"),
            ("gz submit f.yaml --requestid a", "did you mean `--request-id`?"),
            ("gz submit f.yaml --waits", "did you mean `--wait`?"),
            ("gz list --colour never", "did you mean `--color`?"),
            ("gz list --no-color", "did you mean `--color never`?"),
            ("gz list --format json", "did you mean `--output`?"),
            ("gz list --url http://x", "did you mean `--hub-url`?"),
            ("gz store check --repiar", "did you mean `--repair`?"),
            // Options of other commands, and options in front of the command.
            ("gz list --repair", "`--repair` is an option of `gleitzeit store check`"),
            ("gz run f.yaml --wait", "`--wait` is an option of `gleitzeit submit`"),
            ("gz list --older-then 7d", "did you mean `--older-than`? It is an option of `gleitzeit prune`"),
            ("gz status -i a=1", "`-i` is an option of `gleitzeit run` and `gleitzeit submit`"),
            ("gz --limit 5 list", "options come after the command: `gleitzeit list --limit`"),
            ("gz --json list", "options come after the command: `gleitzeit list --json`"),
            ("gz -o json list", "options come after the command: `gleitzeit list -o`"),
            // Values.
            ("gz list -o jsn", "did you mean `json`?"),
            ("gz list --color alwys", "did you mean `always`?"),
            ("gz init x --type pyton", "did you mean `python`?"),
            ("gz completions bsh", "did you mean `bash`?"),
            ("gz completions tcsh", "use one of bash, elvish, fish, powershell, zsh"),
            ("gz list --color purple", "use one of auto, always, never"),
            // Nothing similar exists.
            ("gz list --xyzzy", "see `gleitzeit list --help`"),
            ("gz list -z", "see `gleitzeit list --help`"),
            ("gz list surplus", "see `gleitzeit list --help`"),
            ("gz cancel", "see `gleitzeit cancel --help`"),
            ("gz list --limit 0", "see `gleitzeit list --help`"),
        ] {
            let error = refused(line);
            assert_eq!(error.hint.as_deref(), Some(expected), "{line}: {error}");
        }
    }

    #[test]
    fn no_hint_suggests_passing_an_option_as_a_value() {
        let options = ["--nope", "--wait", "--tail", "-x", "-json", "--json=", "--limt=3", "---", "--", "-5"];
        for (name, _) in leaves(&Cli::command()) {
            for option in options {
                let arguments: Vec<String> = name.split(' ').chain(["a", option, "b"]).map(str::to_owned).collect();
                if let Err(error) = Cli::command().try_get_matches_from(&arguments) {
                    let told = refusal(error, &arguments).to_string();
                    assert!(!told.contains("as a value") && !told.contains("tip:"), "{arguments:?}: {told}");
                    assert!(told.contains("hint: "), "{arguments:?}: {told}");
                }
            }
        }
    }

    #[test]
    fn the_message_contains_the_mistake_and_the_usage() {
        let error = refused("gz store check --nope");
        assert_eq!(error.message, "unexpected argument '--nope' found\n\nUsage: gz store check [OPTIONS]");
    }
}
