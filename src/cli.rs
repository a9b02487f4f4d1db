//! The command line's grammar: arguments, defaults and help. What the commands do is in `commands`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Durable workflows of LLM, Python, shell and HTTP tasks.
#[derive(Debug, Parser)]
#[command(
    name = "gleitzeit",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example:\n  gleitzeit run examples/quickstart.yaml"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// What to log on stderr: error, warn, info, debug, trace, or a filter such as `gleitzeit=debug`
    #[arg(long, global = true, env = "GLEITZEIT_LOG_LEVEL", value_name = "LEVEL", hide_env_values = true)]
    pub(crate) log_level: Option<String>,

    /// A YAML file with options, named like the flags; flags and environment go before it
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a workflow now and print its outputs
    ///
    /// Everything runs inside this one process, with a store of its own that is removed on success. With --hub-url it
    /// runs on that control plane instead.
    #[command(after_help = "Example:\n  gleitzeit run examples/quickstart.yaml --input top=5 -o json | jq .outputs")]
    Run(RunArgs),
    /// Start a control plane and an agent with all roles in one process
    #[command(after_help = "Example:\n  gleitzeit start --background")]
    Start(StartArgs),
    /// Stop the control plane that `start --background` or `submit` started
    Stop(StopArgs),
    /// Start the control plane alone
    #[command(alias = "control-plane", after_help = "Example:\n  gleitzeit hub --port 8000 --store sqlite:/var/lib/gleitzeit.db")]
    Hub(HubArgs),
    /// Start a worker: it joins the event mesh with one or more roles
    #[command(after_help = "Example:\n  gleitzeit agent --role exec,provider --hub-url http://hub:8000")]
    Agent(AgentArgs),
    /// List what is connected; with roles: the same as `agent --role`
    #[command(after_help = "Example:\n  gleitzeit components")]
    Components(ComponentsArgs),
    /// Submit a workflow to a control plane
    #[command(after_help = "Example:\n  gleitzeit submit examples/chain.yaml --input start=7 --wait")]
    Submit(SubmitArgs),
    /// Show a run, or the control plane
    #[command(after_help = "Example:\n  gleitzeit status last")]
    Status(StatusArgs),
    /// List runs, the newest first
    #[command(after_help = "Example:\n  gleitzeit list --status failed --limit 10")]
    List(ListArgs),
    /// Follow a run until it ends
    #[command(after_help = "Example:\n  gleitzeit watch last")]
    Watch(WatchArgs),
    /// Ask a run to end
    #[command(after_help = "Example:\n  gleitzeit cancel last --reason 'wrong input'")]
    Cancel(CancelArgs),
    /// Repeat a failed or cancelled run as a new one that keeps the completed tasks' results
    #[command(after_help = "Example:\n  gleitzeit retry last")]
    Retry(RetryArgs),
    /// Check workflow files without running them
    #[command(after_help = "Example:\n  gleitzeit validate examples/*.yaml")]
    Validate(ValidateArgs),
    /// List the connected providers
    Providers(ClientOnly),
    /// List the known protocols and their methods
    Protocols(ProtocolsArgs),
    /// Print the version
    Version(OutputArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  gleitzeit completions bash > /etc/bash_completion.d/gleitzeit")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// One document on stdout and nothing else
    Json,
    /// The same document as YAML
    Yaml,
}

/// The output format.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// How to print the result
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// How to reach a control plane.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientArgs {
    /// The control plane's address (default: http://localhost:8000)
    #[arg(long, env = "GLEITZEIT_HUB_URL", value_name = "URL")]
    pub(crate) hub_url: Option<String>,

    /// The control plane's token
    #[arg(long, env = "GLEITZEIT_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

/// A command that only asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientOnly {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What a workflow is given.
#[derive(Clone, Debug, Args)]
pub(crate) struct InputArgs {
    /// An input: NAME=VALUE (read as JSON, else as text) or NAME=@FILE (text of a file)
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,

    /// A label: NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
}

/// `gleitzeit run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The workflow: YAML or JSON; `-` reads stdin
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    /// Names of environment variables that workflows may read as ${env.NAME}; they are stored with the run
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) allow_env: Vec<String>,
}

