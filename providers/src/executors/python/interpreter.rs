//! Finds the real interpreter once: `python3` may be a shim that takes ten times as long to start.

use std::path::PathBuf;
use std::process::Stdio;

use crate::executors::process::readiness::{NotReady, PATIENCE};
use crate::settings::Settings;

const PROBE: &str = "import sys\nprint(sys.executable)\nprint(*sys.version_info[:2])\n\
    for name in ('ctypes', 'json', 'resource'):\n    try: __import__(name)\n    except ImportError: print(name)";

/// A Python interpreter that serves calls.
#[derive(Clone, Debug)]
pub(super) struct Interpreter {
    /// The path of the real executable.
    pub(super) path: PathBuf,
    /// Modules of the standard library that are needed here but missing.
    lacks: Vec<String>,
}

impl Interpreter {
    pub(super) fn lacks(&self, module: &str) -> bool {
        self.lacks.iter().any(|name| name == module)
    }
}

/// The interpreter that really starts, or why there is none and what to do.
pub(super) async fn find(name: &str, settings: &Settings) -> Result<Interpreter, NotReady> {
    let remedy = "install Python 3.8 or newer, or name it with `python_executable` in the provider's options";
    let mut command = tokio::process::Command::new(name);
    // A shim may need all of its user's settings, but not ours: for the known ones PATH and HOME suffice.
    command.env_clear().env("PATH", &settings.path).args(["-c", PROBE]);
    if let Some(home) = &settings.home {
        command.env("HOME", home);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| NotReady::Slow(format!("`{name}` did not start within {} s", PATIENCE.as_secs())))?
        .map_err(|error| {
            NotReady::Refused(format!("Python was not found: `{name}` cannot be started ({error}); {remedy}"))
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let (Some(path), Some(version), true) = (lines.next(), lines.next(), output.status.success()) else {
        let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(300).collect();
        let why = format!("`{name}` is not a working Python 3 ({}: {said}); {remedy}", output.status);
        return Err(NotReady::Refused(why));
    };
    let mut numbers = version.split(' ').map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (3, 8) {
        let why = format!("`{name}` is Python {}.{}, which is too old; {remedy}", version.0, version.1);
        return Err(NotReady::Refused(why));
    }
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return Err(NotReady::Refused(format!("`{name}` does not know its own executable; {remedy}")));
    }
    Ok(Interpreter { path, lacks: lines.map(str::to_owned).collect() })
}
