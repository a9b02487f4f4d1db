//! `gleitzeit completions`.

use crate::cli::{CompletionsArgs, Program};
use crate::error::{CommandResult, Exit};
use crate::{complete, output};

pub(crate) fn run(args: &CompletionsArgs) -> CommandResult {
    let programs: &[&str] = match args.program {
        None => &["gleitzeit", "gz"],
        Some(Program::Gleitzeit) => &["gleitzeit"],
        Some(Program::Gz) => &["gz"],
    };
    let shell = args.shell.to_string();
    for program in programs {
        output::print(&complete::script(&shell, program)?)?;
    }
    Ok(Exit::Success)
}
