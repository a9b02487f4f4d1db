//! Tests of calls that only a process group and parents hold together: the whole suite in that way, and how such calls
//! end.

use std::future::poll_fn;
use std::task::Poll;

use super::*;
use crate::executors::tests::rerun;

#[tokio::test]
#[ignore = "it takes minutes; CI runs it by itself"]
async fn whole_suite_in_the_portable_way() {
    // `strict` is refused there, as its own test checks.
    rerun("executors::shell::", &["tests::strict"], &[("GLEITZEIT_PORTABLE", "1")]).await;
}

#[test]
fn the_portable_way_refuses_a_strict_sandbox_in_one_line() {
    let file = "name: s\nprotocol: shell/v1\nexecutor: shell-local\noptions: {sandbox: strict}\n";
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("s.yaml");
    std::fs::write(&path, file).expect("written");
    let definition = crate::load_file(&path).expect("valid");
    let portable = Settings { portable: true, ..settings(folder.path()) };
    let error = crate::Factory::build(&definition, &Registry::shipped(), &portable).expect_err("refused").to_string();
    assert!(error.contains("`sandbox: strict` is not possible here: it needs Linux and its namespaces"), "{error}");
    assert_eq!(error.lines().filter(|line| line.contains("is not possible here")).count(), 1, "{error}");
}

/// Starts a process that leaves its session, waits until it has left, then continues with `then`; `$outer` is the first
/// process.
fn with_escaping_process(seconds: &str, ready: &Path, then: &str) -> String {
    format!(
        "setsid sh -c 'echo > \"$0\"; exec sleep {seconds}' {ready:?} >/dev/null 2>&1 &\n\
         while [ ! -s {ready:?} ]; do :; done\nread -r _ _ _ outer _ < /proc/$PPID/stat\n{then}"
    )
}

#[tokio::test]
async fn a_command_that_kills_the_first_process_ends_with_what_has_left_the_group() {
    let bench = bench_in("{}", Some(Namespaces::None));
    let seconds = unique();
    let ready = bench.temp.path().join("ready");
    let command = with_escaping_process(&seconds, &ready, &format!("kill -9 $outer\nsleep {seconds}"));
    let error = bench.run(&command).await.expect_err("killed");
    assert!(error.message.contains("did not end by itself"), "{error:?}");
    assert_eq!(processes_with(&seconds), [""; 0]);
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn descendants_outside_of_the_group_end_with_their_command() {
    let bench = bench_in("{}", Some(Namespaces::None));
    let seconds = unique();
    let ready = bench.temp.path().join("ready");
    let command = format!(
        "({}) & while [ ! -s {ready:?} ]; do :; done; echo done",
        with_escaping_process(&seconds, &ready, "wait")
    );
    assert_eq!(bench.run(&command).await.expect("runs")["output"], json!("done\n"));
    assert_eq!(processes_with(&seconds), [""; 0]);
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_ends_leaves_nothing_stopped() {
    let bench = bench_in("{}", Some(Namespaces::None));
    for polls in 1..6 {
        let seconds = unique();
        let ready = bench.temp.path().join(polls.to_string());
        let cancel = CancellationToken::new();
        let context = Context { cancel: cancel.clone(), ..Context::default() };
        let command = with_escaping_process(&seconds, &ready, &format!("sleep {seconds}"));
        let mut call = Box::pin(bench.call(json!({"command": command}), context));
        tokio::select! {
            _ = &mut call => panic!("it ended by itself"),
            () = eventually("it runs", || processes_with(&seconds).len() >= 2) => {}
        }
        cancel.cancel();
        let mut polled = 0;
        // Ending has begun by then and has come to some point.
        let dropped = poll_fn(|context| {
            polled += 1;
            match call.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if polled >= polls => Poll::Ready(None),
                Poll::Pending => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        });
        let outcome = dropped.await;
        drop(call);
        eventually("all are dead", || processes_with(&seconds).is_empty()).await;
        assert!(outcome.is_none_or(|outcome| outcome.is_err()), "it was cancelled");
    }
}
