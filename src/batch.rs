//! Checks several workflow files, with their inputs, before anything is sent, so that every problem of every file is
//! reported together. Sends nothing itself.

use std::path::{Path, PathBuf};

use gleitzeit_run::event::WorkflowSubmitted;
use gleitzeit_run::submission::{self, Environment, Given};
use gleitzeit_sdk::Client;
use gleitzeit_workflow::spec::{Catalog, Checked, Limits, Problem, Workflow};
use serde_json::{Map, Value};

use crate::cli::InputArgs;
use crate::error::CommandError;
use crate::workflow::{self, Prepared, Source};
use crate::{inputs, output};

/// Decides which methods exist.
pub(crate) enum Judge<'a> {
    /// A control plane is asked.
    ControlPlane(&'a Client),
    /// The protocols and providers known in this process, under these limits.
    Here(&'a dyn Catalog, &'a Limits),
}

/// A workflow without problems.
pub(crate) struct Ready<'a> {
    pub(crate) source: &'a Source,
    pub(crate) prepared: Prepared,
    /// The workflow with its inputs and labels; its files are empty here.
    pub(crate) bound: WorkflowSubmitted,
}

/// Accepts every variable: which ones a workflow may read is the control plane's decision.
pub(crate) struct AnyVariable;

impl Environment for AnyVariable {
    fn allows(&self, _: &str) -> bool {
        true
    }

    fn read(&self, _: &str) -> Option<String> {
        Some(String::new())
    }
}

/// Accepts the variables of this process that a workflow may read.
pub(crate) struct Allowed<'a>(pub(crate) &'a [String]);

impl Environment for Allowed<'_> {
    fn allows(&self, name: &str) -> bool {
        self.0.iter().any(|allowed| allowed == name)
    }

    fn read(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Reads all files.
///
/// # Errors
/// If a file cannot be read (all such files are reported), or stdin is named twice.
pub(crate) fn read_all(files: &[PathBuf]) -> Result<Vec<Source>, CommandError> {
    if files.is_empty() {
        let error = CommandError::usage("no workflow is named: every argument is an input");
        return Err(error.hint("name a file, or `-` for stdin, such as `gleitzeit submit FILE NAME=VALUE`"));
    }
    if files.iter().filter(|file| file.as_path() == Path::new("-")).count() > 1 {
        return Err(CommandError::usage("`-` is named twice, and stdin can be read once"));
    }
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match Source::read(file) {
            Ok(source) => sources.push(source),
            Err(error) => problems.extend(error.problems),
        }
    }
    if problems.is_empty() { Ok(sources) } else { Err(CommandError::problems(problems)) }
}

/// Checks all workflows with their inputs, and prints notes on parts that are allowed but probably not meant.
///
/// # Errors
/// Every problem of every file; also if an argument is malformed or the control plane cannot be asked.
pub(crate) async fn check_all<'a>(
    sources: &'a [Source],
    given: &InputArgs,
    judge: Judge<'_>,
    environment: &dyn Environment,
) -> Result<Vec<Ready<'a>>, CommandError> {
    let (mut ready, mut problems) = (Vec::new(), Vec::new());
    for source in sources {
        match check(source, given, &judge, environment).await {
            Ok(one) => {
                output::notes(&one.prepared.notes);
                ready.push(one);
            }
            Err(error) if error.problems.is_empty() => return Err(error),
            Err(error) => {
                output::notes(&error.notes.unwrap_or_default());
                problems.extend(error.problems);
            }
        }
    }
    if problems.is_empty() { Ok(ready) } else { Err(CommandError::problems(problems)) }
}

async fn check<'a>(
    source: &'a Source,
    given: &InputArgs,
    judge: &Judge<'_>,
    environment: &dyn Environment,
) -> Result<Ready<'a>, CommandError> {
    let Checked { workflow, notes } = judged(source, judge).await?;
    let refused = |problems, notes| Err(CommandError { notes: Some(notes), ..CommandError::problems(problems) });
    let workflow = match workflow {
        Ok(workflow) => workflow,
        Err(problems) => return refused(problems, notes),
    };
    let mut problems = workflow::missing_files(source, &workflow);
    match bind(source, &workflow, given, environment)? {
        Ok(bound) if problems.is_empty() => {
            let prepared = Prepared { notes, ..workflow::prepare(source, &workflow, given)? };
            Ok(Ready { source, prepared, bound })
        }
        Ok(_) => refused(problems, notes),
        Err(wrong) => {
            problems.extend(wrong);
            refused(problems, notes)
        }
    }
}

