//! The values that the references of a run can name.

use std::borrow::Cow;

use gleitzeit_workflow::json::Problem;
use gleitzeit_workflow::template::{FileContent, Root, Scope};
use indexmap::IndexMap;
use serde_json::Value;

use crate::event::WorkflowSubmitted;
use crate::id::RunId;

/// A payload as [`gleitzeit_workflow::Payload::to_value`] reads it.
pub type Read = Result<Value, Problem>;

/// The inputs, files, environment and results of one run.
#[derive(Debug)]
pub struct RunScope<'a> {
    run_id: RunId,
    submitted: &'a WorkflowSubmitted,
    inputs: &'a Read,
    results: IndexMap<&'a str, Cow<'a, Read>>,
}

impl<'a> RunScope<'a> {
    /// A scope without results; `inputs` is the parsed form of the submitted inputs.
    pub fn new(run_id: RunId, submitted: &'a WorkflowSubmitted, inputs: &'a Read) -> Self {
        Self { run_id, submitted, inputs, results: IndexMap::new() }
    }

    /// Adds a task's result.
    pub fn add_result(&mut self, task_id: &'a str, result: Cow<'a, Read>) {
        self.results.insert(task_id, result);
    }
}

impl Scope for RunScope<'_> {
    fn root(&self, root: &Root) -> Option<Cow<'_, Value>> {
        match root {
            Root::Task(id) => self.results.get(id.as_str())?.as_ref().as_ref().ok().map(Cow::Borrowed),
            Root::Input(name) => self.inputs.as_ref().ok()?.get(name).map(Cow::Borrowed),
            Root::File(_) => None,
            Root::Env(name) => self.submitted.env.get(name).map(|value| Cow::Owned(Value::String(value.clone()))),
            Root::RunId => Some(Cow::Owned(Value::String(self.run_id.to_string()))),
        }
    }

    fn file(&self, name: &str) -> Option<&FileContent> {
        self.submitted.files.get(name)
    }

    fn unreadable(&self, root: &Root) -> Option<String> {
        let (what, problem) = match root {
            Root::Task(id) => {
                (format!("the result of task `{id}`"), self.results.get(id.as_str())?.as_ref().as_ref().err())
            }
            Root::Input(_) => ("the run's inputs".to_owned(), self.inputs.as_ref().err()),
            _ => return None,
        };
        problem.map(|problem| format!("{what} cannot be passed on: {problem}"))
    }
}
