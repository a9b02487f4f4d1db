//! Tests of what a command may not use, with commands that would use all of it.

use super::*;

async fn unharmed(bench: &Bench) {
    assert_eq!(bench.run("echo fine").await.expect("unharmed")["output"], json!("fine\n"));
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn large_output_is_not_kept_and_endless_output_is_an_error() {
    let bench = bench_in("max_output_bytes: 10000", None);
    let outcome = bench.run("yes | head -c 50000000").await.expect("runs");
    let output = outcome["output"].as_str().expect("text");
    assert!(output.len() < 11_000 && output.contains("10000 of 50000000 bytes kept"), "{}", output.len());
    let error = bench.call(json!({"command": "yes"}), within()).await.expect_err("endless");
    assert_eq!(error.code, ErrorCode::TaskExecutionFailed);
    assert_eq!(error.message, "more than 67108864 bytes of output, see `max_stream_bytes`");
    unharmed(&bench).await;
}

#[tokio::test]
async fn a_fork_bomb_ends_its_own_call_only() {
    let bench = bench_in("max_processes: 20", None);
    let seconds = unique();
    let command = format!("i=0; while [ $i -lt 200 ]; do setsid sleep {seconds} & i=$((i+1)); done; wait");
    let error = bench.call(json!({"command": command}), within()).await.expect_err("too many");
    assert_eq!(error.code, ErrorCode::TaskExecutionFailed);
    assert!(error.message.contains("more than 20 (`max_processes`)"), "{}", error.message);
    assert_eq!(processes_with(&seconds), [""; 0]);
    unharmed(&bench).await;
}

#[tokio::test]
async fn memory_and_files_are_bounded() {
    let bench = bench_in("max_memory_bytes: 100000000\nmax_file_bytes: 1000000", None);
    bench.run("dd if=/dev/zero of=/dev/null bs=50000000 count=1").await.expect("within the limit");
    let one = "dd if=/dev/zero of=/dev/null bs=500000000 count=1";
    let file = "head -c 2000000 /dev/zero > file";
    for command in [one, file] {
        let error = bench.call(json!({"command": command}), within()).await.expect_err(command);
        assert_eq!(error.code, ErrorCode::TaskExecutionFailed, "{command}: {error:?}");
        assert!(error.data.contains_key("exit_code"), "the command met its limit: {error:?}");
    }
    // Each is within the limit, all together are not.
    let held = "dd if=/dev/zero bs=50000000 count=1 2>/dev/null | sleep 50 &";
    let together = format!("{held} {held} {held} wait");
    let error = bench.call(json!({"command": together}), within()).await.expect_err("too much");
    assert!(error.message.contains("more than 100000000 (`max_memory_bytes`)"), "{}", error.message);
    unharmed(&bench).await;
}

/// Not a test of its own: the process that the next test kills. It only runs if the variable is set.
#[tokio::test]
async fn agent_that_will_be_killed() {
    let Some(temp) = std::env::var_os("GLEITZEIT_TEST_SHELL_VICTIM") else { return };
    let temp = PathBuf::from(temp);
    let seconds = std::fs::read_to_string(temp.join("seconds")).expect("told");
    let _ = bench().run(&stubborn(&seconds, &temp.join("ready"), leaving())).await;
}

#[tokio::test]
async fn kill_9_of_the_agent_kills_what_left_its_session_too() {
    let temp = tempfile::tempdir().expect("folder");
    let seconds = unique();
    std::fs::write(temp.path().join("seconds"), &seconds).expect("written");
    let mut agent = tokio::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "executors::shell::tests::limits::agent_that_will_be_killed", "--nocapture"])
        .env("GLEITZEIT_TEST_SHELL_VICTIM", temp.path())
        .env("TMPDIR", temp.path())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let ready = temp.path().join("ready");
    eventually("everything runs", || ready.exists() && processes_with(&seconds).len() >= 4).await;
    agent.start_kill().expect("killed with SIGKILL");
    agent.wait().await.expect("reaped");
    eventually("all are dead", || processes_with(&seconds).is_empty()).await;
}

