//! Formats errors and notes for stderr: the problem, and what to do about it, in colour and in lines that fit.
//!
//! Without colours and a width, the result is the error's own text.

use gleitzeit_sdk::Failure;
use gleitzeit_workflow::spec::{Note, Problem};

use crate::color::{Paint, Tone};
use crate::error::CommandError;
use crate::{causes, width};

/// The label of a hint.
const HINT: &str = "hint: ";

/// The properties of stderr.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr {
    pub(crate) paint: Paint,
    /// Its width, if it is a terminal.
    pub(crate) columns: Option<usize>,
}

impl Stderr {
    /// Formats a command's error.
    pub(crate) fn error(self, error: &CommandError) -> String {
        let mut parts: Vec<String> = Vec::new();
        if !error.problems.is_empty() {
            parts.push(error.problems.iter().map(|problem| self.problem(problem)).collect::<Vec<_>>().join("\n"));
        }
        if !error.message.is_empty() {
            let text = self.wrapped(&format!("error: {}", error.message), 2);
            let text = text.strip_prefix("error:").unwrap_or(&text);
            parts.push(format!("{}{}", self.paint.bold(Tone::Bad, "error:"), self.message(text)));
        }
        let mut text = parts.join("");
        if let Some(hint) = &error.hint {
            text.push_str(&format!("\n\n{}", self.hint(hint, "")));
        }
        text
    }

    /// Formats a problem at a place.
    pub(crate) fn problem(self, problem: &Problem) -> String {
        let shown = problem.to_string();
        let (at, hint) = parts(&shown, &problem.message, problem.hint.as_deref());
        let text = format!("{}{}", self.paint.bold(Tone::Plain, at), self.paint.marked(&problem.message));
        self.with_hint(&text, hint)
    }

    /// Formats a note: something that is allowed and probably not meant.
    pub(crate) fn note(self, note: &Note) -> String {
        let shown = note.to_string();
        let (at, hint) = parts(&shown, &note.message, note.hint.as_deref());
        let at = at.strip_suffix("note: ").unwrap_or(at);
        let mark = self.paint.text(Tone::Mark, "note:");
        let text = format!("{}{mark} {}", self.paint.bold(Tone::Plain, at), self.paint.marked(&note.message));
        self.with_hint(&text, hint)
    }

    fn with_hint(self, text: &str, hint: Option<&str>) -> String {
        let text = self.wrapped(text, 2);
        match hint {
            Some(hint) => format!("{text}\n{}", self.hint(hint, "  ")),
            None => text,
        }
    }

    fn hint(self, hint: &str, indent: &str) -> String {
        let text = self.wrapped(&format!("{indent}{HINT}{hint}"), HINT.len());
        let text = text.strip_prefix(indent).and_then(|text| text.strip_prefix(HINT.trim_end())).unwrap_or(&text);
        format!("{indent}{}{}", self.paint.text(Tone::Mark, HINT.trim_end()), self.paint.marked(text))
    }

    /// Formats a message, with the usage of the command below it.
    fn message(self, text: &str) -> String {
        match text.split_once("\nUsage: ") {
            Some((said, usage)) => {
                format!("{}\n{} {usage}", self.paint.marked(said), self.paint.bold(Tone::Plain, "Usage:"))
            }
            None => self.paint.marked(text),
        }
    }

    /// Formats why a run failed, with the causes of its failed tasks.
    pub(crate) fn run_failed(self, error: &Failure, causes: &str) -> String {
        let error = self.wrapped(&self.paint.failure(&causes::failure(error)), 2);
        let causes = self.paint.causes(causes.trim_end());
        let causes = self.columns.map_or(causes.clone(), |columns| width::wrap_prose(&causes, columns, 2));
        if causes.is_empty() { error } else { format!("{error}\n{causes}") }
    }

    /// Wraps prose; continuation lines are indented by `hang` more columns.
    pub(crate) fn wrapped(self, text: &str, hang: usize) -> String {
        match self.columns {
            Some(columns) => width::wrap(text, columns, hang),
            None => text.to_owned(),
        }
    }
}

/// The text before a message, and the hint.
fn parts<'a>(shown: &'a str, message: &str, hint: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    let rest = hint.and_then(|hint| shown.strip_suffix(hint)?.strip_suffix("\n  hint: ")).unwrap_or(shown);
    (rest.strip_suffix(message).unwrap_or_default(), hint)
}

#[cfg(test)]
mod tests {
    use gleitzeit_workflow::ErrorCode;

    use super::*;

    const PLAIN: Stderr = Stderr { paint: Paint::OFF, columns: None };
    const NARROW: Stderr = Stderr { paint: Paint::ON, columns: Some(40) };

    fn problem() -> Problem {
        let problem = Problem::of_file("flow.yaml", ErrorCode::TaskValidationFailed, "`a` is no task of this workflow");
        Problem { line: Some(3), column: Some(9), ..problem }
            .hint("did you mean `b`? `gleitzeit graph FILE` draws them")
    }

    #[test]
    fn without_colours_and_width_it_is_the_errors_own_text() {
        let usage = CommandError::usage("`x` is wrong\n\nUsage: gleitzeit list [OPTIONS]").hint("use `y`");
        let problems = CommandError::problems(vec![problem(), Problem { hint: None, ..problem() }]);
        for error in [usage, CommandError::internal("no"), problems] {
            assert_eq!(PLAIN.error(&error), error.to_string());
        }
    }

    #[test]
    fn errors_are_red_hints_are_marked_and_lines_fit() {
        let error =
            CommandError::usage("the store `/a/path` is in use by another process\n\nUsage: gleitzeit backup FILE")
                .hint("stop its control plane first: `gleitzeit stop --port 8000`");
        insta::assert_snapshot!(NARROW.error(&error).replace('\x1b', "␛"), @r"
        ␛[1m␛[31merror:␛[0m the store ␛[36m`/a/path`␛[0m is in use by
          another process

        ␛[1mUsage:␛[0m gleitzeit backup FILE

        ␛[36mhint:␛[0m stop its control plane first:
              ␛[36m`gleitzeit stop --port 8000`␛[0m
        ");
        insta::assert_snapshot!(NARROW.error(&CommandError::problems(vec![problem()])).replace('\x1b', "␛"), @r"
        ␛[1mflow.yaml:3:9: ␛[0m␛[36m`a`␛[0m is no task of this
          workflow
          ␛[36mhint:␛[0m did you mean ␛[36m`b`␛[0m?
                ␛[36m`gleitzeit graph FILE`␛[0m draws
                them
        ");
    }
}
