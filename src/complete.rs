//! Completes arguments: a shell's completion script calls this program with [`VARIABLE`] set and the words so far.
//!
//! Requests to a control plane have a very short timeout. On any failure there are no candidates: nothing is printed,
//! and nothing is started.

mod ask;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::Shells;
use gleitzeit_protocols::Registry;
use gleitzeit_sdk::RunStatus;
use gleitzeit_workflow::spec::{AnyMethod, Limits, check_bytes};

use crate::cli::{Cli, TokenArgs};
use crate::error::CommandError;
use crate::{output, settings};

/// The variable that the scripts set to the name of their shell.
const VARIABLE: &str = "GLEITZEIT_COMPLETE";
/// A larger workflow file is not read for the names of its inputs.
const MAX_WORKFLOW_BYTES: u64 = 1 << 20;
/// The extensions of workflow files.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Answers a completion script; `None` if this process was not called by one.
pub(crate) fn answer(arguments: &[OsString]) -> Option<ExitCode> {
    let shell = std::env::var_os(VARIABLE).filter(|shell| !shell.is_empty())?;
    // The words come after the first `--`.
    let words: Vec<OsString> = arguments.iter().skip_while(|argument| *argument != "--").skip(1).cloned().collect();
    Some(match candidates(&shell, words) {
        Some(text) if output::print(&text).is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn candidates(shell: &OsStr, words: Vec<OsString>) -> Option<String> {
    let shells = Shells::builtins();
    let shell = shells.completer(shell.to_str()?)?;
    let given = Arc::new(Given::read(&words));
    let mut command = with_completers(Cli::command(), &given);
    let mut answer = Vec::new();
    shell.write_complete(&mut command, words, std::env::current_dir().ok().as_deref(), &mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// The script with which a shell completes the arguments of a program.
///
/// # Errors
/// If this shell is not supported.
pub(crate) fn script(shell: &str, program: &str) -> Result<String, CommandError> {
    let cannot = |why: &str| CommandError::internal(format!("there is no completion for {shell}: {why}"));
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| cannot("it is not known"))?;
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, program, program, program, &mut script)
        .map_err(|error| cannot(&error.to_string()))?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// What the words so far contain, as far as they can be parsed.
#[derive(Debug, Default)]
struct Given {
    /// The command's name.
    command: String,
    hub_url: Option<String>,
    token: TokenArgs,
    ca: Option<PathBuf>,
    /// The first run id among the arguments.
    run: Option<String>,
    /// The first word that may be a file.
    file: Option<OsString>,
}

impl Given {
    fn read(words: &[OsString]) -> Self {
        let lossy: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let mut command = Cli::command().ignore_errors(true);
        if let Some(path) = settings::config_path(&lossy)
            && let Ok(with_file) = settings::with_file(command.clone(), Path::new(path))
        {
            command = with_file;
        }
        let Ok(matches) = command.try_get_matches_from(words) else { return Self::default() };
        let Some((name, matches)) = matches.subcommand() else { return Self::default() };
        let file = one::<PathBuf>(matches, "file").map(PathBuf::into_os_string);
        Self {
            command: name.to_owned(),
            hub_url: one(matches, "hub_url"),
            token: token(matches),
            ca: one(matches, "ca"),
            run: one(matches, "run"),
            file: file.or_else(|| one(matches, "words")),
        }
    }
}

/// The first value of an argument, if the command has that argument and the value is of this type.
fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
    matches.try_get_many::<T>(id).ok().flatten()?.next().cloned()
}

fn token(matches: &ArgMatches) -> TokenArgs {
    let has_one = matches.try_contains_id("token").is_ok();
    has_one.then(|| TokenArgs::from_arg_matches(matches).ok()).flatten().unwrap_or_default()
}

/// Attaches a completer to every argument that has one, by its name in the grammar.
fn with_completers(mut command: Command, given: &Arc<Given>) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(&name, |sub| with_completers(sub, given));
    }
    let name = command.get_name().to_owned();
    command.mut_args(|argument| match completer(&name, argument.get_id().as_str(), &argument, given) {
        Some(completer) => argument.add(completer),
        None => argument,
    })
}

fn completer(command: &str, id: &str, argument: &Arg, given: &Arc<Given>) -> Option<ArgValueCompleter> {
    let given = given.clone();
    let names = argument.get_value_names().unwrap_or_default();
    let is_called = |name: &str| names.len() == 1 && names[0] == name;
    Some(match (command, id) {
        (_, "run" | "runs") => ArgValueCompleter::new(move |start: &OsStr| runs(&given, start)),
        ("graph", "of") => ArgValueCompleter::new(move |start: &OsStr| {
            workflows(start).into_iter().chain(runs(&given, start)).collect()
        }),
        (_, "task") => ArgValueCompleter::new(move |start: &OsStr| tasks(&given, start)),
        ("protocols", "name") => ArgValueCompleter::new(move |start: &OsStr| methods(&given, start)),
        ("list" | "cancel", "name") => ArgValueCompleter::new(move |start: &OsStr| names_of_runs(&given, start)),
        ("list" | "cancel", "labels") => ArgValueCompleter::new(move |start: &OsStr| labels_of_runs(&given, start)),
        ("list", "status") => ArgValueCompleter::new(|start: &OsStr| {
            matching(
                start,
                ["running", "completed", "failed", "cancelled", "interrupted"].map(CompletionCandidate::new),
            )
        }),
        ("submit", "words") => ArgValueCompleter::new(move |start: &OsStr| {
            workflows(start).into_iter().chain(inputs(&given, start)).collect()
        }),
        ("run", "given") | ("run" | "submit", "inputs") => {
            ArgValueCompleter::new(move |start: &OsStr| inputs(&given, start))
        }
        ("run", "file") | ("validate" | "migrate", "files") => ArgValueCompleter::new(workflows),
        _ if is_called("FILE") => ArgValueCompleter::new(|start: &OsStr| paths(PathCompleter::any(), start)),
        _ if is_called("DIR") => ArgValueCompleter::new(|start: &OsStr| paths(PathCompleter::dir(), start)),
        _ => return None,
    })
}

/// The candidates with this prefix that are [plain](is_plain).
fn matching(start: &OsStr, all: impl IntoIterator<Item = CompletionCandidate>) -> Vec<CompletionCandidate> {
    let start = start.to_string_lossy();
    all.into_iter().filter(|it| it.get_value().to_string_lossy().starts_with(&*start)).filter(is_plain).collect()
}

/// Whether a shell takes a word literally. Candidates are inserted without quotes, and others choose the names, labels
/// and files, so a word with characters that a shell interprets is not offered.
fn is_plain(candidate: &CompletionCandidate) -> bool {
    let is_safe = |c: char| c.is_alphanumeric() || "-_./:=@,+%".contains(c);
    candidate.get_value().to_str().is_some_and(|word| word.chars().all(is_safe))
}

/// Completes files and folders.
fn paths(completer: PathCompleter, start: &OsStr) -> Vec<CompletionCandidate> {
    completer.complete(start).into_iter().filter(is_plain).collect()
}

fn candidate(value: &str, about: String) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(about.into()))
}

