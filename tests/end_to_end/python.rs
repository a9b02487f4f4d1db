//! Python code that takes all the resources it can get: its task fails with the reason, and nothing else is harmed or
//! left behind.

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

#[test]
fn unsupported_values_are_named_and_syntax_errors_are_not_retried() {
    let sandbox = Sandbox::new();
    let codes = [
        ("nan", "result = {'a': [1, float('nan')]}"),
        ("huge", "result = {'n': 10**25}"),
        ("half", "result = 'cut \\ud83d here'"),
        ("key", "result = {'\\ud83d': 1}"),
        ("deep", "x = 1\nfor _ in range(200): x = [x]\nresult = x"),
        ("syntax", "x = (\n"),
        ("err", "raise ValueError('\\ud83d')"),
        ("out", "print('\\ud83d')\nresult = 1"),
        ("next", "result = 'still alive'"),
    ];
    let retry = json!({"max_attempts": 3, "initial_delay": 0.01});
    let tasks: Vec<Value> = codes
        .iter()
        .map(|(id, code)| json!({"id": id, "method": "python/execute", "retry": retry, "parameters": {"code": code}}))
        .collect();
    let file = sandbox.file("carried.json", json!({"name": "Carried", "tasks": tasks}).to_string());
    let run = sandbox.gleitzeit(&["run", &file, "-o", "json"]).exits(1).json();
    for (task, name, attempt, expected) in [
        ("nan", "TASK_RESULT_INVALID", 1, "`result.a[1]` is NaN"),
        ("huge", "TASK_RESULT_INVALID", 1, "`result.n` is the whole number 10000000000000000000000000,"),
        ("half", "TASK_RESULT_INVALID", 1, "lone surrogate"),
        ("key", "TASK_RESULT_INVALID", 1, "lone surrogate"),
        ("deep", "TASK_RESULT_INVALID", 1, "nested deeper than the limit of 127 levels"),
        ("syntax", "TASK_EXECUTION_FAILED", 1, "SyntaxError: '(' was never closed (line 1, column 5)"),
        ("err", "TASK_EXECUTION_FAILED", 3, "ValueError: \\ud83d"),
    ] {
        let task = &run["tasks"][task];
        assert_eq!((&task["error"]["name"], &task["attempt"]), (&json!(name), &json!(attempt)), "{task}");
        assert!(task["error"]["message"].as_str().is_some_and(|message| message.contains(expected)), "{task}");
    }
    assert_eq!(run["tasks"]["err"]["error"]["data"]["type"], "ValueError", "{run}");
    assert_eq!(run["tasks"]["out"]["result"]["output"], "\\ud83d\n", "{run}");
    assert_eq!(run["tasks"]["next"]["result"]["result"], "still alive", "{run}");
}
