//! Checks a workflow without a control plane and prints what is wrong with it.
#![expect(clippy::print_stdout, reason = "an example")]
use gleitzeit_workflow::spec::{AnyMethod, Limits, check};

fn main() {
    let source = "name: Hello\ntasks:\n  - id: greet\n    method: util/echo\n    parameters: {text: '${inputs.who}'}\n";
    match check(source, "hello.yaml", &AnyMethod, &Limits::default()) {
        Ok(workflow) => println!("{} tasks", workflow.tasks.len()),
        Err(problems) => problems.iter().for_each(|problem| println!("{problem}")),
    }
}