/// Completes the runs that the command accepts, the newest first.
fn runs(given: &Given, start: &OsStr) -> Vec<CompletionCandidate> {
    let statuses = match given.command.as_str() {
        "cancel" => vec![RunStatus::Running],
        "retry" => vec![RunStatus::Failed, RunStatus::Cancelled],
        _ => Vec::new(),
    };
    let start = start.to_string_lossy();
    let found = ask::runs(given, statuses, &start);
    let last = found.first().map(|_| candidate("last", "the newest run".to_owned()));
    let candidates = last.into_iter().chain(found.iter().map(|run| candidate(&run.run_id, ask::about(run))));
    let ordered = candidates.enumerate().map(|(at, it)| it.display_order(Some(at)));
    matching(OsStr::new(&*start), ordered)
}

fn tasks(given: &Given, start: &OsStr) -> Vec<CompletionCandidate> {
    let Some(run) = &given.run else { return Vec::new() };
    let about = |task: gleitzeit_sdk::Task| {
        candidate(&task.id, format!("{}, {}", crate::states::task_status(task.status), task.method))
    };
    matching(start, ask::tasks(given, run).into_iter().map(about))
}

/// Completes protocols and methods: those of the control plane, or else the built-in ones.
fn methods(given: &Given, start: &OsStr) -> Vec<CompletionCandidate> {
    let known = ask::methods(given).unwrap_or_else(|| {
        let registry = Registry::shipped();
        registry
            .iter()
            .flat_map(|it| {
                ask::names(&it.name, it.methods.iter().map(|(name, method)| (name.clone(), method.description.clone())))
            })
            .collect()
    });
    matching(start, known.into_iter().map(|(name, about)| candidate(&name, about)))
}

