//! `python-local`: real Python, one clean process per call, forked from a warm server. `run` and `answer` handle one
//! call, `server`, `lane` and `pool` manage the processes, and `interpreter` finds the interpreter. The Python side is
//! `server.py` (fork server and lanes) and `worker.py` (one call), with either `linux.py`, `kernel.py` and `strict.py`
//! or `portable.py`; `plain_json.py` is for a Python without `json`.
//!
//! The code runs with user and system site-packages but without the working folder on `sys.path`. Its environment is
//! PATH, HOME, LANG=C.UTF-8 and TMPDIR (its own folder) and nothing else. It inherits no file handles, and its standard
//! input is empty. It runs in a process namespace that ends with the call: when the code ends, on timeout, on cancel
//! and when the agent dies. Where the kernel gives us no namespaces, the processes that the code started are found by
//! their parents; the portable way also uses process groups.

mod answer;
mod interpreter;
mod lane;
mod options;
mod pool;
mod probe;
mod request;
mod run;
mod server;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gleitzeit_mesh::wire::Health;
use gleitzeit_protocols::yaml::{Node, Problem, Reader};
use gleitzeit_workflow::json::MAX_DEPTH;
use gleitzeit_workflow::payload::Payload;
use interpreter::Interpreter;
use options::Options;
use pool::Pool;
use server::{Namespaces, ServerConfig, Start};
use tokio::sync::OnceCell;

use crate::call::{Call, CallError, Context, Executor};
use crate::definition::Definition;
use crate::executors::process::limits::{self, Sandbox};
use crate::executors::process::readiness::{NotReady, PATIENCE, healthy};
use crate::executors::process::system_calls::{self, Stage};
use crate::executors::process::workspace::Workspace;
use crate::platform::{FORK_MAY_USE_LIBRARIES, Way};
use crate::settings::Settings;

pub(crate) const METHODS: &[&str] = &["python/execute", "python/validate"];

pub(crate) fn concurrency(settings: &Settings) -> u32 {
    limits::concurrency(settings)
}

pub(crate) fn check(reader: &mut Reader, node: Option<&Node>) {
    let _ = options::read(reader, node);
}

/// The interpreter that a definition names, as it would be looked up.
pub(crate) fn executable(definition: &Definition) -> String {
    let mut reader = Reader::new(definition.options.file.clone());
    options::read(&mut reader, definition.options.node.as_ref()).python_executable
}

