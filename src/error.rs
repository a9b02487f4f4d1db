//! The errors of commands: what is printed, and the exit code.

use std::fmt;

use gleitzeit_sdk as sdk;
use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::spec::{Note, Problem};

/// The process's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Success = 0,
    /// The run failed or was cancelled, or the control plane refused the request.
    Failed = 1,
    /// Bad usage or an invalid file.
    Usage = 2,
    /// The control plane cannot be reached.
    Unreachable = 3,
    /// Interrupted by the user.
    Interrupted = 130,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// The exit code of the process.
    pub(crate) exit: Exit,
    /// The problems with their places, if the error is about files or arguments.
    pub(crate) problems: Vec<Problem>,
    /// Notes on parts of the files that are allowed but probably not meant, if the command's document includes them.
    pub(crate) notes: Option<Vec<Note>>,
    /// What happened, with its causes, for every other error.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The code from the error table.
    pub(crate) code: ErrorCode,
}

/// The result of a command: the exit code, or the error.
pub(crate) type CommandResult = Result<Exit, CommandError>;

impl CommandError {
    /// An error with an exit code and a code from the table.
    pub(crate) fn new(exit: Exit, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { exit, problems: Vec::new(), notes: None, message: message.into(), hint: None, code }
    }

    /// An error in the usage of the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, ErrorCode::InvalidParams, message)
    }

    /// An error that should not happen.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, ErrorCode::InternalError, message)
    }

    /// An error made of problems in files.
    pub(crate) fn problems(problems: Vec<Problem>) -> Self {
        let code = problems.first().map_or(ErrorCode::WorkflowValidationFailed, |problem| problem.code);
        Self { exit: Exit::Usage, message: String::new(), hint: None, code, problems, notes: None }
    }

    /// Adds a hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The exit code depends on what the error is about: the user's arguments and files (2), a refusal by the control plane
/// (1), or no answer (3).
impl From<sdk::Error> for CommandError {
    fn from(error: sdk::Error) -> Self {
        let code = error.known().unwrap_or(ErrorCode::InternalError);
        if !error.problems().is_empty() {
            return Self::problems(error.problems().to_vec());
        }
        let hint = error.hint().map(str::to_owned);
        let about_arguments =
            matches!(code, ErrorCode::InvalidParams | ErrorCode::InvalidRequest | ErrorCode::ParseError);
        if error.is_unreachable() {
            Self { hint, ..Self::new(Exit::Unreachable, code, error.to_string()) }
        } else if about_arguments {
            Self::new(Exit::Usage, code, error.to_string())
        } else {
            Self::new(Exit::Failed, code, error.to_string()).hint(hint.unwrap_or_else(|| code.remedy().to_owned()))
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors include their cause in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        if !self.message.is_empty() {
            write!(f, "error: {}", self.message)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CommandError {}
