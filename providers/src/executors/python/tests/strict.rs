//! Tests of what `sandbox: strict` keeps from the code, and what it leaves.

use gleitzeit_protocols::Registry;
use serde_json::json;

use super::*;
use crate::factory::{Factory, ProviderError};

fn strict_bench() -> Bench {
    bench_with("sandbox: strict")
}

#[tokio::test]
async fn ordinary_code_runs_under_strict() {
    let bench = strict_bench();
    let code = "import os, sys, json, sqlite3, decimal, tempfile, subprocess, shutil, socket, threading, datetime\n\
                open('a.txt', 'w').write('text')\nshutil.copy2('a.txt', 'b.txt')\nos.mkdir('sub')\n\
                os.rename('b.txt', 'sub/c.txt')\nwith tempfile.NamedTemporaryFile() as file: file.write(b'x')\n\
                child = subprocess.run([sys.executable, '-c', 'print(40 + 2)'], capture_output=True, text=True)\n\
                assert child.returncode == 0, child.stderr\n\
                one, two = socket.socketpair()\none.send(b'hi')\nassert two.recv(2) == b'hi'\n\
                threading.Thread(target=lambda: None).start()\nassert os.urandom(4)\n\
                open('/dev/null', 'w').write('x')\n\
                result = [open('sub/c.txt').read(), child.stdout, os.getcwd() == os.environ['TMPDIR']]";
    let outcome = bench.run(code).await.expect("runs");
    assert_eq!(outcome["result"], json!(["text", "42\n", true]));
    assert_eq!(bench.left_behind(), 0);
    assert_eq!(bench.python.capabilities(), ["sandbox:strict"]);
}

#[tokio::test]
async fn strict_gives_access_only_to_python_and_the_folder_of_the_call() {
    let bench = strict_bench();
    let outside = tempfile::tempdir().expect("folder");
    std::fs::write(outside.path().join("secret"), "secret").expect("written");
    let secret = outside.path().join("secret");
    let listener = std::os::unix::net::UnixDatagram::bind(outside.path().join("socket")).expect("bound");
    listener.set_nonblocking(true).expect("set");
    for (code, expected) in [files(&secret), sockets_and_programs(), kernel()].concat() {
        assert_refused(&bench, &code, expected).await;
    }
    assert_eq!(std::fs::read_to_string(&secret).expect("there"), "secret");
    assert_eq!(bench.left_behind(), 0);
    assert!(!Path::new("/tmp/gleitzeit-strict").exists());
}

