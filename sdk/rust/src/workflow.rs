//! Builds workflows in code. The result is the same JSON that could stand in a file; the control plane checks it.

use serde_json::{Map, Value, json};

use crate::submission::Submission;

/// A workflow in the making.
///
/// ```
/// use gleitzeit_sdk::{TaskBuilder, WorkflowBuilder};
///
/// let workflow = WorkflowBuilder::new("Sum")
///     .input("n", 3)
///     .task(TaskBuilder::new("double", "python/execute").parameter("code", "result = ${inputs.n} * 2"))
///     .task(TaskBuilder::new("report", "util/echo").parameter("text", "it is ${double.result}").max_attempts(3))
///     .output("sum", "${double.result}");
/// assert!(workflow.to_string().contains("\"report\""));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkflowBuilder {
    fields: Map<String, Value>,
}

/// A task under construction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskBuilder {
    fields: Map<String, Value>,
}

impl WorkflowBuilder {
    /// Starts a workflow with this name.
    pub fn new(name: &str) -> Self {
        Self { fields: Map::from_iter([("name".to_owned(), name.into())]) }
    }

    /// Declares an input with its default, which tasks read as `${inputs.NAME}`. `null` makes the input required.
    #[must_use]
    pub fn input(self, name: &str, default: impl Into<Value>) -> Self {
        self.within("inputs", name, default.into())
    }

    /// Adds a label, which lists show and can filter by.
    #[must_use]
    pub fn label(self, name: &str, value: &str) -> Self {
        self.within("labels", name, value.into())
    }

    /// Sets how long the run may take, in seconds.
    #[must_use]
    pub fn timeout_seconds(mut self, seconds: f64) -> Self {
        self.fields.insert("timeout".to_owned(), json!(seconds));
        self
    }

    /// Adds a task.
    #[must_use]
    pub fn task(mut self, task: TaskBuilder) -> Self {
        match self.fields.entry("tasks").or_insert_with(|| json!([])) {
            Value::Array(tasks) => tasks.push(Value::Object(task.fields)),
            // This builder puts nothing but lists there.
            other => *other = json!([task.fields]),
        }
        self
    }

    /// Declares an output of the run: a value with references such as `${task.field}`.
    #[must_use]
    pub fn output(self, name: &str, value: impl Into<Value>) -> Self {
        self.within("outputs", name, value.into())
    }

    fn within(mut self, field: &str, name: &str, value: Value) -> Self {
        self.fields.entry(field).or_insert_with(|| json!({}))[name] = value;
        self
    }
}

impl std::fmt::Display for WorkflowBuilder {
    /// Writes the workflow as it could stand in a file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", Value::Object(self.fields.clone()))
    }
}

impl From<WorkflowBuilder> for Submission {
    fn from(workflow: WorkflowBuilder) -> Self {
        // On one line: line breaks and indentation would only cost space on the wire.
        Self::yaml(Value::Object(workflow.fields).to_string())
    }
}

impl TaskBuilder {
    /// Starts a task with this id that calls a method.
    pub fn new(id: &str, method: &str) -> Self {
        let fields = [("id".to_owned(), id.into()), ("method".to_owned(), method.into())];
        Self { fields: Map::from_iter(fields) }
    }

    /// Sets a parameter of the method: a value with references such as `${task.field}`, which make this task wait for
    /// the other.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.entry("parameters").or_insert_with(|| json!({}))[name] = value.into();
        self
    }

    /// Makes this task wait for another one without using its result.
    #[must_use]
    pub fn after(mut self, id: &str) -> Self {
        match self.fields.entry("dependencies").or_insert_with(|| json!([])) {
            Value::Array(ids) => ids.push(id.into()),
            // This builder puts nothing but lists there.
            other => *other = json!([id]),
        }
        self
    }

    /// Restricts the task to providers with this name.
    #[must_use]
    pub fn provider(self, name: &str) -> Self {
        self.with("provider", name.into())
    }

    /// Sets the queue that the task waits in.
    #[must_use]
    pub fn queue(self, name: &str) -> Self {
        self.with("queue", name.into())
    }

    /// Sets how long an attempt may take, in seconds.
    #[must_use]
    pub fn timeout_seconds(self, seconds: f64) -> Self {
        self.with("timeout", json!(seconds))
    }

    /// Sets how often the task is attempted; failures of the task's own count.
    #[must_use]
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with("retry", json!({ "max_attempts": attempts }))
    }

    /// Sets any other field of a task, as a file would.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.fields.insert(field.to_owned(), value);
        self
    }
}
