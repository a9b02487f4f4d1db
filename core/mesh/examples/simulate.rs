//! Runs as many seeds of the simulation as asked, and prints the steps that led to a broken rule.
//!
//! `cargo run --release -p gleitzeit-mesh --example simulate -- [COUNT] [FIRST]`; the first seed defaults to 0. With a
//! COUNT of 1, every step that led to a broken rule is printed.

#[path = "../tests/simulation/seeds.rs"]
mod seeds;
#[path = "../tests/simulation/world/mod.rs"]
mod world;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (count, first) = match (numbers.next(), numbers.next()) {
        (None, None) => (10_000, 0),
        (Some(Ok(count)), None) => (count, 0),
        (Some(Ok(count)), Some(Ok(first))) => (count, first),
        _ => {
            writeln!(std::io::stderr(), "usage: simulate [COUNT] [FIRST], both whole numbers").ok();
            return ExitCode::from(2);
        }
    };
    let found = seeds::run_seeds(first..first.saturating_add(count));
    let mut out = std::io::stdout().lock();
    match found {
        Ok(total) => {
            writeln!(out, "{total}").ok();
            ExitCode::SUCCESS
        }
        Err(violation) => {
            if count == 1 { writeln!(out, "{violation:#}") } else { writeln!(out, "{violation}") }.ok();
            ExitCode::FAILURE
        }
    }
}
