//! The grammar of the commands that are processes of the control plane or workers: hub, agent, start, stop, run.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gleitzeit_protocols::yaml::{Kind, duration_ms};

use super::{ClientArgs, DefinitionArgs, InputArgs, OutputArgs, TokenArgs};

/// The default port of a control plane.
pub(crate) const DEFAULT_PORT: u16 = 8000;

/// The default limit for a parameter set or result, in bytes.
const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

/// The default number of attempts that an engine holds; it only coordinates them, so this can be high.
const DEFAULT_SLOTS: u32 = 256;

/// The settings of a control plane.
#[derive(Clone, Debug, Args)]
pub(crate) struct HubArgs {
    /// The port for gRPC, mesh and health; 0 lets the system choose
    #[arg(long, default_value_t = DEFAULT_PORT, value_name = "PORT")]
    pub(crate) port: u16,
    /// The address to listen on; other addresses than loopback require a token
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub(crate) host: IpAddr,
    /// Where the journal is kept: sqlite:PATH, or memory: (default: a file in the user's data folder)
    #[arg(long, env = "GLEITZEIT_STORE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    /// Require no token: anyone who can reach the port can run code as the user of the workers
    #[arg(long, alias = "insecure", conflicts_with_all = ["token", "token_file"])]
    pub(crate) no_auth: bool,
    /// A host name that clients may use, besides its address and localhost (repeatable)
    #[arg(long = "allow-host", value_name = "NAME")]
    pub(crate) allow_hosts: Vec<String>,
    /// Origin of a web page that may connect, such as http://localhost:3000 (repeatable)
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) allow_origins: Vec<String>,
    /// Environment variables that workflows may read as ${env.NAME}; they are recorded, so never secrets
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) allow_env: Vec<String>,
    /// How long finished runs and unused protocols are kept: 30d, 12h, or off to keep them forever
    #[arg(long, default_value = "30d", value_name = "AGE", value_parser = retention)]
    pub(crate) retention: Retention,
    /// The maximum number of open connections of clients and components; further ones are refused
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..))]
    pub(crate) max_connections: u32,
    /// The maximum number of open connections from one address; this machine counts as one (default: half of --max-connections)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(5..))]
    pub(crate) max_connections_per_address: Option<u32>,
    /// The maximum size of the entries of an unfinished run that a start replays; larger runs are set aside
    #[arg(long, default_value_t = 2 * 1024 * 1024 * 1024, value_name = "BYTES")]
    pub(crate) max_replay_bytes: usize,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// The default for how long finished runs are kept.
pub(crate) const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// How long finished runs are kept; `None` means forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention(pub(crate) Option<Duration>);

/// How long the control plane waits for components.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PatienceArgs {
    /// The interval of heartbeats; a component that misses one is silent
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = patience)]
    pub(crate) heartbeat_interval: Duration,
    /// After how long a silent queue or resolver is replaced
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = patience)]
    pub(crate) owner_patience: Duration,
    /// After how long a silent provider is lost, and its calls with it
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = patience)]
    pub(crate) provider_patience: Duration,
    /// After how long a silent engine is lost, and its attempts with it
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = patience)]
    pub(crate) engine_patience: Duration,
    /// How long an engine may take to accept an attempt before another engine gets it
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = patience)]
    pub(crate) take_timeout: Duration,
    /// How long a consumer of events may acknowledge nothing before it is disconnected
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = patience)]
    pub(crate) confirm_timeout: Duration,
}

/// How large workflows may be.
#[derive(Clone, Debug, Args)]
pub(crate) struct LimitArgs {
    /// The largest workflow with its inputs and files, in bytes
    #[arg(long, default_value_t = gleitzeit_workflow::spec::Limits::DEFAULT.bytes, value_name = "BYTES")]
    pub(crate) max_workflow_bytes: usize,
    /// The maximum number of tasks of a workflow
    #[arg(long, default_value_t = gleitzeit_workflow::spec::Limits::DEFAULT.tasks, value_name = "N")]
    pub(crate) max_tasks: usize,
    /// The largest parameter set or result, in bytes: at most 8388608
    #[arg(long, default_value_t = MAX_PAYLOAD_BYTES, value_name = "BYTES")]
    pub(crate) max_payload_bytes: usize,
}

/// The settings of a worker.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerArgs {
    /// How many attempts the engine holds at once
    #[arg(long, default_value_t = DEFAULT_SLOTS, value_name = "N")]
    pub(crate) slots: u32,
    /// The queues the engine works for, comma-separated (default: all)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) queues: Vec<String>,
    /// A provider file; it replaces a built-in one of the same name (repeatable)
    #[arg(long = "provider", value_name = "FILE")]
    pub(crate) providers: Vec<PathBuf>,
    /// A folder of provider files besides the built-in ones
    #[arg(long = "providers", env = "GLEITZEIT_PROVIDERS_DIR", value_name = "DIR")]
    pub(crate) providers_dir: Option<PathBuf>,
    /// How long running work may continue after a stop was requested: seconds, or text such as 500ms, 2m; 0: not at all
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = grace)]
    pub(crate) drain_timeout: Duration,
    /// How long work continues without the control plane before it is stopped
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = patience)]
    pub(crate) alone_limit: Duration,
}

