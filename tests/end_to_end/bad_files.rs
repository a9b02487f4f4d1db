//! Invalid files: every problem is reported with its place and a hint, the same on the command line and over gRPC, and
//! nothing is started.

use gleitzeit_proto::v1::SubmitWorkflowRequest;
use gleitzeit_proto::v1::submit_workflow_request::Source;
use gleitzeit_proto::v1::workflow_service_client::WorkflowServiceClient;
use serde_json::{Value, json};
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{Cluster, Sandbox, Socket, example};

/// The expected problem: line, column, field, name, and parts of message and hint.
type Expected = (u64, u64, &'static str, &'static str, &'static str, &'static str);

/// A description, the file, and all its problems in the order of the file.
struct Case(&'static str, Vec<u8>, Vec<Expected>);

const INVALID: &str = "WORKFLOW_VALIDATION_FAILED";
const TOO_LARGE: &str = "RESOURCE_EXHAUSTED";

fn cases() -> Vec<Case> {
    [misspelt_names(), misfitting_values(), unreadable_files(), oversized_files()].into_iter().flatten().collect()
}

fn text(what: &'static str, text: &str, expected: &[Expected]) -> Case {
    Case(what, text.as_bytes().to_vec(), expected.to_vec())
}

/// The beginning of a workflow with one good task.
const ONE_TASK: &str = "name: W\ntasks:\n  - {id: words, method: python/execute, parameters: {code: \"result = 1\"}}\n";

/// Names of fields, tasks and methods that do not exist, or exist twice.
fn misspelt_names() -> Vec<Case> {
    vec![
        text(
            "unknown fields",
            "name: W\ntasks:\n  - id: a\n    method: util/echo\n    dependancies: [b]\n  - {id: b, method: util/echo}\ntimout: 5\n",
            &[
                (5, 5, "tasks[0].dependancies", INVALID, "unknown field `dependancies`", "`dependencies`"),
                (7, 1, "timout", INVALID, "unknown field `timout`", "`timeout`"),
            ],
        ),
        text(
            "a duplicate key",
            "name: W\ntasks:\n  - id: a\n    method: util/echo\n    method: util/fail\n",
            &[(5, 5, "tasks[0].method", INVALID, "given twice: first in line 4", "keep one")],
        ),
        text(
            "an unknown dependency",
            &format!("{ONE_TASK}  - {{id: b, method: util/echo, dependencies: [wrods]}}\n"),
            &[(4, 47, "tasks[1].dependencies[0]", INVALID, "unknown dependency `wrods`", "`words`")],
        ),
        text(
            "unknown references",
            &format!(
                "{ONE_TASK}  - id: b\n    method: util/echo\n    parameters:\n      one: ${{wrods.result}}\n      two: ${{inputs.topik}}\n      \
                 three: ${{words.resullt}}\n      four: ${{files.data}}\ninputs: {{topic: x}}\n"
            ),
            &[
                (7, 12, "tasks[1].parameters.one", "TASK_PARAMETER_ERROR", "no task `wrods`", "${words.result}"),
                (8, 12, "tasks[1].parameters.two", "TASK_PARAMETER_ERROR", "no input `topik`", "${inputs.topic}"),
                (9, 14, "tasks[1].parameters.three", "TASK_PARAMETER_ERROR", "no field `resullt`", "`result`"),
                (10, 13, "tasks[1].parameters.four", "TASK_PARAMETER_ERROR", "no file `data`", "under `files`"),
            ],
        ),
        text(
            "unknown methods",
            "name: W\ntasks:\n  - {id: a, method: python/exekute}\n  - {id: b, method: chess/move}\n",
            &[
                (3, 21, "tasks[0].method", "METHOD_NOT_FOUND", "unknown method `python/exekute`", "`python/execute`"),
                (4, 21, "tasks[1].method", "METHOD_NOT_FOUND", "unknown method `chess/move`", "gleitzeit protocols"),
            ],
        ),
        text(
            "parameters of another method",
            "name: W\ntasks:\n  - {id: a, method: python/execute, parameters: {kode: \"1\"}}\n",
            &[(3, 56, "tasks[0].parameters.kode", "TASK_VALIDATION_FAILED", "unknown field `kode`", "`code`")],
        ),
    ]
}

/// Values of the wrong type, and dependencies that form a circle.
fn misfitting_values() -> Vec<Case> {
    vec![
        text(
            "references of another type",
            &format!(
                "{ONE_TASK}  - {{id: nap, method: util/sleep, parameters: {{seconds: \"${{words.output}}\"}}}}\n  - id: b\n    method: \
                 python/execute\n    parameters:\n      code: ${{nap.slept_seconds}}\n      context: ${{words.success}}\n"
            ),
            &[
                (
                    4,
                    58,
                    "tasks[1].parameters.seconds",
                    "TASK_PARAMETER_ERROR",
                    "${words.output}: `python/execute` returns text there, but `util/sleep` takes a number as `seconds`",
                    "`execution_time` would fit",
                ),
                (
                    9,
                    16,
                    "tasks[2].parameters.context",
                    "TASK_PARAMETER_ERROR",
                    "returns a boolean there, but `python/execute` takes an object as `context`",
                    "gleitzeit protocols",
                ),
            ],
        ),
        text(
            "a cycle",
            "name: W\ntasks:\n  - {id: a, method: util/echo, dependencies: [c]}\n  - {id: b, method: util/echo, parameters: {x: \
             \"${a}\"}}\n  - {id: c, method: util/echo, dependencies: [b]}\n",
            &[(4, 48, "tasks[1].parameters", "WORKFLOW_CIRCULAR_DEPENDENCY", "a -> c -> b -> a", "remove one")],
        ),
        text(
            "wrong types",
            "name: W\ntimeout: soon\ntasks:\n  - {id: 5, method: util/echo, priority: hi}\n  - {id: b, method: util/sleep, \
             parameters: {seconds: long}, retry: {max_attempts: many}}\n",
            &[
                (2, 10, "timeout", INVALID, "`soon` is not a duration", "500ms"),
                (4, 10, "tasks[0].id", INVALID, "must be text", "quotes"),
                (4, 42, "tasks[0].priority", INVALID, "cannot be `hi`", "urgent"),
                (5, 55, "tasks[1].parameters.seconds", "TASK_VALIDATION_FAILED", "expected number", "protocols"),
                (5, 84, "tasks[1].retry.max_attempts", INVALID, "whole number from 1", "first attempt"),
            ],
        ),
    ]
}

/// Files that hold no workflow.
fn unreadable_files() -> Vec<Case> {
    vec![
        text("no tasks", "name: W\ntasks: []\n", &[(2, 8, "tasks", INVALID, "`tasks` is empty", "at least one task")]),
        text("nothing", "", &[(1, 1, "", INVALID, "the file is empty", "`name` and `tasks`")]),
        text(
            "no YAML",
            "name: W\ntasks:\n  - id: a\n   method: util/echo\n",
            &[(4, 4, "", "PARSE_ERROR", "invalid YAML", "indentation")],
        ),
        Case(
            "no UTF-8",
            b"name: W\xff\ntasks:\n  - {id: a, method: util/echo}\n".to_vec(),
            vec![(1, 8, "", "PARSE_ERROR", "not UTF-8 text: byte 0xff at offset 7", "save the file as UTF-8")],
        ),
    ]
}

/// Files that are too large, or become too large when they are read.
fn oversized_files() -> Vec<Case> {
    let bomb_problem = (6, 38, "a4[7]", INVALID, "stand for 101218 values", "repeats its whole value");
    let large = format!("name: W\ndescription: {}\ntasks: [{{id: a, method: util/echo}}]\n", "x".repeat(10 << 20));
    let size_problem = (1, 1, "", TOO_LARGE, "more than the limit of 8388608 bytes", "into `files`");
    vec![
        Case("a bomb", bomb().into_bytes(), vec![bomb_problem]),
        Case("ten megabytes", large.into_bytes(), vec![size_problem]),
    ]
}

/// A small text that expands to a billion values.
fn bomb() -> String {
    let mut text = "name: W\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = vec![format!("*a{}", level - 1); 10].join(",");
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    text + "tasks: [{id: a, method: util/echo, parameters: {x: *a8}}]\n"
}

#[track_caller]
fn is_as_expected(what: &str, errors: &[Value], expected: &[Expected]) {
    assert_eq!(errors.len(), expected.len(), "{what}: {errors:#?}");
    for (error, (line, column, field, name, message, hint)) in errors.iter().zip(expected) {
        let place = (error["line"].as_u64(), error["column"].as_u64(), error["field"].as_str().unwrap_or_default());
        assert_eq!(place, (Some(*line), Some(*column), *field), "{what}: {error:#}");
        assert_eq!(error["name"], *name, "{what}: {error:#}");
        assert!(error["code"].as_i64().is_some_and(|code| code < 0), "{what}: {error:#}");
        for (part, of) in [(message, "message"), (hint, "hint")] {
            assert!(error[of].as_str().is_some_and(|text| text.contains(part)), "{what}: `{part}` in {of}: {error:#}");
        }
    }
}

#[test]
fn every_problem_has_its_place_and_a_remedy_and_nothing_is_started() {
    let sandbox = Sandbox::new();
    for Case(what, content, expected) in cases() {
        let file = sandbox.file("bad.yaml", content);
        for command in ["validate", "run", "submit"] {
            let ended = sandbox.gleitzeit(&[command, &file, "-o", "json"]).exits(2);
            let errors = ended.json()["errors"].as_array().expect("a list").clone();
            is_as_expected(&format!("{command}: {what}"), &errors, &expected);
            for (error, (line, column, ..)) in errors.iter().zip(&expected) {
                assert_eq!(error["file"], file.as_str());
                let place = format!("{file}:{line}:{column}");
                assert!(ended.stderr.contains(&place), "people read the place: {ended}");
            }
        }
    }
    assert!(sandbox.kept_stores().is_empty(), "nothing was run");
    let data = sandbox.home().join(".local/share/gleitzeit");
    assert!(!data.join("journal.db").exists(), "no control plane was started");
}

#[test]
fn several_files_are_checked_at_once_and_only_invalid_ones_are_reported() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.file("one.yaml", "name: W\ntasks: []\n"), sandbox.file("two.yaml", "tasks: 5\n"));
    let ended = sandbox.gleitzeit(&["validate", &one, &example("chain.yaml"), &two, "-o", "json"]).exits(2);
    let document = ended.json();
    let files: Vec<&str> =
        document["errors"].as_array().expect("a list").iter().filter_map(|it| it["file"].as_str()).collect();
    assert!(files.contains(&one.as_str()) && files.contains(&two.as_str()), "{document:#}");
    assert!(!files.iter().any(|file| file.contains("chain")), "{document:#}");
    sandbox.gleitzeit(&["validate", &example("chain.yaml"), &example("quickstart.yaml")]).exits(0);
}

