use gleitzeit_run::event::{TaskCompleted, WorkflowCancelRequested};
use gleitzeit_run::id::{Epoch, Seq};
use gleitzeit_run::secret::Secret;
use gleitzeit_workflow::template::FileContent;
use gleitzeit_workflow::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::id::ProposalId;
use crate::wire::{
    AppendResult, ComponentRegistered, Events, EventsItem, FromHub, Ownership, OwnershipStatus, Part, ProposalResult,
    StatePage, ToHub,
};

struct Desk {
    resolver: Resolver,
    now: Instant,
    position: u64,
    sent: Vec<(ProposalId, Command)>,
}

fn run_id() -> RunId {
    RunId(Uuid::from_u128(7))
}

fn submitted(tasks: &Value, timeout_ms: Option<u64>) -> WorkflowSubmitted {
    let tasks: Vec<Value> = tasks
        .as_array()
        .expect("a list")
        .iter()
        .map(|task| {
            let mut whole = json!({"method": "m/x", "protocol_version": "v1", "queue": "default", "parameters": {}});
            for (key, value) in task.as_object().expect("an object") {
                whole[key] = value.clone();
            }
            whole
        })
        .collect();
    let workflow = json!({"name": "w", "timeout_ms": timeout_ms, "tasks": tasks});
    let text = json!({"workflow": workflow, "inputs": {"x": 5}, "correlation_id": "c"}).to_string();
    serde_json::from_str(&text).expect("a submission")
}

fn chain() -> Value {
    json!([
        {"id": "a", "parameters": {"n": "${inputs.x}"}},
        {"id": "b", "dependencies": ["a"], "parameters": {"text": "got ${a.v}"}},
        {"id": "c", "dependencies": ["a", "b"], "parameters": {"v": "${b}"}},
    ])
}

impl Desk {
    fn new(items: Vec<Payload>, part: Option<Part>) -> Self {
        Self::with_limit(100, items, part)
    }

    fn with_limit(max_payload_bytes: usize, items: Vec<Payload>, part: Option<Part>) -> Self {
        let identity =
            Identity { component_id: "r".into(), secret: Secret::new("s"), name: "r".into(), version: "0".into() };
        let resolver = Resolver::new(identity, max_payload_bytes);
        let mut desk = Self { resolver, now: Instant(1_000), position: 0, sent: vec![] };
        desk.input(Input::Connected);
        desk.receive(FromHub::ComponentRegistered(ComponentRegistered::new("r".into(), "r", 5_000)));
        let slice = Slice::Shard(run_id().shard());
        desk.receive(FromHub::Ownership(Ownership {
            status: OwnershipStatus::Granted,
            slice: slice.clone(),
            epoch: Epoch(3),
            position: Position(0),
            state_follows: true,
        }));
        desk.receive(FromHub::State(StatePage { slice, epoch: Epoch(3), items, part, last: true }));
        desk
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.resolver.handle(self.now, input, &mut out);
        for output in out {
            if let Output::Send(ToHub::Append(append)) = output {
                self.sent.extend(append.proposals.into_iter().map(|item| (item.proposal_id, item.command)));
            }
        }
    }

    fn receive(&mut self, message: FromHub) {
        self.input(Input::Message(message));
    }

    fn item(&mut self, event: impl Into<Event>) -> EventsItem {
        self.item_of(run_id(), event)
    }

    fn item_of(&mut self, run_id: RunId, event: impl Into<Event>) -> EventsItem {
        self.position += 1;
        EventsItem::full(&Entry {
            position: Position(self.position),
            run_id: Some(run_id),
            seq: Seq(self.position),
            recorded_at: Timestamp(0),
            queue: None,
            event: event.into(),
        })
    }

    fn event(&mut self, event: impl Into<Event>) {
        let item = self.item(event);
        self.receive(FromHub::Events(Events { entries: vec![item] }));
    }

    fn completed(&mut self, task: &str, result: &Value) {
        let result = Payload::from_value(result);
        self.event(TaskCompleted { task_id: task.into(), attempt: 1, result, ran_ms: 1, carried: false });
    }

