//! The executor of docs/PROVIDERS.md, from the line of dashes on as it stands there.

use std::time::Duration;

use gleitzeit_protocols::yaml::FileKind;
use gleitzeit_workflow::MethodName;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

// ---------------------------------------------------------------------------------------------------------------------
use std::sync::Arc;

use async_trait::async_trait;
use gleitzeit_protocols::yaml::{Node, Problem, Reader};
use gleitzeit_providers::{Call, CallError, Context, Definition, Executor, Settings};
use gleitzeit_workflow::{ErrorCode, Payload};
use serde::Deserialize;
use serde_json::json;

/// The methods it knows, by full name.
pub(crate) const METHODS: &[&str] = &["file/lines"];

struct Lines;

#[derive(Deserialize)]
struct Parameters {
    path: String,
}

#[async_trait]
impl Executor for Lines {
    async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError> {
        let Parameters { path } = serde_json::from_str(call.params.get())
            .map_err(|error| CallError::new(ErrorCode::InvalidParams, error.to_string()))?;
        context.report(Payload::from_value(&json!({"text": format!("reading {path}\n")})));
        let text = tokio::select! {
            // Cancelled, or out of time: dropping the other branch ends the work.
            error = context.ended() => return Err(error),
            text = tokio::fs::read_to_string(&path) => text,
        };
        match text {
            Ok(text) => Ok(Payload::from_value(&json!({"lines": text.lines().count()}))),
            // The file may be there next time.
            Err(error) => {
                Err(CallError::new(ErrorCode::TaskExecutionFailed, format!("{path}: {error}")).retryable(true))
            }
        }
    }
}

/// How many calls at once, if the provider file does not say.
pub(crate) fn concurrency(settings: &Settings) -> u32 {
    settings.cpus
}

/// Notes what is wrong with `options` in a provider file: here, that there are any.
pub(crate) fn check(reader: &mut Reader, options: Option<&Node>) {
    if let Some(options) = options {
        reader.fields(options, "`options`", &[]);
    }
}

/// Makes it from a checked provider file.
pub(crate) fn build(_definition: &Definition, _settings: &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>> {
    Ok(Arc::new(Lines))
}
// ---------------------------------------------------------------------------------------------------------------------

const DEFINITION: &str = "{name: files, protocol: util/v1, executor: builtin}";

fn settings() -> Settings {
    Settings::from_env(|_| None)
}

fn call(path: &str) -> Call {
    let [method] = METHODS else { unreachable!("it has one method") };
    Call { method: MethodName::from(*method), params: Payload::from_value(&json!({"path": path})) }
}

fn executor() -> Arc<dyn Executor> {
    let definition = Definition::parse("files.yaml", DEFINITION).expect("valid");
    build(&definition, &settings()).expect("it can be built")
}

#[tokio::test]
async fn it_answers_reports_and_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("text").display().to_string();
    let (sender, mut progress) = mpsc::channel(1);
    let context = Context { progress: Some(sender), ..Context::default() };
    let error = executor().call(call(&path), context).await.expect_err("it is not there");
    assert!(error.retryable && error.message.contains(&path), "{error:?}");
    assert_eq!(
        progress.recv().await.expect("said").to_value().expect("JSON"),
        json!({"text": format!("reading {path}\n")})
    );
    std::fs::write(&path, "one\ntwo\n").expect("writable");
    let result = executor().call(call(&path), Context::default()).await.expect("it is there");
    assert_eq!(result.to_value().expect("JSON"), json!({"lines": 2}));
    let bad = Call { params: Payload::from_value(&Value::Null), ..call(&path) };
    assert_eq!(executor().call(bad, Context::default()).await.expect_err("null").code, ErrorCode::InvalidParams);
}

#[tokio::test]
async fn it_ends_when_it_is_cancelled() {
    // Nobody ever writes into this pipe.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("it starts");
    assert!(made.success());
    let path = path.display().to_string();
    let cancelled = Context::default();
    cancelled.cancel.cancel();
    let late = Context { deadline: Some(Instant::now() + Duration::from_millis(50)), ..Context::default() };
    for (context, code) in [(late, ErrorCode::TaskTimeout), (cancelled, ErrorCode::TaskCancelled)] {
        let executor = executor();
        let ended = timeout(Duration::from_secs(20), executor.call(call(&path), context)).await;
        assert_eq!(ended.expect("in time").expect_err("it cannot be read").code, code);
    }
    // A waiting reader continues and a later one finds nothing, so that the runtime can end.
    let both_ends = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("it opens");
    std::fs::remove_file(&path).expect("it is there");
    drop(both_ends);
}

#[test]
fn it_has_no_options_and_a_default_for_calls_at_once() {
    assert!(concurrency(&settings()) >= 1);
    let mut reader = Reader::new("files.yaml");
    let options = reader.parse(FileKind::Provider, "{speed: high}").expect("YAML");
    check(&mut reader, Some(&options));
    let problems = reader.finish(Some(())).expect_err("no options");
    assert!(problems[0].message.contains("speed"), "{problems:?}");
}
