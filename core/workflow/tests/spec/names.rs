//! References to results and fields by similar names, or by other words for the same thing.

use super::*;

/// A workflow with one task.
const TASK: &str = "name: n\ntasks:\n  - id: a\n    method: util/echo\n";

/// Checks that these are the problems of each text, each with the place and the start of its message.
fn check_problems(cases: Vec<(String, Vec<&str>)>) {
    for (source, expected) in cases {
        let shown = bad(source.as_bytes());
        assert_eq!(shown.len(), expected.len(), "{source}\n{shown:#?}");
        for (problem, expected) in shown.iter().zip(&expected) {
            assert!(problem.starts_with(&format!("f:{expected}")), "{source}\n{expected}\n{shown:#?}");
        }
    }
}

#[test]
fn a_protocol_beside_a_method_is_explained() {
    check_problems(vec![
        (
            format!("{TASK}    protocol: util/v1\n"),
            vec![
                "5:5: unknown field `protocol` in the task\n  hint: remove it: the method `util/echo` names its protocol",
            ],
        ),
        (
            TASK.replace("method: util/echo", "protocol: util/v1\n    method: echo"),
            vec![
                "4:5: unknown field `protocol` in the task\n  hint: remove it and write `method: util/echo`: a method names its protocol",
                "5:13: unknown method `echo`\n  hint: did you mean `util/echo`?",
            ],
        ),
        (
            TASK.replace("method: util/echo", "protocol: python/v1"),
            vec![
                "4:5: unknown field `protocol` in the task\n  hint: write `method: python/…` instead: a method names its protocol",
            ],
        ),
    ]);
}

#[test]
fn a_name_or_type_of_a_task_is_explained() {
    check_problems(vec![
        (
            format!("{TASK}    name: The First\n"),
            vec![
                "5:5: unknown field `name` in the task\n  hint: remove it or make it a comment: a task is called by its `id` alone",
            ],
        ),
        (
            TASK.replace("id: a", "name: The First"),
            vec!["3:5: unknown field `name` in the task\n  hint: did you mean `id`? That is one word: `id: The_First`"],
        ),
        (TASK.replace("id: a", "name: a"), vec!["3:5: unknown field `name` in the task\n  hint: did you mean `id`?"]),
        (
            TASK.replace("method: util/echo", "type: python"),
            vec!["4:5: unknown field `type` in the task\n  hint: write `method: python/execute` instead"],
        ),
    ]);
}

#[test]
fn other_words_for_fields_of_a_task_are_recognized() {
    check_problems(vec![
        (
            format!("{TASK}    params: {{m: \"${{b.c}}\"}}\n"),
            vec![
                "5:5: unknown field `params` in the task\n  hint: did you mean `parameters`?",
                "5:18: ${b.c}: there is no task `b`",
            ],
        ),
        (
            format!("{TASK}    parameters: {{}}\n    params: {{m: \"${{b.c}}\"}}\n"),
            vec![
                "6:5: unknown field `params` in the task\n  hint: remove it: `parameters` already exists; move what it lacks there",
            ],
        ),
        (
            format!("{TASK}    params: {{}}\n    args: {{}}\n"),
            vec![
                "5:5: unknown field `params` in the task\n  hint: did you mean `parameters`?",
                "6:5: unknown field `args` in the task\n  hint: remove it or `params`: both stand for `parameters`",
            ],
        ),
        (
            format!("{TASK}    depends_on: [b]\n"),
            vec![
                "5:5: unknown field `depends_on` in the task\n  hint: did you mean `dependencies`?",
                "5:18: unknown dependency `b`",
            ],
        ),
        (
            format!("{TASK}    name: The First\n  - id: b\n    method: util/echo\n    dependencies: [The First]\n"),
            vec![
                "5:5: unknown field `name` in the task",
                "8:20: unknown dependency `The First`\n  hint: write the task's id, `a`, instead of its name",
            ],
        ),
        (
            format!("{TASK}    retries: 3\n"),
            vec!["5:5: unknown field `retries` in the task\n  hint: write `retry: {max_attempts: 3}`"],
        ),
    ]);
}

#[test]
fn other_words_for_fields_of_a_workflow_are_recognized() {
    check_problems(vec![
        (
            TASK.replace("tasks:", "steps:"),
            vec!["2:1: unknown field `steps` in the workflow\n  hint: did you mean `tasks`?"],
        ),
        (
            TASK.replace("tasks:", "steps:").replace("echo", "ecko"),
            vec!["2:1: unknown field `steps`", "4:13: unknown method `util/ecko`"],
        ),
        (
            format!("{TASK}protocol: x\n"),
            vec![
                "5:1: unknown field `protocol` in the workflow\n  hint: remove it: the `method` of each task names its protocol",
            ],
        ),
        (
            "name: n\ntype: batch\nbatch: {directory: d}\n".to_owned(),
            vec![
                "1:1: the workflow has no `tasks`",
                "2:1: unknown field `type` in the workflow\n  hint: there are no batches",
                "3:1: unknown field `batch`",
            ],
        ),
    ]);
}

#[test]
fn a_null_field_counts_as_missing() {
    good(
        "name: n\ninputs:\noutputs:\nlabels:\ntasks:\n  - {id: a, method: util/echo, dependencies: , parameters: , retry: , queue: }\n",
    );
    assert_eq!(bad(b"name: n\ntasks:\n").len(), 1);
    let unknown = bad(b"name: n\nwait: true\ntasks: [{id: a, method: util/echo}]\nzzz: 1\n");
    assert!(unknown.iter().all(|problem| !problem.contains("wait_for_completion")), "{unknown:#?}");
}

#[test]
fn the_main_field_of_a_result_is_found_under_other_names() {
    for (reference, expected) in [
        ("a.result.text", None),
        ("a.output.text", Some("did you mean `${a.text}`?")),
        ("a.content", Some("did you mean `${a.result}`?")),
        ("a.output.content", Some("did you mean `${a.result}`?")),
        ("a.output.rows", Some("did you mean `${a.rows}`?")),
        ("a.colour", Some("the available fields are `result`, `text`, `count`, `done`, `rows`")),
    ] {
        let source = format!(
            "name: n\ntasks:\n  - {{id: a, method: python/execute}}\n  - {{id: b, method: util/echo, parameters: {{x: \"${{{reference}}}\"}}}}\n"
        );
        let hint = check(&source, "f", &Known, &Limits::default()).err().map(|problems| problems[0].hint.clone());
        assert_eq!(hint.flatten().as_deref(), expected, "{reference}");
    }
}
