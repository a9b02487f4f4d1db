use std::path::Path;
use std::time::Duration;

use gleitzeit_protocols::Registry;
use gleitzeit_protocols::yaml::FileKind;
use gleitzeit_workflow::error::ErrorCode;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::platform::Way;

fn settings(temp: &Path) -> Settings {
    let mut settings = Settings::from_env(|name| std::env::var_os(name));
    settings.temp = temp.to_owned();
    settings
}

struct Bench {
    temp: tempfile::TempDir,
    shell: Shell,
}

fn bench_in(options: &str, namespaces: Option<Namespaces>) -> Bench {
    let temp = tempfile::tempdir().expect("folder");
    let mut reader = Reader::new("test");
    let node = reader.parse(FileKind::Provider, options);
    let options = options::read(&mut reader, node.as_ref());
    let options = reader.finish(Some(options)).expect("valid options");
    let shell = Shell::new(options, settings(temp.path()), namespaces);
    Bench { temp, shell }
}

fn bench() -> Bench {
    bench_in("{}", None)
}

/// Whether the tests run in the portable way, which holds a call together by its process group.
fn is_portable() -> bool {
    settings(Path::new("/tmp")).way() != Way::Kernel
}

/// A prefix that makes a command leave its session, if that cannot help it escape on this machine.
fn leaving() -> &'static str {
    if is_portable() { "" } else { "setsid " }
}

fn within() -> Context {
    Context { deadline: Some(Instant::now() + Duration::from_secs(60)), ..Context::default() }
}

impl Bench {
    async fn call(&self, params: Value, context: Context) -> Result<Value, CallError> {
        let call = Call { method: "shell/run".into(), params: Payload::from_value(&params) };
        self.shell.call(call, context).await.map(|payload| payload.to_value().expect("JSON"))
    }

    async fn run(&self, command: &str) -> Result<Value, CallError> {
        self.call(json!({"command": command}), Context::default()).await
    }

    /// The number of call folders that still exist.
    fn left_behind(&self) -> usize {
        let workspace = self.shell.workspace.get().expect("used").path();
        let entries = std::fs::read_dir(workspace).expect("readable");
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("call-")).count()
    }
}

/// Reports why a test cannot try anything on this machine.
#[expect(clippy::print_stderr, reason = "the person running the tests must see it")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// The numbers of processes, in all namespaces, that have this word among their arguments.
fn processes_with(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("readable").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let pids = pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    pids.filter(|pid| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // A script that only mentions the word does not count.
        arguments.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    })
    .collect()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A number of seconds that no other process sleeps.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}.{}", 100_000 + std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed) + 1)
}

/// Starts a process that leaves its session as `leaves` says and one that has lost its parent (which also leaves its
/// session where that cannot help it escape), reports that to a file, and waits.
fn stubborn(seconds: &str, ready: &Path, leaves: &str) -> String {
    format!(
        "trap '' TERM INT HUP\n{leaves}sleep {seconds} >/dev/null 2>&1 </dev/null &\n\
         ({leaving}sh -c 'trap \"\" TERM; (sleep {seconds} &) ; sleep {seconds}' &)\n\
         echo ready > {ready:?}\nsleep {seconds}",
        leaving = leaving()
    )
}

#[tokio::test]
async fn a_command_gives_its_exit_code_and_both_streams() {
    let bench = bench();
    let outcome = bench.run("printf 'out\\n'; printf err >&2").await.expect("runs");
    assert_eq!(outcome["exit_code"], json!(0));
    assert_eq!(outcome["output"], json!("out\n"));
    assert_eq!(outcome["error_output"], json!("err"));
    assert_eq!(outcome["success"], json!(true));
    Registry::shipped().validate_result("shell/run", "v1", &outcome).expect("fits the protocol");
    assert_eq!(bench.left_behind(), 0);
    assert_eq!(bench.shell.capabilities(), ["sandbox:limits"]);
}

#[tokio::test]
async fn an_unexpected_exit_code_fails_with_code_and_streams() {
    let bench = bench();
    let error = bench.run("echo before; echo why >&2; exit 3").await.expect_err("fails");
    assert_eq!(error.code, ErrorCode::TaskExecutionFailed);
    assert_eq!(error.message, "exit code 3");
    assert_eq!(error.data["exit_code"], json!(3));
    assert_eq!(error.data["output"], json!("before\n"));
    assert_eq!(error.data["error_output"], json!("why\n"));
    let expected = json!({"command": "exit 3", "expected_exit_codes": [0, 3]});
    assert_eq!(bench.call(expected, Context::default()).await.expect("expected")["exit_code"], json!(3));
    let unexpected = json!({"command": "true", "expected_exit_codes": [1]});
    let error = bench.call(unexpected, Context::default()).await.expect_err("0 is not expected");
    assert_eq!(error.data["exit_code"], json!(0));
    let error = bench.run("no-such-command").await.expect_err("not found");
    assert_eq!(error.data["exit_code"], json!(127));
    assert!(error.message.contains("was not found"), "{}", error.message);
    let error = bench.run("kill -9 $$").await.expect_err("killed");
    assert_eq!(error.data["exit_code"], json!(137));
    assert!(error.message.contains("signal 9"), "{}", error.message);
}

