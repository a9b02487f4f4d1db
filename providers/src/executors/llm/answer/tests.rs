use super::*;

fn wanted(format: Option<Format>) -> Wanted {
    Wanted {
        api: Api::Ollama,
        server: "Ollama at URL".to_owned(),
        model: "m".to_owned(),
        format,
        tools: false,
        only_loads: false,
        whole: None,
    }
}

fn written(text: &str, thinking: &str) -> Written {
    Written { text: text.to_owned(), thinking: thinking.to_owned() }
}

fn answer(about: About, text: &str, thinking: &str, wanted: &Wanted) -> Result<Value, CallError> {
    about
        .text(&written(text, thinking), wanted, Duration::from_micros(1_500))
        .map(|payload| payload.to_value().expect("JSON"))
}

fn ended(reason: &str) -> About {
    About { done_reason: Some(reason.to_owned()), ..About::default() }
}

#[test]
fn json_is_parsed_only_if_it_was_requested() {
    let text = |response: &str, format| answer(About::default(), response, "", &wanted(format));
    let plain = text("{\"a\": 1}", None).expect("an answer");
    assert_eq!(
        (&plain["json"], &plain["model"], &plain["total_duration_ms"]),
        (&json!(null), &json!("m"), &json!(1.5))
    );
    for response in [
        " {\"a\": 1}\n",
        "```json\n{\"a\": 1}\n```",
        "```\n{\"a\": 1}```",
        "```JSON\n{\"a\": 1}\n```\n",
        "<think>hm</think>\n{\"a\": 1}",
        "<think>{}</think>\n```json\n{\"a\": 1}\n```",
        "so it is one</think>{\"a\": 1}",
    ] {
        assert_eq!(text(response, Some(Format::Json)).expect(response)["json"], json!({"a": 1}));
    }
    let inside = text("{\"a\": \"</think>\"}", Some(Format::Json)).expect("an answer");
    assert_eq!(inside["json"], json!({"a": "</think>"}));
    let error = text("Sure! {", Some(Format::Json)).expect_err("no JSON");
    assert!(error.retryable && error.message.ends_with(": Sure! {"), "{error:?}");
    let schema = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}});
    let fitting = || Some(Format::Fitting(Box::new(Schema::compile(&schema).expect("valid"))));
    assert_eq!(text("{\"a\": [1]}", fitting()).expect("an answer")["json"], json!({"a": [1]}));
    let error = text("{\"a\": [1, true]}", fitting()).expect_err("another type");
    assert!(error.retryable && error.message.contains("`a[1]`: expected integer"), "{error:?}");
}

#[test]
fn json_of_a_model_is_checked_like_all_json_from_outside() {
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    for (response, said) in [
        ("{\"a\": {\"b\": NaN}}", "in `a.b`: NaN"),
        ("{\"a\": 1e999}", "in `a`: the number 1e999"),
        ("{\"a\": \"\\ud83d\"}", "in `a`: \\ud83d is half"),
        (&deep, "nested deeper than"),
        ("```json\n{\"a\": 1e999}\n```", "in `a`: the number 1e999"),
    ] {
        let error = answer(About::default(), response, "", &wanted(Some(Format::Json))).expect_err(said);
        assert!(error.message.contains(said), "{error:?}");
        assert_eq!(error.data["response"], response);
    }
}

#[test]
fn an_answer_without_text_is_an_error_that_names_what_was_received() {
    let call = || vec![json!({"id": null, "name": "now", "arguments": {}})];
    let refused = About { refusal: "I cannot help with that.".to_owned(), ..ended("stop") };
    let called = About { tool_calls: call(), ..ended("stop") };
    for (about, text, thinking, said, retryable) in [
        (
            ended("stop"),
            "",
            "It is Paris.",
            "only returned thoughts, 12 bytes; switch thinking off: `extra: {think: false}`",
            true,
        ),
        (ended("length"), "\n\n", "It is", "until the length limit, 5 bytes; give it more `max_tokens`", true),
        (ended("stop"), "<think>hm</think>\n", "", "it only returned thoughts, 18 bytes", true),
        (ended("length"), "<think>hm", "", "it only returned thoughts until", true),
        (ended("stop"), " \n", "", "returned no text; it ended with `stop`", true),
        (ended("load"), "", "", "returned no text; it ended with `load`", true),
        (About::default(), "", "", "the model `m` returned no text", true),
        (ended("length"), "", "", "raise `max_tokens`, and `num_ctx`", true),
        (refused, "", "", "refuses to answer: I cannot help with that.", false),
        (ended("content_filter"), "half", "", "content filter", false),
        (called, "", "", "it called `now`, a tool that was not offered", true),
    ] {
        let error = answer(about.clone(), text, thinking, &wanted(None)).expect_err(said);
        assert_eq!((error.code, error.retryable), (ErrorCode::TaskExecutionFailed, retryable), "{error:?}");
        assert!(error.message.contains(said), "{error:?}");
        let kept = |name: &str| error.data.get(name).and_then(Value::as_str).unwrap_or_default();
        assert_eq!((kept("thinking"), kept("response"), kept("refusal")), (thinking, text, about.refusal.as_str()));
        assert_eq!(error.data.contains_key("tool_calls"), !about.tool_calls.is_empty());
        if retryable && about.refusal.is_empty() {
            let error = answer(about, text, thinking, &wanted(Some(Format::Json))).expect_err(said);
            assert!(error.message.contains("in the requested format: the answer is empty"), "{error:?}");
        }
    }
}

