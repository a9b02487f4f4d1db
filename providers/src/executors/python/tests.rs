use std::path::{Path, PathBuf};

use gleitzeit_mesh::wire::HealthState;
use gleitzeit_protocols::Registry;
use gleitzeit_protocols::yaml::FileKind;
use gleitzeit_workflow::error::ErrorCode;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;

mod limits;
mod portable;
mod result;
mod script;
mod slow;
mod strict;

fn settings(temp: &Path) -> Settings {
    let mut settings = Settings::from_env(|name| std::env::var_os(name));
    settings.temp = temp.to_owned();
    settings
}

struct Bench {
    temp: tempfile::TempDir,
    python: Python,
}

fn bench_with(options: &str) -> Bench {
    bench_in(options, Namespaces::Auto)
}

fn bench_in(options: &str, namespaces: Namespaces) -> Bench {
    let temp = tempfile::tempdir().expect("folder");
    let mut reader = Reader::new("test");
    let node = reader.parse(FileKind::Provider, options);
    let options = options::read(&mut reader, node.as_ref());
    let mut options = reader.finish(Some(options)).expect("valid options");
    if let (Some(other), "python3") = (std::env::var("GLEITZEIT_TEST_PYTHON").ok(), options.python_executable.as_str())
    {
        options.python_executable = other;
    }
    let mut python = Python::new(options, settings(temp.path()), 2, namespaces);
    python.is_fresh = std::env::var_os("GLEITZEIT_TEST_FRESH").is_some();
    Bench { temp, python }
}

/// Whether the tests run in the portable way.
fn is_portable() -> bool {
    settings(Path::new("/tmp")).way() != Way::Kernel
}

fn bench() -> Bench {
    bench_with("python_executable: python3")
}

impl Bench {
    async fn execute(&self, params: Value, context: Context) -> Result<Value, CallError> {
        let call = Call { method: "python/execute".into(), params: Payload::from_value(&params) };
        self.python.call(call, context).await.map(|payload| payload.to_value().expect("JSON"))
    }

    async fn run(&self, code: &str) -> Result<Value, CallError> {
        self.execute(json!({"code": code, "context": {}}), Context::default()).await
    }

    /// The number of call folders that still exist.
    fn left_behind(&self) -> usize {
        let workspace = self.python.workspace.get().expect("used").path();
        let entries = std::fs::read_dir(workspace).expect("readable");
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("call-")).count()
    }
}

fn alive(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        // A zombie is dead; who has to reap it does not matter here.
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => false,
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn values_keep_their_types_both_ways() {
    let values = json!({"n": 1, "x": 1.5, "t": true, "z": null, "s": "ü€😀\n'\"\\", "l": [1, [2]], "o": {"k": {}}});
    let bench = bench();
    let code = "assert type(context['n']) is int and type(context['x']) is float and context['t'] is True\n\
                assert context['z'] is None\nresult = context";
    let outcome = bench.execute(json!({"code": code, "context": values}), Context::default()).await.expect("runs");
    assert_eq!(outcome["result"], values);
    assert_eq!(outcome["success"], json!(true));
    assert_eq!(bench.left_behind(), 0);
    Registry::shipped().validate_result("python/execute", "v1", &outcome).expect("fits the protocol");
}

#[tokio::test]
async fn output_is_kept_apart_from_the_result() {
    let code = "import sys, os\nprint('héllo')\nsys.stderr.write('warn')\nos.system('echo child')\nresult = 7";
    let outcome = bench().run(code).await.expect("runs");
    assert_eq!(outcome["result"], json!(7));
    let output = outcome["output"].as_str().expect("text");
    assert!(output.contains("héllo") && output.contains("child"), "{output}");
    assert_eq!(outcome["error_output"], json!("warn"));
}

#[tokio::test]
async fn no_result_is_null_and_a_clean_exit_is_success() {
    let bench = bench();
    assert_eq!(bench.run("x = 1").await.expect("runs")["result"], Value::Null);
    assert_eq!(bench.run("import sys\nresult = 3\nsys.exit()").await.expect("runs")["result"], json!(3));
    assert_eq!(bench.run("import sys\nresult = sys.stdin.read()").await.expect("runs")["result"], json!(""));
}

#[tokio::test]
async fn an_exception_names_itself_and_the_users_line() {
    let error =
        bench().run("def f():\n    raise ValueError('no good')\n\nprint('before')\nf()\n").await.expect_err("fails");
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::TaskExecutionFailed, "ValueError: no good"));
    let traceback = error.data["traceback"].as_str().expect("text");
    assert!(traceback.contains("\"<code>\", line 2, in f") && traceback.contains("raise ValueError"), "{traceback}");
    assert!(!traceback.contains("gleitzeit") && !traceback.contains("<string>"), "{traceback}");
    assert_eq!(error.data["output"], json!("before\n"));
    let syntax = bench().run("x = (\n").await.expect_err("fails");
    assert!(syntax.message.starts_with("SyntaxError: "), "{}", syntax.message);
}

