//! Properties that hold for any input: texts that are no workflows, and requests in any order.

use gleitzeit_fixtures::{Desk, task, workflow};
use gleitzeit_run::command::{CancelWorkflow, FailTask, RequeueTask, ScheduleRetry};
use gleitzeit_run::event::{CancelCause, StopReason};
use gleitzeit_run::{Request, RunStatus, Verdict};
use gleitzeit_workflow::spec::{Catalog, Limits, MethodInfo, Violation, check_bytes, migrate};
use gleitzeit_workflow::{ErrorCode, Failure};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A catalog with one method, which accepts anything.
struct Echo;

impl Catalog for Echo {
    fn method(&self, name: &str) -> Option<MethodInfo> {
        (name == "util/echo").then(|| MethodInfo {
            protocol_version: "v1".to_owned(),
            code: Default::default(),
            returns: None,
            parameters: None,
            timeout_ms: None,
        })
    }

    fn method_names(&self) -> Vec<String> {
        vec!["util/echo".to_owned()]
    }

    fn check_template(&self, _method: &str, _parameters: &Value) -> Vec<Violation> {
        Vec::new()
    }
}

const VALID: &str = "name: Any\ninputs: {a: 1, b: null}\ntimeout: 2m\ntasks:\n  - id: first\n    method: util/echo\n    \
                     retry: {max_attempts: 3}\n    parameters: {x: \"${inputs.a}\", y: [1, {z: true}]}\n  - id: second\n    \
                     method: util/echo\n    dependencies: [first]\n    parameters: {t: \"a ${first.x} b\"}\noutputs: {o: \
                     \"${second.t}\"}\n";

/// Checks that every problem has a place in the given text.
fn problems_have_places(bytes: &[u8]) -> Result<(), TestCaseError> {
    let lines = u32::try_from(bytes.split(|byte| *byte == b'\n').count()).expect("short texts");
    for problem in check_bytes(bytes, "any.yaml", &Echo, &Limits::default()).err().unwrap_or_default() {
        prop_assert!(!problem.message.is_empty());
        if let Some(line) = problem.line {
            prop_assert!(line >= 1 && line <= lines + 1, "{problem} of {lines} lines");
        }
    }
    Ok(())
}

/// Pieces of files in the original Gleitzeit's format.
const PIECES: &[&str] = &[
    "tasks:\n",
    "- ",
    "  ",
    "    ",
    "\n",
    "name: A b\n",
    "id: a\n",
    "protocol: echo/v1\n",
    "method: echo\n",
    "params: ",
    "params:\n",
    "{message: \"{{A b.x}} {{a.y}}\"}",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "# c\n",
    "depends_on: [A b, task_1]\n",
    "type: llm\n",
    "method: llm/vision\n",
    "messages: [{role: user, content: hi}]\n",
    "messages:\n",
    "image_path: a.png\n",
    "file_path: é\n",
    "outputs: {x: a.y}\n",
    "&x ",
    "*x",
    "<<: *x\n",
    "|\n",
    "'",
    "\"",
    "é",
    "retry: {base_delay: 1}\n",
    "execution_mode: x\n",
    "files: {f1: x}\n",
    "wait_for_completion: true\n",
    ": ",
    "? ",
    "~\n",
    "!!str ",
    "\r\n",
    "\t",
];

/// Fields of the original's tasks, each once at most.
const TASK: &[&str] = &[
    "id: a",
    "name: \"A b\"",
    "protocol: echo/v1",
    "method: echo",
    "type: llm",
    "provider: p",
    "depends_on: [A b, task_2]",
    "params: {message: \"{{task_1.result}}\", x: [\"${a.result.response}\", 1]}",
    "retry: {max_attempts: 1, base_delay: 2}",
    "timeout: 3",
    "args: {image_path: a.png, messages: [{role: user, content: hi}]}",
    "parameters: {file_path: f.txt, messages: [{role: user, content: hi}], batch_mode: true}",
    "dependencies: []",
];

/// A file with such tasks, in block style with comments or in flow style.
fn original() -> impl Strategy<Value = String> {
    let fields = proptest::sample::subsequence(TASK, 1..=TASK.len()).prop_filter("no method", |fields| {
        fields.iter().any(|field| field.starts_with("method") || field.starts_with("type"))
    });
    let fields = fields.prop_shuffle();
    let task = (fields, any::<bool>(), any::<bool>()).prop_map(|(fields, block, comments)| match block {
        false => format!("- {{{}}}\n", fields.join(", ")),
        true if comments => format!("- {}\n", fields.join(" # c\n  # above\n\n  ")),
        true => format!("- {}\n", fields.join("\n  ")),
    });
    (vec(task, 1..4), any::<bool>()).prop_map(|(tasks, last)| {
        let outputs = if last { "\n# end\noutputs: {x: a.y, z: \"{{task_1}}\"}" } else { "" };
        format!("# first\nname: n\nwait_for_completion: true\n\n# the tasks\ntasks:\n{}{outputs}", tasks.concat())
    })
}

fn is_migrated_once(text: &str) -> Result<bool, TestCaseError> {
    let locate = |path: &str| path.to_owned();
    let again = |text: &str| migrate(text, "f", &Echo, &Limits::default(), &locate);
    let Ok(first) = again(text) else { return Ok(false) };
    let second = again(&first.text).map_err(|problem| TestCaseError::fail(format!("{problem}\n{}", first.text)))?;
    prop_assert_eq!(&second.text, &first.text, "{}", text);
    prop_assert!(first.changes.is_empty() == (first.text == text), "{text}\n{:?}", first.changes);
    for comment in text.split('\n').filter(|line| line.trim_start().starts_with('#')) {
        prop_assert!(first.text.contains(comment.trim()), "`{comment}` is lost\n{text}\n{}", first.text);
    }
    Ok(true)
}

