//! Tests of results, exceptions and outputs that cannot be passed on unchanged, and of what is reported about them.

use serde_json::json;

use super::*;

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
}

#[tokio::test]
async fn a_result_that_cannot_be_represented_names_its_path() {
    let bench = bench();
    for (code, expected) in [
        ("result = {'a': [1, 2, 3, float('nan')]}", "`result.a[3]` is NaN, which is no JSON; use None or text instead"),
        ("result = {'a b': (float('-inf'),)}", "`result['a b'][0]` is -Infinity, which is no JSON"),
        (
            "result = {'big': 10**25 + 1}",
            "`result.big` is the whole number 10000000000000000000000001, which does not fit into 64 bits; return it as \
             text, with `str(...)`",
        ),
        ("result = [-2**63 - 1]", "`result[0]` is the whole number -9223372036854775809,"),
        ("result = 10**5000", "`result` is the whole number of 16610 bits, which does not fit into 64 bits"),
        ("result = 'cut \\ud83d here'", "`result` holds \\ud83d at 4, half of a surrogate pair (a lone surrogate)"),
        ("result = {'é': {'\\ud83d': 1}}", "`result['é']` has a key that holds \\ud83d at 0, half of a surrogate pair"),
        ("result = {'\\ud83d': 1}", "`result` has a key that holds \\ud83d"),
        ("result = [{'k': {1, 2}}]", "`result[0].k` is of type `set`, which is not JSON"),
        ("result = [b'x']", "`result[0]` is of type `bytes`, which is not JSON"),
        ("result = object()", "`result` is of type `object`, which is not JSON"),
        ("result = {'a': {(1, 2): 3}}", "`result.a` has a key of type `tuple`, which is not JSON"),
        ("result = {'a': {float('nan'): 3}}", "`result.a` has a key that is NaN"),
        ("x = 1\nfor _ in range(128): x = [x]\nresult = x", "nested deeper than the limit of 127 levels"),
        (
            "import sys\nsys.setrecursionlimit(100_000)\nx = 1\nfor _ in range(5000): x = [x]\nresult = x",
            "nested deeper than the limit of 127 levels",
        ),
        ("result = {}\nresult['me'] = [result]", "nested deeper than the limit of 127 levels, or holds itself"),
        ("x = []\nfor _ in range(100): x = [x, x]\nresult = x", "more values than the limit of 1048576 bytes allows"),
        ("result = 'x' * 2_000_000", "has 2000002 bytes as JSON, more than the limit of 1048576"),
    ] {
        let error = bench.run(code).await.expect_err(code);
        assert_eq!((error.code, error.retryable), (ErrorCode::TaskResultInvalid, false), "{code}: {error:?}");
        assert!(error.message.contains(expected), "{code}: {}", error.message);
    }
    let outcome = bench.run("print('before')\nresult = float('nan')").await.expect_err("no JSON");
    assert_eq!(outcome.data["output"], "before\n");
    assert_eq!(bench.run("result = 'still alive'").await.expect("runs")["result"], "still alive");
}

#[tokio::test]
async fn representable_results_are_unchanged() {
    let bench = bench();
    for (code, expected) in [
        ("result = [2**64 - 1, -2**63, True, 0.1, 5e-324]", json!([u64::MAX, i64::MIN, true, 0.1, 5e-324])),
        ("result = {1: 'a', True: 'b', None: 'c', 1.5: 'd'}", json!({"1": "b", "null": "c", "1.5": "d"})),
        ("import enum\nclass E(enum.IntEnum): A = 3\nresult = (E.A, 'é\\U0001f600')", json!([3, "é😀"])),
        ("x = 1\nfor _ in range(127): x = {'a': x}\nresult = x", nested(127)),
        ("import sys\nsys.setrecursionlimit(60)\nx = 1\nfor _ in range(127): x = {'a': x}\nresult = x", nested(127)),
    ] {
        let outcome = bench.run(code).await.unwrap_or_else(|error| panic!("{code}: {error:?}"));
        assert_eq!(outcome["result"], expected, "{code}");
    }
    // With the parameters around it, that makes 128 levels.
    let params = json!({"code": "result = context['v']", "context": {"v": nested(126)}});
    assert_eq!(bench.execute(params, Context::default()).await.expect("runs")["result"], nested(126));
}

#[tokio::test]
async fn exceptions_and_output_with_half_a_character_are_kept() {
    let bench = bench();
    let code = "print('out \\ud83d')\nimport sys\nsys.stderr.write('err \\ude00')\n\
                class Cut(ValueError): pass\nraise Cut('cut \\ud83d here')";
    let error = bench.run(code).await.expect_err("fails");
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::TaskExecutionFailed, "Cut: cut \\ud83d here"));
    assert_eq!((&error.data["type"], &error.data["output"]), (&json!("Cut"), &json!("out \\ud83d\n")));
    assert_eq!(error.data["error_output"], "err \\ude00");
    let traceback = error.data["traceback"].as_str().expect("text");
    assert!(traceback.contains("line 5") && traceback.contains("Cut: cut \\ud83d here"), "{traceback}");
    assert_eq!(bench.run("print('\\ud83d')\nresult = 1").await.expect("runs")["output"], "\\ud83d\n");
}

#[tokio::test]
async fn code_that_does_not_compile_is_not_retried() {
    let bench = bench();
    for (code, kind, line) in [
        ("x = 1\ny = (\n", "SyntaxError", 2),
        ("x = 1\n  y = 2\n", "IndentationError", 2),
        ("if x:\n        a\n\tb\n", "TabError", 3),
    ] {
        let error = bench.run(code).await.expect_err(code);
        assert_eq!((error.code, error.retryable), (ErrorCode::TaskExecutionFailed, false), "{error:?}");
        assert_eq!((&error.data["type"], &error.data["line"]), (&json!(kind), &json!(line)), "{error:?}");
        let column = error.data["column"].as_u64().expect("a number");
        let place = format!("(line {line}, column {column})");
        assert!(error.message.starts_with(kind) && error.message.ends_with(&place), "{}", error.message);
    }
    // Code that is compiled by the code itself may be different the next time.
    assert!(bench.run("eval('(')").await.expect_err("fails").retryable);
}

#[tokio::test]
async fn results_are_checked_under_strict_too() {
    if is_portable() {
        return;
    }
    let bench = bench_with("sandbox: strict");
    let error = bench.run("result = [float('nan')]").await.expect_err("no JSON");
    assert!(error.message.starts_with("`result[0]` is NaN"), "{}", error.message);
    assert_eq!(bench.run("print('\\ud83d')").await.expect("runs")["output"], "\\ud83d\n");
}