/// Checks a workflow without its inputs.
async fn judged(source: &Source, judge: &Judge<'_>) -> Result<Checked, CommandError> {
    let client = match judge {
        Judge::Here(catalog, limits) => return Ok(source.check(*catalog, limits)),
        Judge::ControlPlane(client) => client,
    };
    let validation = client.validate(source.text()?, &source.name).await?;
    if !validation.problems.is_empty() {
        return Ok(Checked { workflow: Err(validation.problems), notes: validation.notes });
    }
    Ok(Checked { notes: validation.notes, ..source.check_shape() })
}

/// Binds the inputs to a workflow, or returns their problems.
fn bind(
    source: &Source,
    workflow: &Workflow,
    given: &InputArgs,
    environment: &dyn Environment,
) -> Result<Result<WorkflowSubmitted, Vec<Problem>>, CommandError> {
    let declared: Map<String, Value> =
        workflow.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let pairs: Vec<&str> = given.given.iter().chain(&given.inputs).map(String::as_str).collect();
    let given = Given {
        inputs: inputs::inputs(&pairs, Some(&declared))?,
        // Their content does not affect this check, and its problems are found elsewhere.
        files: workflow.files.keys().map(|name| (name.clone(), Vec::new())).collect(),
        labels: inputs::labels(&given.labels)?,
    };
    Ok(submission::bind(workflow.clone(), given, environment, &source.name))
}

#[cfg(test)]
mod tests {
    use gleitzeit_protocols::Registry;

    use super::*;

    fn source(name: &str, text: &str) -> Source {
        Source { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
    }

    fn checked(sources: &[Source], given: &[&str]) -> Result<Vec<Value>, CommandError> {
        let given = InputArgs {
            given: given.iter().map(ToString::to_string).collect(),
            inputs: Vec::new(),
            labels: vec!["team=a".to_owned()],
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (registry, limits) = (Registry::shipped(), Limits::DEFAULT);
        let ready = runtime.block_on(check_all(sources, &given, Judge::Here(&registry, &limits), &Allowed(&[])))?;
        Ok(ready.iter().map(|it| serde_json::from_str(it.bound.inputs.get()).expect("JSON")).collect())
    }

    #[test]
    fn every_file_gets_all_inputs_and_an_undeclared_input_is_an_error_of_its_file() {
        let first = source("a.yaml", "name: A\ninputs: {n: 1, m: 2}\ntasks: [{id: a, method: util/echo}]\n");
        let second = source("b.yaml", "name: B\ninputs: {n: null}\ntasks: [{id: a, method: util/echo}]\n");
        let sources = [first, second];
        let inputs = checked(&sources, &["n=5"]).expect("valid");
        assert_eq!(inputs, [serde_json::json!({"n": 5, "m": 2}), serde_json::json!({"n": 5})]);
        let error = checked(&sources, &["m=5"]).expect_err("refused");
        let told: Vec<(&str, &str)> = error.problems.iter().map(|it| (it.file.as_str(), it.field.as_str())).collect();
        assert_eq!(told, [("b.yaml", "inputs.n"), ("b.yaml", "inputs.m")]);
    }

    #[test]
    fn the_problems_of_all_files_are_reported_together() {
        let wrong = |name: &str| source(name, "name: W\ntasks: [{id: a, method: util/eko}]\n");
        let variable = "name: V\ntasks: [{id: a, method: util/echo, parameters: {x: '${env.SECRET}'}}]\n";
        let error = checked(&[wrong("a.yaml"), wrong("b.yaml"), source("c.yaml", variable)], &[]).expect_err("refused");
        let files: Vec<&str> = error.problems.iter().map(|it| it.file.as_str()).collect();
        assert_eq!(files, ["a.yaml", "b.yaml", "c.yaml"]);
        assert!(read_all(&[]).is_err() && read_all(&["-".into(), "-".into()]).is_err());
    }
}
