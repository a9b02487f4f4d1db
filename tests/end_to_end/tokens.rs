//! A control plane on this machine only admits its own user.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::support::{PATIENCE, Sandbox, free_port, until};

/// A control plane with its own token.
struct Own {
    sandbox: Sandbox,
    port: String,
    url: String,
}

impl Own {
    fn new() -> Self {
        let port = free_port();
        Self { sandbox: Sandbox::new(), port: port.to_string(), url: format!("http://127.0.0.1:{port}") }
    }

    fn start(&self, command: &str) -> crate::support::Process {
        let store = format!("sqlite:{}", self.sandbox.path().join("hub.db").display());
        let mut process = self.sandbox.start(&[command, "--port", &self.port, "--store", &store]);
        process.said("ready at ", PATIENCE);
        process
    }

    fn file(&self) -> PathBuf {
        self.sandbox.home().join(".local/state/gleitzeit").join(format!("token-{}", self.port))
    }

    fn status(&self, sandbox: &Sandbox, more: &[&str]) -> crate::support::Ended {
        let mut arguments = vec!["status", "--hub-url", &self.url, "-o", "json"];
        arguments.extend(more);
        sandbox.gleitzeit(&arguments)
    }
}

#[test]
fn only_commands_of_the_same_user_find_the_token() {
    let own = Own::new();
    let _process = own.start("start");
    let metadata = fs::symlink_metadata(own.file()).expect("a token");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(own.file()).expect("readable");
    assert!(token.len() >= 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "a bare token");

    own.status(&own.sandbox, &[]).exits(0);
    let other = Sandbox::new();
    let refused = own.status(&other, &[]);
    assert_ne!(refused.code(), 0);
    assert!(refused.stderr.contains("GLEITZEIT_TOKEN"), "{}", refused.stderr);
    own.status(&other, &["--token", &token]).exits(0);
}

