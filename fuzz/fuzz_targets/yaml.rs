//! Parsing a workflow file: the outcome is a workflow, or problems with places, and never exceeds its bounds.

#![no_main]

use gleitzeit_protocols::Registry;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use gleitzeit_workflow::spec::{Catalog, Limits, check_bytes};

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(fields) => fields.values().map(nodes).sum(),
        _ => 0,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let registry = Registry::shipped();
    match check_bytes(bytes, "any.yaml", &registry, &Limits::DEFAULT) {
        Ok(workflow) => {
            let made: usize = workflow.tasks.iter().map(|task| nodes(&task.parameters)).sum();
            assert!(made <= 100_000.max(10 * bytes.len()) + bytes.len(), "{made} values");
            // The snapshot that a run keeps can be parsed again.
            let text = serde_json::to_string(&workflow).expect("a workflow is JSON");
            let again = serde_json::from_str(&text).expect("it is a workflow");
            assert_eq!(workflow, again);
            for task in &workflow.tasks {
                assert!(Catalog::method(&registry, task.method.as_str()).is_some());
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= 200, "{} problems", problems.len());
            // Either character ends a line (YAML 1.2.2, section 5.4).
            let ends = bytes.iter().filter(|byte| matches!(**byte, b'\n' | b'\r')).count();
            let lines = u32::try_from(ends).expect("short") + 2;
            for problem in problems {
                assert!(!problem.message.is_empty());
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem}");
            }
        }
    }
});
