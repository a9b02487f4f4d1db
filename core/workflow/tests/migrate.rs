//! Migration of the original Gleitzeit's files: each rule, and that everything else stays as written.

use gleitzeit_workflow::spec::{Catalog, Limits, MethodInfo, Migrated, Violation, check, migrate};
use gleitzeit_workflow::template::Language;
use serde_json::{Value, json};

struct Methods;

impl Catalog for Methods {
    fn method(&self, name: &str) -> Option<MethodInfo> {
        let returns = match name {
            "llm/chat" | "llm/complete" | "llm/vision" => json!({
                "type": "object", "properties": {"response": {"type": "string"}, "model": {}}, "additionalProperties": false,
            }),
            "python/execute" => json!({
                "type": "object", "properties": {"result": {}, "output": {}}, "additionalProperties": false,
            }),
            "util/echo" => json!({"type": "object"}),
            _ => return None,
        };
        Some(MethodInfo {
            protocol_version: "v1".to_owned(),
            code: (name == "python/execute").then(|| ("code".to_owned(), Language::Python)).into_iter().collect(),
            returns: Some(returns),
            parameters: None,
            timeout_ms: None,
        })
    }

    fn method_names(&self) -> Vec<String> {
        ["llm/chat", "llm/complete", "llm/vision", "python/execute", "util/echo"].map(str::to_owned).to_vec()
    }

    fn check_template(&self, _: &str, _: &Value) -> Vec<Violation> {
        Vec::new()
    }
}

fn migrated(source: &str) -> Migrated {
    let locate = |path: &str| format!("../{path}");
    migrate(source, "f", &Methods, &Limits::default(), &locate).unwrap_or_else(|problem| panic!("{problem}\n{source}"))
}

/// Migrates, and checks that a second migration changes nothing.
fn text_of(source: &str) -> String {
    let first = migrated(source);
    let second = migrated(&first.text);
    assert_eq!(second.text, first.text, "a second migration changes nothing");
    assert_eq!(second.changes, [], "{}", first.text);
    first.text
}

/// Checks that each migration changes its field and nothing else.
fn check_rules(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        assert_eq!(text_of(source), *expected, "{source}");
    }
}

#[test]
fn fields_of_a_workflow_that_have_no_effect_are_removed() {
    check_rules(&[
        ("name: n # a\nwait_for_completion: true # b\n\n# c\ntasks: []\n", "name: n # a\n\n# c\ntasks: []\n"),
        ("metadata:\n  a: 1\n\n  # x\n  b: [1,\n 2]\nname: n\ntasks: []\n", "name: n\ntasks: []\n"),
        ("providers: {}\ntype: workflow\nprotocol: llm/v1\nname: n\ntasks: []\n", "name: n\ntasks: []\n"),
    ]);
}

#[test]
fn names_become_ids() {
    check_rules(&[
        ("tasks:\n- id: a\n  name: The First\n  method: x/y\n", "tasks:\n- id: a\n  # The First\n  method: x/y\n"),
        ("tasks:\n- name: 'The First'\n  id: a # z\n", "tasks:\n# The First\n- id: a # z\n"),
        ("tasks:\n  - name: N\n    # why\n    id: a\n", "tasks:\n  # N\n  # why\n  - id: a\n"),
        ("tasks:\n- {id: a, name: A, method: x/y}\n", "tasks:\n- {id: a, method: x/y}\n"),
        ("tasks:\n- {id: a, method: x/y, name: A}\n", "tasks:\n- {id: a, method: x/y}\n"),
        ("tasks:\n- id: a\n  name: a\n  method: x/y\n", "tasks:\n- id: a\n  method: x/y\n"),
        ("tasks:\n- name: \"The 1st\"\n", "tasks:\n- id: \"The_1st\"\n"),
        ("tasks:\n- name: 1st\n", "tasks:\n- id: _1st\n"),
        ("tasks:\n- name: run\n- name: a b\n- id: a_b\n", "tasks:\n- id: run_2\n- id: a_b_2\n- id: a_b\n"),
        ("tasks:\n- method: x/y # z\n", "tasks:\n- id: task_1\n  method: x/y # z\n"),
    ]);
}

