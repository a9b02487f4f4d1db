//! The command line of Gleitzeit.
fn main() {}
