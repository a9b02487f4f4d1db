//! Checks the tasks of a workflow.

use serde_json::{Map, Value};

use super::catalog::{ENVIRONMENT, MethodInfo, PathSegment, Violation};
use super::checker::Checker;
use super::cycle::Wanted;
use super::fields::{Held, Holder, Place, TASK, given, no_advice};
use super::names::Names;
use super::providers;
use super::scalar;
use super::workflow::{Backoff, Priority, RetryPolicy, Task};
use crate::error::ErrorCode;
use crate::id::{MethodName, ProviderName, QueueName, TaskId};
use crate::suggest::closest;
use crate::template;
use crate::template::{Language, Piece};
use crate::yaml::{At, Fields, Kind, Node, Spot, inside, shorten};

const RETRY_PLACE: Place =
    Place { what: "`retry`", known: RETRY, accepted: &[], elsewhere: RETRY_ELSEWHERE, advice: no_advice };
const RETRY: &[&str] = &["max_attempts", "backoff", "initial_delay", "max_delay", "jitter"];
const RETRY_ELSEWHERE: &[(&str, &str)] = &[
    ("limit", "max_attempts"),
    ("attempts", "max_attempts"),
    ("max_retries", "max_attempts"),
    ("delay", "initial_delay"),
    ("base_delay", "initial_delay"),
    ("interval", "initial_delay"),
    ("strategy", "backoff"),
];
pub(super) const RESERVED: &[&str] = &["inputs", "env", "files", "run"];
const MOST_ATTEMPTS: u64 = 1_000;

/// Checks all tasks. Returns the tasks, if each could be read, and the dependencies of each.
pub(super) fn check_all(
    checker: &mut Checker<'_>,
    nodes: &[Node],
    names: &Names<'_>,
) -> (Option<Vec<Task>>, Vec<Vec<Wanted>>) {
    let root = At::Root;
    let list = root.key("tasks");
    let mut wanted = Vec::with_capacity(nodes.len());
    let mut tasks = Some(Vec::with_capacity(nodes.len()));
    for (index, node) in nodes.iter().enumerate() {
        let mut on = Vec::new();
        let task = one(checker, node, list.index(index), index, names, &mut on);
        match (task, &mut tasks) {
            (Some(task), Some(tasks)) => tasks.push(task),
            _ => tasks = None,
        }
        wanted.push(on);
    }
    (tasks, wanted)
}

fn one(
    checker: &mut Checker<'_>,
    node: &Node,
    at: At<'_>,
    index: usize,
    names: &Names<'_>,
    wanted: &mut Vec<Wanted>,
) -> Option<Task> {
    let fields = checker.object(node, at, "a task")?;
    let held = checker.known(node, at, &TASK);
    let id = id(checker, node, fields, &held, at);
    let method = method(checker, node, fields, &held, at, names);
    let provider = providers::named(checker, fields, at);
    let priority = priority(checker, fields, at);
    let queue = queue(checker, fields, at);
    let timeout_ms = given(fields, "timeout").and_then(|node| checker.timeout(node, at.key("timeout")));
    let retry = given(fields, "retry").map(|node| retry(checker, node, at.key("retry"))).unwrap_or_default();
    if let Some((written, node)) = held.of_kind("dependencies", Holder::List) {
        dependencies(checker, node, at.key(written), index, names, wanted);
    }
    let (written, holder) = held.of_kind("parameters", Holder::Object).unzip();
    let inner = at.key(written.unwrap_or("parameters"));
    let parameters = match holder {
        None => Value::Object(Map::new()),
        Some(node) => parameters(checker, node, inner, index, names, wanted),
    };
    // The sort is stable, so that a listed dependency comes before an implied one and is kept.
    wanted.sort_by_key(|wanted| wanted.on);
    wanted.dedup_by_key(|wanted| wanted.on);
    let (name, info) = method?;
    providers::check(checker, fields, at, name, provider.as_ref().map(ProviderName::as_str));
    if let Some(Node { kind: Kind::Object(given), .. }) = holder {
        check_references(checker, given, inner, names, name, info);
    }
    // If a key that stands in for `parameters` has another type, the parameters are not reported as missing.
    if parameters.is_object() && checker.listening() && (holder.is_some() || !held.is_elsewhere("parameters")) {
        for violation in checker.catalog.check_template(name, &parameters) {
            report_violation(checker, holder, node.spot, inner, violation);
        }
    }
    let dependencies = wanted.iter().filter_map(|wanted| names.ids[wanted.on]).map(TaskId::from).collect();
    Some(Task {
        id: TaskId::from(id?),
        method: MethodName::from(name),
        provider,
        protocol_version: info.protocol_version.clone(),
        priority,
        queue,
        timeout_ms,
        retry,
        dependencies,
        parameters,
        code: info.code.clone(),
    })
}