/// Code, and a part of the error that ends it.
type Refused = (String, &'static str);

async fn assert_refused(bench: &Bench, code: &str, expected: &str) {
    // The numbers of system calls are those of x86-64.
    if cfg!(not(target_arch = "x86_64")) && expected.starts_with("refused") {
        return;
    }
    let error = bench.run(code).await.expect_err(code);
    assert_eq!(error.code, ErrorCode::TaskExecutionFailed, "{code}");
    assert!(error.message.contains(expected), "{code}: {}", error.message);
    let kinds = ["PermissionError: ", "OSError: ", "urllib.error.URLError: "];
    assert!(kinds.iter().any(|kind| error.message.starts_with(kind)), "{code}: {}", error.message);
}

fn files(secret: &Path) -> Vec<Refused> {
    vec![
        ("open('/etc/hostname').read()".to_owned(), "PermissionError"),
        ("open('/etc/passwd').read()".to_owned(), "PermissionError"),
        ("open('/proc/self/environ').read()".to_owned(), "PermissionError"),
        ("import os\nos.listdir('/')".to_owned(), "PermissionError"),
        ("import os\nos.listdir('..')".to_owned(), "PermissionError"),
        (format!("open({secret:?}).read()"), "PermissionError"),
        (format!("open({secret:?}, 'w')"), "Error"),
        (format!("import os\nos.truncate({secret:?}, 0)"), "Error"),
        (format!("import os\nos.remove({secret:?})"), "Error"),
        (format!("import os\nos.rename({secret:?}, 'mine')"), "Error"),
        (format!("import os\nos.link({secret:?}, 'mine')"), "Error"),
        (format!("import os\nos.symlink({secret:?}, 'mine')\nopen('mine').read()"), "PermissionError"),
        (format!("import os\nos.chmod({secret:?}, 0o777)"), "Read-only"),
        (format!("import os\nos.utime({secret:?}, (1, 1))"), "Read-only"),
        (format!("import os\nos.setxattr({secret:?}, 'user.a', b'b')"), "Error"),
        ("import os\nos.chmod('..', 0o777)".to_owned(), "Read-only"),
        ("open('../other', 'w')".to_owned(), "Error"),
        ("open('/tmp/gleitzeit-strict', 'w')".to_owned(), "Error"),
        ("import os\nopen(os.__file__, 'a')".to_owned(), "Error"),
    ]
}

fn sockets_and_programs() -> Vec<Refused> {
    vec![
        ("import socket\nsocket.socket()".to_owned(), "PermissionError"),
        ("import socket\nsocket.socket(socket.AF_INET6, socket.SOCK_DGRAM)".to_owned(), "PermissionError"),
        ("import socket\nsocket.socket(socket.AF_UNIX)".to_owned(), "PermissionError"),
        ("import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)".to_owned(), "PermissionError"),
        ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1/')".to_owned(), "not permitted"),
        ("import subprocess\nsubprocess.run(['/bin/ls'])".to_owned(), "PermissionError"),
        ("import os\nos.mknod('device', 0o020600, os.makedev(1, 3))".to_owned(), "Error"),
        ("import os\nos.setuid(1)".to_owned(), "Error"),
    ]
}

/// What the filter of system calls and the rights of the process forbid.
fn kernel() -> Vec<Refused> {
    vec![
        (call("mount", "165, b'none', b'/', 0, 32, 0"), "refused: 1"),
        (call("unshare", "272, 0x10000000"), "refused: 1"),
        (call("clone into a user namespace", "56, 0x10000011, 0, 0, 0, 0"), "refused: 1"),
        (call("io_uring", "425, 1, 0"), "refused: 1"),
        (call("shared memory", "29, 0, 4096, 0o1600"), "refused: 1"),
        (call("attach shared memory", "30, 0, 0, 0"), "refused: 1"),
        (call("semaphores", "64, 0, 1, 0o1600"), "refused: 1"),
        (call("messages", "68, 0, 0o1600"), "refused: 1"),
        (
            call("limits of the process that looks after it", "302, 1, 7, 0, ctypes.create_string_buffer(16)"),
            "refused: 1",
        ),
        ("import resource\nresource.prlimit(1, resource.RLIMIT_NOFILE)".to_owned(), "Error"),
        ("import os\nos.sched_setaffinity(1, {0})".to_owned(), "PermissionError"),
        ("import os\nos.setpriority(os.PRIO_PROCESS, 1, 19)".to_owned(), "PermissionError"),
        ("import os\nos.setpriority(os.PRIO_USER, 0, 19)".to_owned(), "PermissionError"),
        ("import os\nos.memfd_create('m')".to_owned(), "PermissionError"),
        (call("watching files", "294, 0"), "refused: 1"),
        ("open('/proc/self/oom_score_adj', 'w').write('-1')".to_owned(), "Error"),
        (call("x32", "0x40000000 + 41, 2, 1, 0"), "refused: 1"),
    ]
}

/// Code that makes a system call directly.
fn call(what: &str, arguments: &str) -> String {
    format!(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nif libc.syscall({arguments}) == -1:\n    raise \
         OSError(f'{what} refused: {{ctypes.get_errno()}}')"
    )
}

#[tokio::test]
async fn strict_code_has_objects_of_the_kernel_to_itself_and_its_own_limits() {
    let bench = strict_bench();
    // Calls about itself that it may make.
    let own = "import resource, os\nresource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))\n\
               os.sched_setaffinity(0, os.sched_getaffinity(0))\nos.nice(1)\n\
               result = resource.getrlimit(resource.RLIMIT_NOFILE)";
    assert_eq!(bench.run(own).await.expect("runs")["result"], json!([100, 100]));
    // Names of files can be queried: its namespace of messages and shared memory differs from the agent's.
    let ours = std::fs::read_link("/proc/self/ns/ipc").expect("a name");
    let theirs = bench.run("import os\nresult = os.readlink('/proc/self/ns/ipc')").await;
    if let Ok(outcome) = theirs {
        assert_ne!(outcome["result"].as_str(), ours.to_str());
    }
    // The next call finds its lane unchanged, with the priority of this process.
    let priority = rustix::process::getpriority_process(None).expect("its own");
    assert_eq!(
        bench.run("import os\nresult = os.getpriority(os.PRIO_PROCESS, 0)").await.expect("runs")["result"],
        json!(priority)
    );
}

#[tokio::test]
async fn limits_and_ends_hold_under_strict_too() {
    let bench = bench_with("sandbox: strict\nmax_processes: 20\nmax_memory_bytes: 500000000");
    let bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n";
    for (code, expected) in [(bomb, "`max_processes`"), ("b'x' * 10_000_000_000", "MemoryError")] {
        let error = bench.run(code).await.expect_err(code);
        assert!(error.message.contains(expected), "{code}: {}", error.message);
    }
    let params = json!({"code": "while True: pass", "context": {}, "timeout": 0.3});
    let error = bench.execute(params, Context::default()).await.expect_err("too slow");
    assert_eq!(error.code, ErrorCode::TaskTimeout);
    assert_eq!(bench.run("result = 5").await.expect("runs")["result"], json!(5));
    assert_eq!(bench.left_behind(), 0);
}

#[tokio::test]
async fn strict_works_in_a_user_namespace_and_not_without_any() {
    let bench = bench_in("sandbox: strict", Namespaces::User);
    assert_eq!(bench.run("result = 5").await.expect("runs")["result"], json!(5));
    let error = bench.run("open('/etc/hostname')").await.expect_err("kept away");
    assert!(error.message.starts_with("PermissionError"), "{}", error.message);
    let error = bench.run("import os\nos.chmod('..', 0o777)").await.expect_err("kept away");
    assert!(error.message.contains("Read-only"), "{}", error.message);

    let bench = bench_in("sandbox: strict", Namespaces::None);
    let error = bench.run("result = 5").await.expect_err("refused");
    assert_eq!(error.code, ErrorCode::ProviderInitializationFailed);
    assert!(error.message.contains("`sandbox: strict` is not possible here"), "{}", error.message);
}

#[tokio::test]
async fn a_strict_provider_is_not_built_without_support() {
    let temp = tempfile::tempdir().expect("folder");
    let mut settings = settings(temp.path());
    let text = "name: p\nprotocol: python/v1\nexecutor: python-local\noptions: {sandbox: strict}\n";
    let definition = Definition::parse("p.yaml", text).expect("valid");
    let provider = Factory::build(&definition, &Registry::shipped(), &settings).expect("possible here");
    assert!(provider.capabilities().contains(&"sandbox:strict".to_owned()));
    settings.path = "/nonexistent".into();
    let error = Factory::build(&definition, &Registry::shipped(), &settings).expect_err("no Python");
    assert!(matches!(error, ProviderError::Options { .. }), "{error}");
    assert!(error.to_string().contains("Python was not found"), "{error}");
}
