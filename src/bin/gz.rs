//! The binary `gz`: becomes the `gleitzeit` that stands beside it.
//!
//! It is a program of its own only because Cargo installs nothing else: linking everything a second time took as long as
//! the first. A `gz` that is a link to `gleitzeit` does as well.

use std::env;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What `gleitzeit` exits with, too, where it fails for a reason that has no code of its own.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "gz".into());
    let failed = match beside() {
        // Help and errors say the name that was typed.
        Ok(program) => {
            let error = Command::new(&program).arg0(name).args(arguments).exec();
            format!("cannot start `{}`: {error}", program.display())
        }
        Err(error) => format!("cannot find out where it stands itself: {error}"),
    };
    // With nobody to read it, the exit code says it alone.
    let _ = writeln!(
        io::stderr(),
        "gz: {failed}\n\nhint: `gz` is a short name for the program `gleitzeit` in its own folder; install both there, or call \
         `gleitzeit`"
    );
    ExitCode::from(FAILURE)
}

/// The program in this one's folder; links to this one are followed.
fn beside() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.canonicalize()?.with_file_name("gleitzeit"))
}