fn shown(node: &Node) -> String {
    match &node.kind {
        Kind::Text(text) => format!("`{}`", shorten(text)),
        Kind::Number(number) => format!("`{number}`"),
        _ => node.what().to_owned(),
    }
}

fn id<'n>(checker: &mut Checker<'_>, task: &Node, fields: &'n Fields, held: &Held<'_>, at: At<'_>) -> Option<&'n str> {
    let Some((_, node)) = fields.get("id") else {
        if held.is_elsewhere("id") {
            return None;
        }
        checker.wrong(task.spot, at.key("id"), "the task has no `id`", Some("add `id: NAME`".to_owned()));
        return None;
    };
    let id = checker.text(node, at.key("id"), "`id`")?;
    if RESERVED.contains(&id) {
        let message = format!("`{id}` is reserved: `${{{id}.…}}` means something else");
        checker.wrong(node.spot, at.key("id"), message, Some("choose another id".to_owned()));
    } else if !scalar::is_id(id) {
        let hint = "letters, digits, `_` and `-`, beginning with a letter or `_`, at most 200".to_owned();
        checker.wrong(node.spot, at.key("id"), format!("`{}` is not a task id", shorten(id)), Some(hint));
    }
    Some(id)
}

fn method<'n, 'm>(
    checker: &mut Checker<'_>,
    task: &Node,
    fields: &'n Fields,
    held: &Held<'_>,
    at: At<'_>,
    names: &'m Names<'_>,
) -> Option<(&'n str, &'m MethodInfo)> {
    let at = at.key("method");
    let Some((_, node)) = fields.get("method") else {
        if held.is_elsewhere("method") {
            return None;
        }
        let hint = "add `method: …`, such as `python/execute`".to_owned();
        checker.wrong(task.spot, at, "the task has no `method`", Some(hint));
        return None;
    };
    let name = checker.text(node, at, "`method`")?;
    if let Some(Some(info)) = names.catalog.get(name) {
        return Some((name, info));
    }
    if checker.listening() {
        let hint = match checker.method_meant(name) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`gleitzeit protocols` lists the known methods".to_owned(),
        };
        let message = format!("unknown method `{}`", shorten(name));
        checker.report(node.spot, at, ErrorCode::MethodNotFound, message, Some(hint));
    }
    None
}

fn priority(checker: &mut Checker<'_>, fields: &Fields, at: At<'_>) -> Priority {
    let Some(node) = given(fields, "priority") else { return Priority::default() };
    scalar::priority(&node.kind).unwrap_or_else(|| {
        let hint = "write `low`, `normal`, `high`, `urgent` or an integer, higher first".to_owned();
        checker.wrong(node.spot, at.key("priority"), format!("`priority` cannot be {}", shown(node)), Some(hint));
        Priority::default()
    })
}

fn queue(checker: &mut Checker<'_>, fields: &Fields, at: At<'_>) -> QueueName {
    let Some(node) = given(fields, "queue") else { return QueueName::default_queue() };
    let at = at.key("queue");
    let name = checker.text(node, at, "`queue`").unwrap_or("default");
    if !scalar::is_queue(name) {
        let hint = "letters, digits, `_`, `-` and `.`".to_owned();
        checker.wrong(node.spot, at, format!("`{}` cannot name a queue", shorten(name)), Some(hint));
    }
    QueueName::from(name)
}

