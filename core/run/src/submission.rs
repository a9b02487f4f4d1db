//! Binds a checked workflow to what its submitter provides: inputs, files, environment values and labels.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::{Problem, Workflow, check_inputs};
use gleitzeit_workflow::suggest::closest;
use gleitzeit_workflow::template::{FileContent, Root, references};
use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::event::WorkflowSubmitted;

/// What the submitter provides besides the workflow.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Inputs by declared name.
    pub inputs: Map<String, Value>,
    /// Contents of files by declared name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Labels that are added to the definition's; a label with the same key is replaced.
    pub labels: BTreeMap<String, String>,
}

/// Which environment variables a run may see, and how they are read.
pub trait Environment {
    /// Whether workflows may refer to this variable.
    fn allows(&self, name: &str) -> bool;
    /// The variable's current value; `None` if it is not set.
    fn read(&self, name: &str) -> Option<String>;
}

/// Combines a workflow with what its submitter provides. The result has no trace context and no request key yet.
///
/// # Errors
/// Every problem: inputs that are missing, not declared or of another type than their default, files that are missing or
/// not declared, environment variables that are not allowed or not set.
pub fn bind(
    workflow: Workflow,
    given: Given,
    environment: &dyn Environment,
    file: &str,
) -> Result<WorkflowSubmitted, Vec<Problem>> {
    let mut problems = Vec::new();
    let inputs = bind_inputs(&workflow, given.inputs, file, &mut problems);
    let files = bind_files(&workflow, given.files, file, &mut problems);
    let env = bind_env(&workflow, environment, file, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut labels = workflow.labels.clone();
    labels.extend(given.labels);
    Ok(WorkflowSubmitted {
        inputs: Payload::from_value(&Value::Object(inputs)),
        files,
        env,
        labels,
        workflow,
        correlation_id: String::new(),
        traceparent: None,
        retry_of: None,
        request: None,
        prepared: Default::default(),
    })
}

fn problem(file: &str, field: String, message: String, hint: Option<String>) -> Problem {
    Problem { field, hint, ..Problem::of_file(file, ErrorCode::WorkflowValidationFailed, message) }
}

fn undeclared(kind: &str, name: &str, declared: Vec<&str>) -> (String, Option<String>) {
    let hint = match closest(name, declared.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None if declared.is_empty() => format!("the workflow declares no {kind}s"),
        None => format!("it declares {}", declared.join(", ")),
    };
    (format!("the workflow declares no {kind} `{name}`"), Some(hint))
}

fn bind_inputs(
    workflow: &Workflow,
    mut given: Map<String, Value>,
    file: &str,
    problems: &mut Vec<Problem>,
) -> Map<String, Value> {
    let mut inputs = Map::new();
    problems.extend(check_inputs(workflow, &given, file));
    for (name, default) in &workflow.inputs {
        match given.remove(name) {
            Some(value) => inputs.insert(name.clone(), value),
            None if default.is_null() => {
                let hint = Some(format!("give it a value: `--input {name}=VALUE`"));
                problems.push(problem(file, format!("inputs.{name}"), format!("input `{name}` is required"), hint));
                continue;
            }
            None => inputs.insert(name.clone(), default.clone()),
        };
    }
    for name in given.keys() {
        let (message, hint) = undeclared("input", name, workflow.inputs.keys().map(String::as_str).collect());
        problems.push(problem(file, format!("inputs.{name}"), message, hint));
    }
    inputs
}

fn bind_files(
    workflow: &Workflow,
    mut given: BTreeMap<String, Vec<u8>>,
    file: &str,
    problems: &mut Vec<Problem>,
) -> IndexMap<String, FileContent> {
    let mut files = IndexMap::new();
    for name in workflow.files.keys() {
        let Some(bytes) = given.remove(name) else {
            let message = format!("the content of file `{name}` is missing");
            let hint = Some("the client reads declared files and sends them with the workflow".to_owned());
            problems.push(problem(file, format!("files.{name}"), message, hint));
            continue;
        };
        let content = match String::from_utf8(bytes) {
            Ok(text) => FileContent::Text(text),
            Err(error) => FileContent::Base64(STANDARD.encode(error.as_bytes())),
        };
        files.insert(name.clone(), content);
    }
    for name in given.keys() {
        let (message, hint) = undeclared("file", name, workflow.files.keys().map(String::as_str).collect());
        problems.push(problem(file, format!("files.{name}"), message, hint));
    }
    files
}

fn bind_env(
    workflow: &Workflow,
    environment: &dyn Environment,
    file: &str,
    problems: &mut Vec<Problem>,
) -> IndexMap<String, String> {
    let mut env = IndexMap::new();
    for name in named_env(workflow) {
        let field = format!("env.{name}");
        if !environment.allows(&name) {
            let message = format!("environment variable `{name}` is not allowed");
            let hint = Some(format!("start the control plane with `--allow-env {name}`; never for secrets"));
            problems.push(problem(file, field, message, hint));
        } else if let Some(value) = environment.read(&name) {
            env.insert(name, value);
        } else {
            let message = format!("environment variable `{name}` is not set where the control plane runs");
            problems.push(problem(file, field, message, Some("set it there and restart the control plane".to_owned())));
        }
    }
    env
}

/// Every environment variable that a reference names.
fn named_env(workflow: &Workflow) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let templates = workflow.tasks.iter().map(|task| &task.parameters).chain(workflow.outputs.values());
    for template in templates {
        references(template, &mut |_, reference| {
            if let Ok(reference) = reference
                && let Root::Env(name) = &reference.root
            {
                names.insert(name.clone());
            }
        });
    }
    names
}
