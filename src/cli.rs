//! The command line's grammar: arguments, defaults and help. What the commands do is in `commands`.

mod global;
mod help;
mod local;
mod runs;
mod server;
mod store;
mod suggest;
#[cfg(test)]
mod tests;
mod token;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use global::{Global, LogFormat};
pub(crate) use help::shown as shown_help;
pub(crate) use local::{
    CompletionsArgs, DoctorArgs, GraphArgs, GraphForm, HealthcheckArgs, InitArgs, InitKind, LogsArgs, ManArgs,
    MigrateArgs, MonitorArgs, Program,
};
pub(crate) use runs::{CancelArgs, ListArgs, SubmitArgs};
pub(crate) use server::{
    AgentArgs, ComponentsArgs, DEFAULT_PORT, DEFAULT_RETENTION, HubArgs, HubCommandArgs, PatienceArgs, Retention,
    RunArgs, StartArgs, StopArgs, WorkerArgs,
};
pub(crate) use store::{BackupArgs, CheckArgs, PruneArgs, RestoreArgs, StoreCommand};
pub(crate) use suggest::refusal;
pub(crate) use token::TokenArgs;

/// Durable workflows of LLM, Python, shell and HTTP tasks.
///
/// `run` needs nothing else: it runs a workflow in its own process. `start` starts a control plane that keeps running, with
/// workers on this and other machines; `submit`, `list`, `status` and `logs` use it.
///
/// Exit codes: 0 done, 1 failed or refused, 2 bad usage or an invalid file, 3 no control plane, 130 interrupted.
#[derive(Debug, Parser)]
#[command(
    name = "gleitzeit",
    version,
    propagate_version = true,
    disable_help_flag = true,
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    styles = help::STYLES,
    after_help = "Examples:\n  gleitzeit run examples/quickstart.yaml\n  gleitzeit start --background"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a workflow now, inside this process, and print what it returns
    #[command(after_help = "Example:\n  gleitzeit run examples/quickstart.yaml -o json")]
    Run(RunArgs),
    /// Start a control plane and a worker with all roles
    #[command(after_help = "Example:\n  gleitzeit start --background")]
    Start(StartArgs),
    /// Stop the control plane that runs on this machine
    ///
    /// Running work may finish; interrupted work continues when the control plane is started again.
    #[command(after_help = "Examples:\n  gleitzeit stop\n  gleitzeit stop --port 8001 --timeout 5m")]
    Stop(StopArgs),
    /// Start only a control plane
    #[command(alias = "control-plane", after_help = "Example:\n  gleitzeit hub --port 8000 --store sqlite:journal.db")]
    Hub(HubCommandArgs),
    /// Start a worker with any combination of roles
    #[command(after_help = "Example:\n  gleitzeit agent --role exec,provider --slots 16")]
    Agent(AgentArgs),
    /// List the connected components; with roles: start a worker, as `agent --role`
    #[command(after_help = "Examples:\n  gleitzeit components\n  gleitzeit components queue deps exec")]
    Components(ComponentsArgs),
    /// Submit workflows to a control plane
    #[command(
        after_help = "Examples:\n  gleitzeit submit examples/chain.yaml start=7 --wait\n  gleitzeit submit examples/chain.yaml --dry-run"
    )]
    Submit(SubmitArgs),
    /// Show a run, or the control plane
    #[command(after_help = "Example:\n  gleitzeit status last")]
    Status(StatusArgs),
    /// List runs, the newest first
    #[command(visible_aliases = ["ls", "ps"], after_help = "Examples:\n  gleitzeit list --status failed --limit 10\n  gleitzeit list --watch --since 1h")]
    List(ListArgs),
    /// Follow a run until it ends
    #[command(after_help = "Example:\n  gleitzeit watch last")]
    Watch(WatchArgs),
    /// Explain why a run or one of its tasks has not ended, and what would help
    #[command(after_help = "Examples:\n  gleitzeit explain last\n  gleitzeit explain last summarize")]
    Explain(ExplainArgs),
    /// Show where a run's time went
    #[command(after_help = "Examples:\n  gleitzeit trace last\n  gleitzeit trace last -o json")]
    Trace(TraceArgs),
    /// Show what a run's tasks printed and returned, or why they failed
    #[command(after_help = "Examples:\n  gleitzeit logs last\n  gleitzeit logs last summarize\n  gleitzeit logs last \
                            -f --tail 20")]
    Logs(LogsArgs),
    /// Cancel runs
    #[command(
        after_help = "Examples:\n  gleitzeit cancel last --reason 'wrong input'\n  gleitzeit cancel --label team=trains"
    )]
    Cancel(CancelArgs),
    /// Repeat a failed or cancelled run as a new one that keeps the completed tasks' results
    #[command(after_help = "Example:\n  gleitzeit retry last")]
    Retry(RetryArgs),
    /// Remove runs that ended long enough ago, and protocols that were unused for as long
    #[command(after_help = "Example:\n  gleitzeit prune --older-than 7d")]
    Prune(PruneArgs),
    /// Copy a store into a file, even while its control plane is running
    #[command(after_help = "Example:\n  gleitzeit backup journal-monday.db")]
    Backup(BackupArgs),
    /// Restore a store from a backup; its control plane must not be running
    #[command(after_help = "Example:\n  gleitzeit restore journal-monday.db --replace")]
    Restore(RestoreArgs),
    /// Inspect a store, even while its control plane is running
    #[command(subcommand, after_help = "Example:\n  gleitzeit store check")]
    Store(StoreCommand),
    /// Check workflow files without running them
    #[command(after_help = "Example:\n  gleitzeit validate examples/*.yaml")]
    Validate(ValidateArgs),
    /// Convert files of the original Gleitzeit to the current format
    #[command(after_help = "Examples:\n  gleitzeit migrate old.yaml\n  gleitzeit migrate --write workflows/*.yaml")]
    Migrate(MigrateArgs),
    /// Draw the tasks of a workflow, or of a run with their states, and what they wait for
    #[command(after_help = "Examples:\n  gleitzeit graph examples/chain.yaml --as mermaid\n  gleitzeit graph last")]
    Graph(GraphArgs),
    /// Create a workflow file to start from
    #[command(after_help = "Example:\n  gleitzeit init hello && gleitzeit run hello.yaml")]
    Init(InitArgs),
    /// Check whether this machine has what workflows need, and show how to fix what is missing
    #[command(after_help = "Examples:\n  gleitzeit doctor\n  gleitzeit doctor -o json")]
    Doctor(DoctorArgs),
    /// Check whether a control plane can be used; exits with 0 if it can
    #[command(after_help = "Example:\n  gleitzeit healthcheck --hub-url http://localhost:8000")]
    Healthcheck(HealthcheckArgs),
    /// Show runs, components and providers in a full-screen view
    #[command(after_help = "Example:\n  gleitzeit monitor")]
    Monitor(MonitorArgs),
    /// List the connected providers
    #[command(after_help = "Examples:\n  gleitzeit providers\n  gleitzeit providers -o json")]
    Providers(ClientOnly),
    /// List the known protocols and their methods, or show one with its parameters
    #[command(after_help = "Examples:\n  gleitzeit protocols\n  gleitzeit protocols llm/chat --offline")]
    Protocols(ProtocolsArgs),
    /// Print the version
    #[command(after_help = "Example:\n  gleitzeit version")]
    Version(OutputArgs),
    /// Print the manual page, or write those of all commands into a folder
    #[command(after_help = "Examples:\n  gleitzeit man | man -l -\n  gleitzeit man /usr/local/share/man/man1")]
    Man(ManArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  source <(gleitzeit completions bash)\n  gleitzeit completions fish | source")]
    Completions(CompletionsArgs),
}

