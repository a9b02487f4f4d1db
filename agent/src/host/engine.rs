//! Host of the engine: fills in defaults and validates, one parameter set or result at a time, between other events.

use std::collections::VecDeque;
use std::future::pending;

use gleitzeit_mesh::role::engine::{Engine, Input, Output};
use gleitzeit_mesh::wire::{ProtocolDefinition, Protocols};
use gleitzeit_protocols::{LearnError, Method, Registry};
use gleitzeit_run::id::AttemptRef;
use gleitzeit_run::ledger::Assignment;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::{MethodName, ProtocolName};
use gleitzeit_workflow::json::Problem;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::{PathSegment, Violation};
use gleitzeit_workflow::time::Instant;
use serde_json::{Value, json};
use tracing::{debug, error};

use super::{Event, Machine, Todo};

/// Something to validate.
pub(crate) enum Check {
    Parameters(Box<Assignment>),
    Result { at: AttemptRef, method: MethodName, protocol_version: String, result: Payload },
}

/// The engine's machine, and the protocols that it has received from the hub.
pub(crate) struct EngineHost {
    machine: Engine,
    registry: Registry,
    max_payload_bytes: usize,
    /// Bounded by the number of attempts that the engine holds.
    checks: VecDeque<Check>,
    out: Vec<Output>,
}

impl EngineHost {
    pub(crate) fn new(machine: Engine, max_payload_bytes: usize) -> Self {
        Self { machine, registry: Registry::new(), max_payload_bytes, checks: VecDeque::new(), out: Vec::new() }
    }

    fn learn(&mut self, definitions: &[ProtocolDefinition]) {
        for definition in definitions {
            let (protocol, version) = (&definition.name, &definition.version);
            // Without the protocol, an attempt fails with METHOD_NOT_FOUND; the hub should not have accepted this
            // definition.
            let mut learned = self.registry.learn(definition);
            if matches!(learned, Err(LearnError::Conflict(_))) {
                // The protocol was removed and registered again while this engine was away: the hub's definition is the
                // valid one.
                self.registry.forget(protocol, version);
                learned = self.registry.learn(definition);
            }
            match learned {
                Ok(new) => debug!(protocol, version, new, "protocol known"),
                Err(error) => error!(protocol, version, %error, "protocol cannot be used"),
            }
        }
    }

    fn check(&self, check: Check) -> Input {
        match check {
            Check::Parameters(assignment) => {
                let result = self.parameters(&assignment);
                Input::Prepared { at: assignment.at, result }
            }
            Check::Result { at, method, protocol_version, result } => {
                let result = self.result(method.as_str(), &protocol_version, result);
                Input::Checked { at, result }
            }
        }
    }

    fn method(&self, method: &str, version: &str) -> Result<&Method, Failure> {
        self.registry.method(method, version).ok_or_else(|| {
            let message = format!("method `{method}` is not known in version `{version}` of its protocol");
            Failure::new(ErrorCode::MethodNotFound, message)
        })
    }

    /// The parameters with defaults filled in, and the method's own timeout.
    fn parameters(&self, assignment: &Assignment) -> Result<(Payload, Option<u64>), Failure> {
        let (method, version) = (assignment.method.as_str(), assignment.protocol_version.as_str());
        let timeout_ms = self.method(method, version)?.timeout_ms;
        let invalid = |message: String| Failure::new(ErrorCode::InvalidParams, message);
        let given = assignment
            .parameters
            .to_value()
            .map_err(|problem| invalid(format!("the parameters of `{method}` cannot be passed on: {problem}")))?;
        let mut filled = given.clone();
        self.registry.fill_defaults(method, version, &mut filled);
        self.registry
            .validate_parameters(method, version, &filled)
            .map_err(|violations| failure(ErrorCode::InvalidParams, "parameters", method, &violations))?;
        // The original text, if no default was added.
        let parameters = if filled == given { assignment.parameters.clone() } else { Payload::from_value(&filled) };
        let (size, limit) = (parameters.size_bytes(), self.max_payload_bytes);
        if size > limit {
            return Err(invalid(format!("the parameters with their defaults are {size} bytes; the limit is {limit}")));
        }
        Ok((parameters, timeout_ms))
    }

