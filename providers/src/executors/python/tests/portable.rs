//! Tests of the portable way: the same suite in it, and Pythons of various versions and completeness.

use gleitzeit_protocols::Registry;

use super::*;
use crate::executors::tests::{pythons, rerun};
use crate::factory::Factory;

/// Tests of what the portable way does not have.
const BUT: [&str; 1] = ["tests::strict"];
/// Tests that take long and do not depend on the way or the version.
const LONG: [&str; 2] = ["a_result_that_cannot_be_represented", "a_gigabyte_of_output"];

#[tokio::test]
#[ignore = "it takes minutes; CI runs it by itself"]
async fn whole_suite_in_the_portable_way() {
    rerun("executors::python::", &BUT, &[("GLEITZEIT_PORTABLE", "1")]).await;
}

#[tokio::test]
#[ignore = "it takes minutes; CI runs it by itself"]
async fn whole_suite_with_an_interpreter_for_each_call() {
    let variables = [("GLEITZEIT_PORTABLE", "1"), ("GLEITZEIT_TEST_FRESH", "1")];
    rerun("executors::python::", &[&BUT[..], &LONG[..]].concat(), &variables).await;
}

#[tokio::test]
#[ignore = "it takes minutes; CI runs it by itself"]
async fn whole_suite_with_each_python() {
    let pythons = pythons();
    if pythons.len() < 2 {
        return skipped("this machine has one Python, with which the other tests run");
    }
    for python in pythons {
        let python = python.to_str().expect("text");
        rerun("executors::python::", &LONG, &[("GLEITZEIT_TEST_PYTHON", python)]).await;
    }
}

/// A Python that lacks modules.
struct LimitedPython {
    _folder: tempfile::TempDir,
    bench: Bench,
}

/// `None` if this Python cannot create environments.
fn limited_python(without: &[&str]) -> Option<LimitedPython> {
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
    Some(LimitedPython { _folder: folder, bench })
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

    // Everything that the code leaves behind ends with it, in its group and in others.
    let left =
        "import subprocess\nresult = [subprocess.Popen(['sleep', '600'], start_new_session=new).pid for new in (0, 1)]";
    let outcome = bench.run(left).await.expect("runs");
    for pid in outcome["result"].as_array().expect("a list") {
        eventually("it is dead", || !alive(&pid.to_string())).await;
    }
    let marker = bench.temp.path().join("pids");
    let params = json!({"code": stubborn(&marker), "context": {}});
    let cancel = CancellationToken::new();
    let context = Context { cancel: cancel.clone(), ..Context::default() };
    let (outcome, pids) = tokio::join!(bench.execute(params, context), async {
        let pids = pids(&marker).await;
        cancel.cancel();
        pids
    });
    assert_eq!(outcome.expect_err("cancelled").code, ErrorCode::TaskCancelled);
    eventually("both are dead", || !pids.iter().any(|pid| alive(pid))).await;
    assert_eq!(bench.left_behind(), 0);
}

/// Starts one process in the group and one outside, writes its own number and theirs to a file, and continues with
/// `then`.
fn with_children(marker: &Path, then: &str) -> String {
    format!(
        "import os, signal, subprocess\n\
         pids = [os.getpid(), *(subprocess.Popen(['sleep', '600'], start_new_session=new).pid for new in (0, 1))]\n\
         open({marker:?} + '.tmp', 'w').write(' '.join(map(str, pids)))\n\
         os.rename({marker:?} + '.tmp', {marker:?})\n{then}\nwhile True: signal.pause()\n"
    )
}