#[test]
fn methods_name_their_protocol() {
    check_rules(&[
        ("tasks:\n- id: a\n  protocol: x/v1\n  method: x/y\n", "tasks:\n- id: a\n  method: x/y\n"),
        ("tasks:\n- id: a\n  protocol: x/v1\n  method: \"y\"\n", "tasks:\n- id: a\n  method: \"x/y\"\n"),
        ("tasks:\n- id: a\n  protocol: echo/v1\n  method: echo\n", "tasks:\n- id: a\n  method: util/echo\n"),
        ("tasks:\n- {id: a, type: llm, provider: ollama}\n", "tasks:\n- {id: a, method: llm/chat}\n"),
        (
            "tasks:\n- {id: a, method: llm/chat, provider: x, params: {}}\n",
            "tasks:\n- {id: a, method: llm/chat, parameters: {}}\n",
        ),
        ("tasks:\n- {id: a, method: llm/chat, provider: x}\n", "tasks:\n- {id: a, method: llm/chat, provider: x}\n"),
        ("tasks:\n- {id: a, type: python}\n", "tasks:\n- {id: a, method: python/execute}\n"),
        ("tasks:\n- {id: a, method: llm/generate}\n", "tasks:\n- {id: a, method: llm/complete}\n"),
    ]);
}

#[test]
fn fields_of_a_task_are_renamed() {
    check_rules(&[
        ("tasks:\n- {id: a, method: x/y, params: {p: 1}}\n", "tasks:\n- {id: a, method: x/y, parameters: {p: 1}}\n"),
        ("tasks:\n- {id: a, method: x/y, args: {p: 1}}\n", "tasks:\n- {id: a, method: x/y, parameters: {p: 1}}\n"),
        (
            "tasks:\n- name: A B\n- id: c\n  depends_on: [A B, 'task_1']\n",
            "tasks:\n- id: A_B\n- id: c\n  dependencies: [A_B, 'A_B']\n",
        ),
        ("tasks:\n- {id: a, retry: {base_delay: 5.0}}\n", "tasks:\n- {id: a, retry: {initial_delay: 5.0}}\n"),
    ]);
}

#[test]
fn parameters_that_place_a_task_are_removed() {
    check_rules(&[
        (
            "tasks:\n- id: a\n  method: python/execute\n  parameters:\n    execution_mode: sandboxed\n    image: py\n    code: |\n      x\n    cpu_limit: 1.0\n",
            "tasks:\n- id: a\n  method: python/execute\n  parameters:\n    code: |\n      x\n",
        ),
        (
            "tasks:\n- id: a\n  parameters: {require_gpu: true, p: 1, instance_tags: [a, b], batch_mode: true}\n",
            "tasks:\n- id: a\n  parameters: {p: 1}\n",
        ),
        ("tasks:\n- id: a\n  parameters: {image: x}\n", "tasks:\n- id: a\n  parameters: {image: x}\n"),
    ]);
}

#[test]
fn files_of_language_models_are_declared() {
    check_rules(&[
        (
            "name: n\n# about\ntasks:\n- id: a\n  method: llm/vision\n  parameters:\n    image_path: 'p.png'\n    messages:\n      - role: user\n        content: |\n          one\n          two\n    model: m\n",
            "name: n\nfiles:\n  f1: ../p.png\n# about\ntasks:\n- id: a\n  method: llm/vision\n  parameters:\n    images: [\"${files.f1.base64}\"]\n    prompt: |\n          one\n          two\n    model: m\n",
        ),
        (
            "files:\n  f1: x\n\ntasks:\n- id: a\n  method: llm/vision\n  parameters:\n    image_paths:\n    - a b.jpg # c\n    - iVBORw0KGgo=\n",
            "files:\n  f1: x\n  f2: \"../a b.jpg\"\n\ntasks:\n- id: a\n  method: llm/vision\n  parameters:\n    images:\n    - \"${files.f2.base64}\" # c\n    - iVBORw0KGgo=\n",
        ),
        (
            "files: {f: x}\ntasks:\n- id: a\n  method: llm/chat\n  parameters:\n    file_path: d/s.txt\n    messages:\n    - role: user\n      content: hi\n- id: b\n  method: llm/chat\n  parameters: {files: [d/s.txt, t], messages: [{role: user, content: hi}]}\n",
            "files: {f: x, f2: ../d/s.txt, f3: ../t}\ntasks:\n- id: a\n  method: llm/chat\n  parameters:\n    messages:\n    - role: user\n      content: hi\n    - {role: user, content: \"${files.f2}\"}\n- id: b\n  method: llm/chat\n  parameters: {messages: [{role: user, content: hi}, {role: user, content: \"${files.f2}\"}, {role: user, content: \"${files.f3}\"}]}\n",
        ),
    ]);
}

