//! Texts in the parameters of a checked workflow, such as programs and addresses, with their places. They are for
//! callers that can check more than the schema says, for instance with an interpreter.

use super::limits::Limits;
use super::workflow::{Task, Workflow};
use crate::error::ErrorCode;
use crate::yaml::{Kind, Node, Note, Problem, Spot, without_mark};

/// A text in a task's parameters.
#[derive(Clone, Debug)]
pub struct ParameterText<'w> {
    /// The task that has the parameter.
    pub task: &'w Task,
    /// The text, with its references.
    pub text: &'w str,
    /// Path of the parameter, such as `tasks[2].parameters.code`.
    pub field: String,
    /// Where the text begins; line 0 if that is not known.
    spot: Spot,
}

/// The texts that tasks give for these parameters, in the order of the file. Each parameter is named with its method.
pub fn written<'w>(source: &str, workflow: &'w Workflow, wanted: &[(&str, &str)]) -> Vec<ParameterText<'w>> {
    let mut found = Vec::new();
    let mut root = None;
    for (index, task) in workflow.tasks.iter().enumerate() {
        for (_, parameter) in wanted.iter().filter(|(method, _)| *method == task.method.as_str()) {
            let Some(text) = task.parameters.get(parameter).and_then(serde_json::Value::as_str) else { continue };
            // The source is read only if there is something to look for.
            let root = root.get_or_insert_with(|| read(source));
            let spot = root.as_ref().and_then(|root| spot_of(root, index, parameter)).unwrap_or_default();
            found.push(ParameterText { task, text, field: format!("tasks[{index}].parameters.{parameter}"), spot });
        }
    }
    found
}

fn read(source: &str) -> Option<Node> {
    let nodes = Limits::DEFAULT.nodes.max(source.len());
    let limits = Limits { bytes: source.len(), nodes, ..Limits::DEFAULT };
    limits.read(without_mark(source), "").ok().map(|(root, _)| root)
}

fn spot_of(root: &Node, index: usize, parameter: &str) -> Option<Spot> {
    fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
        match &node.kind {
            Kind::Object(fields) => fields.get(name).map(|(_, node)| node),
            _ => None,
        }
    }
    let Kind::List(tasks) = &field(root, "tasks")?.kind else { return None };
    field(field(tasks.get(index)?, "parameters")?, parameter).map(|node| node.spot)
}

impl ParameterText<'_> {
    /// A problem at a line and a column of the text, both from 1.
    pub fn problem(&self, source: &str, file: &str, at: (usize, usize), message: impl Into<String>) -> Problem {
        let problem = Problem::of_file(file, ErrorCode::TaskParameterError, message);
        let problem = Problem { field: self.field.clone(), ..problem };
        match self.place(source, at) {
            Some((line, column)) => problem.at(line, column),
            None => problem,
        }
    }

    /// A note on something that is probably not meant.
    pub fn note(&self, source: &str, file: &str, at: (usize, usize), message: impl Into<String>) -> Note {
        let Problem { file, line, column, field, message, hint, .. } = self.problem(source, file, at, message);
        Note { file, line, column, field, message, hint }
    }

    /// The place in the source of a line and a column of the text. If escapes, folding or aliases hide the line, the
    /// result is the place of the whole text.
    fn place(&self, source: &str, (line, column): (usize, usize)) -> Option<(u32, u32)> {
        let own = self.spot.line_and_column()?;
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let Some((first, source)) = lines_of(without_mark(source), self.spot) else { return Some(own) };
        // The lines up to the wanted one must appear verbatim in the source.
        let lines = self.text.lines().take(line).enumerate();
        let indents: Option<Vec<usize>> =
            lines.map(|(index, text)| before(source.get(index)?, text, index == 0)).collect();
        let place = indents.and_then(|indents| Some((first + indents.len() - 1, indents.last()? + column)));
        Some(place.map_or(own, |(line, column)| (number(line), number(column))))
    }
}

/// The number of the line in which a spot begins, and the lines from there on. In the first line, everything before the
/// spot is replaced by blanks.
fn lines_of(source: &str, spot: Spot) -> Option<(usize, Vec<String>)> {
    let start = source.get(..spot.start)?.rfind('\n').map_or(0, |newline| newline + 1);
    let rest = source.get(spot.start..)?;
    let lead = " ".repeat(source.get(start..spot.start)?.chars().count());
    let length = source.get(spot.start..spot.end)?.lines().count();
    let mut lines: Vec<String> = rest.lines().take(length).map(str::to_owned).collect();
    if let Some(first) = lines.first_mut() {
        first.insert_str(0, &lead);
    }
    Some((usize::try_from(spot.line).ok()?, lines))
}

