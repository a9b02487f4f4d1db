//! `shell-local`: shell commands, each with its own shell, session and folder and, where the kernel allows it, its own
//! process namespace. `request` and `interpreter` parse what a call asks for, `sizes` checks what the system accepts,
//! `family` manages the processes, `run` runs the call, and `namespaces` finds the way to a namespace. `outer.sh`,
//! `first.sh`, `strict.sh` and `inner.sh` are the programs of the processes around a command; `strict` tests that the
//! strict sandbox holds.
//!
//! The invariant: when a call is over, everything it started is dead and its folder is removed; when the agent is
//! killed, everything dies with it.

mod family;
mod interpreter;
mod namespaces;
mod options;
mod request;
mod run;
mod sizes;
mod strict;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use gleitzeit_mesh::wire::Health;
use gleitzeit_protocols::yaml::{Node, Problem, Reader};
use gleitzeit_workflow::payload::Payload;
use namespaces::Namespaces;
use options::Options;
use tokio::sync::OnceCell;

use super::process::limits::{self, Sandbox};
use super::process::readiness::{NotReady, healthy};
use super::process::workspace::Workspace;
use crate::call::{Call, CallError, Context, Executor};
use crate::definition::Definition;
use crate::settings::Settings;

pub(crate) const METHODS: &[&str] = &["shell/run"];

pub(crate) fn concurrency(settings: &Settings) -> u32 {
    limits::concurrency(settings)
}

pub(crate) fn check(reader: &mut Reader, node: Option<&Node>) {
    let _ = options::read(reader, node);
}

/// The shell of a provider, for tasks that name none.
pub(crate) fn own_shell(definition: &Definition) -> PathBuf {
    let mut reader = Reader::new(definition.options.file.clone());
    options::read(&mut reader, definition.options.node.as_ref()).shell
}

pub(crate) fn build(definition: &Definition, settings: &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>> {
    let mut reader = Reader::new(definition.options.file.clone());
    let options = options::read(&mut reader, definition.options.node.as_ref());
    let options = reader.finish(Some(options))?;
    let shell = Shell::new(options, settings.clone(), None);
    if shell.options.limits.sandbox == Sandbox::Strict {
        let possible = shell.settings.way().lacks_strict().map_or_else(|| strict::prove(&shell), Err);
        possible.map_err(|why| limits::no_strict_sandbox(definition, why))?;
    }
    Ok(Arc::new(shell))
}

struct Shell {
    options: Options,
    settings: Settings,
    /// Determined once.
    namespaces: OnceCell<Namespaces>,
    workspace: OnceCell<Workspace>,
}

impl Shell {
    fn new(options: Options, settings: Settings, namespaces: Option<Namespaces>) -> Self {
        let namespaces = OnceCell::new_with(namespaces);
        Self { options, settings, namespaces, workspace: OnceCell::new() }
    }

    async fn ready(&self) -> Result<run::Place<'_>, NotReady> {
        if !tokio::fs::try_exists(&self.options.shell).await.unwrap_or(false) {
            let shell = self.options.shell.display();
            return Err(NotReady::Refused(format!(
                "there is no shell `{shell}`; name another with `shell` in the options"
            )));
        }
        let create = || Workspace::create_in(&self.settings.temp);
        let workspace = self.workspace.get_or_try_init(create).await.map_err(NotReady::Refused)?;
        let find = || Namespaces::find(&self.settings, self.options.limits.sandbox);
        let namespaces = *self.namespaces.get_or_try_init(find).await?;
        Ok(run::Place { workspace, namespaces, settings: &self.settings, options: &self.options })
    }

    /// The same for a call: tries again as long as the call has time.
    async fn ready_for_call(&self) -> Result<run::Place<'_>, CallError> {
        loop {
            match self.ready().await {
                Ok(place) => return Ok(place),
                Err(not_ready) => {
                    if let Some(error) = not_ready.into_final_error() {
                        return Err(error);
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Executor for Shell {
    async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError> {
        let place = tokio::select! {
            error = context.ended() => return Err(error),
            ready = self.ready_for_call() => ready?,
        };
        run::run(place, &call, &context).await
    }

    fn capabilities(&self) -> Vec<String> {
        self.options.limits.sandbox.capabilities()
    }

    async fn health(&self) -> Health {
        self.ready().await.map_or_else(NotReady::health, |place| healthy(place.namespaces.lacks(&self.settings.way())))
    }
}

#[cfg(test)]
mod tests;