#[test]
fn references_use_ids_and_fields_of_results() {
    check_rules(&[
        (
            "tasks:\n- {id: a, method: llm/chat}\n- id: b\n  parameters:\n    x: |\n      é {{a.response}} {{ a }} $${a.content}\n      ${a.result.content} ${a.content} {{z.y}} {{{a.b}}} ${\n    y: '${a.response}'\n",
            "tasks:\n- {id: a, method: llm/chat}\n- id: b\n  parameters:\n    x: |\n      é ${a.response} ${a} $${a.content}\n      ${a.response} ${a.response} {{z.y}} {{{a.b}}} ${\n    y: '${a.response}'\n",
        ),
        (
            "tasks:\n- {id: a, method: python/execute, params: {}}\n- {id: b, method: python/execute}\noutputs:\n  x: ${a.result.result.n}\n  y: ${b.result.result.n}\n  z: a.result\n  w: [a.result]\n  v: c.result\n",
            "tasks:\n- {id: a, method: python/execute, parameters: {}}\n- {id: b, method: python/execute}\noutputs:\n  x: ${a.result.n}\n  y: ${b.result.result.n}\n  z: \"${a.result}\"\n  w: [a.result]\n  v: c.result\n",
        ),
        (
            "tasks:\n- {name: A B, method: echo, protocol: echo/v1, params: {message: m}}\n- {id: b, parameters: {x: \"${task_1.result.response}\", y: \"${task_1.message}\"}}\n",
            "tasks:\n- {id: A_B, method: util/echo, parameters: {message: m}}\n- {id: b, parameters: {x: \"${A_B.message}\", y: \"${A_B.message}\"}}\n",
        ),
    ]);
}

#[test]
fn the_format_of_a_file_stays() {
    check_rules(&[
        (
            "{\"tasks\": [{\"name\": \"A b\", \"protocol\": \"llm/v1\", \"method\": \"chat\", \"params\": {\"file_path\": \"x\", \"messages\": [{}]}}]}",
            "{\"files\": {\"f1\": \"../x\"}, \"tasks\": [{\"id\": \"A_b\", \"method\": \"llm/chat\", \"parameters\": {\"messages\": [{}, {\"role\": \"user\", \"content\": \"${files.f1}\"}]}}]}",
        ),
        ("\u{feff}wait_for_completion: true\ntasks: []\n", "\u{feff}tasks: []\n"),
        (
            "tasks:\r\n- method: x/y\r\n  protocol: x/v1\r\n  params:\r\n    a: 1\r\n",
            "tasks:\r\n- id: task_1\r\n  method: x/y\r\n  parameters:\r\n    a: 1\r\n",
        ),
        ("# only\nname: n\ntasks:\n- {id: a, method: x/y}\n", "# only\nname: n\ntasks:\n- {id: a, method: x/y}\n"),
    ]);
}

