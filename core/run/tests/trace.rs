//! Spans from entries: one tree for each run, in which the phases of a task fill its time.

use std::collections::BTreeMap;
use std::sync::Arc;

use gleitzeit_fixtures::{Desk, submitted, task, workflow};
use gleitzeit_run::command::{CancelWorkflow, FailTask, RequeueTask, ScheduleRetry};
use gleitzeit_run::event::{CancelCause, StopReason, TaskCompleted, WorkflowSubmitted};
use gleitzeit_run::trace::{Outcome, Recorder, Span, SpanId, TraceId, traceparent};
use gleitzeit_run::{Entry, Request};
use gleitzeit_workflow::spec::Workflow;
use gleitzeit_workflow::{ErrorCode, Failure, Payload, Timestamp};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn submit(desk: &mut Desk, workflow: Workflow, traceparent: Option<&str>) {
    let submitted = WorkflowSubmitted {
        correlation_id: TRACE.to_owned(),
        traceparent: traceparent.map(str::to_owned),
        ..WorkflowSubmitted::clone(&submitted(workflow))
    };
    desk.ok(Request::Submit { run_id: desk.run, submitted: Arc::new(submitted), known: None });
}

/// Advances the time before each request, so that every phase has a length.
fn later(desk: &mut Desk, ms: u64) {
    desk.now = Timestamp(desk.now.0 + i64::try_from(ms).expect("small"));
}

fn spans(journal: &[Entry]) -> Vec<Span> {
    let mut entries = journal.iter().filter(|entry| entry.run_id.is_some());
    let mut recorder = entries.next().and_then(Recorder::begin).expect("a run begins");
    let mut spans = Vec::new();
    entries.for_each(|entry| recorder.record(entry, &mut spans));
    spans
}

fn children<'a>(spans: &'a [Span], of: &Span) -> Vec<&'a Span> {
    let mut found: Vec<_> = spans.iter().filter(|span| span.parent == Some(of.span_id)).collect();
    found.sort_by_key(|span| (span.start, span.end));
    found
}

/// Checks that there is one root, that parents exist and enclose their children, and that a task's phases follow each
/// other without a gap.
fn check(spans: &[Span]) -> BTreeMap<String, &Span> {
    let roots: Vec<_> = spans.iter().filter(|span| span.name.starts_with("workflow ")).collect();
    let [root] = roots[..] else { panic!("{} roots", roots.len()) };
    let by_id: BTreeMap<SpanId, &Span> = spans.iter().map(|span| (span.span_id, span)).collect();
    assert_eq!(by_id.len(), spans.len(), "ids stand once");
    for span in spans.iter().filter(|span| span.span_id != root.span_id) {
        let parent = by_id[&span.parent.expect("only the root has none")];
        assert!(parent.start <= span.start && span.end <= parent.end, "{span:?} in {parent:?}");
        assert_eq!(span.trace_id, TraceId::parse(TRACE).expect("valid"));
    }
    let tasks = spans.iter().filter(|span| span.name.starts_with("task "));
    for task in tasks.clone() {
        let mut at = task.start;
        for phase in children(spans, task) {
            assert_eq!(phase.start, at, "{} of {}", phase.name, task.name);
            at = phase.end.expect("ended");
        }
        assert_eq!(Some(at), task.end, "{}", task.name);
    }
    tasks.map(|task| (task.name["task ".len()..].to_owned(), task)).collect()
}

fn names(spans: &[Span], of: &Span) -> Vec<String> {
    let length = |span: &Span| span.end.expect("ended").ms_since(span.start);
    children(spans, of).iter().map(|span| format!("{} {}", span.name, length(span))).collect()
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|(it, _)| *it == name).map(|(_, value)| value)
}

