//! The binary `gz`: replaces itself by the `gleitzeit` in the same folder.
//!
//! It is a separate program only because Cargo cannot install a link: linking the whole program a second time took as
//! long as the first. A `gz` that is a link to `gleitzeit` works as well.

use std::env;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The exit code of `gleitzeit` for errors that have no code of their own.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "gz".into());
    let failed = match sibling() {
        // Help and errors use the name that was typed.
        Ok(program) => {
            let error = Command::new(&program).arg0(name).args(arguments).exec();
            format!("cannot start `{}`: {error}", program.display())
        }
        Err(error) => format!("cannot determine its own location: {error}"),
    };
    // If nobody reads stderr, the exit code still reports the failure.
    let _ = writeln!(
        io::stderr(),
        "gz: {failed}\n\nhint: `gz` is a short name for the program `gleitzeit` in its own folder; install both there, or call \
         `gleitzeit`"
    );
    ExitCode::from(FAILURE)
}

/// The program in the folder of this one; links to this one are followed.
fn sibling() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.canonicalize()?.with_file_name("gleitzeit"))
}