#[tokio::test]
async fn every_unusual_end_is_a_clear_error() {
    let bench = bench();
    for (code, expected) in [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(4)", "exit code 4"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ] {
        let error = bench.run(code).await.expect_err(code);
        assert_eq!(error.code, ErrorCode::TaskExecutionFailed, "{code}");
        assert!(error.message.contains(expected), "{code}: {}", error.message);
    }
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn large_output_is_cut_with_a_note() {
    let bench = bench_with("max_output_bytes: 1000");
    let outcome = bench.run("for _ in range(100): print('y' * 99_999)").await.expect("runs");
    let output = outcome["output"].as_str().expect("text");
    assert!(output.len() < 1200 && output.contains("1000 of 10000000 bytes kept"), "{}", output.len());
}

#[tokio::test]
async fn nothing_is_inherited_and_the_folder_does_not_shadow() {
    use std::os::fd::AsRawFd;
    let file = std::fs::File::open("/dev/null").expect("opens");
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("inheritable");
    let code = "import os, sys\nopen('json.py', 'w').write('raise SystemExit(9)')\nimport importlib, json\n\
                importlib.reload(json)\nresult = [sorted(os.environ), '' in sys.path, os.getcwd() in sys.path,\n \
                [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') \
                if n not in '012' and os.path.exists(f'/proc/self/fd/{n}')]]";
    let outcome = bench().run(code).await.expect("runs");
    let names: Vec<_> = outcome["result"][0].as_array().expect("list").iter().filter_map(Value::as_str).collect();
    let allowed = ["HOME", "LANG", "PATH", "TMPDIR", "LC_CTYPE"];
    assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
    assert_eq!(outcome["result"][1], json!(false));
    assert_eq!(outcome["result"][2], json!(false));
    let open = outcome["result"][3].to_string();
    assert!(!open.contains("/dev/null"), "{open} (inherited {})", file.as_raw_fd());
}

/// Starts a grandchild and learns its number as the rest of the system sees it: inside a namespace, numbers differ.
const GRANDCHILD: &str = "import subprocess\n\
    p = subprocess.Popen(['sh', '-c', 'read pid rest < /proc/self/stat; echo $pid; exec sleep 600'], \
    stdout=subprocess.PIPE)\nseen = int(p.stdout.readline())\n";

/// Starts a grandchild that ignores hang-ups, writes its pid to a file, and then computes forever.
fn stubborn(marker: &Path) -> String {
    format!(
        "import re, os\n{GRANDCHILD}\
         open({marker:?} + '.tmp', 'w').write(f'{{os.readlink(\"/proc/self\")}} {{seen}}')\n\
         os.rename({marker:?} + '.tmp', {marker:?})\nre.match('(a+)+b', 'a' * 60)\n"
    )
}

async fn pids(marker: &Path) -> Vec<String> {
    eventually("the code runs", || marker.exists()).await;
    let text = std::fs::read_to_string(marker).expect("written");
    let pids: Vec<String> = text.split(' ').map(str::to_owned).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| alive(pid)));
    pids
}