    fn result(&self, method: &str, version: &str, result: Payload) -> Result<Payload, Failure> {
        // Results of every provider, built-in or foreign, pass through here, so anything recorded can be carried
        // everywhere.
        let invalid = |problem: Problem| {
            let message = format!("the result of `{method}` cannot be passed on: {problem}");
            Failure::new(ErrorCode::TaskResultInvalid, message)
        };
        if self.method(method, version)?.returns.is_none() {
            return result.check().map_err(invalid).map(|()| result);
        }
        let value = result.to_value().map_err(invalid)?;
        self.registry
            .validate_result(method, version, &value)
            .map_err(|violations| failure(ErrorCode::TaskResultInvalid, "result", method, &violations))?;
        Ok(result)
    }
}

impl EngineHost {
    fn act(&mut self, todo: &mut Todo) {
        let mut out = std::mem::take(&mut self.out);
        for output in out.drain(..) {
            match output {
                Output::Hub(output) => todo.outputs.push(output),
                Output::Prepare { assignment } => self.checks.push_back(Check::Parameters(Box::new(assignment))),
                Output::CheckResult { at, method, protocol_version, result } => {
                    self.checks.push_back(Check::Result { at, method, protocol_version, result });
                }
                // Handled at once: the next attempts may need these protocols.
                Output::Protocols(Protocols { protocols, removed }) => {
                    for ProtocolName { name, version } in removed {
                        let known = self.registry.forget(&name, &version);
                        debug!(protocol = name, version, known, "protocol removed");
                    }
                    self.learn(&protocols);
                }
                Output::Forget => {
                    self.checks.clear();
                    self.registry = Registry::new();
                }
                Output::Drained => todo.drained = true,
            }
        }
        self.out = out;
    }
}

impl Machine for EngineHost {
    type Report = Check;

    fn accept(&mut self, now: Instant, event: Event<Check>, todo: &mut Todo) {
        let input = match event {
            Event::Hub(input) => Input::Hub(input),
            Event::Drain { grace_ms } => Input::Drain { grace_ms },
            Event::Report(check) => self.check(check),
        };
        self.machine.accept(now, input, &mut self.out);
        self.act(todo);
    }

    fn flush(&mut self, now: Instant, todo: &mut Todo) {
        self.machine.flush(now, &mut self.out);
        self.act(todo);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.machine.next_deadline()
    }

    async fn next_report(&mut self) -> Check {
        match self.checks.pop_front() {
            Some(check) => check,
            None => pending().await,
        }
    }

    fn try_report(&mut self) -> Option<Check> {
        self.checks.pop_front()
    }
}

fn failure(code: ErrorCode, what: &str, method: &str, violations: &[Violation]) -> Failure {
    let listed: Vec<Value> =
        violations.iter().map(|it| json!({"path": path(&it.path), "message": it.message, "hint": it.hint})).collect();
    let text: Vec<String> = violations
        .iter()
        .map(|it| match path(&it.path) {
            path if path.is_empty() => it.message.clone(),
            path => format!("`{path}`: {}", it.message),
        })
        .collect();
    Failure::new(code, format!("the {what} of `{method}` does not fit its schema: {}", text.join("; ")))
        .with_data(Payload::from_value(&json!({"violations": listed})))
}

/// Formats a path such as `items[3].name`.
fn path(segments: &[PathSegment]) -> String {
    segments.iter().fold(String::new(), |path, segment| match segment {
        PathSegment::Key(key) if path.is_empty() => key.clone(),
        PathSegment::Key(key) => format!("{path}.{key}"),
        PathSegment::Index(index) => format!("{path}[{index}]"),
    })
}

#[cfg(test)]
mod tests {
    use gleitzeit_mesh::role::Identity;
    use gleitzeit_mesh::role::engine::Config;
    use gleitzeit_protocols::Protocol;
    use gleitzeit_run::Secret;

    use super::*;

    const PROTOCOL: &str = "name: m\nversion: v1\nmethods:\n  m/add:\n    timeout: 3s\n    parameters: {type: object, \
                            required: [a], properties: {a: {type: integer}, b: {type: integer, default: 1}}}\n    \
                            returns: {type: integer}\n  m/any: {}\n";

