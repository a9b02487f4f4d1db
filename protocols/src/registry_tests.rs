use gleitzeit_workflow::Payload;
use gleitzeit_workflow::spec::PathSegment;
use gleitzeit_workflow::template::Language;
use serde_json::json;

use super::*;
use gleitzeit_workflow::json::MAX_DEPTH;

fn protocol(text: &str) -> Protocol {
    Protocol::parse("test.yaml", text).expect("valid protocol")
}

fn math(version: &str, field: &str) -> Protocol {
    protocol(&format!(
        "name: math\nversion: {version}\nmethods:\n  math/add:\n    parameters: {{type: object, required: [{field}]}}\n"
    ))
}

#[test]
fn shipped_protocols_are_valid_and_their_examples_fit() {
    let registry = Registry::shipped();
    let mut examples = 0;
    for protocol in registry.iter() {
        for (name, method) in &protocol.methods {
            assert_eq!(prefix(name), protocol.name);
            for example in &method.examples {
                assert_eq!(registry.validate_parameters(name, &protocol.version, example), Ok(()), "{name}");
                examples += 1;
            }
            let closed = method.returns.as_ref().expect("a schema")["additionalProperties"] == json!(false);
            assert_eq!(closed, name != "util/echo", "{name}");
        }
    }
    assert!(examples >= 4);
}

#[test]
fn the_code_of_python_execute_is_marked() {
    let info = Catalog::method(&Registry::shipped(), "python/execute").expect("known");
    assert_eq!(info.protocol_version, "v1");
    assert_eq!(info.code.get("code"), Some(&Language::Python));
    assert_eq!(info.code.len(), 1);
}

#[test]
fn the_newest_version_is_the_greatest_number() {
    let mut registry = Registry::new();
    for version in ["v10", "v9", "v2"] {
        assert_eq!(registry.register(math(version, "a")), Ok(true));
    }
    assert_eq!(Catalog::method(&registry, "math/add").expect("known").protocol_version, "v10");
}

#[test]
fn the_same_version_with_other_schemas_is_refused() {
    let mut registry = Registry::new();
    assert_eq!(registry.register(math("v1", "a")), Ok(true));
    assert_eq!(registry.register(math("v1", "a")), Ok(false));
    let conflict = registry.register(math("v1", "b")).expect_err("another contract");
    let failure = Failure::from(conflict);
    assert_eq!(failure.known(), Some(ErrorCode::ProtocolVersionMismatch));
    assert_eq!(
        failure.message,
        "protocol `math/v1` is registered with other schemas (`parameters.required[0]` of `math/add` differs); give the \
         changed one a new version"
    );
    assert!(registry.validate_parameters("math/add", "v1", &json!({"a": 1})).is_ok());
}

#[test]
fn optional_parts_of_methods_may_be_left_out() {
    let mut registry = Registry::shipped();
    registry.register(math("v1", "a")).expect("new");
    registry.register(math("v2", "a")).expect("new");
    let only = registry.only_with(["util/echo", "math/add", "nobody/knows"]);
    let names: Vec<String> = only.iter().map(Protocol::id).collect();
    assert_eq!(names, ["math/v1", "math/v2", "util/v1"]);
    assert!(only.methods("util", "v1").is_some_and(|mut methods| methods.any(|method| method == "util/sleep")));
    assert!(only.methods("http", "v1").is_none() && registry.methods("http", "v1").is_some());
}

#[test]
fn a_protocol_survives_the_mesh() {
    for protocol in Registry::shipped().iter() {
        let back = Protocol::from_definition(&protocol.to_definition()).expect("valid");
        assert_eq!(back.methods, protocol.methods);
        let mut registry = Registry::shipped();
        assert_eq!(registry.register(back), Ok(false));
    }
}

#[test]
fn defaults_are_filled_and_do_not_replace() {
    let registry = Registry::shipped();
    let mut parameters = json!({"message": "x"});
    registry.fill_defaults("util/fail", "v1", &mut parameters);
    assert_eq!(parameters, json!({"message": "x", "retryable": true}));
}

#[test]
fn violations_name_the_expectation_and_a_suggestion() {
    let registry = Registry::shipped();
    let violations = registry
        .validate_parameters("python/execute", "v1", &json!({"code": 5, "contxt": {}}))
        .expect_err("two problems");
    let code = violations.iter().find(|v| v.path == [PathSegment::Key("code".into())]).expect("named");
    assert_eq!(code.message, "expected string, found the number `5`");
    let unknown = violations.iter().find(|v| v.path == [PathSegment::Key("contxt".into())]).expect("named");
    assert_eq!(unknown.hint.as_deref(), Some("did you mean `context`?"));
    assert_eq!(violations.len(), 2);
}

