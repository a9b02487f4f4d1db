//! The checker: every problem of a file, with its place.

use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::spec::{Catalog, Limits, MethodInfo, Violation, Workflow, check, check_bytes, examine};
use gleitzeit_workflow::template::Language;
use serde_json::{Value, json};

mod names;

struct Known;

impl Catalog for Known {
    fn method(&self, name: &str) -> Option<MethodInfo> {
        let returns = json!({
            "type": "object",
            "properties": {
                "result": {}, "text": {"type": "string"}, "count": {"type": "integer"}, "done": {"const": true},
                "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}},
            },
            "additionalProperties": false,
            "$defs": {"row": {"type": "object", "properties": {"size": {"type": "number"}}, "additionalProperties": false}},
        });
        let parameters = json!({
            "type": "object",
            "properties": {
                "code": {"type": "object"}, "text": {"type": "string"}, "size": {"type": "number"}, "whole": {"type": "integer"},
                "maybe": {"type": ["string", "null"]}, "mode": {"enum": ["a", "b"]}, "any": {},
                "list": {"type": "array", "items": {"properties": {"text": {"anyOf": [{"type": "string"}, {"type": "array"}]}}}},
            },
        });
        if let "shell/run" | "bare/run" = name {
            let env = if name == "shell/run" { "env" } else { "envs" };
            return Some(MethodInfo {
                protocol_version: "v1".to_owned(),
                code: std::iter::once(("command".to_owned(), Language::Shell)).collect(),
                returns: None,
                parameters: Some(json!({"properties": {"command": {"type": "string"}, env: {"type": "object"}}})),
                timeout_ms: None,
            });
        }
        ["python/execute", "util/echo", "util/take"].contains(&name).then(|| MethodInfo {
            protocol_version: "v1".to_owned(),
            code: std::iter::once(("code".to_owned(), Language::Python)).collect(),
            returns: (name == "python/execute").then_some(returns),
            parameters: (name == "util/take").then_some(parameters),
            timeout_ms: None,
        })
    }

    fn method_names(&self) -> Vec<String> {
        vec!["python/execute".to_owned(), "util/echo".to_owned()]
    }

    fn check_template(&self, _: &str, _: &Value) -> Vec<Violation> {
        Vec::new()
    }
}

fn good(source: &str) -> Workflow {
    check(source, "f", &Known, &Limits::default()).expect("valid")
}

