//! The binary `gz`: `gleitzeit` with less to type.

use std::process::ExitCode;

fn main() -> ExitCode {
    gleitzeit::main()
}
