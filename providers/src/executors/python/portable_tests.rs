//! The portable way, the same suite in it, and Pythons of every age and size.

use gleitzeit_protocols::Registry;

use super::*;
use crate::executors::again;
use crate::factory::Factory;

/// Of what the portable way has not.
const BUT: [&str; 1] = ["strict_tests"];
/// What takes long, and differs neither between ways nor between versions.
const LONG: [&str; 2] = ["a_result_that_cannot_be_carried", "a_gigabyte_of_output"];

#[tokio::test]
#[ignore = "it takes minutes; CI runs it by itself"]
async fn whole_suite_in_the_portable_way() {
    again::run("executors::python::", &BUT, &[("GLEITZEIT_PORTABLE", "1")]).await;
}

#[tokio::test]
#[ignore = "it takes minutes; CI runs it by itself"]
async fn whole_suite_with_an_interpreter_for_each_call() {
    let variables = [("GLEITZEIT_PORTABLE", "1"), ("GLEITZEIT_TEST_FRESH", "1")];
    again::run("executors::python::", &[&BUT[..], &LONG[..]].concat(), &variables).await;
}

#[tokio::test]
#[ignore = "it takes minutes; CI runs it by itself"]
async fn whole_suite_with_each_python() {
    let pythons = again::pythons();
    if pythons.len() < 2 {
        return skipped("this machine has one Python, with which the other tests run");
    }
    for python in pythons {
        let python = python.to_str().expect("text");
        again::run("executors::python::", &LONG, &[("GLEITZEIT_TEST_PYTHON", python)]).await;
    }
}

/// A Python that lacks modules.
struct Poor {
    _folder: tempfile::TempDir,
    bench: Bench,
}

/// None where Python cannot make environments.
fn poor(without: &[&str]) -> Option<Poor> {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path().join("env");
    let made = std::process::Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&root).output();
    if !made.is_ok_and(|made| made.status.success()) {
        skipped("`python3 -m venv` does not work here");
        return None;
    }
    let lib = std::fs::read_dir(root.join("lib")).expect("readable").flatten().next().expect("a version").path();
    let names = without.iter().map(|name| format!("sys.modules['{name}'] = None\n")).collect::<String>();
    std::fs::write(lib.join("site-packages/sitecustomize.py"), format!("import sys\n{names}")).expect("written");
    let options =
        format!("python_executable: {:?}\nmax_open_files: 40\nmax_file_bytes: 1000000", root.join("bin/python"));
    let mut bench = bench_with(&options);
    bench.python.settings.portable = false;
    Some(Poor { _folder: folder, bench })
}