#[test]
fn a_method_without_a_schema_takes_any_object() {
    let mut registry = Registry::new();
    registry.register(protocol("{name: my, version: v1, methods: {my/do: }}")).expect("new");
    assert_eq!(registry.validate_parameters("my/do", "v1", &json!({"x": 1})), Ok(()));
    assert!(registry.validate_parameters("my/do", "v1", &json!([1])).is_err());
    assert_eq!(registry.validate_result("my/do", "v1", &json!(null)), Ok(()));
}

#[test]
fn a_reference_may_become_anything_but_the_rest_must_fit() {
    let registry = Registry::shipped();
    let check = |method: &str, parameters: Value| registry.check_template(method, &parameters).len();
    assert_eq!(check("util/sleep", json!({"seconds": "${a.n}"})), 0);
    assert_eq!(check("util/sleep", json!({"seconds": "$${a.n}"})), 1);
    assert_eq!(check("util/sleep", json!({"seconds": "soon"})), 1);
    // The misspelt field is the only problem; that `seconds` is missing is not another one.
    assert_eq!(check("util/sleep", json!({"second": "${a.n}"})), 1);
    assert_eq!(check("util/sleep", json!({"colour": 1})), 2);
    assert_eq!(check("llm/chat", json!({"prompts": "hi"})), 1);
    assert_eq!(check("llm/chat", json!({"colour": 1})), 2);
    assert_eq!(check("util/sleep", json!({"seconds": ["${a.n}"]})), 1);
    assert_eq!(check("python/execute", json!({"code": "x", "context": "${a.result}", "timeout": -1})), 1);
    assert_eq!(check("python/execute", json!({"context": {"x": "${a.result}"}})), 1);
}

#[test]
fn alternatives_that_contain_a_reference_are_not_checked() {
    let mut registry = Registry::new();
    let text = "{name: my, version: v1, methods: {my/do: {parameters: {type: object, properties: {x: {anyOf: [{type: \
                number}, {type: array, items: {type: number}}]}}}}}}";
    registry.register(protocol(text)).expect("new");
    assert_eq!(registry.check_template("my/do", &json!({"x": ["${a.b}"]})), vec![]);
    assert_eq!(registry.check_template("my/do", &json!({"x": "no"})).len(), 1);
}

#[test]
fn all_problems_of_a_file_are_reported_with_their_places() {
    let text = "name: my\nversion: v1\nmetods: 1\nmethods:\n  my/do:\n    paramters: {}\n    returns: {type: strin}\n  \
                other/do: {}\n  my/do: {}\n";
    let problems = Protocol::parse("my.yaml", text).expect_err("five problems");
    let places: Vec<_> =
        problems.iter().map(|problem| (problem.line.unwrap_or(0), problem.column.unwrap_or(0))).collect();
    assert_eq!(places.iter().map(|place| place.0).collect::<Vec<_>>(), [3, 6, 7, 8, 9], "{problems:#?}");
    assert_eq!(places[0], (3, 1));
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `methods`?"));
    assert_eq!(problems[1].hint.as_deref(), Some("did you mean `parameters`?"));
    assert!(problems[0].to_string().starts_with("my.yaml:3:1: unknown field `metods`"));
}

#[test]
fn an_example_that_does_not_fit_is_a_problem_at_its_place() {
    let text = "name: my\nversion: v1\nmethods:\n  my/do:\n    parameters:\n      type: object\n      required: [a]\n      \
                additionalProperties: false\n      properties: {a: {type: array, items: {type: number}}}\n    examples:\n      \
                - {a: [1]}\n      - {a: [1, two]}\n      - b: 1\n        a: []\n      - {}\n      - text\n";
    let problems = Protocol::parse("my.yaml", text).expect_err("four problems");
    let said: Vec<String> = problems.iter().map(|it| format!("{}:{}", it.line.unwrap_or(0), it.message)).collect();
    let expected = [
        "12:`a.1` of an example of method `my/do` does not fit `parameters`: expected number, found the text `two`",
        "13:`b` of an example of method `my/do` does not fit `parameters`: unknown field `b`",
        "15:an example of method `my/do` does not fit `parameters`: `a` is missing",
        "16:an example of method `my/do` does not fit `parameters`: expected an object, found the text `text`",
    ];
    assert_eq!(said, expected);
    // Without a schema any object is valid, and what has been recorded stays readable.
    protocol("{name: my, version: v1, methods: {my/do: {examples: [{x: 1}]}}}");
    let bad = serde_json::json!({"my/do": {"parameters": {"type": "object", "required": ["a"]}, "examples": [{}]}});
    let definition =
        ProtocolDefinition { name: "my".to_owned(), version: "v1".to_owned(), methods: Payload::from_value(&bad) };
    assert!(Protocol::from_definition(&definition).is_ok());
}

#[test]
fn hostile_schemas_are_errors() {
    let deep = (0..200).fold(json!({}), |inner, _| json!({"not": inner}));
    for schema in [
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"$ref": "#/$defs/missing"}),
        json!({"type": "object", "properties": {"x": {"type": "nothing"}}}),
        json!({"pattern": "(a+)+(?=b)"}),
        json!({"pattern": "(?:a{1000}){1000}"}),
        json!({"pattern": "("}),
        json!("text"),
        json!({"description": "x".repeat(300_000)}),
        deep,
    ] {
        assert!(Schema::compile(&schema).is_err(), "{}", crate::violation::bounded(&schema.to_string(), 80));
    }
}

