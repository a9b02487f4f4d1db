//! A workflow file on its way to a control plane: read, checked as far as possible here, and joined with its inputs and
//! files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use gleitzeit_sdk::{Client, RunHandle, Submission};
use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::spec::{self, AnyMethod, Catalog, Checked, Limits, Note, Problem, Workflow};
use serde_json::{Map, Value};

use crate::cli::InputArgs;
use crate::error::CommandError;
use crate::{bounded, inputs, output};

/// The bytes of a workflow file.
pub(crate) struct Source {
    /// The name that the user gave; `-` for stdin.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// A workflow with its inputs and files.
pub(crate) struct Prepared {
    pub(crate) name: String,
    pub(crate) task_count: usize,
    /// Tasks that nothing depends on; their results are shown if there are no outputs.
    pub(crate) last_tasks: Vec<String>,
    /// Notes on parts that are allowed but probably not meant.
    pub(crate) notes: Vec<Note>,
    pub(crate) submission: Submission,
}

impl Source {
    /// Reads a file, or stdin for `-`.
    ///
    /// # Errors
    /// If it cannot be read or is far too large.
    pub(crate) fn read(path: &Path) -> Result<Self, CommandError> {
        let name = path.display().to_string();
        let bytes = if path == Path::new("-") {
            bounded::read(io::stdin().lock())
        } else {
            File::open(path).and_then(bounded::read)
        };
        match bytes {
            Ok(bytes) => Ok(Self { name, bytes }),
            Err(error) => {
                let problem = Problem::of_file(&name, ErrorCode::InvalidParams, format!("cannot be read: {error}"));
                Err(CommandError::problems(vec![problem]))
            }
        }
    }

    /// The file as text.
    ///
    /// # Errors
    /// If it is not UTF-8, with the place of the first invalid byte.
    pub(crate) fn text(&self) -> Result<&str, CommandError> {
        std::str::from_utf8(&self.bytes).map_err(|_| {
            // The checker reports the place; for text that is not UTF-8 it looks at nothing else.
            match spec::check_bytes(&self.bytes, &self.name, &AnyMethod, &self.generous()) {
                Err(problems) => CommandError::problems(problems),
                Ok(_) => CommandError::internal(format!("`{}` is not UTF-8 text", self.name)),
            }
        })
    }

    /// Checks it against the protocols and providers that are known here.
    pub(crate) fn check(&self, catalog: &dyn Catalog, limits: &Limits) -> Checked {
        spec::examine_bytes(&self.bytes, &self.name, catalog, limits)
    }

    /// Checks everything except methods, which only the control plane knows.
    pub(crate) fn check_shape(&self) -> Checked {
        spec::examine_bytes(&self.bytes, &self.name, &AnyMethod, &self.generous())
    }

    /// Limits for checks before the control plane is asked, which may allow more than the defaults. Without aliases no
    /// text has more values than bytes; with them the number stays bounded.
    fn generous(&self) -> Limits {
        let nodes = Limits::DEFAULT.nodes.max(self.bytes.len());
        Limits { bytes: bounded::MAX_FILE_BYTES, tasks: usize::MAX, nodes, ..Limits::DEFAULT }
    }

