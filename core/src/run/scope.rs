//! What the references of a run can name.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::Value;

use crate::id::RunId;
use crate::run::event::WorkflowSubmitted;
use crate::spec::FileContent;
use crate::template::{Root, Scope};

/// Inputs, files, environment and results of one run.
#[derive(Debug)]
pub struct RunScope<'a> {
    run_id: RunId,
    submitted: &'a WorkflowSubmitted,
    inputs: &'a Value,
    results: IndexMap<&'a str, Cow<'a, Value>>,
}

impl<'a> RunScope<'a> {
    /// A scope without results; `inputs` is the parsed form of the submitted ones.
    pub fn new(run_id: RunId, submitted: &'a WorkflowSubmitted, inputs: &'a Value) -> Self {
        Self { run_id, submitted, inputs, results: IndexMap::new() }
    }

    /// Adds a task's result.
    pub fn add_result(&mut self, task_id: &'a str, result: Cow<'a, Value>) {
        self.results.insert(task_id, result);
    }
}

impl Scope for RunScope<'_> {
    fn root(&self, root: &Root) -> Option<Cow<'_, Value>> {
        match root {
            Root::Task(id) => self.results.get(id.as_str()).map(|result| Cow::Borrowed(&**result)),
            Root::Input(name) => self.inputs.get(name).map(Cow::Borrowed),
            Root::File(_) => None,
            Root::Env(name) => self.submitted.env.get(name).map(|value| Cow::Owned(Value::String(value.clone()))),
            Root::RunId => Some(Cow::Owned(Value::String(self.run_id.to_string()))),
        }
    }

    fn file(&self, name: &str) -> Option<&FileContent> {
        self.submitted.files.get(name)
    }
}
