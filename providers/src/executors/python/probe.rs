//! Checks whether `sandbox: strict` is possible, before a provider exists. It runs the real server once, on a separate
//! thread with its own runtime, because the caller may or may not be inside a runtime.

use super::options::Options;
use super::server::{Namespaces, Server, Start};
use super::{interpreter, server_config, way};
use crate::executors::process::readiness::{NotReady, PATIENCE};
use crate::executors::process::workspace::Workspace;
use crate::settings::Settings;

/// The reason why strict is not possible, if there is one.
pub(super) fn strict(options: &Options, settings: &Settings) -> Result<(), String> {
    let asked = std::thread::scope(|scope| scope.spawn(|| ask(options, settings)).join());
    asked.unwrap_or_else(|_| Err("the probe of `sandbox: strict` ended early".to_owned()))
}

fn ask(options: &Options, settings: &Settings) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("`sandbox: strict` cannot be probed: {error}"))?;
    runtime.block_on(async {
        let interpreter = interpreter::find(&options.python_executable, settings).await.map_err(NotReady::into_text)?;
        let temp = &settings.temp;
        let workspace = Workspace::create(temp)
            .map_err(|error| format!("no temporary folder can be made in `{}`: {error}", temp.display()))?;
        let way = way(Namespaces::Auto, &interpreter, settings);
        if let (Namespaces::Portable, Some(why)) = &way {
            return Err(format!("`sandbox: strict` is not possible here: {why}"));
        }
        let server_config = server_config(options, way, &interpreter, false);
        let (path, home) = (settings.path.clone(), settings.home.clone());
        let folder = workspace.path().to_owned();
        let start = Start { interpreter, folder, path, home, server_config, patience: PATIENCE };
        Server::start(&start).await.map(drop).map_err(NotReady::into_text)
    })
}
