//! The checks of `validate` on the content of tasks, beyond their schemas: programs are parsed by their interpreters,
//! addresses are checked as the provider would, and so are bodies. Nothing of a workflow is executed.
//!
//! Only `validate` does this: it costs the start of interpreters, and in a run the task itself reports the same
//! mistake.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gleitzeit_providers::syntax::{self, Mistake, Unchecked};
use gleitzeit_workflow::spec::{Limits, Note, ParameterText, Problem, Task, Workflow, template_position, written};
use gleitzeit_workflow::template::{self, Language, Piece};
use serde_json::Value;

use crate::workers::Workers;
use crate::workflow::Source;

const PYTHON: &[(&str, &str)] = &[("python/execute", "code")];
const SHELL: &[(&str, &str)] = &[("shell/run", "command")];
const ADDRESSES: &[(&str, &str)] = &[("http/request", "url")];
const BODIES: &[(&str, &str)] = &[("http/request", "body")];

/// The most problems that are reported, and the most notes.
const MOST_TOLD: usize = Limits::DEFAULT.problems;

/// A file whose workflow is valid as far as its schemas go.
pub(crate) struct Valid {
    pub(crate) source: Source,
    pub(crate) workflow: Workflow,
}

/// What was found in all files.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<Note>,
}

impl Found {
    /// Adds a problem unless the limit is reached; it is built lazily, because finding its place takes time.
    fn problem(&mut self, problem: impl FnOnce() -> Problem) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push(problem());
        }
    }

    /// Adds a note unless the limit is reached.
    fn note(&mut self, note: impl FnOnce() -> Note) {
        if self.notes.len() < MOST_TOLD {
            self.notes.push(note());
        }
    }
}

/// A program in a file, as an interpreter would read it.
struct Program<'w> {
    source: &'w str,
    file: &'w str,
    written: ParameterText<'w>,
    text: String,
}

/// Checks the content of all tasks of all files.
pub(crate) async fn check(files: &[Valid], workers: &Workers) -> Found {
    let mut found = Found::default();
    for Valid { source, workflow } in files {
        if let Ok(text) = source.text() {
            addresses(text, &source.name, workflow, workers, &mut found);
            bodies(text, &source.name, workflow, &mut found);
        }
    }
    python(files, workers, &mut found).await;
    shell(files, workers, &mut found).await;
    found.problems.sort_by_key(|problem| (place_of(files, &problem.file), problem.line, problem.column));
    found
}

fn place_of(files: &[Valid], file: &str) -> usize {
    files.iter().position(|it| it.source.name == file).unwrap_or(usize::MAX)
}

fn programs<'w>(files: &'w [Valid], wanted: &[(&str, &str)], language: Language) -> Vec<Program<'w>> {
    let mut programs = Vec::new();
    for Valid { source, workflow } in files {
        let Ok(text) = source.text() else { continue };
        for written in written(text, workflow, wanted) {
            // An invalid reference was reported before.
            if let Ok(program) = template::outline(written.text, language) {
                programs.push(Program { source: text, file: &source.name, written, text: program });
            }
        }
    }
    programs
}

/// Checks all programs of one interpreter in one process.
async fn python(files: &[Valid], workers: &Workers, found: &mut Found) {
    let mut by_interpreter: BTreeMap<String, Vec<Program<'_>>> = BTreeMap::new();
    for program in programs(files, PYTHON, Language::Python) {
        let interpreter = workers.of_task(program.written.task, syntax::python_of);
        by_interpreter.entry(interpreter.unwrap_or_else(|| "python3".to_owned())).or_default().push(program);
    }
    for (interpreter, programs) in by_interpreter {
        let texts: Vec<&str> = programs.iter().map(|program| program.text.as_str()).collect();
        match syntax::check_python(&interpreter, &texts, &workers.settings).await {
            Ok(mistakes) => {
                let hint =
                    format!("reported by `{interpreter}` of this machine; the task would fail in the same place");
                report(&programs, mistakes, "the Python code does not compile", &hint, workers, found, |_, _| false);
            }
            Err(why) => found.note(|| unchecked(&programs[0], "Python code was", why)),
        }
    }
}

async fn shell(files: &[Valid], workers: &Workers, found: &mut Found) {
    let mut by_shell: BTreeMap<PathBuf, Vec<Program<'_>>> = BTreeMap::new();
    for program in programs(files, SHELL, Language::Shell) {
        let shell = workers.of_task(program.written.task, syntax::shell_of);
        by_shell.entry(shell.unwrap_or_else(|| PathBuf::from("/bin/sh"))).or_default().push(program);
    }
    for (shell, programs) in by_shell {
        let commands: Vec<(Option<&str>, &str)> = programs
            .iter()
            .map(|it| (it.written.task.parameters.get("shell").and_then(Value::as_str), it.text.as_str()))
            .collect();
        let (mistakes, unread) = syntax::check_shell(&shell, &commands, &workers.settings).await;
        let hint = "reported by the task's shell with `-n`; the task would fail";
        report(&programs, mistakes, "the shell cannot read the command", hint, workers, found, ends_before);
        for why in unread {
            found.note(|| unchecked(&programs[0], "some shell commands were", why));
        }
    }
}