#[tokio::test]
async fn standard_input_is_the_given_text_or_empty() {
    let bench = bench();
    assert_eq!(bench.run("cat").await.expect("runs")["output"], json!(""));
    let text = "line\n".repeat(200_000);
    let params = json!({"command": "cat | wc -c; echo", "stdin": text});
    let outcome = bench.call(params, Context::default()).await.expect("runs");
    assert_eq!(outcome["output"].as_str().map(str::trim), Some("1000000"));
    let unread = json!({"command": "exit 0", "stdin": text});
    bench.call(unread, Context::default()).await.expect("nobody has to read it");
}

#[tokio::test]
async fn the_environment_is_the_given_variables_and_little_else() {
    let bench = bench();
    let value = "a 'b' \"c\" $(touch never) `touch never` \\ \n ü";
    let params = json!({"command": "printf %s \"$GIVEN\"; test ! -e never", "env": {"GIVEN": value}});
    assert_eq!(bench.call(params, Context::default()).await.expect("runs")["output"], json!(value));
    let outcome = bench.run("env | cut -d= -f1 | sort | tr '\\n' ' '").await.expect("runs");
    assert_eq!(outcome["output"], json!("HOME LANG PATH PWD TMPDIR "));
    let params = json!({"command": "echo $HOME $LANG", "env": {"HOME": "/other"}});
    assert_eq!(bench.call(params, Context::default()).await.expect("runs")["output"], json!("/other C.UTF-8\n"));
    for (env, expected) in [(json!({"A-B": ""}), "cannot be the name"), (json!({"A": "\0"}), "NUL")] {
        let params = json!({"command": "true", "env": env});
        let error = bench.call(params, Context::default()).await.expect_err("refused");
        assert_eq!(error.code, ErrorCode::InvalidParams);
        assert!(error.message.contains(expected), "{}", error.message);
    }
}

