//! Checks whether programs can be parsed, by asking the interpreters that would run them. No part of a program is run.
//!
//! The invariants: all Python programs of a check share one process; no check takes longer than [`PATIENCE`] or reads
//! more than `MAX_ANSWER` bytes; and if an interpreter is missing or does not answer, that is reported and counts as
//! no mistake.

mod shell;

use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::definition::Definition;
use crate::executors::{python, shell as shell_executor};
use crate::settings::Settings;

pub use shell::check_shell;

/// How long one kind of check may take, over all programs.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// If the programs together are larger than this, in bytes, they are not checked: every validation would have to read
/// and compile them.
pub const MAX_TEXT: usize = 16 << 20;
/// The most bytes that are read of an interpreter's answer.
const MAX_ANSWER: u64 = 4 << 20;

const COMPILE: &str = include_str!("syntax/compile.py");

/// Why a program cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1; `None` if the interpreter names only the line.
    pub column: Option<usize>,
    /// The message of the interpreter.
    pub message: String,
}

/// Why programs were not checked, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    /// Why they were not checked.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// The interpreter that a Python provider would start.
pub fn python_of(definition: &Definition) -> Option<String> {
    (definition.executor == "python-local").then(|| python::executable(definition))
}

/// The shell that a shell provider starts for tasks that name none.
pub fn shell_of(definition: &Definition) -> Option<PathBuf> {
    (definition.executor == "shell-local").then(|| shell_executor::own_shell(definition))
}

/// Compiles programs with an interpreter that is looked up in `PATH`, all in one process. Returns the mistakes in the
/// order of the programs.
///
/// # Errors
/// If the interpreter is missing or does not answer in time, or the programs are too large.
pub async fn check_python(
    interpreter: &str,
    programs: &[&str],
    settings: &Settings,
) -> Result<Vec<Option<Mistake>>, Unchecked> {
    let size: usize = programs.iter().map(|program| program.len()).sum();
    if size > MAX_TEXT {
        let reason = format!("it is {size} bytes in all, and no more than {MAX_TEXT} are checked");
        return Err(Unchecked { reason, remedy: "validate fewer files at a time".to_owned() });
    }
    let asked = serde_json::to_vec(programs).map_err(|error| not_read(interpreter, &error.to_string()))?;
    let mut command = Command::new(interpreter);
    // The user's settings and packages are not needed, nor the files in the current folder; but a shim may need HOME.
    command.args(["-I", "-S", "-B", "-c", COMPILE]).env_clear().env("PATH", &settings.path);
    if let Some(home) = &settings.home {
        command.env("HOME", home);
    }
    let answer = match run(command, &asked).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let reason = format!("`{interpreter}` did not answer within {} s", PATIENCE.as_secs());
            return Err(Unchecked { reason, remedy: "validate fewer files at a time, or again".to_owned() });
        }
        Err(error) => {
            let reason = format!("`{interpreter}` cannot be started: {error}");
            let remedy =
                "install Python 3.8 or newer, or name it with `python_executable` in a provider file".to_owned();
            return Err(Unchecked { reason, remedy });
        }
    };
    if !answer.status.success() {
        return Err(not_read(interpreter, &format!("{}: {}", answer.status, last_line(&answer.stderr))));
    }
    let said: Vec<Option<(usize, usize, String)>> =
        serde_json::from_slice(&answer.stdout).map_err(|error| not_read(interpreter, &error.to_string()))?;
    if said.len() != programs.len() {
        return Err(not_read(interpreter, "it reports another number of programs"));
    }
    let mistake = |(line, column, message)| Mistake { line, column: Some(column), message };
    Ok(said.into_iter().map(|said| said.map(mistake)).collect())
}

fn not_read(interpreter: &str, why: &str) -> Unchecked {
    let reason = format!("`{interpreter}` gave no valid answer ({why})");
    Unchecked { reason, remedy: "check that it is a working Python 3.8 or newer".to_owned() }
}

/// The last line of a process's output, shortened.
fn last_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    said.trim().lines().last().unwrap_or_default().chars().take(300).collect()
}

/// Runs a process with an input until it ends. Dropping the future ends the process.
///
/// # Errors
/// If the process cannot be started or communicated with; [`io::ErrorKind::TimedOut`] if it takes too long.
async fn run(mut command: Command, input: &[u8]) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A process that has already found a mistake may stop reading.
            let _ = stdin.write_all(input).await;
        }
    };
    let all = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let read_out = async {
            match stdout {
                Some(stdout) => stdout.take(MAX_ANSWER).read_to_end(&mut out).await,
                None => Ok(0),
            }
        };
        let read_err = async {
            match stderr {
                Some(stderr) => stderr.take(MAX_ANSWER).read_to_end(&mut err).await,
                None => Ok(0),
            }
        };
        let ((), read_out, read_err, status) = tokio::join!(write, read_out, read_err, child.wait());
        read_out.and(read_err)?;
        Ok::<_, io::Error>(Output { status: status?, stdout: out, stderr: err })
    };
    tokio::time::timeout(PATIENCE, all).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests;
