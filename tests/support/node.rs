//! Node with the Socket.IO client: the package comes from the usual registry, once for all tests.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::sandbox::Sandbox;

/// The folder in which Node finds the package.
fn modules() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
        let modules = folder.join("node_modules");
        fs::create_dir_all(&folder).expect("writable");
        // Another process may be creating it just now.
        let lock = File::create(folder.with_extension("lock")).expect("writable");
        lock.lock().expect("a lock");
        if !has_package(&folder) {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-save", "--no-audit", "--no-fund", "socket.io-client"]).current_dir(&folder);
            let output = npm.output().expect("these tests need `node` and `npm`");
            assert!(
                output.status.success() && has_package(&folder),
                "these tests need the package `socket.io-client`, and `npm install` failed in {}\n{}",
                folder.display(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        modules
    })
}

fn has_package(folder: &Path) -> bool {
    let import = ["--input-type=module", "-e", "import 'socket.io-client'"];
    Command::new("node").args(import).current_dir(folder).output().is_ok_and(|output| output.status.success())
}

/// A JavaScript file to be run in a sandbox. Node looks for packages beside the file, so they are linked there.
pub(crate) fn node(sandbox: &Sandbox, name: &str, text: &str) -> Command {
    let file = sandbox.file(name, text);
    let link = sandbox.path().join("node_modules");
    if !link.exists() {
        symlink(modules(), link).expect("writable");
    }
    let mut command = Command::new("node");
    command.arg(file).stdin(Stdio::null());
    command
}
