//! The TLS roots of this process: set once, from the options and the environment, and used by everything that makes
//! connections. Until they are set, and in tests, only the environment counts.

use std::path::PathBuf;
use std::sync::OnceLock;

use gleitzeit_tls::{CA_VARIABLE, Trust};

use crate::error::CommandError;

static SETTLED: OnceLock<(Option<PathBuf>, Trust)> = OnceLock::new();

/// Sets the file of `--ca`, whose default is `GLEITZEIT_CA`.
///
/// # Errors
/// If the file cannot be read or holds no certificate.
pub(crate) fn settle(ca: Option<PathBuf>) -> Result<(), CommandError> {
    let ca = ca.filter(|path| !path.as_os_str().is_empty());
    let (_, trust) = SETTLED.get_or_init(|| with(ca));
    trust.check().map_err(|error| {
        CommandError::usage(error.to_string())
            .hint("name a file with the root certificate, or omit --ca and GLEITZEIT_CA")
    })
}

/// The trusted roots.
pub(crate) fn roots() -> Trust {
    settled().1.clone()
}

/// The file of additional roots, if one is named.
pub(crate) fn ca() -> Option<PathBuf> {
    settled().0.clone()
}

fn settled() -> &'static (Option<PathBuf>, Trust) {
    SETTLED.get_or_init(|| with(std::env::var_os(CA_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)))
}

fn with(ca: Option<PathBuf>) -> (Option<PathBuf>, Trust) {
    let machine = Trust::of_environment(|name| (name != CA_VARIABLE).then(|| std::env::var_os(name)).flatten());
    let trust = ca.as_ref().map_or(machine.clone(), |ca| machine.with("--ca or GLEITZEIT_CA", ca));
    (ca, trust)
}
