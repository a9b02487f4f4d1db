//! Runs the tests of an executor again in a separate process with other environment variables: the same promises must
//! hold in the portable way and with other interpreters.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// A whole suite takes half a minute, and many times that on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// Runs the tests whose names contain `suite` and none of the names in `but`.
pub(in crate::executors) async fn rerun(suite: &str, but: &[&str], variables: &[(&str, &str)]) {
    // One suite at a time: many of the tests measure how long something takes.
    static ALONE: Mutex<()> = Mutex::const_new(());
    let _alone = ALONE.lock().await;
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args([suite, "--test-threads", "2"]).args(but.iter().flat_map(|name| ["--skip", *name]));
    command.envs(variables.iter().copied()).kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut said = String::new();
    let mut output = child.stdout.take().expect("a pipe");
    let ended = timeout(PATIENCE, async {
        output.read_to_string(&mut said).await.expect("text");
        child.wait().await.expect("ends")
    });
    let status = ended.await.expect("in time");
    assert!(status.success(), "with {variables:?}:\n{said}");
    let ran = said.lines().find(|line| line.starts_with("test result: ok. ")).expect("a summary");
    assert!(!ran.contains(" 0 passed"), "{ran}");
}

/// The executables with these names in `PATH`, and those of pyenv.
pub(in crate::executors) fn pythons() -> Vec<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path)
        .filter(|folder| !folder.ends_with("shims"))
        .flat_map(|folder| (8..40).map(move |minor| folder.join(format!("python3.{minor}"))))
        .collect::<Vec<_>>();
    let home = std::env::var_os("PYENV_ROOT").map(Into::into);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".pyenv")));
    let versions = home.and_then(|home| std::fs::read_dir(home.join("versions")).ok());
    let kept = versions.into_iter().flatten().flatten().map(|version| version.path().join("bin/python3"));
    let mut found: Vec<_> = named.into_iter().chain(kept).filter_map(|path| path.canonicalize().ok()).collect();
    found.sort();
    found.dedup();
    found.retain(|path| {
        let asked =
            std::process::Command::new(path).args(["-c", "import sys; print(sys.version_info >= (3, 8))"]).output();
        asked.is_ok_and(|said| said.stdout.starts_with(b"True"))
    });
    found
}