#[tokio::test]
async fn a_fork_bomb_ends_in_a_clear_error_and_harms_no_other() {
    if is_portable() {
        return skipped("nothing but a look now and then bounds the processes of a call in the portable way");
    }
    let bench = bench_in("max_processes: 40", None);
    let seconds = unique();
    let other = bench.call(json!({"command": "sleep 1; echo unharmed"}), Context::default());
    let bomb = format!("b() {{ b | b & sleep {seconds} & }}; b; sleep {seconds}");
    let bomb = bench.run(&bomb);
    let (other, bomb) = tokio::join!(other, bomb);
    let error = bomb.expect_err("a bomb");
    assert_eq!(error.code, ErrorCode::TaskExecutionFailed);
    assert!(error.message.contains("more than 40 (`max_processes`)"), "{}", error.message);
    assert_eq!(other.expect("runs")["output"], json!("unharmed\n"));
    assert_eq!(processes_with(&seconds), [""; 0]);
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn a_command_that_fails_before_the_first_count_is_still_charged_for_its_processes() {
    if is_portable() {
        return skipped("nobody counts what a command leaves behind in the portable way");
    }
    let bench = bench_in("max_processes: 5", None);
    let error = bench.run("for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; exit 2").await.expect_err("too many");
    assert!(error.message.contains("more than 5 (`max_processes`)"), "{}", error.message);
    let error = bench.run("sleep 60 & sleep 60 & exit 2").await.expect_err("it failed");
    assert_eq!(error.message, "exit code 2");
}

#[tokio::test]
async fn the_allowed_number_of_processes_is_not_a_bomb() {
    let bench = bench_in("max_processes: 20", None);
    let command = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do sleep 0.5 & done; wait; echo done";
    assert_eq!(bench.run(command).await.expect("runs")["output"], json!("done\n"));
}

#[tokio::test]
async fn limits_end_commands_that_use_too_much() {
    let bench =
        bench_in("max_memory_bytes: 300000000\nmax_cpu_seconds: 1\nmax_open_files: 20\nmax_file_bytes: 100000", None);
    for (command, expected, code) in [
        ("head -c 1000000000 /dev/zero | tail -c 900000000 >/dev/null", "memory exhausted", 1),
        ("while :; do :; done", "`max_cpu_seconds`", 152),
        ("ulimit -n 21", "", 2),
        ("head -c 200000 /dev/zero > file", "`max_file_bytes`", 153),
    ] {
        let error = bench.run(command).await.expect_err(command);
        let said = format!("{} {}", error.message, error.data["error_output"]);
        assert!(said.contains(expected), "{command}: {said}");
        assert_eq!(error.data["exit_code"], json!(code), "{command}: {said}");
    }
    // Together they use more than each may.
    let hog = "hold() { head -c 150000000 /dev/zero | tail -c 140000000 | { sleep 20; }; }; hold & hold & hold & wait";
    let error = bench.run(hog).await.expect_err("too much together");
    assert!(error.message.contains("`max_memory_bytes`"), "{}", error.message);
    assert_eq!(bench.left_behind(), 0);
}

/// The exit code is reported in a file that the command can reach.
#[tokio::test]
async fn a_replaced_status_file_blocks_nothing() {
    let bench = bench_in("max_processes: 50", None);
    for tampering in [
        "rm ../status; mkfifo ../status",
        "rm ../status; ln -s /dev/zero ../status",
        "rm ../status; mkdir ../status",
        "head -c 50000000 /dev/zero > ../status",
        "echo 99999999999999999999 > ../status",
    ] {
        let began = Instant::now();
        let outcome = bench.call(json!({"command": tampering}), within()).await;
        // Either the true code, or an error that says that there is none.
        if let Ok(outcome) = &outcome {
            assert_eq!(outcome["exit_code"], json!(0), "{tampering}");
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{tampering}");
        unharmed(&bench).await;
    }
}

#[tokio::test]
async fn unusual_commands_and_variables_are_passed_unchanged() {
    let bench = bench_in("max_processes: 50", None);
    let error = bench.run("-x").await.expect_err("no such command");
    assert!(error.message.starts_with("exit code 127"), "{}", error.message);
    let parameters = json!({"command": "env", "env": {"PPID": "y", "UID": "z", "LINENO": "it's"}});
    let outcome = bench.call(parameters, within()).await.expect("runs");
    let output = outcome["output"].as_str().expect("text").to_owned();
    // Shells set the first ones themselves; none of them may keep the command from running.
    assert!(output.lines().any(|line| line == "UID=z"), "{output}");
}

#[tokio::test]
async fn commands_of_root_cannot_look_into_the_agent_or_change_it() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root could");
    }
    if is_portable() {
        return skipped("what a command unmounts in the portable way, the machine does without");
    }
    let bench = bench();
    let bounding = bench.run("grep CapBnd /proc/self/status").await.expect("runs");
    let text = bounding["output"].as_str().expect("text").trim().rsplit('\t').next().expect("a number").to_owned();
    let bounding = u64::from_str_radix(&text, 16).expect("a number");
    assert_eq!(bounding >> 19 & 1, 0, "CAP_SYS_PTRACE, now and for whatever it starts: {text}");
    // The processes of others are hidden beneath what is mounted for the call.
    let agent = std::process::id();
    let look = format!("umount -n -l /proc && test -e /proc/{agent}/mem || exit 9; exec 3<>/proc/{agent}/mem");
    let error = bench.run(&look).await.expect_err("refused");
    if error.data["exit_code"] == json!(9) {
        return skipped("nothing can be unmounted here");
    }
    let said = error.data["error_output"].as_str().unwrap_or_default();
    assert!(said.contains("Permission denied"), "{said}");
    unharmed(&bench).await;
}

#[tokio::test]
async fn missing_features_of_the_machine_are_reported_in_one_line_with_the_health() {
    let health = bench_in("{}", Some(Namespaces::None)).shell.health().await;
    assert_eq!(health.state, gleitzeit_mesh::wire::HealthState::Healthy, "{health:?}");
    let reason = health.reason.expect("said");
    assert!(reason.starts_with("no process namespaces: ") && reason.lines().count() == 1, "{reason}");
}
