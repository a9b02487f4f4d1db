//! One line of a scenario: the name of a command or of an event, its task, and its fields as `name value`. The names are
//! those of the JSON that is sent and stored, so a new field needs no change here.

use gleitzeit_run::{Command, ComponentId, Event, RunId};
use gleitzeit_workflow::spec::{Task, Workflow};
use gleitzeit_workflow::{ErrorCode, Failure};
use indexmap::IndexMap;
use serde_json::{Value, json};

type Fields = IndexMap<String, Value>;

/// The part of a line that is not read yet.
pub(crate) struct Words<'a>(pub(crate) &'a str);

impl<'a> Words<'a> {
    /// The next word; `None` at the end of the line.
    pub(crate) fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let end = text.find(' ').unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    /// The next word, which must be there; `what` says what it is in the error.
    pub(crate) fn expect(&mut self, what: &str) -> Result<&'a str, String> {
        self.next().ok_or_else(|| format!("expected {what}, found the end of the line"))
    }

    /// The next word as a whole number.
    pub(crate) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.expect(what)?;
        word.parse().map_err(|_| format!("expected {what}, found `{word}`"))
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        self.next().map_or(Ok(()), |word| Err(format!("expected the end of the line, found `{word}`")))
    }

    /// The next value: JSON, or a single word as text.
    fn value(&mut self, name: &str) -> Result<Value, String> {
        let text = self.0.trim_start();
        if !text.starts_with(['{', '[', '"']) {
            let word = self.expect(&format!("a value of `{name}`"))?;
            return Ok(serde_json::from_str(word).unwrap_or_else(|_| Value::from(word)));
        }
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let value = values.next().and_then(Result::ok);
        self.0 = &text[values.byte_offset()..];
        value.ok_or_else(|| format!("expected a JSON value of `{name}`, found `{text}`"))
    }

    /// An error: the name of its code and a message, or a JSON object.
    fn failure(&mut self) -> Result<Value, String> {
        let value = self.value("error")?;
        let Some(name) = value.as_str() else { return Ok(value) };
        let code = ErrorCode::from_name(name).ok_or_else(|| format!("expected an error code, found `{name}`"))?;
        let message = self.value("error")?;
        Ok(json!({"code": code.code(), "message": message}))
    }

    /// All fields up to the end of the line.
    fn fields(&mut self) -> Result<Fields, String> {
        let mut fields = Fields::new();
        while let Some(name) = self.next() {
            let value = if name == "error" { self.failure()? } else { self.value(name)? };
            if fields.insert(name.to_owned(), value).is_some() {
                return Err(format!("expected each field once, found `{name}` twice"));
            }
        }
        Ok(fields)
    }
}

/// A command and its sender: an engine, or `None` for the hub and for the owner of a slice.
pub(crate) struct Asked {
    pub(crate) command: Command,
    pub(crate) by: Option<ComponentId>,
}

/// Reads a command.
pub(crate) fn read_command(text: &str, run_id: RunId, workflow: &Workflow) -> Result<Asked, String> {
    let mut words = Words(text);
    let kind = known("command", words.expect("a command")?, Command::KINDS)?;
    let task = if kind == "cancel_workflow" { None } else { Some(words.expect("a task's id")?) };
    let mut fields = words.fields()?;
    let by = fields.shift_remove("by");
    let is_report = kind.ends_with("_attempt");
    let by = match by.as_ref().map(|by| by.as_str().unwrap_or_default()) {
        None if is_report => return Err("expected `by ENGINE` or `by hub`, found none".to_owned()),
        Some(_) if !is_report => return Err(format!("`by` stands only with reports, and `{kind}` is none")),
        None | Some("hub") => None,
        Some(engine) => Some(ComponentId::from(engine)),
    };
    let mut body = json!({"run_id": run_id, "task_id": task});
    if is_report {
        body["attempt"] = fields.shift_remove("attempt").ok_or("expected `attempt NUMBER`, found none")?;
        body = json!({"ref": body});
    }
    fill(&mut body, fields, kind, task, workflow);
    let command = Command::decode(kind, &body.to_string()).map_err(|error| error.to_string())?;
    all_known(kind, &body, &command.body())?;
    Ok(Asked { command, by })
}

/// Reads an event.
pub(crate) fn read_event(text: &str, workflow: &Workflow) -> Result<Event, String> {
    let mut words = Words(text);
    let kind = known("event", words.expect("an event")?, Event::KINDS)?;
    let task = if kind.starts_with("task_") { Some(words.expect("a task's id")?) } else { None };
    let fields = words.fields()?;
    let mut body = task.map_or_else(|| json!({}), |task| json!({"task_id": task}));
    fill(&mut body, fields, kind, task, workflow);
    let event = Event::decode(kind, &body.to_string()).map_err(|error| error.to_string())?;
    all_known(kind, &body, &event.body())?;
    Ok(event)
}

