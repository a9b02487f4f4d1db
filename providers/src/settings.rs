//! What the shell knows of the machine and hands to executors.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use gleitzeit_tls::Trust;

use crate::platform::{PORTABLE, Way, is_chosen};

/// The machine's settings, collected by the shell: executors do not read the environment themselves.
#[derive(Clone)]
pub struct Settings {
    /// `PATH`, in which interpreters are looked up; passed on to called code.
    pub path: OsString,
    /// `HOME`, passed on to called code so that the user's packages are found.
    pub home: Option<OsString>,
    /// The folder in which temporary folders are created.
    pub temp: PathBuf,
    /// The number of CPUs: executors that start processes take four calls per CPU at a time, and at least eight.
    pub cpus: u32,
    /// The root certificates that are trusted for services.
    pub trust: Trust,
    /// Whether calls are held together by process groups alone, even where the kernel has better means; set by the
    /// variable `GLEITZEIT_PORTABLE`. On systems other than Linux this is always so.
    pub portable: bool,
    /// Reads an environment variable that a definition names, for addresses and secrets.
    pub environment: Environment,
}

/// Reads an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("path", &self.path)
            .field("home", &self.home)
            .field("temp", &self.temp)
            .field("cpus", &self.cpus)
            .field("portable", &self.portable)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the settings from the environment.
    pub fn from_env(read: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        let cpus = std::thread::available_parallelism().ok().and_then(|cpus| u32::try_from(cpus.get()).ok());
        Self {
            path: read("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
            home: read("HOME"),
            temp: read("TMPDIR").filter(|path| !path.is_empty()).map_or_else(|| "/tmp".into(), PathBuf::from),
            cpus: cpus.unwrap_or(1),
            trust: Trust::of_environment(&read),
            portable: is_chosen(read(PORTABLE).and_then(|value| value.into_string().ok()).as_deref()),
            environment: Arc::new(read),
        }
    }

    /// How the processes of calls are held together.
    pub(crate) fn way(&self) -> Way {
        Way::of(self.portable)
    }

    /// An environment variable, if it is set, not empty, and valid UTF-8.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)?.into_string().ok().filter(|value| !value.is_empty())
    }
}