#[tokio::test]
async fn a_timeout_kills_grandchildren_too() {
    let bench = bench();
    let marker = bench.temp.path().join("pids");
    let params = json!({"code": stubborn(&marker), "context": {}, "timeout": 1.5});
    let started = Instant::now();
    let (outcome, pids) = tokio::join!(bench.execute(params, Context::default()), pids(&marker));
    assert_eq!(outcome.expect_err("too slow").code, ErrorCode::TaskTimeout);
    assert!(started.elapsed() < Duration::from_secs(5));
    eventually("both are dead", || !pids.iter().any(|pid| alive(pid))).await;
    assert_eq!(bench.left_behind(), 0);
    let context = Context { deadline: Some(Instant::now() + Duration::from_millis(300)), ..Context::default() };
    let outcome = bench.execute(json!({"code": "while True: pass"}), context).await;
    assert_eq!(outcome.expect_err("too slow").code, ErrorCode::TaskTimeout);
}

#[tokio::test]
async fn a_cancel_kills_and_so_does_dropping_the_call() {
    let bench = bench();
    let marker = bench.temp.path().join("pids");
    let cancel = CancellationToken::new();
    let context = Context { cancel: cancel.clone(), ..Context::default() };
    let params = json!({"code": stubborn(&marker), "context": {}});
    let (outcome, (dead, cancelled)) = tokio::join!(bench.execute(params.clone(), context), async {
        let pids = pids(&marker).await;
        cancel.cancel();
        (pids, Instant::now())
    });
    assert!(cancelled.elapsed() < Duration::from_secs(1), "{:?}", cancelled.elapsed());
    assert_eq!(outcome.expect_err("cancelled").code, ErrorCode::TaskCancelled);
    eventually("both are dead", || !dead.iter().any(|pid| alive(pid))).await;

    std::fs::remove_file(&marker).expect("removed");
    let dropped = tokio::select! {
        _ = bench.execute(params, Context::default()) => panic!("never ends by itself"),
        pids = pids(&marker) => pids,
    };
    eventually("both are dead", || !dropped.iter().any(|pid| alive(pid))).await;
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn grandchildren_end_with_the_code() {
    let outcome = bench().run(&format!("{GRANDCHILD}result = seen")).await.expect("runs");
    let pid = outcome["result"].to_string();
    eventually("the grandchild is dead", || !alive(&pid)).await;
}

/// Not a test of its own: the process that the next test kills. It only runs if the variable is set.
#[tokio::test]
async fn agent_that_will_be_killed() {
    let Some(temp) = std::env::var_os("GLEITZEIT_TEST_VICTIM") else { return };
    let temp = PathBuf::from(temp);
    let mut bench = bench();
    bench.python.settings.temp.clone_from(&temp);
    // Removed now, because it will not be removed later.
    bench.temp = tempfile::tempdir_in(&temp).expect("folder");
    let _ = bench.run(&stubborn(&temp.join("pids"))).await;
}

#[tokio::test]
async fn kill_9_of_the_agent_kills_the_group_and_a_later_agent_sweeps() {
    let temp = tempfile::tempdir().expect("folder");
    let mut agent = tokio::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "executors::python::tests::agent_that_will_be_killed", "--nocapture"])
        .env("GLEITZEIT_TEST_VICTIM", temp.path())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let pids = pids(&temp.path().join("pids")).await;
    agent.start_kill().expect("killed with SIGKILL");
    agent.wait().await.expect("reaped");
    eventually("both are dead", || !pids.iter().any(|pid| alive(pid))).await;

    let folders = || {
        // They are in the common folder of all agents of this user.
        let parent = temp.path().join(format!("gleitzeit-{}", rustix::process::geteuid().as_raw()));
        let entries = std::fs::read_dir(parent).expect("readable").flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("gleitzeit-calls-")).count()
    };
    assert_eq!(folders(), 1);
    let living = Workspace::create(temp.path()).expect("made");
    let parent = living.path().parent().expect("a parent");
    crate::executors::process::workspace::sweep(parent, Duration::ZERO);
    assert_eq!(folders(), 1, "the dead agent's is gone, the living one's stays");
    assert!(living.path().exists());
}