/// Writes an event, so that [`read_event`] gives the same one.
pub(crate) fn write_event(event: &Event, workflow: &Workflow) -> Result<String, String> {
    let kind = event.kind();
    if let Event::WorkflowSubmitted(submitted) = event {
        let of = submitted.retry_of.map_or_else(String::new, |run| format!(" retry_of {run}"));
        return Ok(format!("{kind}{of}"));
    }
    let fields: Fields = serde_json::from_str(&event.body()).map_err(|error| error.to_string())?;
    let omitted = defaults(kind, event.task_id(), workflow);
    let mut line = kind.to_owned();
    for (name, value) in &fields {
        match value {
            Value::String(id) if name == "task_id" => line.extend([" ", id]),
            value if omitted.contains(&(name, value.clone())) => {}
            value => line.extend([" ", name, " ", &write_value(name, value)]),
        }
    }
    for (name, _) in omitted.iter().filter(|(name, _)| !fields.contains_key(*name)) {
        line.extend([" ", name, " null"]);
    }
    match read_event(&line, workflow) {
        Ok(same) if same == *event => Ok(line),
        other => Err(format!("`{line}` does not say all of {}: it is read as {other:?}", event.body())),
    }
}

/// Writes an error as [`Words::failure`] reads it.
pub(crate) fn write_failure(failure: &Failure) -> String {
    match (failure.known(), &failure.data) {
        (Some(code), None) => format!("{code} {}", json!(failure.message)),
        _ => json!(failure).to_string(),
    }
}

fn write_value(name: &str, value: &Value) -> String {
    if name == "error"
        && let Ok(failure) = serde_json::from_value::<Failure>(value.clone())
    {
        return write_failure(&failure);
    }
    let is_payload = ["result", "outputs", "parameters"].contains(&name);
    let is_plain = |text: &&str| {
        let is_word = text.chars().all(|it| it.is_ascii_alphanumeric() || "_-./".contains(it));
        is_word && !is_payload && !text.is_empty() && serde_json::from_str::<Value>(text).is_err()
    };
    value.as_str().filter(is_plain).map_or_else(|| value.to_string(), str::to_owned)
}

/// The fields that a line may leave out, with their values. An event takes some of them from the task's definition.
fn defaults(kind: &str, task: Option<&str>, workflow: &Workflow) -> Vec<(&'static str, Value)> {
    let mut fields = match kind {
        "ready_task" | "task_ready" => {
            vec![("queue", json!("default")), ("priority", json!(2)), ("parameters", json!({}))]
        }
        "start_attempt" | "complete_attempt" | "fail_attempt" => vec![("ran_ms", json!(0))],
        "task_started" | "task_completed" | "task_attempt_failed" => vec![("ran_ms", json!(0))],
        _ => Vec::new(),
    };
    let definition = |id: &str| workflow.tasks.iter().find(|task| task.id.as_str() == id);
    if let Some(Task { method, provider, retry, .. }) = task.and_then(definition) {
        if ["task_ready", "task_dispatched"].contains(&kind) {
            fields.push(("method", json!(method)));
            fields.extend(provider.iter().map(|provider| ("provider", json!(provider))));
        }
        if kind == "task_ready" {
            fields.push(("retry", json!(retry)));
        }
    }
    fields
}

fn fill(body: &mut Value, fields: Fields, kind: &str, task: Option<&str>, workflow: &Workflow) {
    for (name, value) in defaults(kind, task, workflow) {
        body[name] = value;
    }
    for (name, value) in fields {
        body[name] = value;
    }
}

fn known<'a>(what: &str, kind: &'a str, kinds: &[&str]) -> Result<&'a str, String> {
    if kinds.contains(&kind) {
        return Ok(kind);
    }
    Err(format!("expected the name of a {what} ({}), found `{kind}`", kinds.join(", ")))
}

/// Checks that every field of `given` was read. A field that is absent may be written as `null` or `false`.
fn all_known(kind: &str, given: &Value, read: &str) -> Result<(), String> {
    let read: Fields = serde_json::from_str(read).map_err(|error| error.to_string())?;
    let given = given.as_object().into_iter().flatten();
    let is_absent = |value: &Value| value.is_null() || *value == json!(false);
    match given.into_iter().find(|(name, value)| !read.contains_key(*name) && !is_absent(value)) {
        Some((name, _)) => Err(format!("expected a field of `{kind}`, found `{name}`")),
        None => Ok(()),
    }
}