async fn serves_calls(bench: &Bench) {
    let values = json!({"n": -1, "x": 1.5e300, "t": true, "z": null, "s": "ü€😀\n'\"\\\u{1}", "l": [1, [2], {}], "o": {"k": {}}});
    let params = json!({"code": "print('out')\nresult = context", "context": values});
    let outcome = bench.execute(params, Context::default()).await.expect("runs");
    assert_eq!((&outcome["result"], &outcome["output"]), (&values, &json!("out\n")));
    Registry::shipped().validate_result("python/execute", "v1", &outcome).expect("fits the protocol");
    let error = bench.run("x = 1\nraise ValueError('no good')").await.expect_err("fails");
    assert_eq!(error.message, "ValueError: no good");
    let error = bench.run("result = {'a': [float('nan')]}").await.expect_err("no JSON");
    assert_eq!(error.code, ErrorCode::TaskResultInvalid, "{error:?}");
    assert!(error.message.starts_with("`result.a[0]` is NaN"), "{}", error.message);
    let error = bench.run("hold = [open('/dev/null') for _ in range(100)]").await.expect_err("too many");
    assert!(error.message.contains("Too many open files"), "{}", error.message);

    // What the code leaves behind ends with it, in its group and in others.
    let left =
        "import subprocess\nresult = [subprocess.Popen(['sleep', '600'], start_new_session=new).pid for new in (0, 1)]";
    let outcome = bench.run(left).await.expect("runs");
    for pid in outcome["result"].as_array().expect("a list") {
        eventually("it is dead", || !alive(&pid.to_string())).await;
    }
    let marker = bench.temp.path().join("pids");
    let params = json!({"code": stubborn(&marker), "context": {}, "timeout": 3});
    let (outcome, pids) = tokio::join!(bench.execute(params, Context::default()), pids(&marker));
    assert_eq!(outcome.expect_err("too slow").code, ErrorCode::TaskTimeout);
    eventually("both are dead", || !pids.iter().any(|pid| alive(pid))).await;
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn a_python_without_ctypes_serves_calls_the_portable_way() {
    let Some(poor) = poor(&["ctypes", "_ctypes"]) else { return };
    serves_calls(&poor.bench).await;
    assert_eq!(poor.bench.python.pool.namespaces().await, Some(Namespaces::Portable));
    let health = poor.bench.python.health().await;
    let reason = health.reason.expect("said");
    assert!(reason.contains("this Python has no `ctypes`") && reason.lines().count() == 1, "{reason}");
    assert_eq!(health.state, HealthState::Healthy);
    let mut strict = poor.bench.python.options.clone();
    strict.limits.sandbox = Sandbox::Strict;
    let refused = probe::strict(&strict, &poor.bench.python.settings).expect_err("refused");
    let why = "`sandbox: strict` is not possible here: this Python has no `ctypes`";
    assert!(is_portable() || refused == why, "{refused}");
}

#[tokio::test]
async fn a_python_with_the_least_of_its_library_serves_calls() {
    let without = ["ctypes", "_ctypes", "json", "json.decoder", "json.encoder", "_json", "resource", "decimal"];
    let Some(poor) = poor(&without) else { return };
    serves_calls(&poor.bench).await;
    let error = poor.bench.run("import json").await.expect_err("the code has none either");
    assert_eq!(error.data["type"], json!("ModuleNotFoundError"));
    let error = poor.bench.run("open('large', 'wb').write(b'x' * 2_000_000)").await.expect_err("too large");
    assert!(error.message.contains("File too large") || error.message.contains("SIGXFSZ"), "{}", error.message);
}

#[tokio::test]
async fn the_table_of_ps_is_that_of_proc() {
    let bench = bench_in("max_processes: 20", Namespaces::Portable);
    let code = format!(
        "import os, signal, time\n{}\ncode = context['code'].split('def end_children')[0]\nexec(code)\n\
         ps, me = processes_of_ps(), os.getpid()\nresult = None if not ps else [list(ps[me]), [os.getppid(), os.getpgid(0)]]",
        "resource = None"
    );
    let params = json!({"code": code, "context": {"code": include_str!("portable.py")}});
    let outcome = bench.execute(params, Context::default()).await.expect("runs");
    match &outcome["result"] {
        Value::Null => skipped("there is no `ps` here"),
        found => assert_eq!(found[0], found[1]),
    }
}

#[tokio::test]
async fn the_portable_way_has_no_strict_sandbox_and_says_so_in_one_line() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("p.yaml");
    let file = "name: p\nprotocol: python/v1\nexecutor: python-local\noptions: {sandbox: strict}\n";
    std::fs::write(&path, file).expect("written");
    let definition = crate::load_file(&path).expect("valid");
    let portable = Settings { portable: true, ..settings(folder.path()) };
    let error = Factory::build(&definition, &Registry::shipped(), &portable).expect_err("refused").to_string();
    assert!(error.contains("`sandbox: strict` is not possible here: it needs Linux and its namespaces"), "{error}");
    assert_eq!(error.lines().filter(|line| line.contains("is not possible here")).count(), 1, "{error}");
}

#[expect(clippy::print_stderr, reason = "who runs tests is to see it")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
