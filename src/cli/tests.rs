//! Checks that the grammar accepts every command that a hint, an error, a note or a document names.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::Cli;

/// The folders whose sources contain hints.
const FOLDERS: &[&str] = &[
    "src",
    "core/workflow/src",
    "core/run/src",
    "core/mesh/src",
    "control-plane/src",
    "agent/src",
    "agent/link/src",
    "providers/src",
    "protocols/src",
    "sdk/rust/src",
    "sdk/python/src",
    "examples",
    "docs",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("readable").path();
        let is_text = path.extension().is_some_and(|it| ["rs", "py", "md", "yaml"].iter().any(|wanted| it == *wanted));
        if path.is_dir() {
            files(&path, found);
        } else if is_text {
            found.push(path);
        }
    }
}

/// The texts in backticks that begin with the program's name. A string that continues on the next source line counts as
/// one.
fn commands(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let text = lines.join("\n");
    let mut pieces = text.split("\\\n");
    let first = pieces.next().unwrap_or_default().to_owned();
    let text = pieces.fold(first, |text, piece| text + piece.trim_start());
    let named = text.split('`').skip(1).filter(|quoted| quoted.starts_with("gleitzeit "));
    named.filter(|quoted| !quoted.contains('\n')).map(str::to_owned).collect()
}

/// The words of a command, with a value in each placeholder; `None` if the command is only a sketch.
fn words(command: &str) -> Option<Vec<String>> {
    if ['…', '[', '\\', '"'].iter().any(|sketched| command.contains(*sketched)) || command.contains("...") {
        return None;
    }
    let mut filled = String::new();
    let mut rest = command.split(['|', '>', '&', ';']).next()?;
    while let Some((before, after)) = rest.split_once('{') {
        // The text that fills the placeholder brings its own options.
        if before.ends_with(|c: char| c.is_ascii_alphanumeric()) || (before.is_empty() && !filled.ends_with(' ')) {
            return None;
        }
        let (_, after) = after.split_once('}')?;
        filled.push_str(before);
        filled.push('1');
        rest = after;
    }
    filled.push_str(rest);
    let word = |word: &str| match word {
        "COMMAND" => "list".to_owned(),
        word if word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase()) => "1".to_owned(),
        word => word.replace('\'', ""),
    };
    Some(filled.split_whitespace().map(word).collect())
}

fn is_accepted(words: &[String]) -> Result<(), String> {
    let has_options = words.iter().any(|word| word.starts_with('-'));
    match Cli::command().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
            // An option that is only mentioned: `gleitzeit list --limit`.
            ErrorKind::InvalidValue if !error.to_string().contains("invalid value") => Ok(()),
            // A command that is only mentioned: `gleitzeit run`.
            ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                if !has_options =>
            {
                Ok(())
            }
            _ => Err(error.to_string()),
        },
    }
}

#[test]
fn every_quoted_command_is_accepted_by_the_grammar() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    FOLDERS.iter().for_each(|folder| files(&root.join(folder), &mut found));
    let (mut checked, mut wrong) = (0, Vec::new());
    for file in found.iter().filter(|file| !file.ends_with("src/cli/tests.rs")) {
        for command in commands(&fs::read_to_string(file).expect("text")) {
            let Some(words) = words(&command) else { continue };
            checked += 1;
            if let Err(error) = is_accepted(&words) {
                wrong.push(format!("{}: `{command}`: {error}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 60, "only {checked} commands were found");
}

#[test]
fn commands_are_found_and_filled_in() {
    let text = "x(\"see `gleitzeit \\\n      list --limit {n}`\"); // `gleitzeit no`\n  // `gleitzeit comment`\n";
    assert_eq!(commands(text), ["gleitzeit list --limit {n}", "gleitzeit no"]);
    assert_eq!(words("gleitzeit status RUN -o json").expect("whole").join(" "), "gleitzeit status 1 -o json");
    assert_eq!(words("gleitzeit run FILE [NAME=VALUE …]"), None);
    assert!(is_accepted(&words("gleitzeit cancle {run}").expect("whole")).is_err());
    assert!(is_accepted(&words("gleitzeit cancel --force").expect("whole")).is_err(), "of which run?");
}
