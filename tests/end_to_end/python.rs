//! Python code that takes all it can get: its task fails and says why, and nothing else is harmed or left.

use serde_json::{Value, json};

use crate::support::{Cluster, Sandbox};

/// Code, and what the error says about it.
const HOSTILE: [(&str, &str); 7] = [
    ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "`max_processes`"),
    ("while True: pass", "`max_cpu_seconds`"),
    ("result = len(b'x' * 10_000_000_000)", "MemoryError"),
    ("open('/etc/hostname').read()", "PermissionError"),
    ("open('/tmp/gleitzeit-end-to-end', 'w')", "Error: [Errno "),
    ("import socket\nsocket.create_connection(('127.0.0.1', 1))", "not permitted"),
    ("import subprocess\nsubprocess.run(['/bin/sh', '-c', 'id'], check=True)", "PermissionError"),
];

fn strict(sandbox: &Sandbox) -> String {
    sandbox.file(
        "strict.yaml",
        "name: python_local\nprotocol: python/v1\nexecutor: python-local\nmax_concurrency: 3\n\
         options: {sandbox: strict, max_processes: 20, max_cpu_seconds: 1, max_memory_bytes: 1000000000}\n",
    )
}

#[test]
fn hostile_python_fails_its_own_task_only_and_leaves_nothing() {
    let files = Sandbox::new();
    let cluster = Cluster::all_in_one(&["--provider", &strict(&files)]);
    let submit = |name: &str, code: &str| {
        let task = json!({"id": "only", "method": "python/execute", "parameters": {"code": code}});
        cluster.submit(&files.file(name, json!({"name": "Python", "tasks": [task]}).to_string()))
    };
    let hostile: Vec<_> =
        HOSTILE.iter().map(|(code, expected)| (submit("hostile.json", code), code, expected)).collect();
    let escape =
        "import os\nprint('x' * 10_000_000)\nif os.fork() == 0:\n    os.setsid()\n    while True: pass\nresult = 1";
    let ordinary: Vec<_> = (0..5).map(|_| submit("ordinary.json", escape)).collect();
    for (run, code, expected) in hostile {
        let ended = cluster.until_ended(&run);
        assert_eq!(ended["status"], "failed", "{code}: {ended}");
        let message = ended["tasks"]["only"]["error"]["message"].as_str().expect("a message");
        assert!(message.contains(*expected), "{code}: {message}");
    }
    for run in ordinary {
        let ended = cluster.until_ended(&run);
        assert_eq!(ended["status"], "completed", "{ended}");
    }
    assert!(!std::path::Path::new("/tmp/gleitzeit-end-to-end").exists());
    let providers = cluster.ask(&["providers"]);
    let levels: Vec<&Value> =
        providers["items"].as_array().expect("a list").iter().map(|it| &it["capabilities"]).collect();
    assert!(levels.contains(&&json!(["sandbox:strict"])), "{levels:?}");
}
