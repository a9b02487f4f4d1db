//! A Python with a Socket.IO client, for foreign providers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A Python with the package: the system's, or else a virtual environment with the package from the usual index.
fn interpreter() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let (system, folder) = (PathBuf::from("python3"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("python"));
        let own = folder.join("bin/python3");
        // Another process may be creating it just now.
        let lock = File::create(folder.with_extension("lock")).expect("writable");
        lock.lock().expect("a lock");
        if let Some(found) = [&system, &own].into_iter().find(|it| has_package(it)) {
            return found.clone();
        }
        let steps: [&[&str]; 2] = [
            &["python3", "-m", "venv", folder.to_str().expect("UTF-8")],
            &[own.to_str().expect("UTF-8"), "-m", "pip", "install", "--quiet", "python-socketio[client]"],
        ];
        for step in steps {
            let output = Command::new(step[0]).args(&step[1..]).output().expect("it starts");
            assert!(
                output.status.success(),
                "this test needs the Python package `python-socketio[client]`, and `{}` failed; install it for \
                 `python3`\n{}",
                step.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        own
    })
}

fn has_package(python: &Path) -> bool {
    let import = Command::new(python).args(["-c", "import socketio, requests, websocket"]).output();
    import.is_ok_and(|output| output.status.success())
}

/// A command for that Python with these arguments.
pub(crate) fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(interpreter());
    command.args(arguments).stdin(Stdio::null());
    command
}
