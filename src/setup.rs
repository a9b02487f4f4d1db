//! Builds the configurations of control plane and agent from arguments and environment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_agent::{AgentConfig, merge_definitions, parse_roles};
use gleitzeit_control_plane::{Config, StoreConfig, Token};
use gleitzeit_link::TokenSource;
use gleitzeit_mesh::wire::Role;
use gleitzeit_protocols::{Protocol, Registry};
use gleitzeit_providers::{Definition, Settings};
use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::spec::{KnownProvider, KnownProviders, Others, Problem, Task, Workflow};
use gleitzeit_workflow::suggest::closest;

use crate::cli::{DefinitionArgs, HubArgs, PatienceArgs, RunArgs, WorkerArgs};
use crate::error::CommandError;
use crate::place::Denied;
use crate::{output, place};

/// The shipped protocols, and those in the given folder.
///
/// # Errors
/// All problems of all files.
pub(crate) fn registry(args: &DefinitionArgs) -> Result<Registry, CommandError> {
    let mut registry = Registry::shipped();
    let Some(folder) = &args.protocols_dir else { return Ok(registry) };
    let protocols = gleitzeit_protocols::load_files(folder).map_err(CommandError::problems)?;
    let mut problems = Vec::new();
    for (file, protocol) in protocols {
        if let Err(conflict) = registry.register(protocol) {
            problems.push(Problem::of_file(&file, ErrorCode::ProtocolVersionMismatch, conflict.to_string()));
        }
    }
    if problems.is_empty() { Ok(registry) } else { Err(CommandError::problems(problems)) }
}

/// The registry for a serving process: its schemas are compiled now, so that no request waits for them later.
///
/// # Errors
/// As [`registry`].
pub(crate) fn registry_to_serve(args: &DefinitionArgs) -> Result<Registry, CommandError> {
    let registry = registry(args)?;
    registry.prepare();
    Ok(registry)
}

/// The protocols that a control plane would know that is started from here without arguments.
///
/// # Errors
/// As [`registry`].
pub(crate) fn registry_of_environment() -> Result<Registry, CommandError> {
    let protocols_dir = std::env::var_os("GLEITZEIT_PROTOCOLS_DIR").filter(|folder| !folder.is_empty());
    registry(&DefinitionArgs { protocols_dir: protocols_dir.map(Into::into) })
}

/// The shipped providers, those of the folder, and those named one by one; a later one replaces an earlier one of the
/// same name.
fn providers(folder: Option<&Path>, files: &[PathBuf], registry: &Registry) -> Result<Vec<Definition>, CommandError> {
    let mut problems = Vec::new();
    let mut take = |loaded: Result<Vec<Definition>, Vec<Problem>>| {
        loaded.unwrap_or_else(|found| {
            problems.extend(found);
            Vec::new()
        })
    };
    let from_folder = take(folder.map_or(Ok(Vec::new()), gleitzeit_providers::load_dir));
    let named: Vec<Definition> = files
        .iter()
        .flat_map(|file| take(gleitzeit_providers::load_file(file).map(|definition| vec![definition])))
        .collect();
    problems.extend(from_folder.iter().chain(&named).filter_map(|definition| unknown_protocol(definition, registry)));
    if problems.is_empty() {
        Ok(merge_definitions([gleitzeit_providers::shipped(), from_folder, named]))
    } else {
        Err(CommandError::problems(problems))
    }
}

/// The workers that would run the workflows being checked.
pub(crate) struct Workers {
    definitions: Vec<Definition>,
    known: Vec<KnownProvider>,
    pub(crate) settings: Settings,
    /// Whether there are no other providers.
    pub(crate) are_all: bool,
    /// Whether programs run on the machine of this process.
    pub(crate) are_here: bool,
}

impl Workers {
    /// Workers on this machine with these provider files. If no files are named, there may be other providers.
    ///
    /// # Errors
    /// If a provider file is invalid.
    pub(crate) fn here(folder: Option<&Path>, files: &[PathBuf], registry: &Registry) -> Result<Self, CommandError> {
        let definitions = providers(folder, files, registry)?;
        let settings = machine();
        let known = gleitzeit_providers::known(&definitions, registry, &settings);
        Ok(Self { definitions, known, settings, are_all: folder.is_some() || !files.is_empty(), are_here: true })
    }

