//! The configuration of a worker, from arguments and the environment.

use std::path::Path;
use std::sync::Arc;

use gleitzeit_agent::{AgentConfig, parse_roles};
use gleitzeit_mesh::wire::Role;
use gleitzeit_protocols::Registry;
use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::spec::Workflow;

use crate::cli::WorkerArgs;
use crate::definitions;
use crate::denied::Denied;
use crate::error::CommandError;
use crate::workers::{admits, machine};

/// Checks the folder for temporary files: tasks get their folders there.
fn check_temporary_folder(folder: &Path) -> Result<(), CommandError> {
    let made = tempfile::Builder::new().prefix("gleitzeit-").tempdir_in(folder);
    made.map(drop).map_err(|error| {
        let message = format!("the temporary folder `{}` cannot be used: {error}", folder.display());
        let mut error = match Denied::of(folder) {
            Some(denied) => {
                CommandError::usage(format!("{message}; {denied}")).hint(denied.remedy("name another with TMPDIR"))
            }
            None => CommandError::usage(message).hint("make the folder, or name another with TMPDIR"),
        };
        error.code = ErrorCode::ConfigurationError;
        error
    })
}

/// The agent's configuration for `agent`, `start` and `run`.
///
/// # Errors
/// If a role is unknown or a provider file is invalid.
pub(crate) fn from_args(
    args: &WorkerArgs,
    roles: &[String],
    name: Option<&str>,
    max_payload_bytes: usize,
    registry: Arc<Registry>,
) -> Result<AgentConfig, CommandError> {
    check_temporary_folder(&std::env::temp_dir())?;
    let roles =
        parse_roles(roles.iter().map(String::as_str)).map_err(|error| CommandError::usage(error.to_string()))?;
    Ok(AgentConfig {
        roles,
        slots: args.slots,
        queues: (!args.queues.is_empty()).then(|| args.queues.iter().map(|name| name.as_str().into()).collect()),
        providers: definitions::providers(args.providers_dir.as_deref(), &args.providers, &registry)?,
        protocols: registry,
        settings: machine(),
        name: name.map_or_else(machine_name, str::to_owned),
        drain_timeout: args.drain_timeout,
        alone_limit: args.alone_limit,
        max_payload_bytes,
        ..AgentConfig::default()
    })
}

/// Restricts a worker to one workflow: it serves only the methods that the tasks call, so that nothing else is started
/// or looked for.
pub(crate) fn only_for(mut worker: AgentConfig, workflow: &Workflow) -> AgentConfig {
    let AgentConfig { providers, protocols, roles, .. } = &mut worker;
    providers.retain(|definition| {
        let mut methods = protocols.methods(&definition.protocol, &definition.version).into_iter().flatten();
        methods.any(|method| {
            workflow.tasks.iter().any(|task| task.method.as_str() == method && admits(task, &definition.name))
        })
    });
    if providers.is_empty() {
        roles.retain(|role| *role != Role::Provider);
    }
    worker
}

fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "agent".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use gleitzeit_providers::Definition;
    use gleitzeit_workflow::spec;

    use super::*;

    #[test]
    fn a_worker_for_one_workflow_serves_only_what_it_calls() {
        let definition = |text: &str| Definition::parse("p.yaml", text).expect("valid");
        let second = definition("name: second\nprotocol: util/v1\nexecutor: builtin\n");
        let all: Vec<Definition> = gleitzeit_providers::shipped().into_iter().chain([second]).collect();
        let names = |method: &str, providers: Vec<Definition>| {
            let text = format!("name: One\ntasks:\n  - id: a\n    method: {method}\n    parameters: {{code: '1'}}\n");
            let registry = Registry::shipped();
            let limits = spec::Limits::DEFAULT;
            let workflow = spec::check_bytes(text.as_bytes(), "w.yaml", &registry, &limits).expect("valid");
            let worker = only_for(AgentConfig { providers, ..AgentConfig::default() }, &workflow);
            let names: Vec<String> = worker.providers.iter().map(|it| it.name.clone()).collect();
            (names, worker.has(Role::Provider))
        };
        assert_eq!(names("util/echo", all.clone()), (vec!["util".to_owned(), "second".to_owned()], true));
        let named = "util/echo\n    provider: second";
        assert_eq!(names(named, all.clone()), (vec!["second".to_owned()], true), "the task names it");
        assert_eq!(names("python/execute", vec![]), (vec![], false), "its tasks wait, and say for what");
    }
}
