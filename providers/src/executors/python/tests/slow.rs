//! Tests on a simulated slow machine: late processes are waited for, as long as a call has time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// An interpreter that records each start of the server and waits until it is released.
struct SlowPython {
    bench: Bench,
    folder: tempfile::TempDir,
    /// Held open, so that a process reading from it waits for data.
    gate: fs::File,
}

fn slow_python(patience: Duration) -> SlowPython {
    let folder = tempfile::tempdir().expect("folder");
    let (program, gate) = (folder.path().join("python"), folder.path().join("gate"));
    let made = std::process::Command::new("mkfifo").arg(&gate).status();
    assert!(made.is_ok_and(|made| made.success()), "a pipe");
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = -c ]; then echo \"$0\"; echo 3 11; exit; fi\n\
         echo start >>'{0}/starts'\nread _ <'{0}/gate'\nexec python3 \"$@\"\n",
        folder.path().display()
    );
    fs::write(&program, text).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("ours");
    let mut bench = bench_with(&format!("python_executable: {}", program.display()));
    bench.python.patience = patience;
    let gate = fs::File::options().read(true).write(true).open(gate).expect("a pipe");
    SlowPython { bench, folder, gate }
}

impl SlowPython {
    fn starts(&self) -> usize {
        fs::read_to_string(self.folder.path().join("starts")).unwrap_or_default().lines().count()
    }

    fn let_go(&mut self) {
        use std::io::Write as _;
        self.gate.write_all(b"\n").expect("room");
    }

    fn with_time(millis: u64) -> Context {
        Context { deadline: Some(Instant::now() + Duration::from_millis(millis)), ..Context::default() }
    }
}

#[tokio::test]
async fn a_start_that_outlasts_a_call_continues_for_the_next_call() {
    let mut slow = slow_python(Duration::from_secs(60));
    let one = json!({"code": "result = 1", "context": {}});
    let error = slow.bench.execute(one, SlowPython::with_time(300)).await.expect_err("too slow");
    assert_eq!(error.code, ErrorCode::TaskTimeout, "its own timeout, and nothing else: {error:?}");
    let two = json!({"code": "result = 2", "context": {}});
    let error = slow.bench.execute(two.clone(), SlowPython::with_time(300)).await.expect_err("still too slow");
    assert_eq!(error.code, ErrorCode::TaskTimeout, "{error:?}");
    slow.let_go();
    assert_eq!(slow.bench.execute(two, Context::default()).await.expect("runs")["result"], json!(2));
    assert_eq!(slow.starts(), 1);
    assert_eq!(slow.bench.python.health().await.state, HealthState::Healthy);
}

#[tokio::test]
async fn a_start_that_hangs_is_slow_and_is_retried_while_a_call_has_time() {
    let mut slow = slow_python(Duration::from_millis(200));
    let health = slow.bench.python.health().await;
    assert_eq!(health.state, HealthState::Slow, "{health:?}");
    assert!(health.reason.is_some_and(|reason| reason.contains("did not start within 0.2 s")));
    let params = json!({"code": "result = 1", "context": {}});
    let error = slow.bench.execute(params, SlowPython::with_time(1_000)).await.expect_err("too slow");
    assert_eq!(error.code, ErrorCode::TaskTimeout, "{error:?}");
    assert!(slow.starts() > 2, "{}", slow.starts());
    // A refusal is final, as always.
    fs::write(slow.folder.path().join("python"), "#!/bin/sh\necho no >&2\nexit 1\n").expect("written");
    slow.let_go();
    let error = slow.bench.run("result = 1").await.expect_err("refused");
    assert_eq!(error.code, ErrorCode::ProviderInitializationFailed, "{error:?}");
}