#[test]
fn every_wait_of_a_task_is_a_span() {
    let mut desk = Desk::new(4);
    submit(&mut desk, workflow(vec![task("a", &[]), task("b", &["a"])], &[]), None);
    for (ms, request) in [
        (1, desk.ready("a")),
        (10, desk.dispatch("a", 1)),
        (100, desk.fail("a", 1)),
        (2, desk.queue(ScheduleRetry { run_id: desk.run, task_id: "a".into(), attempt: 1, delay_ms: 500 }.into())),
        (530, desk.dispatch("a", 2)),
        (40, desk.stop("a", 2, StopReason::EngineLost)),
        (3, desk.queue(RequeueTask { run_id: desk.run, task_id: "a".into(), attempt: 2 }.into())),
        (20, desk.dispatch("a", 3)),
        (25, desk.complete("a", 3, json!({}))),
        (7, desk.ready("b")),
        (8, desk.dispatch("b", 1)),
        (9, desk.complete("b", 1, json!(1))),
    ] {
        later(&mut desk, ms);
        desk.ok(request);
    }
    let spans = spans(&desk.journal);
    let tasks = check(&spans);
    assert_eq!(
        names(&spans, tasks["a"]),
        [
            "resolve 1",
            "queue 10",
            "attempt 1 100",
            "decide 2",
            "backoff 500",
            "queue 30",
            "attempt 2 40",
            "decide 3",
            "queue 20",
            "attempt 3 25"
        ]
    );
    assert_eq!(names(&spans, tasks["b"]), ["resolve 7", "queue 8", "attempt 1 9"]);
    let attempts = children(&spans, tasks["a"]);
    assert_eq!(attempts[2].outcome, Outcome::Error("TASK_EXECUTION_FAILED (-29002): no luck".to_owned()));
    assert_eq!(attribute(attempts[2], "error.type"), Some(&json!("TASK_EXECUTION_FAILED")));
    assert_eq!(attribute(attempts[6], "error.type"), Some(&json!("engine_lost")));
    for well in [attempts[9], tasks["a"], tasks["b"]] {
        assert_eq!(attribute(well, "error.type"), None, "{}", well.name);
    }
    assert_eq!(attribute(attempts[2], "gleitzeit.dispatch_ms"), Some(&json!(95)), "it said that it ran for 5 ms");
    assert_eq!(attribute(attempts[6], "gleitzeit.stop_reason"), Some(&json!("engine_lost")));
    assert_eq!(tasks["a"].outcome, Outcome::Ok);
    assert_eq!(attribute(tasks["a"], "gleitzeit.task.attempts"), Some(&json!(3)));
    // A provider gets the attempt's span as its parent.
    let given = traceparent(&desk.at("a", 3), TRACE, None);
    assert_eq!(given, format!("00-{TRACE}-{}-01", attempts[9].span_id));
}

#[test]
fn tasks_that_never_ran_have_spans() {
    let mut desk = Desk::new(4);
    submit(&mut desk, workflow(vec![task("a", &[]), task("b", &["a"]), task("c", &[])], &[]), None);
    later(&mut desk, 1);
    desk.ok(desk.ready("a"));
    desk.ok(desk.dispatch("a", 1));
    later(&mut desk, 5);
    desk.ok(desk.fail("a", 1));
    let error = Failure::new(ErrorCode::TaskExecutionFailed, "no luck");
    desk.ok(desk.queue(FailTask { run_id: desk.run, task_id: "a".into(), attempt: 1, error }.into()));
    later(&mut desk, 5);
    let cancel = CancelWorkflow { run_id: desk.run, cause: CancelCause::Requested, reason: "enough".to_owned() };
    desk.ok(Request::Cancel { cancel });
    let spans = spans(&desk.journal);
    let tasks = check(&spans);
    assert!(matches!(tasks["a"].outcome, Outcome::Error(_)));
    assert_eq!(attribute(tasks["a"], "error.type"), Some(&json!("TASK_EXECUTION_FAILED")));
    assert_eq!(attribute(tasks["c"], "error.type"), None, "what was not wanted any more did not fail");
    let run = spans.iter().find(|span| span.name.starts_with("workflow ")).expect("it ended");
    assert_eq!(attribute(run, "error.type"), Some(&json!("WORKFLOW_CANCELLED")));
    assert_eq!(run.outcome, Outcome::Error("the run was cancelled: enough".to_owned()));
    assert_eq!(attribute(tasks["b"], "gleitzeit.skipped_because"), Some(&json!("a")));
    assert_eq!(attribute(tasks["c"], "gleitzeit.task.status"), Some(&json!("cancelled")));
    assert_eq!(names(&spans, tasks["c"]), ["resolve 11"]);
}

#[test]
fn the_trace_and_sampling_decision_of_the_caller_are_kept() {
    for (flags, wish) in [("01", true), ("00", false)] {
        let mut desk = Desk::new(4);
        let caller = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
        submit(&mut desk, workflow(vec![task("a", &[])], &[]), Some(&caller));
        let recorder = Recorder::begin(desk.journal.last().expect("submitted")).expect("a run");
        assert_eq!((recorder.trace_id().to_string(), recorder.is_sampled()), (TRACE.to_owned(), Some(wish)));
        let open = recorder.open();
        assert_eq!(open[0].parent.map(|id| id.to_string()).as_deref(), Some("00f067aa0ba902b7"));
        assert!(open[0].is_remote && open.iter().all(|span| span.end.is_none()));
        assert_eq!(
            open.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(),
            ["workflow test", "task a", "resolve"]
        );
    }
}

