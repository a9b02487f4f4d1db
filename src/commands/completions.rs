//! `gleitzeit completions`.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::error::{CommandResult, Exit};
use crate::output;

pub(crate) fn run(shell: Shell) -> CommandResult {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "gleitzeit", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
