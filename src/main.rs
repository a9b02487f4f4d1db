//! The binary `gleitzeit`. All code is in the library beside it, so that `gz` is the same program.

use std::process::ExitCode;

fn main() -> ExitCode {
    gleitzeit::main()
}