/// `gleitzeit hub`
#[derive(Debug, Args)]
pub(crate) struct HubCommandArgs {
    #[command(flatten)]
    pub(crate) hub: HubArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
}

/// `gleitzeit agent`
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The roles, comma-separated: queue, resolver (deps), engine (exec), provider, all
    #[arg(long = "role", value_name = "ROLES", value_delimiter = ',', default_value = "all")]
    pub(crate) roles: Vec<String>,
    /// The worker's name in lists (default: the machine's name)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The largest parameter set or result, in bytes; must be the control plane's value
    #[arg(long, default_value_t = MAX_PAYLOAD_BYTES, value_name = "BYTES")]
    pub(crate) max_payload_bytes: usize,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `gleitzeit components`
#[derive(Debug, Args)]
pub(crate) struct ComponentsArgs {
    /// With roles: run a worker with them, as `agent --role`
    #[arg(value_name = "ROLES", value_delimiter = ',')]
    pub(crate) roles: Vec<String>,
    /// With roles: the worker's name in lists (default: the machine's name)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The largest parameter set or result, in bytes; must be the control plane's value
    #[arg(long, default_value_t = MAX_PAYLOAD_BYTES, value_name = "BYTES")]
    pub(crate) max_payload_bytes: usize,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit start`
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) hub: HubArgs,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    /// Return once it is ready, and leave it running
    #[arg(long)]
    pub(crate) background: bool,
    /// Set by `--background` for the process that it starts
    #[arg(long, hide = true)]
    pub(crate) in_background: bool,
}

/// `gleitzeit stop`
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The port of the control plane to stop (default: that of GLEITZEIT_HUB_URL if it is of this machine, else 8000)
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// How long the stop may take: seconds, or text such as 500ms, 2m
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Stop immediately: running work is interrupted, and continues after the next start
    #[arg(long)]
    pub(crate) force: bool,
}

/// `gleitzeit run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The workflow: YAML or JSON; `-` reads stdin
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// Check everything and print the plan: steps, tasks, and the providers that would serve them; nothing runs
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    /// Environment variables that the workflow may read as ${env.NAME}; they are recorded, so never secrets
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) allow_env: Vec<String>,
    /// Afterwards, remove runs of this command that ended longer ago, and all but the newest 1,000; off removes none
    #[arg(long, default_value = "30d", value_name = "AGE", value_parser = retention)]
    pub(crate) retention: Retention,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    /// Run on this control plane instead of inside this process
    #[arg(long, env = "GLEITZEIT_HUB_URL", value_name = "URL")]
    pub(crate) hub_url: Option<String>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl RunArgs {
    /// A flag that was given but only affects a run inside this process.
    pub(crate) fn only_for_here(&self) -> Option<&'static str> {
        let worker = &self.worker;
        let given = [
            ("queues", !worker.queues.is_empty()),
            ("provider", !worker.providers.is_empty()),
            ("allow-env", !self.allow_env.is_empty()),
            ("slots", worker.slots != DEFAULT_SLOTS),
            ("retention", self.retention != Retention(Some(DEFAULT_RETENTION))),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }
}

fn retention(text: &str) -> Result<Retention, String> {
    if text.trim() == "off" { Ok(Retention(None)) } else { age(text).map(|age| Retention(Some(age))) }
}

/// Parses a duration that may be in days, or 0.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let days = text.trim().strip_suffix('d').map(|days| days.trim().parse::<u32>());
    match days {
        Some(Ok(days)) => Ok(Duration::from_secs(u64::from(days) * 86_400)),
        Some(Err(_)) => Err("expected a whole number of days, such as 30d".to_owned()),
        None => grace(text).map_err(|expected| format!("{expected}, 30d")),
    }
}

/// Parses a duration, or 0.
fn grace(text: &str) -> Result<Duration, String> {
    if matches!(text.trim(), "0" | "0s") { Ok(Duration::ZERO) } else { duration(text) }
}

/// Parses a timeout; very short ones are refused, since they would give up on components that are merely slow.
fn patience(text: &str) -> Result<Duration, String> {
    let given = duration(text)?;
    if given < Duration::from_millis(100) { Err("expected at least 100ms".to_owned()) } else { Ok(given) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok().and_then(serde_json::Number::from_f64);
    duration_ms(&number.map_or_else(|| Kind::Text(text.to_owned()), Kind::Number))
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a number of seconds, or text such as 500ms, 30s, 2m, 1h".to_owned())
}