    /// Unknown workers elsewhere.
    pub(crate) fn elsewhere() -> Self {
        let settings = machine();
        Self { definitions: Vec::new(), known: Vec::new(), settings, are_all: false, are_here: false }
    }

    /// Their providers, for the check of workflows.
    pub(crate) fn providers(&self) -> KnownProviders {
        KnownProviders::new(self.known.clone(), if self.are_all { Others::None } else { Others::Any })
    }

    /// Applies `say` to the definitions that may get a task; returns the first result.
    pub(crate) fn of_task<T>(&self, task: &Task, say: impl Fn(&Definition) -> Option<T>) -> Option<T> {
        self.definitions.iter().filter(|definition| admits(task, &definition.name)).find_map(say)
    }

    /// The addresses of the providers that may get a task; `None` for those whose address is unknown.
    pub(crate) fn addresses(&self, task: &Task) -> Vec<Option<&str>> {
        let serving = self.known.iter().filter(|it| it.methods.iter().any(|method| method == task.method.as_str()));
        serving.filter(|it| admits(task, &it.name)).map(|it| it.address.as_deref()).collect()
    }
}

/// Whether a provider of this name may get a task.
fn admits(task: &Task, name: &str) -> bool {
    task.provider.as_ref().is_none_or(|wanted| wanted.as_str() == name)
}

/// The providers of a worker that is the only one.
pub(crate) fn providers_of(worker: &AgentConfig) -> KnownProviders {
    let AgentConfig { providers, protocols, settings, .. } = worker;
    KnownProviders::new(gleitzeit_providers::known(providers, protocols, settings), Others::None)
}

/// The problem of a provider whose protocol is not known here.
fn unknown_protocol(definition: &Definition, registry: &Registry) -> Option<Problem> {
    let wanted = format!("{}/{}", definition.protocol, definition.version);
    if registry.methods(&definition.protocol, &definition.version).is_some() {
        return None;
    }
    // Only names are compared: version numbers of unrelated protocols look alike.
    let near = closest(&definition.protocol, registry.iter().map(|it| &it.name));
    let full = |it: &Protocol| format!("{}/{}", it.name, it.version);
    let hint = match near.and_then(|name| registry.iter().filter(|it| it.name == name).last()) {
        Some(meant) => format!("did you mean `{}`?", full(meant)),
        None => {
            let known: Vec<String> = registry.iter().map(full).collect();
            format!("known protocols: {}; others are read from the folder of `--protocols DIR`", known.join(", "))
        }
    };
    let message = format!("unknown protocol `{wanted}`");
    let problem = Problem::of_file(&definition.options.file, ErrorCode::ConfigurationError, message);
    Some(problem.at_spot(definition.protocol_place).hint(hint))
}

/// The control plane's configuration for `hub` and `start`; `own` is the generated token, if there is one.
///
/// # Errors
/// If the store cannot be used.
pub(crate) fn control_plane(
    args: &HubArgs,
    own_token: Option<&str>,
    registry: Arc<Registry>,
) -> Result<Config, CommandError> {
    if args.no_auth {
        output::note("no token is required: anyone who can reach the port can run code as the user of the workers");
    }
    if std::env::var_os("GLEITZEIT_REDIS_URL").is_some_and(|url| !url.is_empty()) {
        return Err(CommandError::usage(
            "GLEITZEIT_REDIS_URL is set, but several control planes are not supported yet",
        )
        .hint("unset it; a single control plane needs nothing besides its store"));
    }
    Ok(Config {
        host: args.host,
        port: args.port,
        store: place::store(args.store.as_deref())?,
        token: asked_token(args, own_token)?,
        insecure: args.no_auth,
        allow_hosts: args.allow_hosts.clone(),
        allow_origins: args.allow_origins.clone(),
        allow_env: args.allow_env.clone(),
        read_env: Arc::new(|name| std::env::var(name).ok()),
        registry,
        max_workflow_bytes: args.limits.max_workflow_bytes,
        max_tasks: args.limits.max_tasks,
        max_payload_bytes: args.limits.max_payload_bytes,
        max_replay_bytes: args.max_replay_bytes,
        retention: args.retention.0,
        max_connections: connections_within(args.max_connections, raise_open_files()),
        max_connections_per_address: args
            .max_connections_per_address
            .map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        hub: patience(&args.patience),
        ..Config::default()
    })
}

