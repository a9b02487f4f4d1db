use super::*;

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn said(text: &str) -> String {
    check(text).expect_err("a problem").to_string()
}

#[test]
fn valid_values_are_accepted_unchanged() {
    for text in [
        "null",
        " [1, -2.5e3, \"a\\\"b\\ud83d\\ude00\", {\"\": {}}] ",
        "18446744073709551615",
        "-9223372036854775808",
        "[0.0, -0, 0e5, 5e-324, 1.7976931348623157e308]",
        &nested(MAX_DEPTH),
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
        let value = parse(text).expect("it is read");
        assert_eq!(check_value(&value), Ok(()), "{text}");
        assert_eq!(parse(&value.to_string()), Ok(value), "{text}");
    }
}

#[test]
fn invalid_values_are_refused_with_their_place() {
    for (text, expected) in [
        ("{\"a\": [1, {\"b\": NaN}]}", "in `a[1].b`: NaN is no JSON; write null or text instead, at byte 16"),
        ("[-Infinity]", "in `[0]`: -Infinity is no JSON; write null or text instead, at byte 1"),
        ("Infinity", "Infinity is no JSON; write null or text instead, at byte 0"),
        ("{\"a.b\": 1e400}", "in `['a.b']`: the number 1e400 is too large to be stored; send it as text, at byte 8"),
        ("6E-578", "the number 6E-578 is too close to zero to be stored; send it as text, at byte 0"),
        (
            "[18446744073709551616]",
            "in `[0]`: the whole number 18446744073709551616 does not fit into 64 bits; send it as text, at byte 1",
        ),
        (
            "-9223372036854775809",
            "the whole number -9223372036854775809 does not fit into 64 bits; send it as text, at byte 0",
        ),
        (
            "{\"t\":\"x\\ud83cy\"}",
            "in `t`: \\ud83c is half of a surrogate pair (a lone surrogate), which is not Unicode text, at byte 7",
        ),
        (
            "\"\\ude00\\ud83d\"",
            "\\ude00 is half of a surrogate pair (a lone surrogate), which is not Unicode text, at byte 1",
        ),
        (
            "{\"\\ud83c\": 1}",
            "in `['\\ud83c']`: \\ud83c is half of a surrogate pair (a lone surrogate), which is not Unicode text, at byte 2",
        ),
        ("{\"é", "EOF while parsing a string, at byte 4"),
        ("[\"漢", "in `[0]`: EOF while parsing a string, at byte 5"),
        ("\"\u{e9}\u{7}x\"", "control character (\\u0000-\\u001F) found while parsing a string, at byte 3"),
        ("[1,", "in `[1]`: EOF while parsing a value, at byte 3"),
        ("", "EOF while parsing a value, at byte 0"),
        ("{} x", "trailing characters, at byte 3"),
    ] {
        assert_eq!(said(text), expected, "{text}");
    }
}

#[test]
fn depth_is_bounded_for_every_source() {
    let problem = check(&nested(MAX_DEPTH + 1)).expect_err("too deep");
    assert_eq!((problem.at, &problem.fault), (MAX_DEPTH, &Fault::Depth));
    assert_eq!(problem.path, "[0]".repeat(MAX_DEPTH));
    assert_eq!(check(&nested(1_000_000)).expect_err("too deep").fault, Fault::Depth);
    let mut value = Value::from("x");
    for _ in 0..MAX_DEPTH {
        value = serde_json::json!({ "a": value });
    }
    assert_eq!(check_value(&value), Ok(()));
    let problem = check_value(&serde_json::json!([1, value])).expect_err("too deep");
    assert_eq!(problem.path, format!("[1]{}", ".a".repeat(MAX_DEPTH - 1)));
}

#[test]
fn the_depth_of_a_nested_value_includes_its_surroundings() {
    assert_eq!(check_inside(&nested(MAX_DEPTH - 2), 2), Ok(()));
    let problem = check_inside(&nested(MAX_DEPTH - 1), 2).expect_err("too deep");
    assert_eq!((problem.at, problem.fault), (MAX_DEPTH - 2, Fault::Depth));
}

#[test]
fn the_envelope_does_not_count_towards_the_depth_of_a_message() {
    #[derive(Debug, serde::Deserialize)]
    struct Message {
        value: Value,
    }
    let read = |levels: usize| {
        let text = format!("{{\"other\": \"\\\"[[\", \"value\": {}}}", nested(levels));
        decode::<Message>(&text).map(|message| serde_json::to_string(&message.value).expect("JSON") == nested(levels))
    };
    assert!(read(1).expect("read") && read(MAX_DEPTH).expect("read") && read(MAX_DEPTH + ENVELOPE - 1).expect("read"));
    for levels in [MAX_DEPTH + ENVELOPE, 1_000_000] {
        assert!(read(levels).expect_err("too deep").to_string().starts_with(PARSER_LIMIT));
    }
}

#[test]
fn invalid_values_are_shown_as_text_and_their_surroundings_unchanged() {
    let text = r#"{"a": [1, "\ud83c", 1e400], "b": 123456789012345678901, "ok": {"c": null}}"#;
    let expected = serde_json::json!({
        "a": [1, "\"\\ud83c\"", "1e400"], "b": "123456789012345678901", "ok": {"c": null}
    });
    assert_eq!(shown(text), expected);
    assert_eq!(shown("[1]"), serde_json::json!([1]));
    assert_eq!(shown("no JSON"), Value::from("no JSON"));
    let mut value = shown(&nested(100_000));
    for _ in 0..MAX_DEPTH {
        value = value[0].take();
    }
    assert_eq!(value.as_str().map(str::len), Some(2 * (100_000 - MAX_DEPTH)));
}

#[test]
fn a_nested_problem_names_the_whole_path() {
    let within = |text: &str| check(text).expect_err("a problem").within("result").path;
    assert_eq!(within("{\"a\": NaN}"), "result.a");
    assert_eq!(within("[NaN]"), "result[0]");
    assert_eq!(within("NaN"), "result");
    let problem = check("{\"a\": {\"b\": NaN}}").expect_err("a problem");
    assert_eq!((problem.first_step(), problem.is_content_fault()), ("a", false));
    assert!(check("[1e400]").expect_err("a problem").is_content_fault());
}