#[test]
fn broken_and_hostile_yaml_is_an_error() {
    let bomb = format!("name: {}{}", "[".repeat(500), "]".repeat(500));
    for text in ["", "name: [", "- a", "\u{0}", &bomb, &"x".repeat(2 << 20)] {
        let problems = Protocol::parse("bad.yaml", text).expect_err("not a protocol");
        assert!(!problems.is_empty());
    }
}

#[test]
fn a_folder_is_loaded_in_the_order_of_names() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("b.yaml"), "{name: b, version: v1, methods: {b/x: {}}}").expect("written");
    std::fs::write(folder.path().join("a.yml"), "{name: a, version: v1, methods: {a/x: {}}}").expect("written");
    std::fs::write(folder.path().join("c.txt"), "not read").expect("written");
    let names: Vec<_> = crate::load_dir(folder.path()).expect("valid").into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["a", "b"]);
    let files: Vec<_> = crate::load_files(folder.path()).expect("valid").into_iter().map(|(file, _)| file).collect();
    assert_eq!(files, ["a.yml", "b.yaml"].map(|name| folder.path().join(name).display().to_string()));
    std::fs::write(folder.path().join("d.yaml"), [0xff, 0xfe]).expect("written");
    let problems = crate::load_dir(folder.path()).expect_err("not UTF-8");
    assert!(problems[0].message.contains("UTF-8"));
}

#[test]
fn a_language_mark_without_effect_is_refused() {
    let text = |parameters: &str| {
        format!("name: my\nversion: v1\nmethods:\n  my/do:\n    parameters:\n      type: object\n{parameters}")
    };
    for (parameters, line) in [
        ("      properties: {x: {type: object, properties: {code: {type: string, language: python}}}}\n", 7),
        ("      anyOf:\n        - properties: {code: {language: shell}}\n", 8),
        ("      properties:\n        code: {type: string, language: pyhton}\n", 8),
    ] {
        let problems = Protocol::parse("my.yaml", &text(parameters)).expect_err("refused");
        assert_eq!((problems.len(), problems[0].line), (1, Some(line)), "{problems:#?}");
    }
    let named = text("      properties: {language: {type: string, default: python}}\n");
    assert_eq!(protocol(&named).methods["my/do"].code().len(), 0);
}

#[test]
fn a_chat_needs_something_to_answer_and_knows_its_options() {
    let registry = Registry::shipped();
    let check = |parameters: Value| {
        let violations = registry.validate_parameters("llm/chat", "v1", &parameters).expect_err("refused");
        violations.iter().map(|violation| format!("{violation:?}")).collect::<Vec<_>>().join("\n")
    };
    assert!(check(json!({"model": "llama3.2"})).contains("messages"));
    let wrong = check(json!({"prompt": "x", "options": {"temprature": 0}}));
    assert!(wrong.contains("did you mean `temperature`?"), "{wrong}");
    let wrong = check(json!({"messages": [{"role": "usr", "content": "x"}]}));
    assert!(wrong.contains("usr"), "{wrong}");
    let mut parameters = json!({"prompt": "x"});
    registry.fill_defaults("llm/chat", "v1", &mut parameters);
    assert_eq!(parameters["model"], "llama3.2");
    let mut parameters = json!({"images": ["aaaa"]});
    registry.fill_defaults("llm/vision", "v1", &mut parameters);
    assert_eq!(parameters["model"], "llava");
}

/// Threads of the control plane have stacks of 2 MiB.
#[test]
fn a_schema_as_deep_as_it_may_be_takes_no_more_than_the_stack_of_a_thread() {
    let work = || {
        // `properties` and a name are two levels, and two more are around a schema.
        let schema =
            (0..MAX_DEPTH / 2 - 2).fold(json!({"type": "integer"}), |inner, _| json!({"properties": {"a": inner}}));
        let value = (0..MAX_DEPTH - 1).fold(json!(1), |inner, _| json!({"a": inner}));
        let methods = json!({"m/x": {"parameters": schema}}).to_string();
        let definition = ProtocolDefinition {
            name: "m".to_owned(),
            version: "v1".to_owned(),
            methods: Payload::grammatical(methods).expect("JSON"),
        };
        let mut registry = Registry::new();
        registry.learn(&definition).expect("deep, and no deeper than the limit");
        let mut filled = value.clone();
        registry.fill_defaults("m/x", "v1", &mut filled);
        assert_eq!(filled, value);
        registry.validate_parameters("m/x", "v1", &value).expect_err("no integer there");
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread").join().expect("it fits");
    let deep = (0..MAX_DEPTH).fold(json!({}), |inner, _| json!({"not": inner}));
    assert!(Schema::compile(&deep).is_err());
}