#[tokio::test]
async fn missing_python_is_unhealthy_with_the_remedy() {
    let bench = bench_with("python_executable: no-such-python");
    let health = bench.python.health().await;
    assert_eq!(health.state, HealthState::Unhealthy);
    let reason = health.reason.expect("a reason");
    assert!(reason.contains("`no-such-python`") && reason.contains("install Python 3.8"), "{reason}");
    let working = self::bench();
    let error = bench.run("result = 1").await.expect_err("no Python");
    assert_eq!(error.code, ErrorCode::ProviderInitializationFailed);
    let health = working.python.health().await;
    assert_eq!((health.state, health.reason.is_some()), (HealthState::Healthy, is_portable()));
}

#[tokio::test]
async fn the_interpreter_is_the_real_executable() {
    let bench = bench();
    let (start, _) = bench.python.ready().await.expect("found");
    let interpreter = &start.interpreter.path;
    assert!(interpreter.is_absolute() && !interpreter.to_string_lossy().contains("shims"), "{interpreter:?}");
}

#[tokio::test]
async fn every_kind_of_namespace_ends_the_processes_of_a_call() {
    for namespaces in [Namespaces::Root, Namespaces::User, Namespaces::None] {
        let bench = bench_in("max_processes: 20", namespaces);
        let code = format!(
            "{GRANDCHILD}import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork():\n        \
                            os._exit(0)\n    while True: pass\nos.wait()\nresult = seen"
        );
        let outcome = bench.run(&code).await.expect("runs");
        assert!(!alive(&outcome["result"].to_string()), "{namespaces:?}");
        let marker = bench.temp.path().join("pids");
        let params = json!({"code": stubborn(&marker), "context": {}, "timeout": 1.5});
        let (outcome, pids) = tokio::join!(bench.execute(params, Context::default()), pids(&marker));
        assert_eq!(outcome.expect_err("too slow").code, ErrorCode::TaskTimeout);
        assert!(!pids.iter().any(|pid| alive(pid)), "{namespaces:?}");
        assert_eq!(bench.run("result = 5").await.expect("runs")["result"], json!(5), "{namespaces:?}");
        assert_eq!(bench.python.pool.namespaces().await, Some(namespaces));
        assert_eq!(bench.left_behind(), 0);
    }
}

#[tokio::test]
async fn a_killed_server_loses_its_call_and_the_next_finds_a_new_one() {
    let bench = bench();
    let marker = bench.temp.path().join("pids");
    let code = stubborn(&marker);
    let (outcome, pids) = tokio::join!(bench.run(&code), async {
        let pids = pids(&marker).await;
        let server = bench.python.pool.server_pid().await.and_then(|pid| i32::try_from(pid).ok()).expect("runs");
        let server = rustix::process::Pid::from_raw(server).expect("a process id");
        rustix::process::kill_process(server, rustix::process::Signal::KILL).expect("killed");
        pids
    });
    let error = outcome.expect_err("lost");
    assert_eq!((error.code, error.retryable), (ErrorCode::ProviderNotAvailable, true), "{error:?}");
    assert_eq!(error.data["lost"], json!(true));
    eventually("both are dead", || !pids.iter().any(|pid| alive(pid))).await;
    assert_eq!(bench.run("result = 5").await.expect("runs")["result"], json!(5));
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn nothing_passes_from_call_to_call() {
    let bench = bench();
    let soil = "import os, sys, json, random, threading, builtins\nos.environ['LEAK'] = '1'\nbuiltins.leak = 1\n\
                json.leak = 1\nsys.path.append('/leak')\nos.umask(0o777)\nos.chdir('/')\nrandom.seed(1)\nleak = 1\n\
                threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()\n";
    let look = "import os, sys, json, random, threading, builtins\nmask = os.umask(0o022)\n\
                result = [os.environ.get('LEAK'), hasattr(builtins, 'leak'), hasattr(json, 'leak'), '/leak' in sys.path,\
                mask == 0o777, os.getcwd() == '/', 'leak' in globals(), threading.active_count(), random.random()]";
    let mut numbers = std::collections::BTreeSet::new();
    for _ in 0..4 {
        bench.run(soil).await.expect("runs");
        let mut outcome = bench.run(look).await.expect("runs");
        let found = outcome["result"].as_array_mut().expect("a list");
        numbers.insert(found.pop().expect("a number").to_string());
        assert_eq!(json!(found), json!([null, false, false, false, false, false, false, 1]));
    }
    assert_eq!(numbers.len(), 4, "random numbers differ");
}

#[tokio::test]
async fn many_calls_at_a_time_keep_apart() {
    let bench = bench();
    let calls = (0..60).map(|n| {
        let code =
            format!("import os\nopen('own', 'w').write('{n}')\nprint({n})\nresult = [int(open('own').read()), {n}]");
        let bench = &bench;
        async move { (n, bench.run(&code).await.expect("runs")) }
    });
    for (n, outcome) in futures_ordered(calls).await {
        assert_eq!(outcome["result"], json!([n, n]));
        assert_eq!(outcome["output"], json!(format!("{n}\n")));
    }
    assert_eq!(bench.left_behind(), 0);
}

/// Runs all of them at once.
async fn futures_ordered<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, outcome) in &mut waiting {
            if outcome.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *outcome = Some(ready);
            }
        }
        let done = waiting.iter().all(|(_, outcome)| outcome.is_some());
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