/// Submits a text over gRPC with only the generated client.
fn submit(url: &str, yaml: String) -> Result<String, Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let channel = Endpoint::from_shared(url.to_owned()).expect("a URL").connect().await.expect("a control plane");
        let mut client = WorkflowServiceClient::new(channel);
        let request = SubmitWorkflowRequest { source: Some(Source::Yaml(yaml)), ..SubmitWorkflowRequest::default() };
        client.submit_workflow(request).await.map(|response| response.into_inner().run_id)
    })
}

/// The violations of a refusal in the form in which the command line shows problems.
fn violations(status: &Status) -> Vec<Value> {
    let details = status.get_error_details();
    let request = details.bad_request().unwrap_or_else(|| panic!("no violations: {status:?}"));
    let read = |violation: &tonic_types::FieldViolation| {
        let (place, text) = violation.description.split_once(": ").expect("a place and a message");
        let (line, column) = place.split_once(':').expect("line and column");
        serde_json::json!({
            "line": line.parse::<u64>().expect("a number"), "column": column.parse::<u64>().expect("a number"),
            "field": violation.field, "name": violation.reason, "code": -1, "message": text, "hint": text,
        })
    };
    request.field_violations.iter().map(read).collect()
}

#[test]
fn grpc_refuses_the_same_files_with_the_same_places() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    for Case(what, content, expected) in cases() {
        // The API takes text, which must be UTF-8.
        let Ok(text) = String::from_utf8(content) else { continue };
        let refused = submit(&cluster.url, text).expect_err(what);
        let is_too_large = expected.iter().any(|it| it.3 == TOO_LARGE);
        let code = if is_too_large { Code::ResourceExhausted } else { Code::InvalidArgument };
        assert_eq!(refused.code(), code, "{what}: {refused:?}");
        let info = refused.get_error_details().error_info().cloned().unwrap_or_else(|| panic!("{what}: {refused:?}"));
        assert_eq!(info.domain, "gleitzeit");
        assert!(expected.iter().any(|it| it.3 == info.reason) || info.reason == INVALID, "{what}: {info:?}");
        // A size limit concerns the whole request, not a place in the workflow.
        if !is_too_large {
            is_as_expected(what, &violations(&refused), &expected);
        }
    }
    let runs = cluster.ask(&["list"]);
    assert_eq!(runs["items"], serde_json::json!([]), "nothing was recorded");
    submit(&cluster.url, "name: Good\ntasks: [{id: a, method: util/echo}]\n".to_owned()).expect("it goes on serving");
}