/// The parameters as a value; the tasks that they reference are wanted.
fn parameters(
    checker: &mut Checker<'_>,
    node: &Node,
    at: At<'_>,
    index: usize,
    names: &Names<'_>,
    wanted: &mut Vec<Wanted>,
) -> Value {
    checker.object(node, at, "`parameters`");
    names.references(checker, node, at, Some(index), &mut |(on, spot)| {
        wanted.push(Wanted { on, spot, implied: true });
    });
    node.to_value()
}

/// Checks what references become in each parameter: in program text they must stand where data can be inserted,
/// elsewhere they must have the type that the schema asks for.
fn check_references(
    checker: &mut Checker<'_>,
    given: &Fields,
    at: At<'_>,
    names: &Names<'_>,
    method: &str,
    info: &MethodInfo,
) {
    for (parameter, language) in &info.code {
        if let Some((_, node)) = given.get(parameter) {
            code(checker, node, at.key(parameter), *language, info);
        }
    }
    let Some(schema) = &info.parameters else { return };
    // Program text is not used as a value, but an address may be a single reference.
    let is_program = |parameter: &String| info.code.get(parameter).is_some_and(|it| *it != Language::Url);
    for (parameter, (_, node)) in given.iter().filter(|(parameter, _)| !is_program(parameter)) {
        let mut path = vec![PathSegment::Key(parameter.clone())];
        names.types(checker, (node, at.key(parameter)), &mut path, (method, schema));
    }
}

fn dependencies(
    checker: &mut Checker<'_>,
    node: &Node,
    at: At<'_>,
    own: usize,
    names: &Names<'_>,
    wanted: &mut Vec<Wanted>,
) {
    let Kind::List(items) = &node.kind else {
        let hint = "write `dependencies: [a, b]`".to_owned();
        checker.wrong(node.spot, at, format!("`dependencies` must be a list, not {}", node.what()), Some(hint));
        return;
    };
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        let Some(id) = checker.text(item, at, "a dependency") else { continue };
        match names.tasks.get(id) {
            Some(&on) if on == own => {
                checker.report(
                    item.spot,
                    at,
                    ErrorCode::WorkflowCircularDependency,
                    format!("task `{id}` depends on itself: {id} -> {id}"),
                    Some("remove it".to_owned()),
                );
            }
            Some(&on) => wanted.push(Wanted { on, spot: item.spot, implied: false }),
            None if checker.listening() => {
                let hint = match (names.named.get(id), closest(id, names.tasks.keys())) {
                    (Some(named), _) => format!("write the task's id, `{named}`, instead of its name"),
                    (None, Some(meant)) => format!("did you mean `{meant}`?"),
                    (None, None) => "a dependency is the id of a task in this file".to_owned(),
                };
                checker.wrong(item.spot, at, format!("unknown dependency `{}`", shorten(id)), Some(hint));
            }
            None => {}
        }
    }
}

fn retry(checker: &mut Checker<'_>, node: &Node, at: At<'_>) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    let Kind::Object(fields) = &node.kind else {
        let hint = "write `retry: {max_attempts: 3}`".to_owned();
        checker.wrong(node.spot, at, format!("`retry` must be an object, not {}", node.what()), Some(hint));
        return policy;
    };
    checker.known(node, at, &RETRY_PLACE);
    if let Some(node) = given(fields, "max_attempts") {
        policy.max_attempts = max_attempts(checker, node, at.key("max_attempts")).unwrap_or(policy.max_attempts);
    }
    if let Some(node) = given(fields, "backoff") {
        policy.backoff = backoff(checker, node, at.key("backoff")).unwrap_or(policy.backoff);
    }
    delays(checker, fields, at, &mut policy);
    if let Some(node) = given(fields, "jitter") {
        policy.jitter = jitter(checker, node, at.key("jitter")).unwrap_or(policy.jitter);
    }
    policy
}

fn max_attempts(checker: &mut Checker<'_>, node: &Node, at: At<'_>) -> Option<u32> {
    let number = match &node.kind {
        Kind::Number(number) => number.as_u64().filter(|number| (1..=MOST_ATTEMPTS).contains(number)),
        _ => None,
    };
    let number = number.and_then(|number| u32::try_from(number).ok());
    if number.is_none() {
        let message = format!("`max_attempts` must be a whole number from 1 to {MOST_ATTEMPTS}, not {}", shown(node));
        checker.wrong(node.spot, at, message, Some("the first attempt counts".to_owned()));
    }
    number
}