pub(crate) fn build(definition: &Definition, settings: &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>> {
    let mut reader = Reader::new(definition.options.file.clone());
    let options = options::read(&mut reader, definition.options.node.as_ref());
    let options = reader.finish(Some(options))?;
    if options.limits.sandbox == Sandbox::Strict {
        let possible = settings.way().lacks_strict().map_or_else(|| probe::strict(&options, settings), Err);
        possible.map_err(|why| limits::no_strict_sandbox(definition, why))?;
    }
    let concurrency = definition.max_concurrency.unwrap_or_else(|| concurrency(settings));
    Ok(Arc::new(Python::new(options, settings.clone(), concurrency, Namespaces::Auto)))
}

/// How this machine and this interpreter hold the processes of calls together, and why it is the portable way, if it
/// is.
fn way(wanted: Namespaces, interpreter: &Interpreter, settings: &Settings) -> (Namespaces, Option<String>) {
    let missing = ["ctypes", "resource"].into_iter().find(|module| interpreter.lacks(module));
    match (wanted, settings.way(), missing) {
        (Namespaces::Portable, ..) => (Namespaces::Portable, Some("it was requested".to_owned())),
        (Namespaces::Auto, Way::Portable(why), _) => (Namespaces::Portable, Some(why)),
        (Namespaces::Auto, Way::Kernel, Some(module)) => {
            (Namespaces::Portable, Some(format!("this Python has no `{module}`")))
        }
        (wanted, ..) => (wanted, None),
    }
}

/// The part of the options that the Python side needs.
fn server_config(
    options: &Options,
    (namespaces, reason): (Namespaces, Option<String>),
    interpreter: &Interpreter,
    is_fresh: bool,
) -> ServerConfig {
    // An interpreter that cannot limit itself is started within its limits.
    let cannot_limit = interpreter.lacks("resource");
    ServerConfig {
        namespaces,
        reason,
        fresh: (is_fresh || cannot_limit).then_some(server::BOOTSTRAP),
        within: if cannot_limit { server::within(&options.limits) } else { Vec::new() },
        max_processes: options.limits.max_processes,
        max_memory_bytes: options.limits.max_memory_bytes,
        max_result_bytes: options.max_result_bytes,
        max_depth: MAX_DEPTH - answer::AROUND_RESULT,
        max_cpu_seconds: options.limits.max_cpu_seconds,
        max_open_files: options.limits.max_open_files,
        max_file_bytes: options.limits.max_file_bytes,
        strict: options.limits.sandbox == Sandbox::Strict,
        filter: system_calls::filter(Stage::Code).ok().map(|program| system_calls::hexadecimal(&program)),
    }
}

struct Python {
    options: Options,
    wanted: Namespaces,
    is_fresh: bool,
    settings: Settings,
    /// Searched for until it is found once.
    interpreter: OnceCell<Interpreter>,
    workspace: OnceCell<Workspace>,
    start: OnceCell<Arc<Start>>,
    /// How long each start of a process may take.
    patience: Duration,
    /// Dropped after the workspace's folder is closed to new calls: a dropped executor gets no calls.
    pool: Pool,
}

impl Python {
    fn new(options: Options, settings: Settings, concurrency: u32, namespaces: Namespaces) -> Self {
        let pool = Pool::new(concurrency);
        let (interpreter, workspace, start) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let (wanted, is_fresh) = (namespaces, !FORK_MAY_USE_LIBRARIES);
        Self { options, wanted, is_fresh, settings, interpreter, workspace, start, patience: PATIENCE, pool }
    }

    async fn ready(&self) -> Result<(&Arc<Start>, &Workspace), NotReady> {
        let find = || interpreter::find(&self.options.python_executable, &self.settings);
        let interpreter = self.interpreter.get_or_try_init(find).await?;
        let create = || Workspace::create_in(&self.settings.temp);
        let workspace = self.workspace.get_or_try_init(create).await.map_err(NotReady::Refused)?;
        let start = self.start.get_or_init(|| async { Arc::new(self.start(interpreter, workspace)) }).await;
        Ok((start, workspace))
    }

    /// The same for a call: tries again as long as the call has time.
    async fn ready_for_call(&self) -> Result<(&Arc<Start>, &Workspace), CallError> {
        loop {
            match self.ready().await {
                Ok(ready) => return Ok(ready),
                Err(not_ready) => {
                    if let Some(error) = not_ready.into_final_error() {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn start(&self, interpreter: &Interpreter, workspace: &Workspace) -> Start {
        Start {
            interpreter: interpreter.clone(),
            folder: workspace.path().to_owned(),
            path: self.settings.path.clone(),
            home: self.settings.home.clone(),
            server_config: server_config(
                &self.options,
                way(self.wanted, interpreter, &self.settings),
                interpreter,
                self.is_fresh,
            ),
            patience: self.patience,
        }
    }
}

#[async_trait]
impl Executor for Python {
    async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError> {
        let (start, workspace) = tokio::select! {
            error = context.ended() => return Err(error),
            ready = self.ready_for_call() => ready?,
        };
        run::run(run::Job { start, workspace, pool: &self.pool, options: &self.options }, &call, &context).await
    }

    fn capabilities(&self) -> Vec<String> {
        // A strict sandbox was proven before this executor existed, and is proven again at each start of a server.
        self.options.limits.sandbox.capabilities()
    }

    async fn health(&self) -> Health {
        let start = match self.ready().await {
            Ok((start, _)) => start,
            Err(not_ready) => return not_ready.health(),
        };
        let interpreter = &start.interpreter.path;
        if !tokio::fs::try_exists(interpreter).await.unwrap_or(false) {
            return Health::unhealthy(format!("`{}` is gone; restore it or restart the agent", interpreter.display()));
        }
        self.pool.ready(start).await.map_or_else(NotReady::health, healthy)
    }
}

#[cfg(test)]
mod tests;