/// How many characters precede a line of the text in a line of the source; `None` if the lines differ. A quoted line
/// may be followed by more text.
fn before(written: &str, text: &str, may_be_quoted: bool) -> Option<usize> {
    let written = written.trim_end();
    let text = text.trim_end();
    if let Some(before) = written.strip_suffix(text)
        && before.chars().all(char::is_whitespace)
    {
        return Some(before.chars().count());
    }
    let inner = written.trim_start();
    let quoted = inner.strip_prefix(['\'', '"']).filter(|inner| may_be_quoted && inner.starts_with(text));
    if quoted.is_some() {
        return Some(written.chars().count() - inner.chars().count() + 1);
    }
    // Plain text in flow style is followed by a comma or a brace.
    (may_be_quoted && !text.is_empty() && inner.starts_with(text))
        .then(|| written.chars().count() - inner.chars().count())
}

/// Maps a line and a column of a filled-in program to the template it was made from. Both have the same lines except
/// for the references. A position before or after the references is exact; any other is mapped to where the first
/// reference begins.
pub fn template_position(text: &str, program: &str, (line, column): (usize, usize)) -> (usize, usize) {
    let nth = line.saturating_sub(1);
    let (Some(text), Some(program)) = (text.lines().nth(nth), program.lines().nth(nth)) else { return (line, column) };
    let same = text.chars().zip(program.chars()).take_while(|(one, other)| one == other).count();
    let (length, filled) = (text.chars().count(), program.chars().count());
    let rest = length.min(filled) - same;
    let tail = text.chars().rev().zip(program.chars().rev()).take(rest).take_while(|(one, other)| one == other).count();
    let column = column.max(1);
    let column = if column <= same + 1 {
        column
    } else if column > filled - tail {
        (column + length).saturating_sub(filled)
    } else {
        same + 1
    };
    (line, column.min(length + 1))
}

#[cfg(test)]
mod tests {
    use super::super::{AnyMethod, check};
    use super::*;

    const WANTED: &[(&str, &str)] = &[("python/execute", "code")];

    /// The place of a line and a column of the code, as `line:column`.
    fn place(parameters: &str, at: (usize, usize)) -> String {
        let source = format!("name: w\ntasks:\n  - id: a\n    method: python/execute\n    parameters:{parameters}");
        let workflow = check(&source, "w.yaml", &AnyMethod, &Limits::DEFAULT).expect("valid");
        let found = written(&source, &workflow, WANTED);
        assert_eq!((found.len(), found[0].field.as_str()), (1, "tasks[0].parameters.code"));
        let problem = found[0].problem(&source, "w.yaml", at, "x");
        format!("{}:{}", problem.line.unwrap_or(0), problem.column.unwrap_or(0))
    }

    #[test]
    fn the_lines_of_a_block_are_found_in_the_source() {
        let block = "\n      code: |\n        a = 1\n\n        if a:\n          b = (\n    timeout: 3\n";
        assert_eq!(place(block, (1, 1)), "7:9");
        assert_eq!(place(block, (3, 4)), "9:12");
        assert_eq!(place(block, (4, 7)), "10:15");
        let stripped = "\n      code: |-\n          é = (\n";
        assert_eq!(place(stripped, (1, 5)), "7:15");
    }

    #[test]
    fn one_line_is_found_however_it_is_quoted() {
        assert_eq!(place("\n      code: x = (\n", (1, 5)), "6:17");
        assert_eq!(place("\n      code: 'x = ('\n", (1, 5)), "6:18");
        assert_eq!(place(" {code: \"x = (\"}\n", (1, 5)), "5:29");
        assert_eq!(place(" {code: x = (}\n", (1, 5)), "5:28");
    }

    #[test]
    fn a_line_that_the_source_hides_is_named_by_its_text() {
        assert_eq!(place("\n      code: \"a = 1\\nb = (\"\n", (2, 5)), "6:13");
        assert_eq!(place("\n      code: >\n        a =\n        1 (\n\n        b\n", (2, 1)), "7:9");
    }

    #[test]
    fn a_place_in_a_program_is_mapped_to_its_template() {
        let (text, program) = ("x = ${a.v} + (\ny = 1", "x = (\"x\") + (\ny = 1");
        assert_eq!(template_position(text, program, (1, 3)), (1, 3));
        assert_eq!(template_position(text, program, (1, 7)), (1, 5));
        assert_eq!(template_position(text, program, (1, 13)), (1, 14));
        assert_eq!(template_position(text, program, (2, 5)), (2, 5));
        assert_eq!(template_position(text, program, (9, 5)), (9, 5));
        assert_eq!(template_position("aa", "aaa", (1, 9)), (1, 3));
    }
}
