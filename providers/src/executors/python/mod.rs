//! `python-local`: real Python, one fresh process per call. What belongs to one call is in `run`, finding the
//! interpreter in `interpreter`, the temporary folders in `workspace`; a pool of warm processes would replace `run` only.
//!
//! The code runs with user and system site-packages but not with the working folder on `sys.path`, with an environment
//! of PATH, HOME, LANG=C.UTF-8 and TMPDIR (its own folder) and nothing else, without inherited file handles, with an
//! empty standard input, and in a process group of its own that is killed at the end, on timeout, on cancel and when
//! the agent dies. A process that leaves the group (`setsid`) escapes this.

mod capture;
mod interpreter;
mod run;
mod workspace;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use gleitzeit_core::error::ErrorCode;
use gleitzeit_core::mesh::{Health, HealthState};
use gleitzeit_core::payload::Payload;
use gleitzeit_protocols::yaml::{Node, Problem, Reader};
use tokio::sync::OnceCell;

use crate::call::{Call, CallError, Context, Executor};
use crate::definition::Definition;
use crate::factory::Settings;
use workspace::Workspace;

pub(crate) const METHODS: &[&str] = &["python/execute"];

pub(crate) fn concurrency(settings: &Settings) -> u32 {
    settings.cpus
}

/// Options of the executor, checked.
#[derive(Clone, Debug)]
struct Config {
    python_executable: String,
    max_output_bytes: usize,
    max_result_bytes: usize,
}

pub(crate) fn check(reader: &mut Reader, node: Option<&Node>) {
    let _ = read(reader, node);
}

fn read(reader: &mut Reader, node: Option<&Node>) -> Option<Config> {
    let mut config =
        Config { python_executable: "python3".to_owned(), max_output_bytes: 256 * 1024, max_result_bytes: 1 << 20 };
    let Some(node) = node else { return Some(config) };
    let known = &["python_executable", "max_output_bytes", "max_result_bytes"];
    let fields = reader.fields(node, "`options`", known);
    if let Some(executable) = reader.optional_text(&fields, "python_executable") {
        config.python_executable = executable;
    }
    // Results travel in one frame, so more than this could not be delivered.
    const MOST: usize = 8 << 20;
    for (name, field) in
        [("max_output_bytes", &mut config.max_output_bytes), ("max_result_bytes", &mut config.max_result_bytes)]
    {
        let Some(node) = fields.get(name) else { continue };
        match reader.positive(node, name).and_then(|bytes| usize::try_from(bytes).ok()) {
            Some(bytes) if bytes <= MOST => *field = bytes,
            Some(_) => reader.problem(node.place, format!("`{name}` is at most {MOST}"), None),
            None => {}
        }
    }
    Some(config)
}

pub(crate) fn build(definition: &Definition, settings: &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>> {
    let options = &definition.options;
    let mut reader = Reader::new(options.file.clone());
    let config = read(&mut reader, options.node.as_ref());
    let config = reader.finish(config)?;
    Ok(Arc::new(Python {
        config,
        settings: settings.clone(),
        interpreter: OnceCell::new(),
        workspace: OnceCell::new(),
    }))
}

struct Python {
    config: Config,
    settings: Settings,
    /// Looked for until it is found once.
    interpreter: OnceCell<PathBuf>,
    workspace: OnceCell<Workspace>,
}

impl Python {
    async fn ready(&self) -> Result<(&PathBuf, &Workspace), CallError> {
        let failed = |message: String| CallError::new(ErrorCode::ProviderInitializationFailed, message);
        let find = || interpreter::find(&self.config.python_executable, &self.settings);
        let interpreter = self.interpreter.get_or_try_init(find).await.map_err(failed)?;
        let temp = self.settings.temp.clone();
        let create = || async move {
            let created = tokio::task::spawn_blocking(move || Workspace::create(&temp)).await;
            created.map_err(std::io::Error::other).and_then(|created| created)
        };
        let workspace = self.workspace.get_or_try_init(create).await.map_err(|error| {
            failed(format!("no temporary folder can be made in `{}`: {error}", self.settings.temp.display()))
        })?;
        Ok((interpreter, workspace))
    }
}

#[async_trait]
impl Executor for Python {
    async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError> {
        let (interpreter, workspace) = tokio::select! {
            error = context.ended() => return Err(error),
            ready = self.ready() => ready?,
        };
        run::run(run::Job { interpreter, workspace, config: &self.config, settings: &self.settings }, &call, &context)
            .await
    }

    async fn health(&self) -> Health {
        match self.ready().await {
            Ok((interpreter, _)) if tokio::fs::try_exists(interpreter).await.unwrap_or(false) => Health::default(),
            Ok((interpreter, _)) => {
                let reason = format!("`{}` is gone; restore it or restart the agent", interpreter.display());
                Health { state: HealthState::Unhealthy, reason: Some(reason) }
            }
            Err(error) => Health { state: HealthState::Unhealthy, reason: Some(error.message) },
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