proptest! {
    #[test]
    fn files_of_the_original_are_migrated(text in original()) {
        prop_assert!(is_migrated_once(&text)?, "{text}");
    }

    #[test]
    fn a_migration_succeeds_or_explains_itself_and_is_idempotent(pieces in vec(0..PIECES.len(), 0..40)) {
        let text: String = pieces.into_iter().map(|at| PIECES[at]).collect();
        is_migrated_once(&text)?;
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_workflow_or_have_problems_with_places(bytes in vec(any::<u8>(), 0..200)) {
        problems_have_places(&bytes)?;
    }

    #[test]
    fn a_broken_workflow_has_problems_with_places(
        at in 0..VALID.len(), cut in 0..40_usize, put in "[-:{}\\[\\]\"'$&*!|>#\n a0]{0,8}",
    ) {
        let mut text = VALID.to_owned();
        text.replace_range(at..(at + cut).min(VALID.len()), &put);
        problems_have_places(text.as_bytes())?;
    }
}

/// A request to the journal, current or stale.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Ready,
    Dispatch,
    Complete,
    Fail,
    Stop,
    Requeue,
    Retry,
    FailForGood,
    Cancel,
    Wait,
}

fn asks() -> impl Strategy<Value = Vec<(Ask, usize, u32)>> {
    use Ask::{Cancel, Complete, Dispatch, Fail, FailForGood, Ready, Requeue, Retry, Stop, Wait};
    let ask = prop_oneof![
        8 => Just(Ready), 8 => Just(Dispatch), 8 => Just(Complete), 3 => Just(Fail), 3 => Just(Stop), 3 => Just(Requeue),
        3 => Just(Retry), 1 => Just(FailForGood), 1 => Just(Cancel), 2 => Just(Wait),
    ];
    // Attempt 0 stands for the current one.
    vec((ask, 0..5_usize, prop_oneof![4 => Just(0_u32), 1 => 1..4_u32]), 1..120)
}

const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn request(desk: &Desk, ask: Ask, id: &str, attempt: u32) -> Option<Request> {
    let run_id = desk.run;
    let current = desk.state().tasks[desk.state().index_of(id).expect("one of ours")].attempt();
    let open = if attempt == 0 { current } else { attempt };
    let error = || Failure::new(ErrorCode::TaskExecutionFailed, "no luck");
    Some(match ask {
        Ask::Ready => desk.ready(id),
        Ask::Dispatch => desk.dispatch(id, if attempt == 0 { current + 1 } else { attempt }),
        Ask::Complete => desk.complete(id, open, json!({"n": 1})),
        Ask::Fail => desk.fail(id, open),
        Ask::Stop => desk.stop(id, open, StopReason::EngineLost),
        Ask::Requeue => desk.queue(RequeueTask { run_id, task_id: id.into(), attempt: open }.into()),
        Ask::Retry => desk.queue(ScheduleRetry { run_id, task_id: id.into(), attempt: open, delay_ms: 50 }.into()),
        Ask::FailForGood => desk.queue(FailTask { run_id, task_id: id.into(), attempt: open, error: error() }.into()),
        Ask::Cancel => {
            let cancel = CancelWorkflow { run_id, cause: CancelCause::Requested, reason: "enough".to_owned() };
            Request::Cancel { cancel }
        }
        Ask::Wait => return None,
    })
}

proptest! {
    // Each bit of `edges` says whether a later task depends on an earlier one.
    #[test]
    fn any_order_of_requests_keeps_the_journal_valid(edges in vec(any::<bool>(), 10), asks in asks()) {
        let mut edges = edges.into_iter();
        let tasks = IDS.iter().enumerate().map(|(at, id)| {
            let dependencies: Vec<&str> = IDS[..at].iter().copied().filter(|_| edges.next() == Some(true)).collect();
            task(id, &dependencies)
        });
        let mut desk = Desk::new(2);
        desk.submit(workflow(tasks.collect(), &[]));
        for (ask, at, attempt) in asks {
            let Some(request) = request(&desk, ask, IDS[at], attempt) else {
                desk.now = desk.now.plus_ms(40);
                continue;
            };
            let before = desk.state().clone();
            let outcome = desk.propose(request);
            let after = desk.state();
            if outcome.entries.is_empty() {
                prop_assert_eq!(&before, after, "what is refused changes nothing");
            } else {
                let recorded = matches!(outcome.verdict, Verdict::Ok { .. });
                prop_assert!(recorded, "entries go with an `ok`: {:?}", outcome.verdict);
                prop_assert_eq!(before.status, RunStatus::Running, "what is final does not change");
            }
            let open = after.tasks.iter().filter(|task| {
                task.open().is_some()
            });
            prop_assert_eq!(open.count(), desk.ledger.used_slots(&"e".into()));
            prop_assert!(desk.ledger.used_slots(&"e".into()) <= 2);
            let waiting = (0..after.tasks.len()).filter(|at| after.waiting(*at).is_some()).count();
            prop_assert_eq!(waiting == 0, after.status.is_final(), "while a run goes on somebody can say why");
        }
        desk.check_replay();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Whatever the text contains and wherever it ends, it is JSON or has a problem that can be shown.
    #[test]
    fn any_text_is_json_or_has_a_problem(
        parts in vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\u", "\\ud83d", "\\", "é", "漢", "🎉", "a", "1", "-", "1e400", "NaN", "\n", " ", "\u{1}", "null",
        ]), 0..24)
    ) {
        let text = parts.concat();
        if let Err(problem) = gleitzeit_workflow::json::parse(&text) {
            prop_assert!(!problem.to_string().is_empty());
        }
    }
}