#[test]
fn thinking_and_tool_calls_are_kept_beside_an_answer() {
    let call = json!({"id": "1", "name": "now", "arguments": {}});
    let about = || About { tool_calls: vec![call.clone()], ..ended("tool_calls") };
    let both = answer(about(), "Paris.", "It is Paris.", &wanted(None)).expect("an answer");
    assert_eq!((&both["response"], &both["thinking"]), (&json!("Paris."), &json!("It is Paris.")));
    assert_eq!(both["tool_calls"], json!([call]));
    let asked = Wanted { tools: true, ..wanted(Some(Format::Json)) };
    let only = answer(about(), "", "", &asked).expect("tools were offered");
    assert_eq!((&only["response"], &only["json"], &only["thinking"]), (&json!(""), &json!(null), &json!(null)));
    assert_eq!(only["tool_calls"], json!([call]));
    let neither = answer(ended("stop"), "text", "", &wanted(None)).expect("an answer");
    assert_eq!((&neither["thinking"], &neither["tool_calls"]), (&json!(null), &json!(null)));
    let loading = Wanted { only_loads: true, ..wanted(None) };
    assert_eq!(answer(ended("load"), "", "", &loading).expect("it was only loaded")["done_reason"], "load");
}

#[test]
fn arguments_of_a_tool_call_that_are_not_an_object_are_refused() {
    let asked = Wanted { tools: true, ..wanted(None) };
    for (arguments, reason, expected) in [
        (
            json!("{\"in\": "),
            "tool_calls",
            "the tool `now` with arguments that cannot be read (not a JSON object): {\"in\": ",
        ),
        (
            json!(["UTC"]),
            "tool_calls",
            "the tool `now` with arguments that cannot be read (not a JSON object): [\"UTC\"]",
        ),
        (json!("{\"in\": "), "length", "it was cut at the length limit): {\"in\": "),
    ] {
        let calls = vec![json!({"id": null, "name": "now", "arguments": arguments})];
        for text in ["", "Paris."] {
            let about = About { tool_calls: calls.clone(), ..ended(reason) };
            let error = answer(about, text, "", &asked).expect_err(expected);
            assert_eq!((error.code, error.retryable), (ErrorCode::TaskExecutionFailed, true), "{error:?}");
            assert!(error.message.ends_with(expected), "{error:?}");
            assert_eq!(error.data["tool_calls"], json!(calls));
        }
    }
}

#[test]
fn what_is_kept_in_an_error_is_bounded() {
    let long = "ä".repeat(1_000_000);
    let calls = vec![json!({"name": long, "arguments": {}})];
    let about = About { refusal: long.clone(), tool_calls: calls, ..ended("stop") };
    let error = answer(about, "", &long, &wanted(None)).expect_err("refused");
    for name in ["thinking", "refusal", "tool_calls"] {
        let kept = error.data[name].as_str().expect("text");
        assert!(kept.len() < KEPT + 50 && kept.contains("bytes in all"), "{name}: {}", kept.len());
    }
    let failure = gleitzeit_workflow::error::Failure::from(error);
    let size = failure.size_bytes();
    assert_eq!(failure.bounded().size_bytes(), size, "nothing more is cut from it");
}

#[test]
fn a_cut_prompt_is_reported_whatever_the_answer() {
    let mut size = Size::default();
    size.add(&"filler ".repeat(20_000));
    let about = |tokens, cached_tokens| About { prompt_tokens: Some(tokens), cached_tokens, ..ended("stop") };
    let whole = Wanted { whole: Some(size), ..wanted(None) };
    let error = answer(about(2_050, 0), "I see only the end.", "", &whole).expect_err("cut");
    assert!(!error.retryable, "{error:?}");
    for said in ["read 2050 tokens", "20000 words in 140000 bytes", "`num_ctx`", "`extra: {truncate: true}`"] {
        assert!(error.message.contains(said), "{error:?}");
    }
    answer(about(2_050, 18_000), "Ananas.", "", &whole).expect("the rest was known");
    answer(about(20_050, 0), "Ananas.", "", &whole).expect("all of it");
    answer(about(2_050, 0), "Who cares.", "", &wanted(None)).expect("it may be cut");
    let embedded = about(512, 0).vectors(&[json!([1.0])], &whole, Duration::ZERO).expect_err("cut");
    assert!(embedded.message.contains("512 tokens"), "{embedded:?}");
}

#[test]
fn totals_are_reported_only_if_both_parts_are_known() {
    let about = About { prompt_tokens: Some(3), ..About::default() };
    let usage = |about: About| answer(about, "x", "", &wanted(None)).expect("an answer")["usage"].take();
    assert_eq!(usage(about.clone()), json!({"prompt_tokens": 3, "completion_tokens": null, "total_tokens": null}));
    assert_eq!(usage(About { completion_tokens: Some(4), ..about })["total_tokens"], 7);
}