fn backoff(checker: &mut Checker<'_>, node: &Node, at: At<'_>) -> Option<Backoff> {
    match &node.kind {
        Kind::Text(text) if text == "fixed" => Some(Backoff::Fixed),
        Kind::Text(text) if text == "linear" => Some(Backoff::Linear),
        Kind::Text(text) if text == "exponential" => Some(Backoff::Exponential),
        _ => {
            let hint = "write `fixed`, `linear` or `exponential`".to_owned();
            checker.wrong(node.spot, at, format!("`backoff` cannot be {}", shown(node)), Some(hint));
            None
        }
    }
}

fn delays(checker: &mut Checker<'_>, fields: &Fields, at: At<'_>, policy: &mut RetryPolicy) {
    let initial = given(fields, "initial_delay");
    if let Some(ms) = initial.and_then(|node| checker.duration(node, at.key("initial_delay"))) {
        policy.initial_delay_ms = ms;
        policy.max_delay_ms = policy.max_delay_ms.max(ms);
    }
    if let Some(node) = given(fields, "max_delay")
        && let Some(ms) = checker.duration(node, at.key("max_delay"))
    {
        if initial.is_some() && ms < policy.initial_delay_ms {
            checker.wrong(node.spot, at.key("max_delay"), "`max_delay` is less than `initial_delay`", None);
        }
        policy.max_delay_ms = ms;
    }
}

fn jitter(checker: &mut Checker<'_>, node: &Node, at: At<'_>) -> Option<f64> {
    let number = match &node.kind {
        Kind::Number(number) => number.as_f64().filter(|number| (0.0..=0.5).contains(number)),
        _ => None,
    };
    if number.is_none() {
        let message = format!("`jitter` must be a number from 0 to 0.5, not {}", shown(node));
        checker.wrong(node.spot, at, message, None);
    }
    number
}

/// References in program text must stand where data can be inserted.
fn code(checker: &mut Checker<'_>, node: &Node, at: At<'_>, language: Language, info: &MethodInfo) {
    let Kind::Text(text) = &node.kind else { return };
    // A malformed template is reported with the references.
    if !text.contains("${") || template::parse(text).is_err() {
        return;
    }
    let references =
        template::parse(text).is_ok_and(|pieces| pieces.iter().any(|it| matches!(it, Piece::Reference(_))));
    if language == Language::Shell && references && !info.takes_environment() {
        let message = format!("values in shell text are passed in `{ENVIRONMENT}`, which the method does not declare");
        let hint = format!("in its protocol, add the parameter `{ENVIRONMENT}`, an object of texts");
        checker.report(node.spot, at, ErrorCode::TaskParameterError, message, Some(hint));
        return;
    }
    for (offset, message) in template::check_code(text, language).err().unwrap_or_default() {
        let spot = inside(checker.source, node.spot, text, offset);
        checker.report(spot, at, ErrorCode::TaskParameterError, message, None);
    }
}

/// Finds the place of a violation: the deepest existing value on its path.
fn report_violation(checker: &mut Checker<'_>, holder: Option<&Node>, task: Spot, at: At<'_>, violation: Violation) {
    use std::fmt::Write;
    let mut node = holder;
    let mut spot = holder.map_or(task, |node| node.spot);
    let mut path = at.to_string();
    for step in &violation.path {
        match step {
            PathSegment::Key(key) => {
                let _ = write!(path, ".{key}");
            }
            PathSegment::Index(index) => {
                let _ = write!(path, "[{index}]");
            }
        }
        node = match (node.map(|node| &node.kind), step) {
            (Some(Kind::Object(fields)), PathSegment::Key(key)) => fields.get(key).map(|(_, node)| node),
            (Some(Kind::List(items)), PathSegment::Index(index)) => items.get(*index),
            _ => None,
        };
        if let Some(node) = node {
            spot = node.spot;
        }
    }
    let root = At::Root;
    let hint = violation.hint.or_else(|| Some("`gleitzeit protocols -o json` shows what the method takes".to_owned()));
    checker.report(spot, root.key(&path), ErrorCode::TaskValidationFailed, violation.message, hint);
}