/// The token that clients must present: the given one, or else the control plane's own.
fn asked_token(args: &HubArgs, own: Option<&str>) -> Result<Option<Token>, CommandError> {
    Ok(match args.token.source()? {
        TokenSource::File(file) => Some(Token::read_by(move || file.current())),
        given => given.current().as_deref().or(own).map(Token::from),
    })
}

/// Raises the limit of open files to the maximum, since each connection is one. Returns the new limit; `None` means
/// unlimited.
fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return maximum;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            current
        }
    }
}

/// Open files that are reserved for the store, the log, and the worker of the same process.
const OTHER_FILES: u64 = 128;
/// The least number of connections that is useful.
const LEAST_CONNECTIONS: u64 = 10;

/// The wanted number of connections, limited by the open files.
fn connections_within(wanted: u32, files: Option<u64>) -> usize {
    let most = files.map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES).max(LEAST_CONNECTIONS));
    if u64::from(wanted) > most {
        tracing::warn!(
            wanted,
            most,
            "the limit of open files (`ulimit -n`) allows fewer connections than `--max-connections`"
        );
    }
    usize::try_from(most.min(u64::from(wanted))).unwrap_or(usize::MAX)
}

fn patience(args: &PatienceArgs) -> gleitzeit_mesh::hub::Config {
    let ms = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
    gleitzeit_mesh::hub::Config {
        heartbeat_interval_ms: ms(args.heartbeat_interval),
        owner_silence_ms: ms(args.owner_patience),
        provider_silence_ms: ms(args.provider_patience),
        engine_silence_ms: ms(args.engine_patience),
        accept_timeout_ms: ms(args.take_timeout),
        slow_consumer_ms: ms(args.confirm_timeout),
        ..gleitzeit_mesh::hub::Config::default()
    }
}

/// The control plane inside `run`: private to this process, on a port that the system chooses.
pub(crate) fn own_control_plane(store: &Path, args: &RunArgs, registry: Arc<Registry>) -> Config {
    Config {
        port: 0,
        store: StoreConfig::Sqlite(store.to_owned()),
        // Other users of this machine could find the port.
        token: Some(crate::own_token::new_token().as_str().into()),
        allow_env: args.allow_env.clone(),
        read_env: Arc::new(|name| std::env::var(name).ok()),
        registry,
        max_workflow_bytes: args.limits.max_workflow_bytes,
        max_tasks: args.limits.max_tasks,
        max_payload_bytes: args.limits.max_payload_bytes,
        // A person waits for the end, and only this process sends requests.
        stop_grace: Duration::from_secs(1),
        ..Config::default()
    }
}

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
pub(crate) fn agent(
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
        providers: providers(args.providers_dir.as_deref(), &args.providers, &registry)?,
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

/// The URL under which processes of this machine reach `address`.
pub(crate) fn local_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// What executors may see of this machine, and the TLS roots that they use.
pub(crate) fn machine() -> Settings {
    Settings { trust: crate::trust::roots(), ..Settings::from_env(|name| std::env::var_os(name)) }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn connections_are_limited_by_open_files() {
        for (wanted, files, expected) in
            [(10_000, None, 10_000), (10_000, Some(20_000), 10_000), (10_000, Some(1_024), 896), (100, Some(20), 10)]
        {
            assert_eq!(connections_within(wanted, files), expected, "{wanted} of {files:?}");
        }
    }

    #[test]
    fn a_wildcard_address_is_reached_through_loopback() {
        for (address, url) in [
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("10.1.2.3:80", "http://10.1.2.3:80"),
        ] {
            assert_eq!(local_url(address.parse().expect("an address")), url);
        }
    }
}