#[test]
fn decisions_are_left_to_the_user_and_listed() {
    for (source, field, message) in [
        ("type: batch\nbatch: {directory: d}\n", "batch", "there are no batches"),
        ("tasks:\n- {id: a, type: mcp}\n", "tasks[0].method", "no built-in provider supports MCP"),
        ("tasks:\n- {id: a, function: f}\n", "tasks[0].function", "no functions by name"),
        ("tasks:\n- {id: a, protocol: x/v1}\n", "tasks[0].protocol", "has no `method`"),
        (
            "tasks:\n- {id: a, method: x/y, params: {}, parameters: {}}\n",
            "tasks[0].params",
            "`parameters` already exists",
        ),
        ("tasks:\n- {id: 1a b, method: x/y}\n", "tasks[0].id", "not a task id"),
        (
            "tasks:\n- {id: a, method: llm/chat, parameters: {directory: d, messages: [{}]}}\n",
            "tasks[0].parameters.directory",
            "there are no batches",
        ),
        (
            "tasks:\n- {id: a, method: llm/chat, parameters: {file_path: \"${b.p}\", messages: [{}]}}\n",
            "tasks[0].parameters.file_path",
            "declare the file under `files`",
        ),
        (
            "tasks:\n- {id: a, method: llm/vision, parameters: {messages: [{content: x}, {content: y}]}}\n",
            "tasks[0].parameters.messages",
            "takes one prompt",
        ),
    ] {
        let left = migrated(source).left;
        assert!(left.iter().any(|it| it.field == field && it.message.contains(message)), "{source}\n{left:#?}");
    }
}

#[test]
fn a_whole_file_is_valid_afterwards_and_lists_its_changes() {
    let source = "name: Mixed # kept\nwait_for_completion: true\ntasks:\n  - id: \"ask\"\n    name: \"Ask\"\n    protocol: \"llm/v1\"\n    method: \"llm/chat\"\n    params:\n      messages: [{role: user, content: hi}]\n  - id: count\n    protocol: \"python/v1\"\n    method: \"python/execute\"\n    params:\n      code: |\n        # kept too\n        text = \"${ask.content}\"\n        result = len(text)\n    dependencies: [\"ask\"]\noutputs: {n: count.result}\n";
    let migrated = migrated(source);
    check(&migrated.text, "f", &Methods, &Limits::default()).expect("valid");
    assert!(migrated.text.contains("# kept\n") && migrated.text.contains("# kept too\n"));
    let changes: Vec<String> = migrated.changes.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
    assert_eq!(
        changes,
        [
            "wait_for_completion: removed: `run` and `submit --wait` wait",
            "tasks[0].name: removed: a task is called by its `id` alone (`Ask`)",
            "tasks[0].protocol: removed: the `method` names its protocol",
            "tasks[0].params: renamed to `parameters`",
            "tasks[1].protocol: removed: the `method` names its protocol",
            "tasks[1].params: renamed to `parameters`",
            "tasks[1].parameters.code: `${ask.content}` became `${ask.response}`",
            "outputs.n: became the reference `${count.result}`",
        ]
    );
    assert_eq!(migrated.left, []);
}

#[test]
fn files_that_cannot_be_edited_in_place_are_refused() {
    let no_locate = |path: &str| path.to_owned();
    let refused =
        |source: &str| migrate(source, "f", &Methods, &Limits::default(), &no_locate).expect_err(source).to_string();
    assert!(refused("tasks: [").contains("invalid YAML"));
    assert!(refused("wait_for_completion: true\nwait_for_completion: true\ntasks: []\n").contains("f:2:1: "));
    assert!(refused("tasks:\n- id: a\n  parameters: {x: {{a.b}}}\n").contains("f:3:"));
    // Two tasks share a node that becomes two things.
    let shared = "tasks:\n- &t {name: A b}\n- *t\n";
    assert!(refused(shared).contains("cannot be edited in place"), "{}", refused(shared));
}

#[test]
fn shared_anchors_are_edited_once() {
    let source = "tasks:\n- id: a\n  method: x/y\n  params: &p {m: 1}\n- id: b\n  method: x/y\n  params: *p\n- {id: c, method: llm/chat}\noutputs:\n  x: &o ${c.content}\n  y: *o\n";
    let expected = source.replace("params", "parameters").replace("content", "response");
    assert_eq!(text_of(source), expected);
}