#[test]
fn a_model_call_has_the_attributes_of_the_conventions() {
    let mut desk = Desk::new(4);
    let chat = gleitzeit_workflow::spec::Task { method: "llm/chat".into(), ..task("a", &[]) };
    submit(&mut desk, workflow(vec![chat], &[]), None);
    let Request::Component { command, .. } = desk.ready("a") else { panic!("a component asks") };
    let gleitzeit_run::Command::ReadyTask(ready) = command else { panic!("it makes ready") };
    let options = json!({"num_predict": 10, "top_p": 1, "top_k": 40, "seed": 3, "stop": ["a", "b"], "temperature": 0.9,
        "frequency_penalty": 0.1, "presence_penalty": 2, "num_ctx": 9});
    let parameters =
        json!({"model": "small", "temperature": 0.5, "messages": [], "options": options, "format": "json"});
    let parameters = Payload::from(parameters);
    desk.ok(desk.resolver(gleitzeit_run::command::ReadyTask { parameters, ..ready }.into()));
    desk.ok(desk.dispatch("a", 1));
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 9});
    desk.ok(desk.complete("a", 1, json!({"model": "small:1b", "done_reason": "stop", "usage": usage})));
    let spans = spans(&desk.journal);
    let attempt = spans.iter().find(|span| span.name == "attempt 1").expect("it was attempted");
    for (name, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.request.model", json!("small")),
        ("gen_ai.request.temperature", json!(0.5)),
        ("gen_ai.request.max_tokens", json!(10)),
        ("gen_ai.request.top_p", json!(1.0)),
        ("gen_ai.request.top_k", json!(40.0)),
        ("gen_ai.request.seed", json!(3)),
        ("gen_ai.request.stop_sequences", json!(["a", "b"])),
        ("gen_ai.request.frequency_penalty", json!(0.1)),
        ("gen_ai.request.presence_penalty", json!(2.0)),
        ("gen_ai.output.type", json!("json")),
        ("gen_ai.response.model", json!("small:1b")),
        ("gen_ai.usage.input_tokens", json!(7)),
        ("gen_ai.usage.output_tokens", json!(9)),
        ("gen_ai.response.finish_reasons", json!(["stop"])),
        ("gleitzeit.method", json!("llm/chat")),
    ] {
        assert_eq!(attribute(attempt, name), Some(&value), "{name}");
    }
}

#[test]
fn the_size_of_a_span_is_bounded() {
    let mut desk = Desk::new(4);
    submit(&mut desk, workflow(vec![task("a", &[])], &[]), None);
    desk.ok(desk.ready("a"));
    desk.ok(desk.dispatch("a", 1));
    let error = Failure::new(ErrorCode::TaskExecutionFailed, "é".repeat(1_000_000));
    let at = desk.at("a", 1);
    let fail = gleitzeit_run::command::FailAttempt {
        at,
        error: error.clone(),
        retryable: false,
        retry_after_ms: None,
        ran_ms: 0,
    };
    desk.ok(desk.engine(fail.into()));
    desk.ok(desk.queue(FailTask { run_id: desk.run, task_id: "a".into(), attempt: 1, error }.into()));
    for span in spans(&desk.journal) {
        if let Outcome::Error(text) = &span.outcome {
            assert_eq!((text.chars().count(), text.ends_with('…')), (1_000, true), "{}", span.name);
        }
    }
}

#[test]
fn a_carried_task_is_not_begun_by_a_dependency_that_is_carried_after_it() {
    let mut desk = Desk::new(1);
    let tasks = vec![task("summary", &["page"]), task("page", &[]), task("open", &[])];
    submit(&mut desk, workflow(tasks, &[]), None);
    let mut journal: Vec<Entry> = desk.journal.iter().filter(|entry| entry.run_id.is_some()).cloned().collect();
    for id in ["summary", "page"] {
        let event =
            TaskCompleted { task_id: id.into(), attempt: 0, result: Payload::from(json!(1)), ran_ms: 0, carried: true };
        let last = journal.last().expect("a submission").clone();
        journal.push(Entry { position: last.position.next(), seq: last.seq.next(), event: event.into(), ..last });
    }
    let mut entries = journal.iter();
    let mut recorder = entries.next().and_then(Recorder::begin).expect("a run begins");
    let mut ended = Vec::new();
    entries.for_each(|entry| recorder.record(entry, &mut ended));
    assert_eq!(ended.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["task summary", "task page"]);
    let open: Vec<String> = recorder.open().into_iter().map(|span| span.name).collect();
    assert_eq!(open, ["workflow test", "task open", "resolve"]);
}