fn bad(source: &[u8]) -> Vec<String> {
    let problems = check_bytes(source, "f", &Known, &Limits::default()).expect_err("invalid");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn each_bad_file_is_refused_with_place_and_remedy() {
    let task = "name: n\ntasks:\n  - id: a\n    method: util/echo\n";
    for (source, expected) in [
        (String::new(), "f:1:1: the file is empty"),
        ("name: n\ntasks: []\n".to_owned(), "f:2:8: `tasks` is empty"),
        (
            format!("{task}    depends_on: [a]\n"),
            "f:5:5: unknown field `depends_on` in the task\n  hint: did you mean `dependencies`?",
        ),
        (format!("{task}    method: util/echo\n"), "f:5:5: `method` is given twice: first in line 4, column 5"),
        (format!("{task}    dependencies: [b]\n"), "f:5:20: unknown dependency `b`"),
        (format!("{task}    dependencies: [a]\n"), "f:5:20: task `a` depends on itself: a -> a"),
        (format!("{task}    timeout: soon\n"), "f:5:14: `soon` is not a duration"),
        (format!("{task}    timeout: 0\n"), "f:5:14: a timeout must be at least 1 ms"),
        (format!("{task}    priority: yes\n"), "f:5:15: `priority` cannot be `yes`"),
        (
            format!("{task}    retry: 3\n"),
            "f:5:12: `retry` must be an object, not a number\n  hint: write `retry: {max_attempts: 3}`",
        ),
        (format!("{task}  - id: a\n    method: util/echo\n"), "f:5:9: task id `a` is used twice: first in line 3"),
        (
            format!("{task}    parameters: {{m: \"x ${{inputs.t}}\"}}\n"),
            "f:5:24: ${inputs.t}: there is no input `t`\n  hint: declare it under `inputs`",
        ),
        (format!("{task}    parameters: {{m: .nan}}\n"), "f:5:21: `.nan` is not a JSON number"),
        (
            task.replace("util/echo", "util/ecko"),
            "f:4:13: unknown method `util/ecko`\n  hint: did you mean `util/echo`?",
        ),
        (task.replace("id: a", "id: run"), "f:3:9: `run` is reserved"),
        (format!("{task}outputs: {{x: \"${{b.c}}\"}}\n"), "f:5:15: ${b.c}: there is no task `b`"),
        ("name: [".to_owned(), "f:1:7: invalid YAML"),
    ] {
        let shown = bad(source.as_bytes());
        assert!(shown.iter().any(|problem| problem.starts_with(expected)), "{source}\n{expected}\n{shown:#?}");
    }
}

#[test]
fn notes_list_accepted_fields_without_effect() {
    let task = "name: n\ntasks:\n  - {id: a, method: python/execute}\n";
    for (source, expected) in [
        (
            format!(
                "{task}outputs: {{x: \"${{a.text}}\", y: plain, z: b.text, v: a.txt., u: \"{{{{b.x}}}} {{{{a b}}}} {{{{ a\"}}\n"
            ),
            vec![],
        ),
        (
            format!("wait_for_completion: true\n{task}"),
            vec!["f:1:1: note: `wait_for_completion` is not needed: `run` and `submit --wait` wait\n  hint: remove it"],
        ),
        (
            format!("{task}outputs:\n  x: a.text\n  y: 'é {{{{ a.text }}}} {{{{a.rows[0]}}}}'\n"),
            vec![
                "f:5:6: note: `a.text` is plain text\n  hint: write `${a.text}` for the value",
                "f:6:9: note: `{{ a.text }}` is plain text\n  hint: write `${a.text}` for the value",
                "f:6:22: note: `{{a.rows[0]}}` is plain text\n  hint: write `${a.rows[0]}` for the value",
            ],
        ),
        (
            format!(
                "{task}  - id: b\n    method: util/echo\n    parameters:\n      x: |\n        one\n        two {{{{inputs.t}}}}\n"
            ),
            vec!["f:9:13: note: `{{inputs.t}}` is plain text\n  hint: write `${inputs.t}` for the value"],
        ),
    ] {
        let checked = examine(&source, "f", &Known, &Limits::default());
        assert!(checked.workflow.is_ok(), "{source}\n{:?}", checked.workflow);
        let shown: Vec<String> = checked.notes.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{source}");
    }
    let with_problems = examine("wait_for_completion: false\n", "f", &Known, &Limits::default());
    assert_eq!((with_problems.notes.len(), with_problems.workflow.is_err()), (1, true));
    assert!(bad(format!("wait_for_completion: soon\n{task}").as_bytes())[0].contains("must be a boolean, not text"));
}

#[test]
fn notes_are_as_bounded_as_problems() {
    let text = "{{a.text}} ".repeat(1_000);
    let source = format!("name: n\ntasks:\n  - {{id: a, method: python/execute}}\noutputs: {{x: \"{text}\"}}\n");
    assert_eq!(examine(&source, "f", &Known, &Limits::default()).notes.len(), Limits::DEFAULT.problems);
}

#[test]
fn all_problems_are_reported_in_one_pass_in_the_order_of_the_file() {
    let shown = bad(b"nam: n\ntasks:\n  - id: 1a\n    method: nope\n    timeout: -1\n");
    // The name is present under `nam`, so it is not reported as missing as well.
    assert_eq!(shown.len(), 4, "{shown:#?}");
}

#[test]
fn references_are_checked_against_closed_results() {
    let shown = bad(
        b"name: n\ntasks:\n  - {id: a, method: python/execute}\n  - id: b\n    method: util/echo\n    parameters: {x: \"${a.reslt}\", y: \"${a.text.z}\"}\n",
    );
    assert_eq!(shown.len(), 2, "{shown:#?}");
    assert!(shown[0].contains("did you mean `result`?"), "{shown:#?}");
}

#[test]
fn a_single_reference_must_match_the_type_of_its_parameter() {
    let file = |parameters: &str| {
        format!(
            "name: n\ninputs: {{i: 1}}\nfiles: {{f: x}}\ntasks:\n  - {{id: a, method: python/execute}}\n  - id: b\n    \
             method: util/take\n    parameters: {parameters}\n"
        )
    };
    for fits in [
        "{text: \"${a.text}\", size: \"${a.count}\", whole: \"${a.rows[0].size}\", maybe: \"${a.text}\", mode: \"${a.text}\"}",
        "{text: \"${a.result}\", size: \"${a.result.x}\", any: \"${a.rows}\", other: \"${a.done}\", list: \"${a.rows}\"}",
        "{text: \"is ${a.count}\", whole: \"${inputs.i}\", list: [{text: \"${a.rows}\"}], code: \"${a.text}\"}",
        "{size: \"${a.rows.0.size}\", text: \"${files.f}\", list: [{other: \"${a.count}\"}]}",
    ] {
        good(&file(fits));
    }
    for (parameters, expected) in [
        (
            "{text: \"${a.count}\"}",
            "f:8:25: ${a.count}: `python/execute` returns a whole number there, but `util/take` takes text as `text`\n  \
             hint: of what it returns, `text` would fit",
        ),
        (
            "{text: \"${a.rows.1.size}\"}",
            "f:8:25: ${a.rows.1.size}: `python/execute` returns a number there, but `util/take` takes text as `text`\n  \
             hint: with other text around it, it becomes text: `\"… ${a.rows.1.size}\"`",
        ),
        ("{any: 1, whole: \"${a.done}\"}", "f:8:34: ${a.done}: `python/execute` returns a boolean there"),
        (
            "{maybe: \"${a}\"}",
            "f:8:26: ${a}: `python/execute` returns an object there, but `util/take` takes text or null",
        ),
        ("{mode: \"${a.rows[0]}\"}", "f:8:25: ${a.rows[0]}: `python/execute` returns an object there"),
        (
            "{list: [{}, {text: \"${a.count}\"}]}",
            "f:8:37: ${a.count}: `python/execute` returns a whole number there, but `util/take` takes text or a list as `list[1].text`",
        ),
        ("{list: [\"${a.count}\"], size: \"${files.f.base64}\"}", "f:8:47: ${files.f.base64}: that is text, but"),
        ("{any: \"${a.rows[0].siz}\"}", "f:8:24: ${a.rows[0].siz}: the result of `python/execute` has no field `siz`"),
        ("{size: \"${run.id}\"}", "f:8:25: ${run.id}: that is text, but `util/take` takes a number as `size`"),
    ] {
        let shown = bad(file(parameters).as_bytes());
        assert!(shown.len() == 1 && shown[0].starts_with(expected), "{parameters}\n{expected}\n{shown:#?}");
    }
}

#[test]
fn a_cycle_is_shown_as_a_path() {
    let source = "name: n\ntasks:\n  - {id: a, method: util/echo, dependencies: [b]}\n  - {id: b, method: util/echo, parameters: {x: \"${a.y}\"}}\n";
    let problems = check(source, "f", &Known, &Limits::default()).expect_err("a cycle");
    assert_eq!(problems[0].code, ErrorCode::WorkflowCircularDependency);
    assert!(problems[0].message.ends_with("a -> b -> a"), "{problems:?}");
}

#[test]
fn hostile_files_are_refused_early() {
    assert!(bad(b"name: n\n# \xff")[0].starts_with("f:2:3: the file is not UTF-8 text: byte 0xff at offset 10"));
    assert!(bad(&vec![b'a'; 10 << 20])[0].contains("more than the limit"));
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let shown = bad(bomb.as_bytes());
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert_eq!(bad("[".repeat(100_000).as_bytes()).len(), 1);
}

#[test]
fn a_higher_limit_of_tasks_allows_as_many_more_values() {
    assert_eq!(Limits::of(8 << 20, 200_000), Limits::DEFAULT);
    assert_eq!(Limits::of(1_000, 1), Limits { bytes: 1_000, tasks: 1, ..Limits::DEFAULT });
    assert_eq!(Limits::of(64 << 20, 2_000_000).nodes, 10 * Limits::DEFAULT.nodes);
}

#[test]
fn a_good_file_becomes_a_workflow_with_implied_dependencies() {
    let workflow = good(
        "name: n\ninputs: {t: null, on: yes}\ntimeout: 2m\ntasks:\n  - {id: a, method: python/execute}\n  - id: b\n    method: util/echo\n    priority: high\n    retry: {max_attempts: 3, initial_delay: 0.5}\n    parameters: {x: \"${a.result}\", t: \"${inputs.t}\", raw: $${no}\noutputs: {r: \"${b.x}\"}\n"
            .replace("$${no}", "\"$${no}\"}")
            .as_str(),
    );
    assert_eq!(workflow.timeout_ms, Some(120_000));
    assert_eq!(workflow.inputs["on"], json!("yes"));
    assert_eq!(workflow.tasks[1].dependencies, vec!["a".into()]);
    assert_eq!(workflow.tasks[1].priority.0, 3);
    assert_eq!(workflow.tasks[1].retry.initial_delay_ms, 500);
}

#[test]
fn json_is_accepted_with_surrogate_pairs_in_escapes() {
    let workflow = good(r#"{"name": "\ud83d\ude00", "tasks": [{"id": "a", "method": "util/echo"}]}"#);
    assert_eq!(workflow.name, "😀");
}

#[test]
fn numbers_are_exact_or_refused_and_values_are_as_deep_as_anywhere() {
    let file = |value: &str| format!("name: n\ntasks: [{{id: a, method: util/echo, parameters: {{v: {value}}}}}]\n");
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (value, expected) in [
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("0.0e-999", json!(0.0)),
        ("5e-324", json!(5e-324)),
    ] {
        assert_eq!(good(&file(value)).tasks[0].parameters["v"], expected, "{value}");
    }
    for (value, expected) in [
        ("18446744073709551616", "is outside the whole numbers"),
        ("-9223372036854775809", "is outside the whole numbers"),
        ("6E-578", "is closer to zero than any number"),
        ("1e400", "is too large for a number"),
        (&nested(126), "nested deeper than the limit of 128 levels"),
    ] {
        let problems = bad(file(value).as_bytes());
        assert!(problems[0].starts_with("f:2:") && problems[0].contains(expected), "{value}: {problems:?}");
        // A surrogate pair makes it JSON that only a JSON parser can read.
        let as_json = format!(
            "{{\"name\": \"n\\ud83d\\ude00\", \"tasks\": [\n{{\"id\": \"a\", \"method\": \"util/echo\", \"parameters\": {{\"v\": {value}}}}}]}}"
        );
        let problems = bad(as_json.as_bytes());
        assert!(problems[0].starts_with("f:"), "{value}: {problems:?}");
    }
    // The stored depth equals the written depth, whatever the journal puts around it.
    let workflow = good(&file(&nested(124)));
    let text = json!({"a": [serde_json::to_value(&workflow).expect("JSON")]}).to_string();
    let read: Value = gleitzeit_workflow::json::decode(&text).expect("within what may stand around it");
    assert_eq!(read["a"][0]["tasks"][0]["parameters"], workflow.tasks[0].parameters);
}

#[test]
fn a_reference_that_program_text_cannot_take_is_refused_at_its_place() {
    let file = |code: &str| {
        format!(
            "name: n\ninputs: {{t: 1}}\ntasks:\n  - id: a\n    method: python/execute\n    parameters:\n      code: |\n{code}"
        )
    };
    good(&file("        result = ${inputs.t}  # ${inputs.t}\n"));
    let shown = bad(file("        result = 1\n        x = x${inputs.t}\n").as_bytes());
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert!(shown[0].starts_with("f:9:14: ${inputs.t} stands directly after a name"), "{shown:#?}");
    let shown = bad(file("        x = x${inputs.t}\n        y = y.${inputs.t}\n        z = ${inputs.t}\n").as_bytes());
    assert_eq!(shown.len(), 2, "each that is refused is told: {shown:#?}");
    assert!(shown[0].starts_with("f:8:14: ") && shown[1].starts_with("f:9:15: "), "{shown:#?}");
}

#[test]
fn values_in_shell_text_need_quotes_that_hold_and_a_method_that_takes_them() {
    let file = |method: &str, command: &str| {
        format!(
            "name: n\ninputs: {{t: 1}}\ntasks:\n  - id: a\n    method: {method}\n    parameters:\n      command: |\n{command}"
        )
    };
    good(&file("shell/run", "        echo ${inputs.t} '${inputs.t}' # ${inputs.t}\n"));
    let shown =
        bad(file("shell/run", "        echo ${inputs.t}\n        ${inputs.t} x\n        x=$((${inputs.t}))\n")
            .as_bytes());
    assert_eq!(shown.len(), 2, "each that is refused is told: {shown:#?}");
    assert!(shown[0].starts_with("f:9:9: ${inputs.t} stands as the name of a command; write "), "{shown:#?}");
    assert!(shown[1].starts_with("f:10:14: ${inputs.t} stands in arithmetic, "), "{shown:#?}");
    good(&file("bare/run", "        echo $${HOME}\n"));
    let shown = bad(file("bare/run", "        echo ${inputs.t}\n").as_bytes());
    let expected = "f:8:9: values in shell text are passed in `env`, which the method does not declare\n  hint: in its \
                    protocol, add the parameter `env`";
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert!(shown[0].starts_with(expected), "{shown:#?}");
}

#[test]
fn a_reference_in_a_key_is_refused_at_the_key() {
    let file = "name: n\ninputs: {q: 1}\ntasks:\n  - id: a\n    method: util/echo\n    parameters:\n      ok: 1\n      \
                k${inputs.q}: 2\n";
    let shown = bad(file.as_bytes());
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert!(shown[0].starts_with("f:8:7: `k${inputs.q}`: references have no effect in keys"), "{shown:#?}");
}

#[test]
fn keys_in_quotes_and_doubled_dollars_are_understood() {
    let workflow = |text: &str| {
        let task = json!({"id": "a", "method": "python/execute", "parameters": {"code": "1"}});
        let other = json!({"id": "b", "method": "util/echo", "parameters": {"text": text}});
        json!({"name": "n", "inputs": {"one": 1}, "tasks": [task, other]}).to_string()
    };
    for (text, dependencies) in [
        ("${a['result']['@odata.count']}", 1),
        (r#"${a.result["x"][0]['it\'s ${}']}"#, 1),
        ("$${a.result} $${none", 0),
        ("$$${a.result}", 1),
        ("${inputs['one']} $$$${a.result}", 0),
    ] {
        let workflow = good(&workflow(text));
        assert_eq!(workflow.tasks[1].dependencies.len(), dependencies, "{text}");
    }
    for (text, expected) in [
        (
            "${a['resul']}",
            "${a['resul']}: the result of `python/execute` has no field `resul`\n  hint: did you mean `result`?",
        ),
        ("$$${a.resul}", "${a.resul}: the result of `python/execute` has no field `resul`"),
        ("${a['rows'][0]['sizes']}", "has no field `sizes`"),
        ("${a['rows']['0']}", "${a['rows']['0']} has no field `0`: `python/execute` returns a list there"),
        ("${a['text'].x}", "${a['text'].x} has no field `x`: `python/execute` returns string there"),
        ("${inputs['on']}", "did you mean `${inputs.one}`?"),
        ("${a.first name}", "a key with other characters is written `['first name']`"),
        ("${a[result]}", "a key stands in quotes: `['result']`"),
        ("a ${", "`${` without a closing `}` on the same line; write `$${` for a literal `${`"),
        ("${a['x}", "`${` with a key whose quote ' is not closed on the same line"),
    ] {
        let shown = bad(workflow(text).as_bytes());
        assert!(shown.len() == 1 && shown[0].contains(expected), "{text}: {shown:?}");
    }
    let keys = |key: &str| workflow("x").replace("\"text\"", &format!("\"{key}\""));
    good(&keys("$${x}"));
    assert!(bad(keys("$$${x}").as_bytes())[0].contains("references have no effect in keys"));
}