impl Command {
    /// Whether the process keeps running with a token and works for others. A command that only starts such a process
    /// in the background passes its environment on instead.
    pub(crate) fn keeps_secrets(&self) -> bool {
        match self {
            Self::Run(_) | Self::Hub(_) | Self::Agent(_) => true,
            Self::Start(args) => args.in_background || !args.background,
            _ => false,
        }
    }
}

impl Command {
    /// The output format of the command's result.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Run(args) => args.output.format(),
            Self::Components(args) => args.output.format(),
            Self::Submit(args) => args.output.format(),
            Self::Status(args) => args.output.format(),
            Self::List(args) => args.output.format(),
            Self::Watch(args) => args.output.format(),
            Self::Explain(args) => args.output.format(),
            Self::Trace(args) => args.output.format(),
            Self::Logs(args) => args.output.format(),
            Self::Graph(args) => args.output.format(),
            Self::Init(args) => args.output.format(),
            Self::Doctor(args) => args.output.format(),
            Self::Healthcheck(args) => args.output.format(),
            Self::Cancel(args) => args.output.format(),
            Self::Retry(args) => args.output.format(),
            Self::Prune(args) => args.output.format(),
            Self::Backup(args) => args.output.format(),
            Self::Store(StoreCommand::Check(args)) => args.output.format(),
            Self::Restore(args) => args.output.format(),
            Self::Validate(args) => args.output.format(),
            Self::Migrate(args) => args.output.format(),
            Self::Providers(args) => args.output.format(),
            Self::Protocols(args) => args.output.format(),
            Self::Version(args) => args.format(),
            Self::Start(_)
            | Self::Stop(_)
            | Self::Hub(_)
            | Self::Agent(_)
            | Self::Man(_)
            | Self::Monitor(_)
            | Self::Completions(_) => Format::Table,
        }
    }

    /// The output format of the command's failure: `watch` prints events, and a failure is not one.
    pub(crate) fn format_of_failure(&self) -> Format {
        let prints_lines = match self {
            Self::Watch(_) => true,
            Self::List(args) => args.watch,
            Self::Logs(args) => args.follow,
            _ => false,
        };
        if prints_lines { Format::Table } else { self.format() }
    }

    /// Whether this process executes runs or tasks.
    pub(crate) fn works(&self) -> bool {
        match self {
            Self::Start(args) => !args.background || args.in_background,
            Self::Run(args) => crate::hub_url::named(args.hub_url.as_deref()).is_none(),
            Self::Hub(_) | Self::Agent(_) => true,
            Self::Components(args) => !args.roles.is_empty(),
            _ => false,
        }
    }

    /// Whether the command may connect to something, and so needs the trusted roots.
    pub(crate) fn may_connect(&self) -> bool {
        !matches!(self, Self::Version(_) | Self::Man(_) | Self::Completions(_) | Self::Init(_))
    }

    /// Whether other processes connect to this one.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Self::Start(_) | Self::Hub(_))
    }

    /// The default log level: servers and workers log their life cycle, other commands only problems.
    pub(crate) fn default_log_level(&self) -> &'static str {
        match self {
            Self::Start(_) | Self::Hub(_) | Self::Agent(_) => "info",
            Self::Components(args) if !args.roles.is_empty() => "info",
            _ => "error",
        }
    }
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
    format: Format,
    /// The same as `-o json`
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl OutputArgs {
    /// The format that was requested.
    pub(crate) fn format(self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// How to reach a control plane.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientArgs {
    /// The control plane's address (default: http://localhost:8000)
    #[arg(long, env = "GLEITZEIT_HUB_URL", value_name = "URL")]
    pub(crate) hub_url: Option<String>,

    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

/// A command that only asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientOnly {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The inputs and labels of a run.
#[derive(Clone, Debug, Args)]
pub(crate) struct InputArgs {
    /// Inputs, as with `--input`
    #[arg(value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) given: Vec<String>,

    /// An input: NAME=VALUE (read as JSON, else as text) or NAME=@FILE (text of a file)
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,

    /// A label: NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
}

/// Accepts an argument after the file, which can only be an input.
fn pair(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("expected an input, NAME=VALUE; only one file is accepted".to_owned()),
    }
}

/// Where protocols come from besides the built-in ones.
#[derive(Clone, Debug, Args)]
pub(crate) struct DefinitionArgs {
    /// A folder of protocol files besides the built-in ones
    #[arg(long = "protocols", env = "GLEITZEIT_PROTOCOLS_DIR", value_name = "DIR")]
    pub(crate) protocols_dir: Option<PathBuf>,
}

/// `gleitzeit status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// A run id, a unique prefix of one, or `last` (default: the control plane itself)
    pub(crate) run: Option<String>,
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
    /// The number of the first event; 0 means the beginning
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    pub(crate) from: u64,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A run id, a unique prefix of one, or `last`
    pub(crate) run: String,
    /// One of its tasks; none: all that hold the run up
    pub(crate) task: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit trace`
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// A run id, a unique prefix of one, or `last`
    pub(crate) run: String,
    /// The address of a trace viewer such as Jaeger (http://localhost:16686); prints the link to the trace
    #[arg(long, env = "GLEITZEIT_TRACE_URL", value_name = "URL")]
    pub(crate) trace_url: Option<String>,
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
    /// Run every task again, also those that completed
    #[arg(long)]
    pub(crate) all: bool,
    /// Makes the retry idempotent: the same id gives the same new run
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
    #[arg(long, env = "GLEITZEIT_HUB_URL", value_name = "URL")]
    pub(crate) hub_url: Option<String>,
    /// Check against built-in and local definitions, even if GLEITZEIT_HUB_URL is set
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    /// A provider file of the workers that will run the workflows; tasks may name its provider (repeatable)
    #[arg(long = "provider", value_name = "FILE")]
    pub(crate) providers: Vec<PathBuf>,
    /// A folder of provider files
    #[arg(long = "providers", env = "GLEITZEIT_PROVIDERS_DIR", value_name = "DIR")]
    pub(crate) providers_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit protocols`
#[derive(Debug, Args)]
pub(crate) struct ProtocolsArgs {
    /// Show one in detail: a protocol (`llm`, `llm/v1`) or a method (`llm/chat`)
    pub(crate) name: Option<String>,
    /// Only built-in and local protocols, without asking a control plane
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
