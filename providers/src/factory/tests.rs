use gleitzeit_workflow::payload::Payload;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::call::{Call, CallError, Context};
use crate::load::shipped;

fn settings() -> Settings {
    Settings { cpus: 3, ..Settings::from_env(|name| std::env::var_os(name)) }
}

fn provider(name: &str) -> Provider {
    let definition = shipped().into_iter().find(|definition| definition.name == name).expect("shipped");
    Factory::build(&definition, &Registry::shipped(), &settings()).expect("builds")
}

async fn call(method: &str, params: serde_json::Value, context: Context) -> Result<serde_json::Value, CallError> {
    let call = Call { method: method.into(), params: Payload::from_value(&params) };
    provider("util").call(call, context).await.map(|payload| payload.to_value().expect("JSON"))
}

#[test]
fn shipped_providers_build_and_serve_their_whole_protocol() {
    let python = provider("python_local");
    assert_eq!(python.methods(), ["python/execute", "python/validate"]);
    assert_eq!(python.max_concurrency(), 12);
    assert_eq!(provider("shell_local").max_concurrency(), 12);
    assert_eq!(provider("util").methods().len(), 3);
}

#[test]
fn even_a_small_machine_takes_eight_calls_at_a_time() {
    let settings = Settings { cpus: 1, ..settings() };
    for name in ["python_local", "shell_local"] {
        let definition = shipped().into_iter().find(|definition| definition.name == name).expect("shipped");
        let provider = Factory::build(&definition, &Registry::shipped(), &settings).expect("builds");
        assert_eq!(provider.max_concurrency(), 8, "{name}");
    }
}

#[test]
fn every_problem_of_a_definition_has_its_place_and_remedy() {
    let text = "name: x\nprotocol: python\nexecuter: y\nexecutor: python-locl\nmax_concurrency: 0\n";
    let problems = Definition::parse("x.yaml", text).expect_err("four problems");
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 3, 4, 5].map(Some), "{problems:#?}");
    assert_eq!(problems[2].hint.as_deref(), Some("did you mean `python-local`?"));
    let text = "name: x\nprotocol: python/v1\nexecutor: python-local\noptions:\n  python_executabel: python3\n";
    let problems = Definition::parse("x.yaml", text).expect_err("one problem");
    assert_eq!((problems[0].line, problems[0].column), (Some(5), Some(3)));
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `python_executable`?"));
}

#[test]
fn a_definition_may_be_spelt_as_in_yaml_1_1_and_begin_with_a_mark() {
    let text =
        "\u{feff}name: x\nprotocol: shell/v1\nexecutor: shell-local\nmax_concurrency: 1_000\noptions: {strict: yes}\n";
    let definition = Definition::parse("x.yaml", text).expect("valid");
    assert_eq!(definition.max_concurrency, Some(1_000));
    let twice = Definition::parse("x.yaml", "name: x\nname: y\n").expect_err("twice");
    assert!(twice.iter().any(|it| it.to_string().contains("x.yaml:2:1: `name` is given twice")), "{twice:#?}");
    let wrong = Definition::parse("x.yaml", "name: [").expect_err("no YAML");
    assert_eq!((wrong.len(), wrong[0].line, wrong[0].code), (1, Some(1), ErrorCode::ConfigurationError));
}

#[test]
fn inconsistent_definitions_are_refused() {
    let build = |text: &str| {
        let definition = Definition::parse("x.yaml", text).expect("valid");
        Factory::build(&definition, &Registry::shipped(), &settings()).expect_err("refused").to_string()
    };
    let unknown = build("{name: x, protocol: nothing/v1, executor: builtin}");
    assert!(unknown.contains("unknown protocol `nothing/v1`"), "{unknown}");
    let other = build("{name: x, protocol: python/v1, executor: builtin}");
    assert!(other.contains("does not serve method `python/execute`"), "{other}");
}

#[tokio::test]
async fn echo_returns_its_parameters() {
    let params = json!({"a": [1, {"b": null}]});
    assert_eq!(call("util/echo", params.clone(), Context::default()).await, Ok(params));
}

#[tokio::test]
async fn sleep_ends_by_itself_on_cancel_and_at_the_deadline() {
    let slept = call("util/sleep", json!({"seconds": 0.001}), Context::default()).await;
    assert_eq!(slept, Ok(json!({"slept_seconds": 0.001})));
    let context = Context::default();
    context.cancel.cancel();
    let error = call("util/sleep", json!({"seconds": 600}), context).await.expect_err("cancelled");
    assert_eq!(error.code, ErrorCode::TaskCancelled);
    let context = Context { deadline: Some(Instant::now()), ..Context::default() };
    let error = call("util/sleep", json!({"seconds": 600}), context).await.expect_err("too late");
    assert_eq!(error.code, ErrorCode::TaskTimeout);
    assert!(call("util/sleep", json!({"seconds": -1}), Context::default()).await.is_err());
}

#[tokio::test]
async fn fail_fails_until_the_given_attempt() {
    let params = json!({"message": "not yet", "retryable": false, "until_attempt": 3});
    let second = call("util/fail", params.clone(), Context { attempt: 2, ..Context::default() }).await;
    let failure = Failure::from(second.expect_err("fails"));
    assert_eq!(failure.message, "not yet");
    assert_eq!(failure.data.expect("data").to_value().expect("JSON"), json!({"retryable": false}));
    let third = call("util/fail", params, Context { attempt: 3, ..Context::default() }).await;
    assert_eq!(third, Ok(json!({"attempt": 3})));
}

#[tokio::test]
async fn a_foreign_method_is_refused() {
    let error = call("python/execute", json!({}), Context::default()).await.expect_err("not its own");
    assert_eq!(error.code, ErrorCode::MethodNotSupported);
}
