//! What shell and Python tasks print is seen while they run, by those who come late too.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, until};

/// Prints, waits until a file is there, and prints again.
fn workflow(cluster: &Cluster, method: &str) -> (String, std::path::PathBuf) {
    let gate = cluster.sandbox.path().join(format!("{}.gate", method.replace('/', "-")));
    let path = gate.display();
    let parameters = match method {
        "shell/run" => {
            json!({"command": format!("echo first; echo why >&2; while [ ! -e {path} ]; do sleep 0.05; done; echo last")})
        }
        _ => json!({"code": format!(
            "import os, time\nprint('first')\nwhile not os.path.exists('{path}'):\n    time.sleep(0.05)\nprint('last')"
        )}),
    };
    let task = json!({"id": "it", "method": method, "parameters": parameters});
    let file = cluster.sandbox.file("live.json", json!({"name": "Live", "tasks": [task]}).to_string());
    (file, gate)
}

#[test]
fn lines_are_seen_before_the_task_ends_by_whoever_follows_and_whoever_comes_late() {
    let cluster = Cluster::all_in_one(&[]);
    for method in ["shell/run", "python/execute"] {
        let (file, gate) = workflow(&cluster, method);
        let run = cluster.submit(&file);
        let arguments = ["logs", &run, "-f", "--hub-url", &cluster.url];
        let early = cluster.sandbox.start(&arguments);
        until("the first line is followed", PATIENCE, || early.stdout().contains("[it] first").then_some(()));
        // It is known to those who come now, and nothing is told twice.
        let logs = cluster.ask(&["logs", &run]);
        assert_eq!(logs["tasks"][0]["output"], "first\n", "{logs}");
        let late = cluster.sandbox.start(&[&arguments[..], &["-o", "json"]].concat());
        let watch = cluster.sandbox.start(&["watch", &run, "--hub-url", &cluster.url]);
        until("the late ones have it", PATIENCE, || {
            (late.stdout().contains("first") && watch.stdout().contains("[it] first")).then_some(())
        });
        fs::write(gate, "").expect("writable");
        for follower in [early, watch] {
            let said = follower.wait(PATIENCE).exits(0).stdout;
            assert_eq!((said.matches("[it] first").count(), said.matches("[it] last").count()), (1, 1), "{said}");
        }
        let said = late.wait(PATIENCE).exits(0).stdout;
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of = |stream: &str| {
            let lines = lines.iter().filter(|line| line["stream"] == stream);
            lines.map(|line| line["text"].as_str().expect("text")).collect::<String>()
        };
        assert_eq!(of("stdout"), "first\nlast\n", "{said}");
        assert_eq!(of("stderr"), if method == "shell/run" { "why\n" } else { "" }, "{said}");
    }
}
