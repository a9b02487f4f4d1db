//! The grammar of the commands about what is stored: prune, backup, restore, store check.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::server::age;
use super::{ClientArgs, OutputArgs};

/// `gleitzeit prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// How long ago a run must have ended, such as 7d, 12h, 0 (default: the control plane's --retention; 30d for runs of `gleitzeit run`)
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Option<Duration>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit backup`
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The new file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The store: sqlite:PATH (default: the one in the user's data folder)
    #[arg(long, env = "GLEITZEIT_STORE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The store: sqlite:PATH (default: the one in the user's data folder)
    #[arg(long, env = "GLEITZEIT_STORE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// Replace the existing store; it is kept beside the new one
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit store …`
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read every entry, and name what is damaged and which runs cannot be replayed
    #[command(after_help = "Examples:\n  gleitzeit store check -o json\n  gleitzeit store check --repair")]
    Check(CheckArgs),
}

/// `gleitzeit store check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The store: sqlite:PATH (default: the one in the user's data folder)
    #[arg(long, env = "GLEITZEIT_STORE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// Rebuild damaged lists from the entries; the previous store is kept beside the new one
    #[arg(long)]
    pub(crate) repair: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