#[tokio::test]
async fn the_working_folder_is_its_own_and_empty() {
    let bench = bench();
    let command = "ls -A; test \"$PWD\" = \"$TMPDIR\"; echo text > file; mkdir -p a/b; cat file";
    assert_eq!(bench.run(command).await.expect("runs")["output"], json!("text\n"));
    assert_eq!(bench.run(command).await.expect("runs")["output"], json!("text\n"));
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn a_command_longer_than_an_argument_runs() {
    let bench = bench();
    let command = format!("printf '%s' '{}' | wc -c | tr -d ' '", "x".repeat(500_000));
    assert_eq!(bench.run(&command).await.expect("runs")["output"], json!("500000\n"));
    let error = bench.run("echo \0").await.expect_err("no NUL");
    assert_eq!(error.code, ErrorCode::InvalidParams);
}

#[tokio::test]
async fn processes_left_running_end_with_their_command() {
    let bench = bench();
    let seconds = unique();
    let leaving = leaving();
    let command =
        format!("{leaving}sleep {seconds} & ({leaving}sh -c 'sleep {seconds} & sleep {seconds}' &); sleep 0.1");
    let began = Instant::now();
    bench.run(&command).await.expect("runs");
    assert!(began.elapsed() < Duration::from_secs(5), "it waited for what it should end");
    assert_eq!(processes_with(&seconds), [""; 0]);
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn timeouts_and_cancel_end_everything_soon() {
    let bench = bench();
    for how in ["own", "context", "cancel", "drop"] {
        let seconds = unique();
        let ready = bench.temp.path().join(how);
        let cancel = CancellationToken::new();
        let limit = Duration::from_millis(700);
        let deadline = (how == "context").then(|| Instant::now() + limit);
        let context = Context { cancel: cancel.clone(), deadline, ..Context::default() };
        let mut params = json!({"command": stubborn(&seconds, &ready, "setsid ")});
        if how == "own" {
            params["timeout"] = json!(0.7);
        }
        let call = bench.call(params, context);
        let mut call = Box::pin(call);
        let started = eventually("it runs", || ready.exists() && processes_with(&seconds).len() >= 4);
        tokio::select! {
            _ = &mut call => panic!("{how}: ended before everything ran"),
            () = started => {}
        }
        let began = Instant::now();
        if how == "drop" {
            drop(call);
            assert_eq!(processes_with(&seconds), [""; 0], "{how}");
            assert_eq!(bench.left_behind(), 0, "{how}");
            continue;
        }
        if how == "cancel" {
            cancel.cancel();
        }
        let error = call.await.expect_err("ended");
        let expected = if how == "cancel" { ErrorCode::TaskCancelled } else { ErrorCode::TaskTimeout };
        assert_eq!(error.code, expected, "{how}");
        assert!(began.elapsed() < limit + Duration::from_millis(1500), "{how}: {:?}", began.elapsed());
        assert_eq!(processes_with(&seconds), [""; 0], "{how}");
        assert_eq!(bench.left_behind(), 0, "{how}");
    }
}

#[tokio::test]
async fn commands_that_kill_all_they_can_harm_only_themselves() {
    let bench = bench();
    // The portable way cannot contain the first command: it would end the agent and everything else of its user.
    let all = (!is_portable()).then_some("kill -9 -1; exit 7");
    for command in all.into_iter().chain(["kill -9 0", "kill -9 $PPID; exit 5", "trap 'kill 0' EXIT; exit 0"]) {
        let began = Instant::now();
        let _ = bench.run(command).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{command}");
        assert_eq!(bench.run("echo fine").await.expect("unharmed")["output"], json!("fine\n"));
    }
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn handles_of_the_agent_are_not_inherited() {
    let _held = std::fs::File::open("/dev/zero").expect("opened");
    let outcome = bench().run("ls -l /proc/self/fd | grep -c /dev/zero; :").await.expect("runs");
    assert_eq!(outcome["output"], json!("0\n"));
}

#[tokio::test]
async fn other_shells_and_other_ways_to_a_namespace_work() {
    let bash = bench_in("shell: /bin/bash", None);
    assert_eq!(bash.run("a=(1 2); echo ${#a[@]}").await.expect("runs")["output"], json!("2\n"));
    let root = rustix::process::geteuid().is_root().then_some(Namespaces::Root);
    for namespaces in root.into_iter().chain([Namespaces::User, Namespaces::None]) {
        let bench = bench_in("{}", Some(namespaces));
        assert_eq!(bench.run("cat; echo x").await.expect("runs")["output"], json!("x\n"), "{namespaces:?}");
        assert_eq!(bench.run("exit 3").await.expect_err("fails").data["exit_code"], json!(3), "{namespaces:?}");
        let seconds = unique();
        let command = format!("sleep {seconds} & (sleep {seconds} &) ; echo started");
        assert_eq!(bench.run(&command).await.expect("runs")["output"], json!("started\n"), "{namespaces:?}");
        assert_eq!(processes_with(&seconds), [""; 0], "{namespaces:?}");
        let params = json!({"command": format!("sleep {seconds} & sleep {seconds}"), "timeout": 0.3});
        let error = bench.call(params, Context::default()).await.expect_err("too slow");
        assert_eq!(error.code, ErrorCode::TaskTimeout, "{namespaces:?}");
        eventually("all are dead", || processes_with(&seconds).is_empty()).await;
        assert_eq!(bench.left_behind(), 0, "{namespaces:?}");
    }
}

#[tokio::test]
async fn a_missing_shell_is_unhealthy_with_the_remedy() {
    let bench = bench_in("shell: /no/such/shell", None);
    let health = bench.shell.health().await;
    assert_eq!(health.state, gleitzeit_mesh::wire::HealthState::Unhealthy);
    assert!(health.reason.is_some_and(|reason| reason.contains("`/no/such/shell`") && reason.contains("`shell`")));
    let error = bench.run("true").await.expect_err("no shell");
    assert_eq!(error.code, ErrorCode::ProviderInitializationFailed);
    let health = self::bench().shell.health().await;
    assert_eq!((health.state, health.reason.is_some()), (Health::default().state, is_portable()));
}

#[tokio::test]
async fn a_task_chooses_its_shell_and_whether_a_failure_within_ends_it() {
    let bench = bench();
    let ended = async |bench: &Bench, command: &str, more: Value| {
        let mut params = json!({"command": command});
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        match bench.call(params, within()).await {
            Ok(outcome) => outcome["output"].as_str().map(str::to_owned).unwrap_or_default(),
            Err(error) => format!("{:?} {}", error.code, error.data.get("exit_code").cloned().unwrap_or_default()),
        }
    };
    let failed = |code: u8| format!("TaskExecutionFailed {code}");
    let version = "echo \"$${BASH_VERSION:+bash}\"".replace("$$", "$");
    let pipe = "false | cat; echo on";
    for (command, more, expected) in [
        (&*version, json!({"shell": "bash"}), "bash\n".to_owned()),
        (pipe, json!({}), "on\n".to_owned()),
        (pipe, json!({"shell": "bash"}), "on\n".to_owned()),
        // Not all POSIX shells know `pipefail`.
        (pipe, json!({"shell": "sh", "strict": true}), "on\n".to_owned()),
        (pipe, json!({"shell": "bash", "strict": true}), failed(1)),
        ("no-such-program | cat", json!({"shell": "bash", "strict": true}), failed(127)),
        ("false; echo on", json!({}), "on\n".to_owned()),
        ("false; echo on", json!({"strict": true}), failed(1)),
        ("echo \"$none\"", json!({"shell": "bash", "strict": true}), failed(1)),
        ("echo \"$none\"", json!({"shell": "sh", "strict": true}), failed(2)),
        ("-x", json!({"shell": "bash", "strict": true}), failed(127)),
    ] {
        assert_eq!(ended(&bench, command, more.clone()).await, expected, "{command} {more}");
    }
    // A long command is read from a file.
    let long = format!("{}\nfalse | cat; echo on", "# long".repeat(20_000));
    assert_eq!(ended(&bench, &long, json!({"shell": "bash", "strict": true})).await, failed(1));
    let strict = bench_in("{shell: /bin/bash, strict: true}", None);
    assert_eq!(ended(&strict, pipe, json!({})).await, failed(1));
    assert_eq!(ended(&strict, pipe, json!({"strict": false})).await, "on\n");
    let unknown = bench.call(json!({"command": "true", "shell": "fish"}), within()).await.expect_err("unknown");
    assert_eq!(unknown.code, ErrorCode::InvalidParams);
    let mut without = self::bench();
    without.shell.settings.path = without.temp.path().into();
    // The search for namespaces uses this path too, so its outcome is set here.
    without.shell.namespaces = OnceCell::new_with(Some(Namespaces::None));
    let error = without.call(json!({"command": "true", "shell": "bash"}), within()).await.expect_err("no bash");
    assert_eq!(error.code, ErrorCode::ProviderInitializationFailed);
    assert!(error.message.starts_with("there is no `bash` in the PATH of this provider; "), "{}", error.message);
}

#[tokio::test]
async fn arguments_that_are_too_large_are_refused_before_the_start() {
    let bench = bench();
    let most = 128 * 1024 - "X=".len() - 1;
    let params = |size: usize| json!({"command": "printf %s \"$X\" | wc -c", "env": {"X": "x".repeat(size)}});
    let outcome = bench.call(params(most), within()).await.expect("it fits");
    assert_eq!(outcome["output"].as_str().map(str::trim), Some(&*most.to_string()));
    let error = bench.call(params(most + 1), within()).await.expect_err("too long");
    assert_eq!(error.code, ErrorCode::TaskParameterError);
    let expected = "`env`: the value of `X` is 131070 bytes, and the system takes 131069; pass it in `stdin` instead";
    assert_eq!(error.message, expected);
    let many: serde_json::Map<String, Value> =
        (0..60).map(|at| (format!("X{at}"), json!("x".repeat(120_000)))).collect();
    let error = bench.call(json!({"command": "true", "env": many}), within()).await.expect_err("too much");
    assert_eq!(error.code, ErrorCode::TaskParameterError);
    assert!(error.message.contains("bytes together (`X"), "{}", error.message);
}

/// Whatever fits is really accepted.
#[tokio::test]
async fn accepted_sizes_fit() {
    let bench = bench();
    let env: serde_json::Map<String, Value> = (0..8).map(|at| (format!("X{at}"), json!("x".repeat(120_000)))).collect();
    let command = format!("# {}\nprintf %s \"$X7\" | wc -c", "x".repeat(99_000));
    let outcome = bench.call(json!({"command": command, "env": env}), within()).await.expect("it fits");
    assert_eq!(outcome["output"].as_str().map(str::trim), Some("120000"));
}

#[test]
fn wrong_options_are_named() {
    let mut reader = Reader::new("test");
    let node = reader.parse(
        FileKind::Provider,
        "shell: bash\nsandbox: none\nmax_processes: 0\nmax_output_bytes: 99999999999\nfast: true\nstrict: 1",
    );
    let options = options::read(&mut reader, node.as_ref());
    let problems = reader.finish(Some(options)).expect_err("wrong");
    assert_eq!(problems.len(), 6, "{problems:?}");
}

mod limits;
mod portable;
mod strict;