#[tokio::test]
async fn each_limit_ends_in_a_clear_error_and_harms_no_other_call() {
    let bench = bench_with(
        "max_processes: 20\nmax_memory_bytes: 500000000\nmax_cpu_seconds: 1\nmax_open_files: 50\nmax_file_bytes: 1000000",
    );
    // In the portable way only watching limits them: a bomb that goes on would take the whole machine.
    let bomb = match is_portable() {
        false => "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n",
        true => "import os, time\nfor _ in range(40):\n    if os.fork() == 0: break\nwhile True: time.sleep(1)",
    };
    // Touched at once: page by page it would take most of the allowed processor time, and all of it on a slow machine.
    let shared = "import mmap\nhold = []\nfor _ in range(3):\n    m = mmap.mmap(-1, 250_000_000)\n    m[::4096] = \
                  bytes(len(range(0, len(m), 4096)))\n    hold.append(m)\nwhile True: pass\n";
    for (code, expected) in [
        (bomb, "`max_processes`"),
        ("while True: pass", "`max_cpu_seconds`"),
        ("b'x' * 10_000_000_000", "MemoryError"),
        ("import mmap\nmmap.mmap(-1, 10_000_000_000)", "Cannot allocate memory"),
        (shared, "`max_memory_bytes`"),
        ("hold = [open('/dev/null') for _ in range(100)]", "Too many open files"),
        ("open('large', 'wb').write(b'x' * 2_000_000)", "File too large"),
    ] {
        let (outcome, other) = tokio::join!(bench.run(code), bench.run("import time\ntime.sleep(0.1)\nresult = 1"));
        let error = outcome.expect_err(code);
        assert_eq!(error.code, ErrorCode::TaskExecutionFailed, "{code}");
        assert!(error.message.contains(expected), "{code}: {}", error.message);
        assert_eq!(other.expect(code)["result"], json!(1), "{code}");
    }
    assert_eq!(bench.left_behind(), 0);
    assert_eq!(bench.run("result = 5").await.expect("runs")["result"], json!(5));
}

#[tokio::test]
async fn a_gigabyte_of_output_is_an_error_and_costs_no_memory() {
    let bench = bench();
    let code = "import os\nblock = b'x' * (1 << 20)\nfor _ in range(1024):\n    assert os.write(1, block)\n";
    let before = resident();
    let error = bench.run(code).await.expect_err("too much");
    assert_eq!(error.code, ErrorCode::TaskExecutionFailed);
    assert_eq!(error.message, "more than 67108864 bytes of output, see `max_stream_bytes`");
    assert!(resident() < before + 50_000_000, "from {before} to {}", resident());
    assert_eq!(bench.left_behind(), 0);
    assert_eq!(bench.run("result = 5").await.expect("runs")["result"], json!(5));
}

/// The resident memory of this process in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("readable");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}