    fn host() -> EngineHost {
        let identity =
            Identity { component_id: "e".into(), secret: Secret::new("s"), name: "e".into(), version: "0".into() };
        let mut host = EngineHost::new(Engine::new(identity, Config::default()), 60);
        let protocol = Protocol::parse("m.yaml", PROTOCOL).expect("valid");
        host.learn(&[protocol.to_definition()]);
        host
    }

    fn prepare(method: &str, version: &str, parameters: &str) -> Result<(String, Option<u64>), Failure> {
        let assignment = serde_json::from_value(json!({
            "ref": {"run_id": "01900000-0000-7000-8000-000000000000", "task_id": "t", "attempt": 1},
            "method": method, "protocol_version": version, "correlation_id": "c", "parameters": null,
        }));
        let assignment: Assignment = assignment.expect("an assignment");
        let parameters = Payload::grammatical(parameters.to_owned()).expect("JSON");
        host().parameters(&Assignment { parameters, ..assignment }).map(|(payload, ms)| (payload.get().to_owned(), ms))
    }

    #[test]
    fn defaults_are_filled_in_and_the_rest_stays_as_written() {
        assert_eq!(prepare("m/add", "v1", r#"{"a": 2}"#), Ok((r#"{"a":2,"b":1}"#.to_owned(), Some(3_000))));
        assert_eq!(prepare("m/add", "v1", r#"{"a": 2, "b": 5}"#), Ok((r#"{"a": 2, "b": 5}"#.to_owned(), Some(3_000))));
        let as_written = r#"{"n": 1.50e1,  "m": 18446744073709551615}"#;
        assert_eq!(prepare("m/any", "v1", as_written), Ok((as_written.to_owned(), None)));
    }

    #[test]
    fn invalid_parameters_are_reported_with_their_path() {
        let error = prepare("m/add", "v1", r#"{"a": "two"}"#).expect_err("a text is no integer");
        assert_eq!(error.known(), Some(ErrorCode::InvalidParams));
        assert!(error.message.contains("`a`: expected integer"), "{error}");
        assert!(error.data.expect("data").get().contains(r#""path":"a""#));
        let error = prepare("m/any", "v1", r#"{"n": 123456789012345678901}"#).expect_err("not to be carried");
        assert_eq!(error.known(), Some(ErrorCode::InvalidParams));
        assert!(error.message.contains("in `n`: the whole number"), "{error}");
        let error = prepare("m/any", "v1", "[1]").expect_err("no object");
        assert_eq!(error.known(), Some(ErrorCode::InvalidParams));
        let error =
            prepare("m/add", "v1", r#"{"a": 2, "text": "that makes it longer than the sixty bytes of the limit"}"#);
        assert!(error.expect_err("too large").message.contains("the limit is 60"));
    }

    #[test]
    fn unknown_methods_and_versions_are_not_found() {
        for (method, version) in [("m/sub", "v1"), ("m/add", "v2"), ("x/add", "v1")] {
            let error = prepare(method, version, "{}").expect_err("not known");
            assert_eq!(error.known(), Some(ErrorCode::MethodNotFound), "{method} {version}");
        }
    }

    #[test]
    fn results_are_checked_if_there_is_a_schema() {
        let check =
            |method: &str, text: &str| host().result(method, "v1", Payload::grammatical(text.into()).expect("JSON"));
        assert!(check("m/add", "3").is_ok());
        assert_eq!(check("m/add", "\"3\"").expect_err("a text").known(), Some(ErrorCode::TaskResultInvalid));
        assert!(check("m/any", "[\"x\"]").is_ok());
    }

    #[test]
    fn results_that_cannot_be_represented_are_invalid_with_and_without_a_schema() {
        let check =
            |method: &str, text: &str| host().result(method, "v1", Payload::grammatical(text.into()).expect("JSON"));
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        for text in ["18446744073709551616", "1e400", "6E-578", "\"\\ud83c\"", &deep] {
            for method in ["m/add", "m/any"] {
                let error = check(method, text).expect_err("not to be carried");
                assert_eq!(error.known(), Some(ErrorCode::TaskResultInvalid), "{method} {text}");
                assert!(error.message.contains("cannot be passed on: "), "{error}");
            }
        }
        assert!(check("m/any", &deep[1..deep.len() - 1]).is_ok());
    }
}