fn numbers(marker: &Path) -> Vec<String> {
    std::fs::read_to_string(marker).expect("written").split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_call_whose_lane_is_killed_ends_with_it() {
    let bench = bench_in("max_processes: 20", Namespaces::Portable);
    let marker = bench.temp.path().join("pids");
    let error = bench.run(&with_children(&marker, "os.kill(os.getppid(), signal.SIGKILL)")).await.expect_err("lost");
    assert_eq!((error.code, &error.data["lost"]), (ErrorCode::ProviderNotAvailable, &json!(true)), "{error:?}");
    let pids = numbers(&marker);
    eventually("all are dead", || !pids.iter().any(|pid| alive(pid))).await;
    assert_eq!(bench.run("result = 1").await.expect("another serves")["result"], json!(1));
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn a_call_whose_lane_is_stopped_still_ends() {
    let bench = bench_in("max_processes: 20", Namespaces::Portable);
    let marker = bench.temp.path().join("pids");
    let code = with_children(&marker, "os.kill(os.getppid(), signal.SIGSTOP)\nopen('stopped', 'w').close()");
    let cancel = CancellationToken::new();
    let context = Context { cancel: cancel.clone(), ..Context::default() };
    let (outcome, ()) = tokio::join!(bench.execute(json!({"code": code, "context": {}}), context), async {
        eventually("it runs", || marker.exists()).await;
        let parent = parent_of(&numbers(&marker)[0]);
        eventually("its lane is stopped", || state_of(&parent) == Some('T')).await;
        cancel.cancel();
    });
    assert_eq!(outcome.expect_err("cancelled").code, ErrorCode::TaskCancelled);
    let pids = numbers(&marker);
    eventually("all are dead", || !pids.iter().any(|pid| alive(pid))).await;
}

/// The fields of `/proc/PID/stat` after the name.
fn fields_of(pid: &str) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_ascii_whitespace().map(str::to_owned).collect()
}

fn parent_of(pid: &str) -> String {
    fields_of(pid).get(1).cloned().expect("it lives")
}

fn state_of(pid: &str) -> Option<char> {
    fields_of(pid).first()?.chars().next()
}

/// A process whose first thread has ended has the state of a zombie, although its other threads are running.
#[tokio::test]
async fn a_process_without_its_first_thread_ends_with_the_call() {
    let code = "import ctypes, os, threading, time\npid = os.fork()\nif pid == 0:\n    os.setsid()\n    \
                threading.Thread(target=time.sleep, args=(600,)).start()\n    \
                ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[os.uname().machine], 0)\n\
                def stat(): return open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()\n\
                while stat()[0] != 'Z': time.sleep(0.001)\nresult = [pid, int(stat()[17])]";
    for namespaces in [Namespaces::None, Namespaces::Portable] {
        let outcome = bench_in("max_processes: 20", namespaces).run(code).await.expect("runs");
        assert_eq!(outcome["result"][1], json!(2), "{namespaces:?}: it has a thread");
        let pid = outcome["result"][0].to_string();
        let threads = || fields_of(&pid).get(17).map(|count| count.parse::<u32>().expect("a number"));
        eventually("its thread has ended", || threads().is_none_or(|count| count <= 1)).await;
    }
}

#[tokio::test]
async fn code_that_hinders_the_end_of_its_children_has_its_result() {
    let bench = bench_in("max_processes: 20", Namespaces::Portable);
    let code = "import os, subprocess\nresult = subprocess.Popen(['sleep', '600']).pid\ndef no(*_): raise SystemExit(7)\n\
                os.listdir = os.waitpid = os.kill = os.path.exists = no";
    let outcome = bench.run(code).await.expect("runs");
    eventually("its lane ends them", || !alive(&outcome["result"].to_string())).await;
}

#[tokio::test]
async fn a_python_without_ctypes_serves_calls_the_portable_way() {
    let Some(limited_python) = limited_python(&["ctypes", "_ctypes"]) else { return };
    serves_calls(&limited_python.bench).await;
    assert_eq!(limited_python.bench.python.pool.namespaces().await, Some(Namespaces::Portable));
    let health = limited_python.bench.python.health().await;
    let reason = health.reason.expect("said");
    assert!(reason.contains("this Python has no `ctypes`") && reason.lines().count() == 1, "{reason}");
    assert_eq!(health.state, HealthState::Healthy);
    let mut strict = limited_python.bench.python.options.clone();
    strict.limits.sandbox = Sandbox::Strict;
    let refused = probe::strict(&strict, &limited_python.bench.python.settings).expect_err("refused");
    let why = "`sandbox: strict` is not possible here: this Python has no `ctypes`";
    assert!(is_portable() || refused == why, "{refused}");
}

#[tokio::test]
async fn a_python_with_the_least_of_its_library_serves_calls() {
    let without = ["ctypes", "_ctypes", "json", "json.decoder", "json.encoder", "_json", "resource", "decimal"];
    let Some(limited_python) = limited_python(&without) else { return };
    serves_calls(&limited_python.bench).await;
    let error = limited_python.bench.run("import json").await.expect_err("the code has none either");
    assert_eq!(error.data["type"], json!("ModuleNotFoundError"));
    let error = limited_python.bench.run("open('large', 'wb').write(b'x' * 2_000_000)").await.expect_err("too large");
    assert!(error.message.contains("File too large") || error.message.contains("SIGXFSZ"), "{}", error.message);
}

#[tokio::test]
async fn a_python_that_cannot_set_limits_has_calls_limited_and_not_their_server() {
    let Some(limited_python) = limited_python(&["resource"]) else { return };
    let code = "import os\ndef of(pid): return [line.split()[-3:-1] for line in open(f'/proc/{pid}/limits')\n    \
                if line.startswith(('Max open files', 'Max file size', 'Max cpu time'))]\nresult = [of('self'), of(os.getppid())]";
    let outcome = limited_python.bench.run(code).await.expect("runs");
    assert_eq!(limited_python.bench.python.pool.namespaces().await, Some(Namespaces::Portable));
    let blocks = (1_000_000_u64.div_ceil(512) * 512).to_string();
    let expected = json!([["3600", "3602"], [blocks, blocks], ["40", "40"]]);
    assert_eq!(outcome["result"][0], expected);
    let own = std::fs::read_to_string("/proc/self/limits").expect("readable");
    let own = ["Max cpu time", "Max file size", "Max open files"].map(|name| {
        let line = own.lines().find(|line| line.starts_with(name)).expect("named");
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        json!([fields[fields.len() - 3], fields[fields.len() - 2]])
    });
    assert_eq!(outcome["result"][1], json!(own), "its lane has those of the agent");
}

#[tokio::test]
async fn the_table_of_ps_is_that_of_proc() {
    let bench = bench_in("max_processes: 20", Namespaces::Portable);
    let code = format!(
        "import os, signal, time\n{}\ncode = context['code'].split('def end_children')[0]\nexec(code)\n\
         ps, me = processes_of_ps(time.monotonic() + 20), os.getpid()\nresult = None if not ps else [list(ps[me]), [os.getppid(), os.getpgid(0)]]",
        "resource = None"
    );
    let params = json!({"code": code, "context": {"code": include_str!("../portable.py")}});
    let outcome = bench.execute(params, Context::default()).await.expect("runs");
    match &outcome["result"] {
        Value::Null => skipped("there is no `ps` here"),
        found => assert_eq!(found[0], found[1]),
    }
}

#[tokio::test]
async fn the_portable_way_refuses_a_strict_sandbox_in_one_line() {
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

#[expect(clippy::print_stderr, reason = "the person running the tests must see it")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