    /// The folder to which the paths in `files` are relative.
    pub(crate) fn folder(&self) -> PathBuf {
        match Path::new(&self.name).parent() {
            Some(folder) if self.name != "-" => folder.to_owned(),
            _ => PathBuf::new(),
        }
    }
}

/// Joins a checked workflow with the user's inputs and labels.
///
/// # Errors
/// If an argument is malformed or a file cannot be read.
pub(crate) fn prepare(source: &Source, workflow: &Workflow, given: &InputArgs) -> Result<Prepared, CommandError> {
    let declared: Map<String, Value> =
        workflow.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let pairs: Vec<&str> = given.given.iter().chain(&given.inputs).map(String::as_str).collect();
    let inputs = inputs::inputs(&pairs, Some(&declared))?;
    let misfits = spec::check_inputs(workflow, &inputs, &source.name);
    if !misfits.is_empty() {
        return Err(CommandError::problems(misfits.into_iter().map(|problem| at_default(source, problem)).collect()));
    }
    let labels = inputs::labels(&given.labels)?;
    let files = files(source, workflow).map_err(CommandError::problems)?;
    let mut submission = Submission::yaml(source.text()?).file_name(&source.name);
    for (name, value) in inputs {
        submission = submission.input(name, value).map_err(|error| CommandError::usage(error.to_string()))?;
    }
    for (name, bytes) in files {
        submission = submission.file(name, bytes);
    }
    for (name, value) in labels {
        submission = submission.label(name, value);
    }
    Ok(Prepared {
        name: workflow.name.clone(),
        task_count: workflow.tasks.len(),
        last_tasks: last_tasks(workflow),
        notes: Vec::new(),
        submission,
    })
}

/// Adds the place of the default that a problem is about.
fn at_default(source: &Source, problem: Problem) -> Problem {
    let name = problem.field.strip_prefix("inputs.");
    let place = source.text().ok().zip(name).and_then(|(text, name)| spec::place_of(text, &["inputs", name]));
    match place {
        Some((line, column)) => problem.at(line, column),
        None => problem,
    }
}

/// Prepares a workflow for a control plane, which alone knows the available methods. If anything is wrong, the control
/// plane is asked too, so that its problems are reported together with ours.
///
/// # Errors
/// Every problem; also as [`prepare`].
pub(crate) async fn prepare_for(client: &Client, source: &Source, given: &InputArgs) -> Result<Prepared, CommandError> {
    let checked = source.check_shape();
    let notes = checked.notes;
    match checked.workflow {
        Ok(workflow) => Ok(Prepared { notes, ..prepare(source, &workflow, given)? }),
        Err(problems) => {
            let all = match source.text() {
                Ok(text) => client.validate(text, &source.name).await.map(|validation| validation.problems).ok(),
                Err(_) => None,
            };
            output::notes(&notes);
            Err(CommandError::problems(all.filter(|all| !all.is_empty()).unwrap_or(problems)))
        }
    }
}

/// The problems with the files that a workflow declares.
pub(crate) fn missing_files(source: &Source, workflow: &Workflow) -> Vec<Problem> {
    files(source, workflow).err().unwrap_or_default()
}

/// Submits a prepared workflow. If it is refused, the control plane is asked for all problems, because the refusal
/// itself holds only a limited number.
///
/// # Errors
/// If the control plane refuses or cannot be reached.
pub(crate) async fn submit(
    client: &Client,
    source: &Source,
    submission: Submission,
) -> Result<RunHandle, CommandError> {
    let error = match client.submit(submission).await {
        Ok(run) => return Ok(run),
        Err(error) => error,
    };
    if !error.problems().is_empty()
        && let Ok(text) = source.text()
        && let Ok(validation) = client.validate(text, &source.name).await
        && validation.problems.len() > error.problems().len()
    {
        return Err(CommandError::problems(validation.problems));
    }
    Err(error.into())
}

/// The contents of the declared files; paths are relative to the workflow's folder.
fn files(source: &Source, workflow: &Workflow) -> Result<BTreeMap<String, Vec<u8>>, Vec<Problem>> {
    let folder = source.folder();
    let mut files = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, path) in &workflow.files {
        let path = folder.join(path);
        match gleitzeit_sdk::open_regular(&path).and_then(bounded::read) {
            Ok(bytes) => {
                files.insert(name.clone(), bytes);
            }
            Err(error) => {
                let message = format!("`{}` cannot be read for the file `{name}`: {error}", path.display());
                let problem = Problem::of_file(&source.name, ErrorCode::WorkflowValidationFailed, message)
                    .hint("paths in `files` are relative to the workflow's own folder");
                let problem = Problem { field: format!("files.{name}"), ..problem };
                let place = source.text().ok().and_then(|text| spec::place_of(text, &["files", name]));
                problems.push(place.map_or(problem.clone(), |(line, column)| problem.at(line, column)));
            }
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(problems) }
}

fn last_tasks(workflow: &Workflow) -> Vec<String> {
    let needed: BTreeSet<&str> =
        workflow.tasks.iter().flat_map(|task| &task.dependencies).map(|id| id.as_str()).collect();
    let last = workflow.tasks.iter().filter(|task| !needed.contains(task.id.as_str()));
    last.map(|task| task.id.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: X\ninputs: {zip: '00'}\nfiles: {text: data.txt}\ntasks:\n\
        - {id: a, method: far/away, parameters: {x: 1}}\n- {id: b, method: far/away, dependencies: [a]}\n\
        - {id: c, method: far/away, dependencies: [a]}\n";

    fn source(folder: &Path) -> Source {
        Source { name: folder.join("w.yaml").display().to_string(), bytes: TEXT.as_bytes().to_vec() }
    }

    fn given(inputs: &[&str]) -> InputArgs {
        InputArgs { given: Vec::new(), inputs: inputs.iter().map(ToString::to_string).collect(), labels: Vec::new() }
    }

    #[test]
    fn files_that_are_not_regular_are_refused_with_their_place_and_without_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, path) = (source(folder.path()), folder.path().join("data.txt"));
        let workflow = source.check_shape().workflow.expect("only the methods are unknown here");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|made| made.success()), "a pipe");
        let problems = files(&source, &workflow).expect_err("refused");
        assert!(problems[0].message.contains("it is a pipe, no regular file"), "{}", problems[0].message);
        assert_eq!((problems[0].line, problems[0].field.as_str()), (Some(3), "files.text"));
        if Path::new("/proc/self/environ").exists() {
            std::fs::remove_file(&path).expect("removed");
            std::os::unix::fs::symlink("/proc/self/environ", &path).expect("linked");
            let problems = files(&source, &workflow).expect_err("refused");
            assert!(problems[0].message.contains("a view into the running system"), "{}", problems[0].message);
        }
    }

    #[test]
    fn methods_are_left_to_the_control_plane_and_files_lie_beside_the_workflow() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("data.txt"), "hello").expect("written");
        let source = source(folder.path());
        let workflow = source.check_shape().workflow.expect("only the methods are unknown here");
        let prepared = prepare(&source, &workflow, &given(&["zip=00123"])).expect("complete");
        assert_eq!((prepared.name.as_str(), prepared.task_count), ("X", 3));
        assert_eq!(prepared.last_tasks, ["b", "c"]);
    }

    #[test]
    fn an_input_of_another_type_than_its_default_is_refused_at_the_default() {
        let text = "name: X\ninputs: {n: 3, word: a}\ntasks:\n- {id: a, method: far/away}\n";
        let source = Source { name: "w.yaml".to_owned(), bytes: text.as_bytes().to_vec() };
        let workflow = source.check_shape().workflow.expect("valid");
        let error = prepare(&source, &workflow, &given(&["n=abc", "word=5"])).err().expect("refused");
        assert_eq!(error.problems.len(), 1, "text takes what is given: {:?}", error.problems);
        assert_eq!((error.problems[0].line, error.problems[0].column), (Some(2), Some(13)));
        assert!(error.problems[0].message.starts_with("input `n` takes a number"), "{}", error.problems[0]);
    }

    #[test]
    fn a_missing_file_names_its_field_and_the_path_tried() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = source(folder.path());
        let workflow = source.check_shape().workflow.expect("valid");
        let error = prepare(&source, &workflow, &given(&[])).err().expect("the file is missing");
        assert_eq!(error.problems[0].field, "files.text");
        assert_eq!((error.problems[0].line, error.problems[0].column), (Some(3), Some(15)));
        assert!(error.problems[0].message.contains("data.txt"), "{}", error.problems[0]);
    }
}