#[test]
fn a_token_outlives_its_control_plane_and_is_never_sent_to_another_user() {
    let own = Own::new();
    let mut process = own.start("hub");
    let agent = own.sandbox.start(&["agent", "--hub-url", &own.url]);
    let connected = || {
        let list = own.sandbox.gleitzeit(&["components", "--hub-url", &own.url, "-o", "json"]);
        let is_there = |list: serde_json::Value| list["items"].as_array().is_some_and(|items| items.len() >= 3);
        (list.code() == 0 && is_there(list.json())).then_some(())
    };
    until("the agent is let in", PATIENCE, connected);
    let token = fs::read_to_string(own.file()).expect("readable");
    process.kill_9();

    // Another user takes the port and records what the first user's commands send.
    let squatter = std::net::TcpListener::bind(own.url.trim_start_matches("http://")).expect("the port is free");
    squatter.set_nonblocking(true).expect("set");
    let (said, heard) = std::sync::mpsc::channel();
    let looking = std::thread::spawn(move || {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        while matches!(heard.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
            if let Ok((mut stream, _)) = squatter.accept() {
                stream.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("set");
                let mut chunk = [0; 4_096];
                while let Ok(read @ 1..) = stream.read(&mut chunk) {
                    bytes.extend_from_slice(&chunk[..read]);
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        bytes
    });
    assert_ne!(own.status(&own.sandbox, &[]).code(), 0);
    said.send(()).expect("it looks");
    let bytes = looking.join().expect("it looked");
    assert!(!bytes.is_empty(), "the command came");
    let shown = bytes.windows(token.len()).any(|window| window == token.as_bytes());
    assert!(!shown, "the token was shown to whoever listens");

    let _process = own.start("hub");
    assert_eq!(fs::read_to_string(own.file()).expect("readable"), token);
    until("the agent is let in again", PATIENCE, connected);
    drop(agent);
}

#[test]
fn disabled_authentication_is_reported_and_a_file_of_others_is_not_used() {
    let own = Own::new();
    let contradiction = own.sandbox.gleitzeit(&["start", "--port", &own.port, "--no-auth", "--token", "x"]).exits(2);
    assert!(contradiction.stderr.contains("--no-auth"), "{}", contradiction.stderr);

    fs::create_dir_all(own.file().parent().expect("a folder")).expect("made");
    fs::write(own.file(), "known").expect("written");
    fs::set_permissions(own.file(), fs::Permissions::from_mode(0o644)).expect("set");
    let ended = own.sandbox.gleitzeit(&["hub", "--port", &own.port, "--store", "memory:"]).exits(1);
    assert!(ended.stderr.contains("0600") && ended.stderr.contains("--no-auth"), "{}", ended.stderr);

    let mut open = own.sandbox.start(&["hub", "--port", &own.port, "--store", "memory:", "--no-auth"]);
    open.said("ready at ", PATIENCE);
    assert!(open.stderr().contains("no token is required"), "{}", open.stderr());
    own.status(&Sandbox::new(), &[]).exits(0);
}

#[cfg(target_os = "linux")]
#[test]
fn code_of_a_task_finds_no_token_in_the_processes_of_its_user() {
    let mut sandbox = Sandbox::new();
    let token = "a-token-that-nobody-else-knows-0123456789";
    sandbox.set("GLEITZEIT_TOKEN", token);
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let store = format!("sqlite:{}", sandbox.path().join("hub.db").display());
    let mut hub = sandbox.start(&["hub", "--port", &port, "--store", &store]);
    hub.said("ready at ", PATIENCE);
    let agent = sandbox.start(&["agent", "--hub-url", &url]);
    let code = "import glob\nresult = {}\nfor pid in context['pids']:\n    try:\n        found = \
                open(f'/proc/{pid}/environ', 'rb').read()\n        result[str(pid)] = context['token'].encode() in found\n    \
                except OSError: result[str(pid)] = False\n    try:\n        open(f'/proc/{pid}/mem', 'r+b').close()\n        \
                result[str(pid)] = 'memory'\n    except OSError: pass\n";
    let pids = [hub.pid(), agent.pid()];
    let context = serde_json::json!({"pids": pids, "token": token});
    let tasks = serde_json::json!([{"id": "look", "method": "python/execute", "parameters": {"code": code, "context": context}}]);
    let workflow = serde_json::json!({"name": "Look", "tasks": tasks, "outputs": {"found": "${look.result}"}});
    let file = sandbox.file("look.json", workflow.to_string());
    let ended = sandbox.gleitzeit(&["submit", &file, "--wait", "--hub-url", &url, "-o", "json"]).exits(0).json();
    let found = pids.iter().map(|pid| (pid.to_string(), serde_json::json!(false))).collect();
    assert_eq!(ended["outputs"]["found"], serde_json::Value::Object(found), "{ended:#}");
    // Not even for processes with permission to look.
    for pid in pids {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(!environment.windows(token.len()).any(|part| part == token.as_bytes()), "process {pid}");
    }
    agent.terminate(PATIENCE).exits(0);
    hub.terminate(PATIENCE).exits(0);
}

#[test]
fn all_processes_use_a_changed_token_file() {
    let own = Own::new();
    let (asked, shown) = (own.sandbox.path().join("asked"), own.sandbox.path().join("shown"));
    let write = |token: &str| [&asked, &shown].map(|file| fs::write(file, format!("{token}\n")).expect("written"));
    write("first");
    let (asked, shown) = (asked.display().to_string(), shown.display().to_string());
    let store = format!("sqlite:{}", own.sandbox.path().join("hub.db").display());
    let hub = ["hub", "--port", &own.port, "--store", &store, "--token-file", &asked];
    let mut first = own.sandbox.start(&hub);
    first.said("ready at ", PATIENCE);
    let command = fs::read_to_string(format!("/proc/{}/cmdline", first.pid())).expect("a process");
    assert!(!command.contains("first"), "{command}");

    let other = Sandbox::new();
    let agent = ["agent", "--role", "all", "--hub-url", &own.url, "--token-file", &shown];
    let _agent = own.sandbox.start(&agent);
    let workflow =
        other.file("w.yaml", "name: W\ntasks: [{id: a, method: shell/run, parameters: {command: echo hi}}]\n");
    let submit = |more: &[&str]| {
        let mut arguments = vec!["submit", &workflow, "--wait", "--hub-url", &own.url];
        arguments.extend(more);
        other.gleitzeit(&arguments)
    };
    submit(&["--token-file", &shown]).exits(0);

    write("second");
    let refused = submit(&["--token", "first"]);
    assert!(refused.code() != 0 && refused.stderr.contains("the token is wrong"), "{}", refused.stderr);
    submit(&["--token-file", &shown]).exits(0);
    // Agents that reconnect send the new token, too.
    first.kill_9();
    let mut second = own.sandbox.start(&hub);
    second.said("ready at ", PATIENCE);
    submit(&["--token", "second"]).exits(0);
}

#[test]
fn a_file_without_a_token_is_refused_before_anything_starts() {
    let sandbox = Sandbox::new();
    let none = sandbox.path().join("none").display().to_string();
    let empty = sandbox.file("empty", "\n");
    for (file, why) in [(&none, "No such file"), (&empty, "it holds no token")] {
        for arguments in [["hub", "--port", "0"], ["agent", "--role", "all"], ["status", "-o", "table"]] {
            let mut arguments = arguments.to_vec();
            arguments.extend(["--token-file", file]);
            let refused = sandbox.gleitzeit(&arguments);
            assert!(refused.stderr.contains(file) && refused.stderr.contains(why), "{arguments:?}: {}", refused.stderr);
            assert_eq!(refused.code(), 2, "{arguments:?}");
        }
    }
    let both = sandbox.gleitzeit(&["status", "--token", "t", "--token-file", &empty]);
    assert!(both.code() == 2 && both.stderr.contains("exclude each other"), "{}", both.stderr);
    let mut spaced = Sandbox::new();
    spaced.set("GLEITZEIT_TOKEN", "two words");
    let refused = spaced.gleitzeit(&["status"]).exits(2);
    assert!(refused.stderr.contains("GLEITZEIT_TOKEN contains spaces"), "{}", refused.stderr);
}

#[test]
fn empty_variables_count_as_unset() {
    let own = Own::new();
    let token = own.sandbox.file("token", "secret\n");
    let mut sandbox = Sandbox::new();
    sandbox.set("GLEITZEIT_TOKEN", "");
    sandbox.set("GLEITZEIT_TOKEN_FILE", &token);
    let store = format!("sqlite:{}", own.sandbox.path().join("hub.db").display());
    let mut hub = sandbox.start(&["hub", "--port", &own.port, "--store", &store]);
    hub.said("ready at ", PATIENCE);
    own.status(&sandbox, &[]).exits(0);
    let mut empty = Sandbox::new();
    empty.set("GLEITZEIT_TOKEN_FILE", "");
    own.status(&empty, &["--token", "secret"]).exits(0);
    assert!(own.status(&empty, &[]).stderr.contains("the token is missing"));
}
