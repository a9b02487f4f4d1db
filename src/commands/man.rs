//! `gleitzeit man`: manual pages, made from the same grammar as `--help`.

use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::cli::{Cli, ManArgs};
use crate::error::{CommandError, CommandResult, Exit};
use crate::output;

pub(crate) fn run(args: &ManArgs) -> CommandResult {
    let mut command = Cli::command();
    command.build();
    match &args.folder {
        None => {
            output::print(&page(command, "gleitzeit")?)?;
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
            let subcommands: Vec<Command> =
                command.get_subcommands().filter(|it| it.get_name() != "help").cloned().collect();
            write(folder, "gleitzeit", command)?;
            for subcommand in subcommands {
                let name = format!("gleitzeit-{}", subcommand.get_name());
                write(folder, &name, subcommand)?;
            }
        }
    }
    Ok(Exit::Success)
}

fn write(folder: &Path, name: &str, command: Command) -> Result<(), CommandError> {
    let file = folder.join(format!("{name}.1"));
    std::fs::write(&file, page(command, name)?).map_err(|error| cannot(&file, &error))
}

fn page(command: Command, name: &str) -> Result<String, CommandError> {
    let mut page = Vec::new();
    let made = Man::new(command.name(name.to_owned()).display_name(name.to_owned())).render(&mut page);
    made.map_err(|error| CommandError::internal(format!("cannot make the manual page: {error}")))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn cannot(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::usage(format!("cannot write `{}`: {error}", path.display()))
}