/// What an engine and its providers are like.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerArgs {
    /// How many attempts the engine has open at once
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) slots: u32,

    /// A provider file to serve besides the built-in ones (may be given several times)
    #[arg(long = "provider", value_name = "FILE")]
    pub(crate) providers: Vec<PathBuf>,

    /// A folder of provider files
    #[arg(long, env = "GLEITZEIT_PROVIDERS_DIR", value_name = "DIR")]
    pub(crate) providers_dir: Option<PathBuf>,
}

/// Where protocols come from besides the built-in ones.
#[derive(Clone, Debug, Args)]
pub(crate) struct DefinitionArgs {
    /// A folder of protocol files besides the built-in ones
    #[arg(long = "protocols", env = "GLEITZEIT_PROTOCOLS_DIR", value_name = "DIR")]
    pub(crate) protocols_dir: Option<PathBuf>,
}

/// What a control plane is like.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// The port for gRPC, mesh, health and metrics; 0 picks a free one
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,

    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,

    /// Where everything is stored: sqlite:PATH or memory: (default: a file in your data folder)
    #[arg(long, env = "GLEITZEIT_STORE_URL", value_name = "URL")]
    pub(crate) store: Option<String>,

    /// What clients and components must present
    #[arg(long, env = "GLEITZEIT_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,

    /// Web origins that may connect (none by default)
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,

    /// Listen on an address that is not loopback without a token
    #[arg(long)]
    pub(crate) insecure: bool,

    /// Names of environment variables that workflows may read as ${env.NAME}; they are stored with the run
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) allow_env: Vec<String>,

    /// The largest workflow accepted
    #[arg(long, default_value_t = 8 * 1024 * 1024, value_name = "BYTES")]
    pub(crate) max_workflow_bytes: usize,

    /// The most tasks a workflow may have
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    pub(crate) max_tasks: usize,
}

/// `gleitzeit start`
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    /// Go on in the background once it is ready
    #[arg(long)]
    pub(crate) background: bool,
}

/// `gleitzeit stop`
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The port of the control plane to stop
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
}

/// `gleitzeit hub`
#[derive(Debug, Args)]
pub(crate) struct HubArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
}

/// `gleitzeit agent`
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// What to do: queue, resolver (deps), engine (exec), provider, or all
    #[arg(long = "role", value_name = "ROLES", value_delimiter = ',', default_value = "all")]
    pub(crate) roles: Vec<String>,
    #[command(flatten)]
    pub(crate) joining: JoinArgs,
}

/// How a worker joins the mesh.
#[derive(Clone, Debug, Args)]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    /// The queues its engine works for (default: all)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) queues: Vec<String>,
    /// The human label of this worker (default: the machine's name and the process id)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How many seconds running work may take to finish when the worker is asked to stop
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) drain_timeout: u64,
}

/// `gleitzeit components`
#[derive(Debug, Args)]
pub(crate) struct ComponentsArgs {
    /// Roles to take; none: list what is connected
    #[arg(value_name = "ROLE")]
    pub(crate) roles: Vec<String>,
    #[command(flatten)]
    pub(crate) joining: JoinArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit submit`
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The workflow: YAML or JSON; `-` reads stdin
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// Wait until the run ends and exit by its outcome
    #[arg(long)]
    pub(crate) wait: bool,
    /// The same id with the same body gives the same run, however often it is sent
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// A run id, a unique prefix of one, or `last`; none: the control plane itself
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only runs in these states: running, completed, failed, cancelled
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// Only runs of workflows with this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only runs with this label: NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Where to go on: `next_page_token` of the page before
    #[arg(long, value_name = "TOKEN")]
    pub(crate) page_token: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit watch`
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// A run id, a unique prefix of one, or `last`
    pub(crate) run: String,
    /// The first event wanted; 0: from the beginning
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    pub(crate) from: u64,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit cancel`
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// A run id, a unique prefix of one, or `last`
    pub(crate) run: String,
    /// Why; shown with the run
    #[arg(long, default_value = "cancelled from the command line")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit retry`
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// A run id, a unique prefix of one, or `last`
    pub(crate) run: String,
    /// The same id gives the same new run, however often it is sent
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit validate`
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The workflows: YAML or JSON; `-` reads stdin
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Check against what this control plane knows, instead of offline
    #[arg(long, value_name = "URL")]
    pub(crate) hub_url: Option<String>,
    /// The control plane's token
    #[arg(long, env = "GLEITZEIT_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit protocols`
#[derive(Debug, Args)]
pub(crate) struct ProtocolsArgs {
    /// Only what is built in or in a folder, without asking a control plane
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
