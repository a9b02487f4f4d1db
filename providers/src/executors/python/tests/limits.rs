//! What code at `sandbox: limits` cannot do to the processes that look after it, or to others.

use super::*;

/// Tries to open the memory and the environment of the lane that it was forked from, of the lane's server, and of
/// `agent`.
const LOOK: &str = "import os\n\
    def parent(pid): return int(open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[1])\n\
    lane = parent(os.readlink('/proc/self'))\n\
    def tried(path, mode):\n\
    \x20   try:\n\
    \x20       open(path, mode).close()\n\
    \x20       return 'open'\n\
    \x20   except OSError as error:\n\
    \x20       return type(error).__name__\n\
    result = {name: [tried(f'/proc/{pid}/mem', 'r+b'), tried(f'/proc/{pid}/environ', 'rb')]\n\
    \x20         for name, pid in [('lane', lane), ('server', parent(lane)), ('self', 'self'), ('agent', context['agent'])]}";

#[tokio::test]
async fn code_cannot_write_to_the_processes_that_it_was_forked_from() {
    for namespaces in [Namespaces::Root, Namespaces::User, Namespaces::None] {
        let bench = bench_in("max_processes: 20", namespaces);
        let params = json!({"code": LOOK, "context": {"agent": std::process::id()}});
        let outcome = match bench.execute(params.clone(), Context::default()).await {
            Ok(outcome) => outcome,
            Err(error) if error.code == ErrorCode::ProviderInitializationFailed => continue,
            Err(error) => panic!("{namespaces:?}: {error:?}"),
        };
        let is_root = rustix::process::geteuid().is_root();
        let said = |whose: &str, at: usize| outcome["result"][whose][at].as_str().unwrap_or_default().to_owned();
        for whose in ["lane", "server"] {
            assert_eq!(said(whose, 0), "PermissionError", "{namespaces:?}: memory of the {whose}");
            // With CAP_SYS_ADMIN, newer kernels let environments be read even if a process forbids it.
            if !is_root || namespaces == Namespaces::User {
                assert_eq!(said(whose, 1), "PermissionError", "{namespaces:?}: environment of the {whose}");
            }
        }
        assert_eq!([said("self", 0), said("self", 1)], ["open", "open"], "{namespaces:?}: its own is its own");
        // An agent of another user protects itself (`gleitzeit agent`); code of root has lost the right to change it.
        if is_root {
            assert_eq!(said("agent", 0), "PermissionError", "{namespaces:?}: memory of the agent");
        }
        // The next call is not affected.
        assert_eq!(bench.run("result = 5").await.expect("runs")["result"], json!(5), "{namespaces:?}");
    }
}

#[tokio::test]
async fn mounts_of_the_code_are_visible_only_to_its_own_call() {
    let bench = bench_in("max_processes: 20", Namespaces::Root);
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("seen"), "by all").expect("written");
    let path = folder.path().to_str().expect("text");
    let code = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n\
                own = os.readlink('/proc/self/ns/mnt') != context['ours']\n\
                done = own and libc.mount(b'none', context['path'].encode(), b'tmpfs', 0, None) == 0\n\
                result = [own, done, os.listdir(context['path'])]";
    let ours = std::fs::read_link("/proc/self/ns/mnt").expect("a name");
    let params = json!({"code": code, "context": {"path": path, "ours": ours.to_str()}});
    let outcome = bench.execute(params, Context::default()).await.expect("runs");
    if bench.python.pool.namespaces().await != Some(Namespaces::Root) {
        return skipped("only root makes process namespaces without one for users, and could mount anything");
    }
    assert_eq!(outcome["result"][0], json!(true), "it has mounts of its own");
    if outcome["result"][1] != json!(true) {
        return skipped("nothing can be mounted here");
    }
    assert_eq!(outcome["result"][2], json!([]), "it sees what it mounted");
    assert_eq!(std::fs::read_to_string(folder.path().join("seen")).expect("there"), "by all");
    let next = json!({"code": "import os\nresult = os.listdir(context['path'])", "context": {"path": path}});
    assert_eq!(bench.execute(next, Context::default()).await.expect("runs")["result"], json!(["seen"]));
}

#[tokio::test]
async fn missing_features_of_the_machine_are_reported_in_one_line_with_the_health() {
    let health = bench_in("max_processes: 20", Namespaces::None).python.health().await;
    assert_eq!(health.state, HealthState::Healthy, "{health:?}");
    let reason = health.reason.expect("said");
    assert!(reason.starts_with("no process namespaces: ") && reason.lines().count() == 1, "{reason}");
}

#[expect(clippy::print_stderr, reason = "the person running the tests must see it")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