fn names_of_runs(given: &Given, start: &OsStr) -> Vec<CompletionCandidate> {
    let mut names: Vec<String> = ask::runs(given, Vec::new(), "").into_iter().map(|run| run.name).collect();
    names.sort();
    names.dedup();
    matching(start, names.into_iter().map(CompletionCandidate::new))
}

fn labels_of_runs(given: &Given, start: &OsStr) -> Vec<CompletionCandidate> {
    let runs = ask::runs(given, Vec::new(), "");
    let labels = runs.iter().flat_map(|run| run.labels.iter().map(|(name, value)| format!("{name}={value}")));
    let mut labels: Vec<String> = labels.collect();
    labels.sort();
    labels.dedup();
    matching(start, labels.into_iter().map(CompletionCandidate::new))
}

/// Completes folders and files that may be workflows.
fn workflows(start: &OsStr) -> Vec<CompletionCandidate> {
    let is_workflow = |path: &Path| {
        let ending = path.extension().and_then(OsStr::to_str);
        path.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending))
    };
    paths(PathCompleter::any().filter(is_workflow), start)
}

/// Completes the inputs that the workflow declares.
fn inputs(given: &Given, start: &OsStr) -> Vec<CompletionCandidate> {
    let Some(file) = &given.file else { return Vec::new() };
    let is_small = std::fs::metadata(file).is_ok_and(|it| it.is_file() && it.len() <= MAX_WORKFLOW_BYTES);
    let Some(bytes) = is_small.then(|| std::fs::read(file).ok()).flatten() else { return Vec::new() };
    let Ok(workflow) = check_bytes(&bytes, "", &AnyMethod, &Limits::DEFAULT) else { return Vec::new() };
    let declared = workflow.inputs.iter().map(|(name, default)| {
        let about = if default.is_null() { "required".to_owned() } else { format!("default: {default}") };
        candidate(&format!("{name}="), crate::text::first_line(&about, 60))
    });
    matching(start, declared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn options_before_the_cursor_are_read_from_an_unfinished_line() {
        let given = Given::read(&words("gz logs 0193 --hub-url http://h:1 --token t --ca c.pem "));
        assert_eq!((given.command.as_str(), given.run.as_deref()), ("logs", Some("0193")));
        assert_eq!((given.hub_url.as_deref(), given.token), (Some("http://h:1"), TokenArgs::Token("t".to_owned())));
        assert_eq!(given.ca, Some("c.pem".into()));
        let given = Given::read(&words("gz submit a.yaml n=1 --inp"));
        assert_eq!(given.file, Some("a.yaml".into()));
        assert_eq!(Given::read(&words("gz")).command, "");
    }

    #[test]
    fn inputs_are_those_that_the_workflow_declares() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("w.yaml");
        let text = "name: W\ninputs: {start: 1, stop: null, n: 2}\ntasks: [{id: a, method: far/away}]\n";
        std::fs::write(&file, text).expect("written");
        let given = Given { file: Some(file.into()), ..Given::default() };
        let found: Vec<OsString> =
            inputs(&given, OsStr::new("st")).iter().map(|it| it.get_value().to_owned()).collect();
        assert_eq!(found, ["start=", "stop="]);
        assert!(inputs(&Given::default(), OsStr::new("")).is_empty());
    }

    #[test]
    fn every_shell_has_a_script_that_calls_the_program() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = script(shell, "gz").expect("known");
            assert!(script.contains(VARIABLE) && script.contains("gz"), "{script}");
        }
        assert!(script("ksh", "gz").is_err());
    }

    #[test]
    fn candidates_with_shell_syntax_are_not_offered() {
        let all = ["k=v", "k=$(id)", "a b", "`id`", "x;y", "größe=1.5", "\x1b[2J", "~root", "it's"];
        let offered = matching(OsStr::new(""), all.map(CompletionCandidate::new));
        let words: Vec<_> = offered.iter().map(|it| it.get_value().to_string_lossy().into_owned()).collect();
        assert_eq!(words, ["k=v", "größe=1.5"]);
    }

    #[test]
    fn methods_are_known_without_a_control_plane() {
        let given = Given { hub_url: Some("http://127.0.0.1:1".to_owned()), ..Given::default() };
        let found: Vec<OsString> =
            methods(&given, OsStr::new("util/e")).iter().map(|it| it.get_value().to_owned()).collect();
        assert_eq!(found, ["util/echo"]);
    }
}
