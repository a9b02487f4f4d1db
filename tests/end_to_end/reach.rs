//! Cancels and time limits reach the work of a task: here commands and requests; Python is covered in `timing`.

use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::support::{Cluster, Journal, PATIENCE, now_ms, until};

/// How long the end of an attempt may take to reach its work, in milliseconds.
const REACH_MS: u64 = 1_000;

/// How an attempt is ended from outside.
#[derive(Clone, Copy, Debug)]
enum End {
    Cancel,
    TaskTimeout,
    RunTimeout,
}

const ENDS: [End; 3] = [End::Cancel, End::TaskTimeout, End::RunTimeout];

impl End {
    /// A workflow of one task that is ended in this way once it has begun.
    fn submit(self, cluster: &Cluster, method: &str, parameters: &Value) -> String {
        let mut task = json!({"id": "it", "method": method, "parameters": parameters});
        let mut workflow = json!({"name": "Reach"});
        match self {
            Self::Cancel => {}
            Self::TaskTimeout => task["timeout"] = json!(2),
            Self::RunTimeout => workflow["timeout"] = json!(2),
        }
        workflow["tasks"] = json!([task]);
        cluster.submit(&cluster.sandbox.file("reach.json", workflow.to_string()))
    }

    /// When the end was recorded, in milliseconds since 1970.
    fn recorded(self, cluster: &Cluster, run: &str) -> u64 {
        if matches!(self, Self::Cancel) {
            cluster.client(&["cancel", run]).exits(0);
        }
        let ended = cluster.until_ended(run);
        let (status, kind) = match self {
            Self::Cancel => ("cancelled", "workflow_cancel_requested"),
            Self::TaskTimeout => ("failed", "task_attempt_failed"),
            Self::RunTimeout => ("failed", "workflow_failed"),
        };
        assert_eq!(ended["status"], status, "{ended:#}");
        Journal::watch(&cluster.sandbox, &cluster.url, run).only(kind).at_ms
    }
}

#[test]
fn commands_end_together_with_the_processes_that_they_started() {
    let cluster = Cluster::all_in_one(&[]);
    for end in ENDS {
        let beat = cluster.sandbox.path().join(format!("{end:?}"));
        let path = beat.display();
        let command =
            format!("sh -c 'while :; do date +%s%3N >{path}.new; mv {path}.new {path}; sleep 0.02; done' & wait");
        let run = end.submit(&cluster, "shell/run", &json!({"command": command}));
        until("the command runs", PATIENCE, || beat.exists().then_some(()));
        let recorded = end.recorded(&cluster, &run);
        // The command writes the time every 20 ms, so after a second of silence it has ended.
        let last = until("it has ended", PATIENCE, || {
            let last: u64 = fs::read_to_string(&beat).ok()?.trim().parse().ok()?;
            (now_ms() > last + 1_000).then_some(last)
        });
        assert!(last <= recorded + REACH_MS, "{end:?}: it went on for {} ms", last.saturating_sub(recorded));
    }
}

/// Sends the time of its drop.
struct Gone(Sender<u64>);

impl Drop for Gone {
    fn drop(&mut self) {
        // The test may have ended.
        let _ = self.0.send(now_ms());
    }
}

/// A server that never answers; it reports when a request came, and when its client went away.
fn silent_server(runtime: &Runtime) -> (String, Receiver<()>, Receiver<u64>) {
    let ((came, coming), (gone, going)) = (channel(), channel());
    let never = async |State((came, gone)): State<(Sender<()>, Sender<u64>)>| {
        let _gone = Gone(gone);
        let _ = came.send(());
        std::future::pending::<()>().await;
    };
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().route("/", get(never)).with_state((came, gone));
    runtime.spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}/"), coming, going)
}

#[test]
fn requests_are_abandoned_at_the_deadline() {
    let runtime = Runtime::new().expect("a runtime");
    let (url, came, gone) = silent_server(&runtime);
    let cluster = Cluster::all_in_one(&[]);
    for end in ENDS {
        let run = end.submit(&cluster, "http/request", &json!({"url": url, "timeout": 300}));
        came.recv_timeout(PATIENCE).expect("the server is asked");
        let recorded = end.recorded(&cluster, &run);
        let at = gone.recv_timeout(PATIENCE).expect("the connection is closed");
        assert!(at <= recorded + REACH_MS, "{end:?}: it went on for {} ms", at.saturating_sub(recorded));
    }
}
