//! Tests of what `sandbox: strict` promises, with the tools that a machine has.

use super::super::strict as sandbox;
use super::*;

fn strict() -> Bench {
    let bench = bench_in("sandbox: strict", None);
    sandbox::prove(&bench.shell).expect("possible here");
    assert_eq!(bench.shell.capabilities(), ["sandbox:strict"]);
    bench
}

#[tokio::test]
async fn strict_commands_work_in_their_own_folder_only() {
    let bench = strict();
    let params = json!({
        "command": "cat > file; mkdir d; chmod 600 file; awk '{print $1}' file; pwd; echo \"$HOME $TMPDIR $GIVEN\"",
        "stdin": "word and more\n", "env": {"GIVEN": "given"},
    });
    let outcome = bench.call(params, Context::default()).await.expect("runs");
    let output = outcome["output"].as_str().expect("text");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines[0], lines[2].rsplit(' ').next()), ("word", Some("given")), "{output}");
    assert_eq!(lines[2].split(' ').take(2).collect::<Vec<_>>(), [lines[1], lines[1]], "{output}");
    assert_eq!(bench.left_behind(), 0);
    let code = bench.call(json!({"command": "exit 9", "expected_exit_codes": [9]}), Context::default()).await;
    assert_eq!(code.expect("expected")["exit_code"], json!(9));
    let long = format!("printf %s '{}' | wc -c", "x".repeat(300_000));
    assert_eq!(bench.run(&long).await.expect("from a file")["output"].as_str().map(str::trim), Some("300000"));
}

