//! `sandbox: strict` is tested before it is promised: a command tries what must not work, from inside.

use std::time::Duration;

use gleitzeit_workflow::payload::Payload;
use serde_json::json;
use tokio::time::Instant;

use super::Shell;
use super::namespaces::Namespaces;
use crate::call::{Call, Context, Executor as _};
use crate::executors::process::readiness::NotReady;

/// Three shells and twenty mounts take milliseconds, but much longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const PROOF: &str = r#"
breach() { echo "$1"; exit 1; }
( : >own && rm own ) || breach "its own folder cannot be written to"
[ ! -e /etc/hostname ] && [ ! -e /etc/passwd ] && [ ! -e /root ] && [ ! -e /home ] || breach "other files can be read"
[ ! -e /proc/self ] || breach "/proc can be read"
( : >../other ) 2>/dev/null && breach "files can be written elsewhere"
( : >/gleitzeit ) 2>/dev/null && breach "the root folder can be written to"
( chmod 755 /usr ) 2>/dev/null && breach "modes can be changed elsewhere"
unshare --user true 2>/dev/null && breach "user namespaces can be made"
ipcmk -Q >/dev/null 2>&1 && breach "messages can be left for others"
( umount -n -l "$PWD" || mount -n -t tmpfs none "$PWD" ) 2>/dev/null && breach "mounts can be changed"
true
"#;

/// Runs the test on a separate thread, because executors are built both inside and outside of a runtime.
///
/// # Errors
/// What is possible although it must not be, or why nothing can be run.
pub(super) fn prove(shell: &Shell) -> Result<(), String> {
    std::thread::scope(|scope| scope.spawn(|| run(shell)).join())
        .map_err(|_| "the probe panicked".to_owned())?
        .map_err(|why| format!("`sandbox: strict` is not possible here: {why}"))
}

fn run(shell: &Shell) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(async {
        let place = shell.ready().await.map_err(NotReady::into_text)?;
        if place.namespaces == Namespaces::None {
            return Err("no process namespace can be made".to_owned());
        }
        let params = Payload::from_value(&json!({"command": PROOF}));
        let call = Call { method: "shell/run".into(), params };
        let context = Context { deadline: Some(Instant::now() + PATIENCE), ..Context::default() };
        let Err(error) = shell.call(call, context).await else { return Ok(()) };
        let said = |name: &str| error.data.get(name).and_then(|text| text.as_str()).unwrap_or_default().trim();
        let why = [said("output"), said("error_output"), &error.message].into_iter().find(|text| !text.is_empty());
        Err(why.unwrap_or_default().to_owned())
    })
}