    fn record(&mut self) -> Vec<String> {
        let sent = std::mem::take(&mut self.sent);
        let shown = sent.iter().map(|(_, command)| show(command)).collect();
        for (proposal_id, _) in sent {
            self.position += 1;
            let own = EventsItem::own(Position(self.position), proposal_id.clone());
            self.receive(FromHub::Events(Events { entries: vec![own] }));
            let verdict = ProposalVerdict::Ok;
            let result = ProposalResult { proposal_id, verdict, position: None, error: None };
            self.receive(FromHub::AppendResult(AppendResult { results: vec![result] }));
        }
        shown
    }
}

fn show(command: &Command) -> String {
    match command {
        Command::ReadyTask(it) => format!("ready {} {}", it.task_id, it.parameters.get()),
        Command::FailTask(it) => format!("fail {} {}", it.task_id, it.error),
        Command::CancelWorkflow(it) => format!("cancel {:?}", it.cause),
        other => format!("{other:?}"),
    }
}

#[test]
fn tasks_become_ready_in_the_order_of_their_dependencies_with_resolved_parameters() {
    let mut desk = Desk::new(vec![], None);
    desk.event(Arc::new(submitted(&chain(), None)));
    assert_eq!(desk.record(), [r#"ready a {"n":5}"#]);
    desk.completed("a", &json!({"v": "x"}));
    assert_eq!(desk.record(), [r#"ready b {"text":"got x"}"#]);
    assert_eq!(desk.resolver.kept_results(), 1, "c still waits for a");
    desk.completed("b", &json!([1]));
    assert_eq!(desk.record(), [r#"ready c {"v":[1]}"#]);
    assert_eq!(desk.resolver.kept_results(), 0);
}

#[test]
fn unresolvable_or_too_large_parameters_fail_the_task_with_their_place() {
    for (result, expected) in [
        (json!({"w": 1}), "parameter `text`: ${a.v} has no `v`"),
        (
            json!({"v": "x".repeat(200)}),
            "parameter `text`: ${a.v} does not fit: of the limit of 100 bytes of JSON, 15 stand before it",
        ),
    ] {
        let mut desk = Desk::new(vec![], None);
        desk.event(Arc::new(submitted(&chain(), None)));
        desk.record();
        desk.completed("a", &result);
        let shown = desk.record();
        assert!(shown[0].starts_with("fail b TASK_PARAMETER_ERROR") && shown[0].contains(expected), "{shown:?}");
    }
}

/// Such results were recorded before results were checked on arrival.
#[test]
fn a_recorded_result_that_is_not_json_fails_its_references_and_is_never_null() {
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    for (result, expected) in [
        (
            r#"{"v":"\ud83c"}"#,
            "the result of task `a` cannot be passed on: in `v`: \\ud83c is half of a surrogate pair",
        ),
        (r#"{"v":1,"w":[1e400]}"#, "the result of task `a` cannot be passed on: in `w[0]`: the number 1e400"),
        (r#"{"v":123456789012345678901}"#, "the whole number 123456789012345678901 does not fit into 64 bits"),
        (&deep, "nested deeper than the limit of 128 levels"),
    ] {
        let mut desk = Desk::new(vec![], None);
        desk.event(Arc::new(submitted(&chain(), None)));
        desk.record();
        let result = Payload::grammatical(result.to_owned()).expect("grammatical");
        desk.event(TaskCompleted { task_id: "a".into(), attempt: 1, result, ran_ms: 1, carried: false });
        let shown = desk.record();
        assert!(shown[0].starts_with("fail b TASK_PARAMETER_ERROR") && shown[0].contains(expected), "{shown:?}");
        assert!(shown[0].contains("${a.v}"), "{shown:?}");
    }
    // A task that only waits for it does not need its value.
    let mut desk = Desk::new(vec![], None);
    desk.event(Arc::new(submitted(&json!([{"id": "a"}, {"id": "b", "dependencies": ["a"]}]), None)));
    desk.record();
    let result = Payload::grammatical(deep).expect("grammatical");
    desk.event(TaskCompleted { task_id: "a".into(), attempt: 1, result, ran_ms: 1, carried: false });
    assert_eq!(desk.record(), ["ready b {}"]);
}

#[test]
fn resolved_parameters_keep_the_depth_limit() {
    let mut desk = Desk::with_limit(10_000, vec![], None);
    desk.event(Arc::new(submitted(
        &json!([{"id": "a"}, {"id": "b", "dependencies": ["a"], "parameters": {"v": "${a}"}}]),
        None,
    )));
    desk.record();
    let deep = (1..json::MAX_DEPTH).fold(json!([]), |inner, _| json!([inner]));
    desk.completed("a", &deep);
    let shown = desk.record();
    let expected = "nested deeper than the limit of 128 levels";
    assert!(shown[0].starts_with("fail b TASK_PARAMETER_ERROR") && shown[0].contains(expected), "{shown:?}");
    assert!(shown[0].contains("parameter `v[0][0]"), "{shown:?}");
}

#[test]
fn a_result_never_becomes_code() {
    let mut desk = Desk::new(vec![], None);
    let tasks = json!([
        {"id": "a"},
        {"id": "b", "dependencies": ["a"], "code": {"code": "python"},
         "parameters": {"code": "x = '${a.v}'", "context": {"v": "${a.v}"}}},
    ]);
    desk.event(Arc::new(submitted(&tasks, None)));
    desk.record();
    desk.completed("a", &json!({"v": "' + y"}));
    assert_eq!(desk.record(), [r#"ready b {"code":"x = '\\' + y'","context":{"v":"' + y"}}"#]);
}

#[test]
fn values_of_a_shell_command_are_variables_beside_those_of_the_task() {
    let answer = |parameters: &Value| {
        let mut desk = Desk::new(vec![], None);
        desk.resolver.max_payload_bytes = 1_000;
        let tasks = json!([
            {"id": "a"},
            {"id": "b", "dependencies": ["a"], "code": {"command": "shell", "after": "shell"}, "parameters": parameters},
        ]);
        desk.event(Arc::new(submitted(&tasks, None)));
        desk.record();
        desk.completed("a", &json!({"v": "' x", "env": {"GLEITZEIT_VALUE_2": ""}, "list": []}));
        desk.record().remove(0)
    };
    for (parameters, expected) in [
        (
            json!({"command": "echo ${a.v} \"${a.v}\""}),
            r#"ready b {"command":"echo \"${GLEITZEIT_VALUE_1}\" \"${GLEITZEIT_VALUE_1}\"","env":{"GLEITZEIT_VALUE_1":"' x"}}"#,
        ),
        (
            json!({"env": {"X": "${a.v}", "GLEITZEIT_VALUE_1": "y"}, "command": "echo ${a.list}"}),
            r#"ready b {"env":{"X":"' x","GLEITZEIT_VALUE_1":"y","GLEITZEIT_VALUE_2":"[]"},"command":"echo \"${GLEITZEIT_VALUE_2}\""}"#,
        ),
        (
            json!({"command": "echo ${a.v}", "after": "echo ${a.v}", "env": "${a.env}"}),
            r#"ready b {"command":"echo \"${GLEITZEIT_VALUE_1}\"","after":"echo \"${GLEITZEIT_VALUE_3}\"","env":{"GLEITZEIT_VALUE_2":"","GLEITZEIT_VALUE_1":"' x","GLEITZEIT_VALUE_3":"' x"}}"#,
        ),
        (json!({"command": "echo $${HOME}"}), r#"ready b {"command":"echo ${HOME}"}"#),
    ] {
        let shown = answer(&parameters);
        assert_eq!(as_value(&shown), as_value(expected), "{shown}");
    }
    let shown = answer(&json!({"command": "echo ${a.v}", "env": "${a.list}"}));
    let expected = "parameter `env`: the values in `command` become variables in it, so it must be an object";
    assert!(shown.starts_with("fail b TASK_PARAMETER_ERROR") && shown.contains(expected), "{shown}");
}

/// The recorded value, whatever the order of its fields.
fn as_value(shown: &str) -> Value {
    let parameters = shown.strip_prefix("ready b ").unwrap_or_else(|| panic!("{shown}"));
    serde_json::from_str(parameters).expect("JSON")
}

#[test]
fn a_new_owner_continues_from_a_state_in_any_number_of_pages() {
    let run = SliceItem::Run(gleitzeit_run::ledger::RunHeader {
        run_id: run_id(),
        submitted: Arc::new(submitted(&chain(), Some(900))),
        remaining_ms: Some(400),
        cancel_requested: false,
    });
    let done = SliceItem::Task(TaskFact {
        run_id: run_id(),
        task_id: "a".into(),
        status: TaskStatus::Completed,
        result: Some(Payload::from_value(&json!({"v": 1}))),
    });
    let text = |item: &SliceItem| serde_json::to_string(item).expect("json");
    let items = [text(&run), text(&done)].map(|text| Payload::parse(text).expect("json")).to_vec();
    let mut desk = Desk::new(items, None);
    assert_eq!(desk.record(), [r#"ready b {"text":"got 1"}"#]);
    desk.now = Instant(1_400);
    desk.input(Input::Tick);
    assert_eq!(desk.record(), ["cancel Timeout"]);
    desk.event(WorkflowCancelRequested { cause: CancelCause::Timeout, reason: String::new() });
    assert_eq!(desk.resolver.runs().count(), 0);
    assert_eq!(desk.resolver.next_deadline(), None);
}

#[test]
fn a_submission_in_parts_is_joined() {
    let mut desk = Desk::new(vec![], None);
    let item = desk.item(Arc::new(submitted(&chain(), None)));
    let text = serde_json::to_string(&item).expect("json");
    let (first, second) = text.split_at(text.len() / 2);
    for (part, text) in [(0, first), (1, second)] {
        let piece = EventsItem::piece(item.position, Part { part, of: 2, text: text.to_owned() });
        desk.receive(FromHub::Events(Events { entries: vec![piece] }));
    }
    assert_eq!(desk.record(), [r#"ready a {"n":5}"#]);
}

#[test]
fn a_wide_run_is_resolved_within_the_window_of_unanswered_proposals() {
    let mut desk = Desk::new(vec![], None);
    let tasks: Vec<Value> = (0..2_500).map(|index| json!({"id": format!("t{index}")})).collect();
    desk.event(Arc::new(submitted(&Value::Array(tasks), None)));
    assert_eq!(desk.sent.len(), MAX_AHEAD);
    let mut done = 0;
    while !desk.sent.is_empty() {
        done += desk.record().len();
    }
    assert_eq!(done, 2_500);
}

/// Each would have been 3,000 times as large as the value. Each reads the file or value only as far as it fits.
#[test]
fn many_references_to_a_large_value_are_never_all_resolved() {
    let large = "x".repeat(700_000);
    let many = |reference: &str| reference.repeat(3_000);
    let list: Vec<String> = vec!["${a}".to_owned(); 3_000];
    for (parameters, code) in [
        (json!({"x": many("${a}")}), json!({})),
        (json!({"x": list}), json!({})),
        (json!({"x": {"y": many("${a.t}")}}), json!({})),
        (json!({"x": many("${files.f}")}), json!({})),
        (json!({"x": many("${files.f.base64}")}), json!({})),
        (json!({"x": many("${inputs.i}")}), json!({})),
        (json!({"x": format!("x = '{}'", many("${a}"))}), json!({"x": "python"})),
        (json!({"x": format!("echo '{}'", many("${a}"))}), json!({"x": "shell"})),
    ] {
        let tasks = json!([{"id": "a"}, {"id": "b", "dependencies": ["a"], "parameters": parameters, "code": code}]);
        let mut submitted = submitted(&tasks, None);
        submitted.inputs = json!({"i": large}).into();
        submitted.files.insert("f".to_owned(), FileContent::Text(large.clone()));
        let mut desk = Desk::with_limit(1 << 20, vec![], None);
        desk.event(Arc::new(submitted));
        desk.record();
        let result = if parameters.to_string().contains("a.t") { json!({ "t": large }) } else { json!(large) };
        desk.completed("a", &result);
        let shown = desk.record();
        assert!(shown[0].contains("TASK_PARAMETER_ERROR"), "{shown:?}");
        // An environment variable can hold less than parameters can.
        let expected = match code["x"] == "shell" {
            true => "a value in a command can have 131053",
            false => "does not fit: of the limit of 1048576 bytes of JSON",
        };
        assert!(shown[0].contains(expected), "{shown:?}");
        assert!(shown[0].len() < 500, "{}", shown[0].len());
    }
}

/// Runs of any length whose tasks can all become ready at once: they become ready in turns, and no more at a time than
/// the window allows.
#[test]
fn runs_are_resolved_in_turns() {
    let mut desk = Desk::new(vec![], None);
    let [large, small, late] = [1, 2, 3].map(|number: u128| RunId(Uuid::from_u128(number << 64 | 7)));
    let wide = |count: usize| {
        let tasks: Vec<Value> = (0..count).map(|index| json!({"id": format!("t{index}")})).collect();
        Arc::new(submitted(&Value::Array(tasks), None))
    };
    for (run_id, tasks) in [(large, 3_000), (small, 2)] {
        let item = desk.item_of(run_id, wide(tasks));
        desk.receive(FromHub::Events(Events { entries: vec![item] }));
    }
    let mut order = Vec::new();
    let mut largest = 0;
    while !desk.sent.is_empty() {
        largest = largest.max(desk.sent.len());
        order.extend(desk.sent.iter().map(|(_, command)| command.run_id()));
        desk.record();
        if order.len() == MAX_AHEAD * 2 {
            let item = desk.item_of(late, wide(1));
            desk.receive(FromHub::Events(Events { entries: vec![item] }));
        }
    }
    assert_eq!((order.len(), largest), (3_003, MAX_AHEAD));
    let places = |run_id: RunId| order.iter().enumerate().filter(move |(_, of)| **of == run_id).map(|(at, _)| at);
    // The large run filled the window before the small one came; from then on they alternate.
    assert_eq!(places(small).collect::<Vec<_>>(), [MAX_AHEAD + 1, MAX_AHEAD + 3]);
    let late = places(late).next().expect("it is resolved");
    assert!(late <= 3 * MAX_AHEAD + 1, "it waited for what was on its way and one more, and not until {late}");
}

#[test]
fn urgent_runs_are_resolved_first() {
    let mut desk = Desk::new(vec![], None);
    let tasks: Vec<Value> = (0..600)
        .map(|index| json!({"id": format!("t{index}"), "priority": if index == 599 { 4 } else { 2 }}))
        .collect();
    desk.event(Arc::new(submitted(&Value::Array(tasks), None)));
    assert!(desk.record()[0].starts_with("ready t599 "), "the urgent one first");
}

#[test]
fn a_local_entry_equals_one_that_is_read() {
    let mut desk = Desk::new(vec![], None);
    let written = desk.item(Arc::new(submitted(&chain(), None)));
    let entry = written.entry().expect("readable").expect("in full");
    desk.receive(FromHub::Events(Events { entries: vec![EventsItem::whole(Arc::new(entry))] }));
    assert_eq!(desk.record(), [r#"ready a {"n":5}"#]);
}

/// Its first tasks are made ready before the whole run was examined, and then the rest.
#[test]
fn a_large_run_is_loaded_in_steps() {
    let mut desk = Desk::new(vec![], None);
    let count = 2 * ENTER_STEP + 10;
    let tasks: Vec<Value> = (0..count).map(|index| json!({"id": format!("t{index}")})).collect();
    desk.event(Arc::new(submitted(&Value::Array(tasks), None)));
    assert_eq!((desk.sent.len(), desk.resolver.ready.entering.len()), (MAX_AHEAD, 1));
    let mut done = 0;
    while !desk.sent.is_empty() {
        done += desk.record().len();
    }
    assert_eq!((done, desk.resolver.ready.entering.len()), (count, 0));
    assert!(desk.resolver.ready.lanes.is_empty());
}