#[test]
fn references_fit_what_registered_protocols_say_and_only_the_hub_knows_them() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let returns = json!({"type": "object", "additionalProperties": false, "properties": {"area": {"type": "number"}, "unit": {"const": "m"}}});
    let parameters = json!({"type": "object", "properties": {"side": {"type": "number"}, "notes": {"type": "array", "items": {"type": "string"}}}});
    let method = json!({"parameters": parameters, "returns": returns});
    let protocol = json!({"name": "plan", "version": "v1", "methods": {"plan/area": method}});
    let body = json!({"component_type": "provider", "name": "planner", "protocols": [protocol]});
    let _provider = Socket::register(&cluster.url, &body);
    let file = |parameters: &str| {
        let text = format!(
            "name: Plan\ntasks:\n  - {{id: a, method: plan/area, parameters: {{side: 2}}}}\n  - id: b\n    method: plan/area\n    \
             parameters: {parameters}\n"
        );
        cluster.sandbox.file("plan.yaml", text)
    };
    let fits = file("{side: \"${a.area}\", notes: [\"${a.unit}\", \"${a.area} m\"]}");
    cluster.client(&["validate", &fits]).exits(0);
    let expected: Vec<Expected> = vec![
        (
            6,
            25,
            "tasks[1].parameters.side",
            "TASK_PARAMETER_ERROR",
            "returns text there, but `plan/area` takes a number",
            "`area`",
        ),
        (6, 46, "tasks[1].parameters.notes[0]", "TASK_PARAMETER_ERROR", "takes text as `notes[0]`", "`unit`"),
        (6, 59, "tasks[1].parameters.notes[1]", "TASK_PARAMETER_ERROR", "has no field `are`", "`area`"),
    ];
    let bad = file("{side: \"${a.unit}\", notes: [\"${a.area}\", \"${a.are}\"]}");
    for command in ["validate", "submit"] {
        let ended = cluster.client(&[command, &bad, "-o", "json"]).exits(2);
        is_as_expected(command, ended.json()["errors"].as_array().expect("a list"), &expected);
    }
}
