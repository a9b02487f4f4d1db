//! The grammar of the commands that need no control plane: migrate, graph, init, doctor, man, completions.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::server::age;
use super::{DefinitionArgs, OutputArgs, TokenArgs};

/// `gleitzeit migrate`
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Workflows of the original Gleitzeit; `-` reads stdin and prints the new text
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write the new text into the files, instead of printing what would change
    #[arg(long)]
    pub(crate) write: bool,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit graph`
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// A workflow (YAML or JSON; `-` reads stdin); or, if there is no such file, a run: its id, a unique prefix of it, or `last`
    #[arg(value_name = "FILE|RUN")]
    pub(crate) of: PathBuf,
    /// The format of the drawing
    #[arg(long = "as", value_name = "FORM", default_value = "terminal")]
    pub(crate) form: GraphForm,
    #[command(flatten)]
    pub(crate) definitions: DefinitionArgs,
    #[command(flatten)]
    pub(crate) client: super::ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How a workflow is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphForm {
    /// As text, for this terminal
    #[default]
    Terminal,
    /// For pages that draw Mermaid
    Mermaid,
    /// For Graphviz
    Dot,
}

/// `gleitzeit init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The name of the workflow; the file is NAME.yaml in this folder
    pub(crate) name: String,
    /// What the workflow demonstrates
    #[arg(long = "type", value_name = "TYPE", default_value = "python")]
    pub(crate) kind: InitKind,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What a new workflow demonstrates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum InitKind {
    /// Python tasks that use each other's results
    #[default]
    Python,
    /// A question to a language model, and a second that builds on the answer
    Llm,
    /// A language model, Python and the shell together
    Mixed,
}

/// `gleitzeit doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The control plane to check
    #[arg(long, env = "GLEITZEIT_HUB_URL", value_name = "URL")]
    pub(crate) hub_url: Option<String>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    /// The store: sqlite:PATH (default: the one in the user's data folder)
    #[arg(long, env = "GLEITZEIT_STORE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit healthcheck`
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// The control plane to check (default: http://localhost:8000)
    #[arg(long, alias = "url", env = "GLEITZEIT_HUB_URL", value_name = "URL")]
    pub(crate) hub_url: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder for the pages of all commands; without it, the page of `gleitzeit` itself goes to stdout
    pub(crate) folder: Option<PathBuf>,
}

/// `gleitzeit completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
    /// Complete the arguments of only this program (default: both)
    #[arg(long = "name", value_name = "PROGRAM")]
    pub(crate) program: Option<Program>,
}

/// The names of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// The full name
    Gleitzeit,
    /// The short name
    Gz,
}

/// `gleitzeit monitor`
#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    #[command(flatten)]
    pub(crate) client: super::ClientArgs,
}

/// `gleitzeit logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A run id, a unique prefix of one, or `last`
    pub(crate) run: String,
    /// A task of the run (default: all)
    pub(crate) task: Option<String>,
    /// Follow the output of the tasks, line by line, until the run ends
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only the last N existing lines of each stream
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<usize>,
    /// Only newer output, such as 10m, 2h, 1d: lines of running tasks, and all lines of tasks that ended since
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) since: Option<Duration>,
    #[command(flatten)]
    pub(crate) client: super::ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
