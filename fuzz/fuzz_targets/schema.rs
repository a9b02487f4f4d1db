//! A schema from anyone, and a value checked against it: compiling and checking must end soon.

#![no_main]

use std::time::{Duration, Instant};

use gleitzeit_protocols::Schema;
use libfuzzer_sys::fuzz_target;

/// Far above what either may take, even with sanitizers on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fuzz_target!(|input: (&str, &str)| {
    let (schema, value) = input;
    let Ok(schema) = gleitzeit_workflow::json::parse(schema) else { return };
    let value = gleitzeit_workflow::json::parse(value).unwrap_or_default();
    let begun = Instant::now();
    let Ok(compiled) = Schema::compile(&schema) else { return };
    let violations = compiled.check(&value);
    assert!(violations.len() <= 1_000);
    compiled.check_template(&value);
    let mut filled = value;
    compiled.fill_defaults(&mut filled);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
});
