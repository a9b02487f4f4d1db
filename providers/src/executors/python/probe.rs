//! Whether `sandbox: strict` is possible, asked before a provider exists. Runs the real server once, on a thread of its
//! own with a runtime of its own, for whoever builds providers may or may not be inside one.

use super::options::Options;
use super::server::{Namespaces, Server, Start};
use super::{interpreter, told, way};
use crate::executors::process::readiness::{NotReady, PATIENCE};
use crate::executors::process::workspace::Workspace;
use crate::settings::Settings;

/// What is in the way, if anything is.
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
        let told = told(options, way, &interpreter, false);
        let (path, home) = (settings.path.clone(), settings.home.clone());
        let folder = workspace.path().to_owned();
        let start = Start { interpreter, folder, path, home, told, patience: PATIENCE };
        Server::start(&start).await.map(drop).map_err(NotReady::into_text)
    })
}
