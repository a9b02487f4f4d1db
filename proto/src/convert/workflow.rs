//! Turns a workflow message into the value that its YAML form would have.

use gleitzeit_workflow::spec::{Limits, Problem};
use gleitzeit_workflow::{ErrorCode, json as checked};
use prost::Message as _;
use serde_json::{Map, Value, json};

use crate::convert::duration_ms;
use crate::v1;

/// The value, which is then checked like a file. Fields that the message omits are omitted.
///
/// # Errors
/// If a `*_json` field is not JSON, a duration is negative, or the message exceeds a limit.
pub fn workflow_value(workflow: &v1::Workflow, file: &str, limits: &Limits) -> Result<Value, Vec<Problem>> {
    let bytes = workflow.encoded_len();
    if bytes > limits.bytes {
        let message = format!("{bytes} bytes are more than the limit of {} bytes for a workflow", limits.bytes);
        return Err(vec![Problem::of_file(file, ErrorCode::ResourceExhausted, message)]);
    }
    let mut reader = Reader { file, problems: Vec::new() };
    let mut out = Map::new();
    put_text(&mut out, "name", &workflow.name);
    put_text(&mut out, "description", &workflow.description);
    put_text(&mut out, "version", &workflow.version);
    if !workflow.labels.is_empty() {
        out.insert("labels".to_owned(), json!(workflow.labels));
    }
    reader.put_json(&mut out, "inputs", "inputs_json", &workflow.inputs_json);
    if !workflow.files.is_empty() {
        out.insert("files".to_owned(), json!(workflow.files));
    }
    reader.put_duration(&mut out, "timeout", "timeout", workflow.timeout.as_ref());
    let tasks = workflow.tasks.iter().enumerate().map(|(at, task)| reader.task(at, task)).collect();
    out.insert("tasks".to_owned(), Value::Array(tasks));
    reader.put_json(&mut out, "outputs", "outputs_json", &workflow.outputs_json);
    if reader.problems.is_empty() { Ok(Value::Object(out)) } else { Err(reader.problems) }
}

fn put_text(out: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        out.insert(key.to_owned(), Value::String(text.to_owned()));
    }
}

struct Reader<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, field: &str, code: ErrorCode, message: String) {
        let problem = Problem::of_file(self.file, code, message);
        self.problems.push(Problem { field: field.to_owned(), ..problem });
    }

    fn put_json(&mut self, out: &mut Map<String, Value>, key: &str, field: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        match checked::parse(text) {
            Ok(value) => drop(out.insert(key.to_owned(), value)),
            Err(problem) if problem.is_content_fault() => {
                self.problem(field, ErrorCode::WorkflowValidationFailed, problem.to_string());
            }
            Err(problem) => self.problem(field, ErrorCode::ParseError, format!("expected JSON: {problem}")),
        }
    }

    fn put_duration(
        &mut self,
        out: &mut Map<String, Value>,
        key: &str,
        field: &str,
        duration: Option<&prost_types::Duration>,
    ) {
        let Some(duration) = duration else { return };
        match duration_ms(duration) {
            Some(ms) => drop(out.insert(key.to_owned(), Value::String(format!("{ms}ms")))),
            None => {
                let message = "expected a duration that is not negative".to_owned();
                self.problem(field, ErrorCode::WorkflowValidationFailed, message);
            }
        }
    }

    fn task(&mut self, at: usize, task: &v1::Task) -> Value {
        let field = |name: &str| format!("tasks[{at}].{name}");
        let mut out = Map::new();
        put_text(&mut out, "id", &task.id);
        put_text(&mut out, "method", &task.method);
        put_text(&mut out, "provider", &task.provider);
        if let Some(priority) = task.priority {
            out.insert("priority".to_owned(), priority.into());
        }
        put_text(&mut out, "queue", &task.queue);
        self.put_duration(&mut out, "timeout", &field("timeout"), task.timeout.as_ref());
        if let Some(retry) = &task.retry {
            let retry = self.retry(&field("retry"), retry);
            out.insert("retry".to_owned(), retry);
        }
        if !task.dependencies.is_empty() {
            out.insert("dependencies".to_owned(), json!(task.dependencies));
        }
        self.put_json(&mut out, "parameters", &field("parameters_json"), &task.parameters_json);
        Value::Object(out)
    }

    fn retry(&mut self, field: &str, retry: &v1::RetryPolicy) -> Value {
        let mut out = Map::new();
        if let Some(max_attempts) = retry.max_attempts {
            out.insert("max_attempts".to_owned(), max_attempts.into());
        }
        match v1::Backoff::try_from(retry.backoff) {
            Ok(v1::Backoff::Unspecified) => {}
            Ok(v1::Backoff::Fixed) => put_text(&mut out, "backoff", "fixed"),
            Ok(v1::Backoff::Linear) => put_text(&mut out, "backoff", "linear"),
            Ok(v1::Backoff::Exponential) => put_text(&mut out, "backoff", "exponential"),
            Err(_) => {
                let message = format!("{} is not a valid backoff", retry.backoff);
                self.problem(&format!("{field}.backoff"), ErrorCode::WorkflowValidationFailed, message);
            }
        }
        self.put_duration(&mut out, "initial_delay", &format!("{field}.initial_delay"), retry.initial_delay.as_ref());
        self.put_duration(&mut out, "max_delay", &format!("{field}.max_delay"), retry.max_delay.as_ref());
        if let Some(jitter) = retry.jitter {
            out.insert("jitter".to_owned(), json!(jitter));
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_converted_like_its_yaml_form() {
        let task = v1::Task {
            id: "a".to_owned(),
            method: "util/echo".to_owned(),
            provider: "mine".to_owned(),
            priority: Some(3),
            timeout: Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 }),
            retry: Some(v1::RetryPolicy { max_attempts: Some(2), backoff: 1, ..v1::RetryPolicy::default() }),
            parameters_json: r#"{"x": "${inputs.n}"}"#.to_owned(),
            ..v1::Task::default()
        };
        let workflow = v1::Workflow {
            name: "w".to_owned(),
            inputs_json: r#"{"n": 1}"#.to_owned(),
            tasks: vec![task],
            ..v1::Workflow::default()
        };
        let value = workflow_value(&workflow, "", &Limits::default()).expect("valid");
        let expected = json!({"name": "w", "inputs": {"n": 1}, "tasks": [{"id": "a", "method": "util/echo", "provider": "mine",
            "priority": 3, "timeout": "2500ms", "retry": {"max_attempts": 2, "backoff": "fixed"},
            "parameters": {"x": "${inputs.n}"}}]});
        assert_eq!(value, expected);
    }

    #[test]
    fn an_invalid_value_is_named_by_its_field() {
        let task = v1::Task { parameters_json: "{".to_owned(), ..v1::Task::default() };
        let timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let workflow = v1::Workflow { tasks: vec![task], timeout, ..v1::Workflow::default() };
        let problems = workflow_value(&workflow, "w", &Limits::default()).expect_err("invalid");
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["timeout", "tasks[0].parameters_json"]);
    }
}