#[tokio::test]
async fn strict_commands_cannot_read_or_write_elsewhere() {
    let bench = strict();
    let sentinel = bench.temp.path().join("sentinel");
    std::fs::write(&sentinel, "untouched").expect("written");
    let sentinel = sentinel.to_str().expect("text");
    for command in [
        "cat /etc/hostname".to_owned(),
        "cat /etc/passwd".to_owned(),
        "ls /root".to_owned(),
        "ls /home".to_owned(),
        "ls /proc/1".to_owned(),
        "ls /.old/*".to_owned(),
        format!("cat {sentinel}"),
        format!("echo changed > {sentinel}"),
        "echo x > /usr/gleitzeit-test".to_owned(),
        "echo x > /gleitzeit-test".to_owned(),
        "echo x > ../gleitzeit-test".to_owned(),
        "echo x > ../in/env".to_owned(),
        "chmod 755 /usr/bin".to_owned(),
        "touch /usr/bin".to_owned(),
        "mount -n -o remount,rw,bind none /usr".to_owned(),
        "umount -n -l \"$PWD\"".to_owned(),
        "chmod 644 /dev/null".to_owned(),
        "chroot / true".to_owned(),
        "mknod disk b 8 0".to_owned(),
        "echo x > /dev/sda".to_owned(),
    ] {
        let error = bench.run(&command).await.expect_err(&command);
        assert_eq!(error.code, ErrorCode::TaskExecutionFailed, "{command}");
        assert!(error.data.get("exit_code").is_some_and(|code| *code != json!(127)), "{command}: {error:?}");
    }
    assert_eq!(std::fs::read_to_string(sentinel).expect("there"), "untouched");
    assert!(!Path::new("/usr/gleitzeit-test").exists() && !Path::new("/gleitzeit-test").exists());
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn strict_commands_reach_no_network_not_even_this_machine() {
    let bench = strict();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("an address").port();
    // The same attempt succeeds where it is allowed.
    let command = format!("bash -c 'echo hello > /dev/tcp/127.0.0.1/{port}'");
    self::bench().run(&command).await.expect("reached");
    listener.accept().expect("was reached");
    let error = bench.run(&command).await.expect_err("not reached");
    let said = error.data["error_output"].as_str().unwrap_or_default();
    assert!(said.contains("socket: Operation not permitted"), "{said}");
    assert!(listener.accept().is_err(), "nobody came");
}

#[tokio::test]
async fn strict_commands_end_with_all_they_started() {
    let bench = strict();
    let seconds = unique();
    let command = format!("(setsid sh -c 'sleep {seconds} & sleep {seconds}' &); sleep 0.1; kill -9 -1; true");
    let _ = bench.run(&command).await;
    assert_eq!(processes_with(&seconds), [""; 0]);
    let context = Context { deadline: Some(Instant::now() + Duration::from_millis(500)), ..Context::default() };
    let params = json!({"command": format!("setsid sleep {seconds} & sleep {seconds}")});
    let error = bench.call(params, context).await.expect_err("too slow");
    assert_eq!(error.code, ErrorCode::TaskTimeout);
    assert_eq!(processes_with(&seconds), [""; 0]);
    assert_eq!(bench.left_behind(), 0);
}

#[test]
fn strict_is_refused_where_there_are_no_namespaces() {
    let bench = bench_in("sandbox: strict", Some(Namespaces::None));
    let why = sandbox::prove(&bench.shell).expect_err("refused");
    assert!(why.contains("`sandbox: strict` is not possible here: no process namespace"), "{why}");
}

#[tokio::test]
async fn strict_holds_in_a_user_namespace_too() {
    let bench = bench_in("sandbox: strict", Some(Namespaces::User));
    sandbox::prove(&bench.shell).expect("possible here");
    assert_eq!(bench.run("echo x > file; cat file").await.expect("runs")["output"], json!("x\n"));
    for (command, expected) in [
        ("cat /etc/hostname", "No such file"),
        ("echo x > /usr/gleitzeit-test", "Read-only"),
        ("chmod 755 /usr", "Read-only"),
        ("chmod 644 /dev/null", "Read-only"),
        ("bash -c 'echo > /dev/tcp/127.0.0.1/1'", "socket: Operation not permitted"),
    ] {
        let error = bench.run(command).await.expect_err(command);
        let said = error.data["error_output"].as_str().unwrap_or_default();
        assert!(said.contains(expected), "{command}: {said}");
    }
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn sockets_of_this_machine_cannot_be_named_under_strict() {
    let bench = strict();
    let socket = bench.temp.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    listener.set_nonblocking(true).expect("set");
    let ask = format!("/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect({socket:?})'");
    self::bench().run(&ask).await.expect("reached where it may");
    listener.accept().expect("was reached");
    let error = bench.run(&ask).await.expect_err("not reached");
    let said = error.data["error_output"].as_str().unwrap_or_default();
    assert!(said.contains("PermissionError"), "{said}");
    assert!(listener.accept().is_err(), "nobody came");
}

/// A command that makes a system call directly, with an interpreter that exists on this machine.
fn ask(call: &str) -> String {
    format!(
        "/usr/bin/python3 -c 'import ctypes, sys\nlibc = ctypes.CDLL(None, use_errno=True)\nsys.exit(f\"refused: \
         {{ctypes.get_errno()}}\" if libc.syscall({call}) == -1 else 0)'"
    )
}

#[tokio::test]
async fn strict_commands_cannot_affect_others_or_outlive_their_call() {
    if !Path::new("/usr/bin/python3").exists() || cfg!(not(target_arch = "x86_64")) {
        return skipped("needs /usr/bin/python3 on x86-64 to ask the kernel directly");
    }
    for way in [Namespaces::Root, Namespaces::User] {
        let bench = bench_in("sandbox: strict", Some(way));
        if let Err(why) = sandbox::prove(&bench.shell) {
            skipped(&format!("{way:?}: {why}"));
            continue;
        }
        // Calls about itself that it may make.
        bench.run(&ask("302, 0, 7, 0, 0")).await.expect("its own limits");
        bench.run("ulimit -n 50; nice true; sh -c 'sleep 0 & wait' | cat").await.expect("ordinary");
        for (what, call) in [
            ("shared memory", "29, 0, 4096, 0o1600"),
            ("attaching shared memory", "30, 0, 0, 0"),
            ("semaphores", "64, 0, 1, 0o1600"),
            ("messages", "68, 0, 0o1600"),
            ("memory without a limit", "319, b\"m\", 0"),
            ("watching files", "294, 0"),
            ("limits of the process that looks after it", "302, 1, 7, 0, 0"),
            ("tracing", "101, 16, 1, 0, 0"),
            ("a filter in the kernel", "321, 0, 0, 0"),
            ("rings", "425, 1, 0"),
            ("sockets", "41, 1, 1, 0"),
            ("keys", "250, 0, 0, 0"),
        ] {
            let error = bench.run(&ask(call)).await.expect_err(what);
            let said = error.data["error_output"].as_str().unwrap_or_default();
            assert_eq!((error.code, said.trim()), (ErrorCode::TaskExecutionFailed, "refused: 1"), "{way:?}: {what}");
        }
        for command in ["unshare --user true", "unshare --mount true", "mount -n -t tmpfs none \"$PWD\""] {
            let error = bench.run(command).await.expect_err(command);
            assert_eq!(error.code, ErrorCode::TaskExecutionFailed, "{way:?}: {command}");
        }
        assert_eq!(bench.run("echo fine").await.expect("unharmed")["output"], json!("fine\n"));
    }
    // Other programs on this machine may still do all that.
    let made = std::process::Command::new("unshare").args(["--user", "true"]).status();
    assert!(made.is_err() || made.is_ok_and(|status| status.success()), "the machine's own limit was changed");
}