/// Reports mistakes: as errors if the interpreter is the one that would run the program, otherwise as notes.
fn report(
    programs: &[Program<'_>],
    mistakes: Vec<Option<Mistake>>,
    what: &str,
    hint: &str,
    workers: &Workers,
    found: &mut Found,
    ends_before: fn(&str, usize) -> bool,
) {
    for (program, mistake) in programs.iter().zip(mistakes) {
        let Some(Mistake { line, column, message }) = mistake else { continue };
        let is_reached = !ends_before(&program.text, line);
        let Program { source, file, written, text } = program;
        let line = line.min(written.text.lines().count().max(1));
        // Without a column, the problem covers the whole line.
        let column = column.unwrap_or_else(|| {
            let line = text.lines().nth(line - 1).unwrap_or_default();
            line.chars().take_while(|letter| letter.is_whitespace()).count() + 1
        });
        let at = template_position(written.text, text, (line, column));
        let message = format!("{what}: {message}");
        if workers.are_here && is_reached {
            found.problem(|| written.problem(source, file, at, message).hint(hint));
        } else {
            let unless = if is_reached { "its worker uses another one" } else { "its program ends before that line" };
            let hint = Some(format!("{hint}, unless {unless}"));
            found.note(|| Note { hint, ..written.note(source, file, at, message) });
        }
    }
}

/// Whether a program may end before a line. A shell parses a command only when it gets there, so the text after `exit`
/// need not be a program. Python parses the whole program first.
fn ends_before(text: &str, line: usize) -> bool {
    let word =
        |line: &str| line.split(|c: char| !c.is_alphanumeric()).any(|word| matches!(word, "exit" | "exec" | "return"));
    text.lines().take(line.saturating_sub(1)).any(word)
}

fn unchecked(program: &Program<'_>, what: &str, why: Unchecked) -> Note {
    Note {
        file: program.file.to_owned(),
        line: None,
        column: None,
        field: String::new(),
        message: format!("{what} not checked: {}", why.reason),
        hint: Some(why.remedy),
    }
}

/// The literal text, if it contains no references.
fn literal(text: &str) -> Option<String> {
    let pieces = template::parse(text).ok()?;
    pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => Some(text),
            Piece::Reference(_) => None,
        })
        .collect()
}

fn addresses(source: &str, file: &str, workflow: &Workflow, workers: &Workers, found: &mut Found) {
    for written in written(source, workflow, ADDRESSES) {
        let Some(url) = literal(written.text) else { continue };
        if let Err(why) = address(&url, written.task, workers) {
            found.problem(|| written.problem(source, file, (1, 1), why));
        }
    }
}

/// Checks whether one of the providers that may get the task would accept an address.
fn address(url: &str, task: &Task, workers: &Workers) -> Result<(), String> {
    let is_path = url.starts_with('/') && !url.starts_with("//");
    if !is_path {
        return gleitzeit_providers::check_url(url, None);
    }
    let addresses = workers.addresses(task);
    let (anywhere, bases): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| *address == Some("*"));
    if bases.is_empty() {
        // Another provider may have a base address.
        let is_hopeless = workers.are_all && !anywhere.is_empty();
        return if is_hopeless { gleitzeit_providers::check_url(url, None) } else { Ok(()) };
    }
    // A provider that has not reported its address may still have a base address.
    let said =
        bases.into_iter().map(|base| base.map_or(Ok(()), |base| gleitzeit_providers::check_url(url, Some(base))));
    said.reduce(|one, other| if one.is_ok() { one } else { other }).unwrap_or(Ok(()))
}

/// Reports bodies that cannot be sent, or that are declared as JSON but are not.
fn bodies(source: &str, file: &str, workflow: &Workflow, found: &mut Found) {
    for written in written(source, workflow, BODIES) {
        let parameters = &written.task.parameters;
        if parameters.get("json").is_some() {
            let message = "`body` and `json` are both given";
            found.problem(|| written.problem(source, file, (1, 1), message).hint("keep one of them"));
            continue;
        }
        let (true, Some(body)) = (is_called_json(parameters), literal(written.text)) else { continue };
        if let Err(why) = gleitzeit_workflow::json::parse(&body) {
            let message = format!("`body` is declared as JSON but is not: {why}");
            let hint = Some("give the value as `json`, which is encoded as JSON and sets the header".to_owned());
            found.note(|| Note { hint, ..written.note(source, file, (1, 1), message) });
        }
    }
}

fn is_called_json(parameters: &Value) -> bool {
    let headers = parameters.get("headers").and_then(Value::as_object);
    let called = headers.into_iter().flatten().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    called.filter_map(|(_, value)| value.as_str()).any(|value| {
        let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
    })
}
