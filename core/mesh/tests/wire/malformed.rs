//! A message that is not a valid event is refused, and the error names the wrong field, so that the author of a foreign
//! component can correct it.

use gleitzeit_mesh::wire::{FromHub, ToHub};

const RUN: &str = "01930a5c-7e31-7c3d-9b4f-2a6d5e8f9c01";

#[track_caller]
fn refused(kind: &str, body: &str, expected: &str) {
    let body = body.replace("RUN", RUN);
    let error = ToHub::decode(kind, &body).expect_err(&body).to_string();
    assert_eq!(error, format!("malformed mesh event `{kind}`: {expected}"), "{body}");
}

#[test]
fn an_unknown_event_is_named() {
    for kind in ["registerComponent", "welcome", "", "append "] {
        let error = ToHub::decode(kind, "{}").expect_err("refused").to_string();
        assert_eq!(error, format!("unknown mesh event `{kind}`"));
    }
    let error = FromHub::decode("register_component", "{}").expect_err("refused").to_string();
    assert_eq!(error, "unknown mesh event `register_component`");
}

#[test]
fn a_missing_field_is_named() {
    refused("register_component", "{}", "missing field `component_type`");
    refused("events_ack", "{}", "missing field `position`");
    refused("append", "{}", "missing field `proposals`");
    refused("append", r#"{"proposals":[{}]}"#, "in `proposals[0]`: missing field `proposal_id`");
    refused("task_taken", r#"{"attempts":[{"task_id":"a"}]}"#, "in `attempts[0]`: missing field `run_id`");
    refused("execute_method", r#"{"id":"x","method":"a/b","params":{}}"#, "missing field `meta`");
    refused(
        "execute_method",
        r#"{"id":"x","method":"a/b","params":{},"meta":{"run_id":"RUN"}}"#,
        "in `meta`: missing field `task_id`",
    );
    refused("execute_method", r#"{"calls":[{"id":"x"}]}"#, "in `calls[0]`: missing field `method`");
    refused("method_progress", r#"{"id":"x"}"#, "missing field `data`");
    refused("cancel_method", "{}", "missing field `id`");
    refused("watch", "{}", "missing field `from_position`");
}

#[test]
fn a_value_of_another_type_is_named_with_its_field() {
    refused("register_component", r#"{"component_type":7}"#, "in `component_type`: expected value");
    refused(
        "register_component",
        r#"{"component_type":"worker"}"#,
        "in `component_type`: unknown variant `worker`, expected one of `queue`, `resolver`, `engine`, `provider`",
    );
    refused(
        "register_component",
        r#"{"component_type":"provider","name":"é\"{","methods":["a/b",7]}"#,
        "in `methods[1]`: invalid type: integer `7`, expected a string",
    );
    refused(
        "register_component",
        r#"{"component_type":"provider","protocols":[{"name":"a","version":1,"methods":{}}]}"#,
        "in `protocols[0].version`: invalid type: integer `1`, expected a string",
    );
    refused(
        "register_component",
        r#"{"component_type":"provider","health":"healthy"}"#,
        "in `health`: invalid type: string \"healthy\", expected struct Health",
    );
    refused(
        "heartbeat_response",
        r#"{"status":"ok","load":"3"}"#,
        "in `load`: invalid type: string \"3\", expected u32",
    );
    refused("watch", r#"{"from_position":null}"#, "in `from_position`: invalid type: null, expected u64");
    refused("task_taken", "{\n\"attempts\":\n7}", "in `attempts`: invalid type: integer `7`, expected a sequence");
}

/// Checks a body that is not an answer: its fields, and the expected error.
#[track_caller]
fn no_answer(fields: &str, expected: &str) {
    refused("method_result", &format!("{{{fields}}}"), expected);
    // In a list too, whatever precedes it.
    let good = r#"{"jsonrpc":"2.0","id":"a","result":1}"#;
    let listed = match expected.strip_prefix("in `") {
        Some(rest) => format!("in `results[1].{rest}"),
        None => format!("in `results[1]`: {expected}"),
    };
    refused("method_result", &format!(r#"{{"results":[{good},{{{fields}}},{good}]}}"#), &listed);
}

#[test]
fn an_answer_is_json_rpc_2_0_or_none() {
    no_answer("", "missing field `jsonrpc`");
    no_answer(r#""id":"x","result":1"#, "missing field `jsonrpc`");
    no_answer(r#""jsonrpc":"1.0","id":"x","result":1"#, "in `jsonrpc`: expected `2.0`, found `1.0`");
    no_answer(
        r#""jsonrpc":2.0,"id":"x","result":1"#,
        "in `jsonrpc`: invalid type: floating point `2.0`, expected a string",
    );
    no_answer(r#""jsonrpc":"2.0","result":1"#, "missing field `id`");
    no_answer(r#""jsonrpc":"2.0","id":null,"result":1"#, "in `id`: invalid type: null, expected a string");
    no_answer(r#""jsonrpc":"2.0","id":7,"result":1"#, "in `id`: invalid type: integer `7`, expected a string");
    no_answer(r#""jsonrpc":"2.0","id":["x"],"result":1"#, "in `id`: invalid type: sequence, expected a string");
    no_answer(r#""jsonrpc":"2.0","id":"x""#, "expected `result` or `error`");
    let error = r#"{"code":1,"message":"no"}"#;
    for (result, error) in [("1", error), ("null", error)] {
        let both = format!(r#""jsonrpc":"2.0","id":"x","result":{result},"error":{error}"#);
        no_answer(&both, "expected `result` or `error`, found both");
    }
    no_answer(
        r#""jsonrpc":"2.0","id":"x","result":1,"error":null"#,
        "in `error`: invalid type: null, expected an error: {code, message, data?}",
    );
    no_answer(r#""jsonrpc":"2.0","id":"x","result":1,"result":2"#, "in `result`: duplicate field `result`");
    no_answer(r#""jsonrpc":"2.0","id":"x","id":"y","result":1"#, "in `id`: duplicate field `id`");
}

#[test]
fn the_error_of_an_answer_has_a_code_and_a_message() {
    for (error, expected) in [
        ("\"no\"", "in `error`: invalid type: string \"no\", expected an error: {code, message, data?}"),
        ("[1,\"no\"]", "in `error`: invalid type: sequence, expected an error: {code, message, data?}"),
        ("{}", "in `error`: missing field `code`"),
        (r#"{"message":"no"}"#, "in `error`: missing field `code`"),
        (r#"{"code":1}"#, "in `error`: missing field `message`"),
        (r#"{"code":"1","message":"no"}"#, "in `error.code`: invalid type: string \"1\", expected i32"),
        (r#"{"code":1.5,"message":"no"}"#, "in `error.code`: invalid type: floating point `1.5`, expected i32"),
        (r#"{"code":1,"message":null}"#, "in `error.message`: invalid type: null, expected a string"),
        (
            r#"{"code":1,"message":"no","data":{"retryable":"no"}}"#,
            "in `error`: in `data.retryable`: invalid type: string \"no\", expected a boolean",
        ),
        (
            r#"{"code":1,"message":"no","data":{"x":[],"retry_after_ms":-1}}"#,
            "in `error`: in `data.retry_after_ms`: invalid value: integer `-1`, expected u64",
        ),
    ] {
        no_answer(&format!(r#""jsonrpc":"2.0","id":"x","error":{error}"#), expected);
    }
    for data in
        ["null", "7", "[]", "\"text\"", r#"{"retryable":null}"#, r#"{"retryable":true,"retry_after_ms":5,"x":1}"#]
    {
        let body = format!(r#"{{"jsonrpc":"2.0","id":"x","error":{{"code":1,"message":"no","data":{data}}}}}"#);
        assert!(ToHub::decode("method_result", &body).is_ok(), "{body}");
    }
}

#[test]
fn answers_come_alone_or_in_a_list_under_their_name() {
    let good = r#"{"jsonrpc":"2.0","id":"a","result":1}"#;
    let sequence = "invalid type: sequence, expected an answer: a JSON object";
    refused("method_result", "[]", sequence);
    refused("method_result", &format!("[{good}]"), sequence);
    refused("method_result", r#"["2.0","a",1]"#, sequence);
    refused("method_result", r#"{"results":{}}"#, "in `results`: invalid type: map, expected a sequence");
    refused("method_result", r#"{"results":[]}"#, "expected at least one answer in `results`");
    refused("method_result", &format!(r#"{{"results":[[{good}]]}}"#), &format!("in `results[0]`: {sequence}"));
    let both = format!(r#"{{"jsonrpc":"2.0","id":"b","result":1,"results":[{good}]}}"#);
    refused("method_result", &both, "expected one answer or `results`, found both");
}

#[test]
fn a_number_out_of_range_is_named_with_its_field() {
    refused(
        "register_component",
        r#"{"component_type":"engine","slots":4294967296}"#,
        "in `slots`: invalid value: integer `4294967296`, expected u32",
    );
    refused(
        "register_component",
        r#"{"component_type":"engine","slots":-1}"#,
        "in `slots`: invalid value: integer `-1`, expected u32",
    );
    refused(
        "register_component",
        r#"{"component_type":"provider","max_concurrency":1e30}"#,
        "in `max_concurrency`: invalid type: floating point `1e+30`, expected u32",
    );
    refused(
        "events_ack",
        r#"{"position":18446744073709551616}"#,
        "in `position`: invalid type: floating point `1.8446744073709552e+19`, expected u64",
    );
    refused(
        "method_result",
        r#"{"jsonrpc":"2.0","id":"x","error":{"code":99999999999}}"#,
        "in `error.code`: invalid value: integer `99999999999`, expected i32",
    );
    refused("watch", r#"{"from_position":1e999}"#, "in `from_position`: number out of range");
}

#[test]
fn a_proposal_that_cannot_be_read_names_its_command_and_field() {
    refused(
        "append",
        r#"{"proposals":[{"proposal_id":"1","command":{"type":"run_task","data":{}}}]}"#,
        "in `proposals[0]`: unknown command `run_task`",
    );
    refused(
        "append",
        r#"{"proposals":[{"proposal_id":"1","command":{"type":"start_attempt","data":{"ref":{"run_id":"RUN","task_id":"a","attempt":-1},"ran_ms":1}}}]}"#,
        "in `proposals[0]`: malformed command `start_attempt`: in `ref.attempt`: invalid value: integer `-1`, expected u32",
    );
    refused(
        "append",
        r#"{"proposals":[{"proposal_id":"1","fence":{"slice":{"shard":256},"epoch":1},"command":{"type":"x","data":{}}}]}"#,
        "in `proposals[0].fence.slice.shard`: invalid value: integer `256`, expected u8",
    );
    refused(
        "append",
        r#"{"proposals":[{"proposal_id":"1","command":{"type":"requeue_task","data":{"run_id":"x","task_id":"a","attempt":1}}}]}"#,
        "in `proposals[0]`: malformed command `requeue_task`: in `run_id`: UUID parsing failed: invalid character: found `x` at 0",
    );
}

#[test]
fn text_that_is_not_json_is_refused() {
    refused("watch", r#"{"from_position":1"#, "in `from_position`: EOF while parsing an object");
    refused("watch", "", "EOF while parsing a value");
    refused("watch", "[]", "invalid length 0, expected struct Watch with 2 elements");
    let deep = format!("{{\"from_position\":{}", "[".repeat(100_000));
    assert!(ToHub::decode("watch", &deep).is_err(), "deep nesting is refused, not followed");
    let deep = format!(r#"{{"id":"x","data":{}}}"#, "[".repeat(100_000));
    assert!(ToHub::decode("method_progress", &deep).is_err(), "not in free JSON either");
}
