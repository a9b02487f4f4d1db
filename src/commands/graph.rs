//! `gleitzeit graph`: a workflow's tasks and what they wait for.

use gleitzeit_core::graph::Graph;
use gleitzeit_core::spec::{Limits, Workflow};
use serde_json::json;

use crate::cli::{GraphArgs, GraphForm};
use crate::error::{CommandError, CommandResult, Exit};
use crate::workflow::Source;
use crate::{graph, output, setup};

pub(crate) fn run(args: &GraphArgs) -> CommandResult {
    let source = Source::read(&args.file)?;
    let registry = setup::registry(&args.definitions)?;
    // Methods of providers elsewhere are unknown here, and not what is drawn.
    let workflow = match source.check(&registry, &Limits::DEFAULT).workflow {
        Ok(workflow) => workflow,
        Err(_) => source.check_shape().workflow.map_err(CommandError::problems)?,
    };
    output::document(args.output.format(), &document(&workflow), |_| match args.form {
        GraphForm::Terminal => graph::terminal(&workflow, output::columns()),
        GraphForm::Mermaid => graph::mermaid(&workflow),
        GraphForm::Dot => graph::dot(&workflow),
    })?;
    Ok(Exit::Success)
}

fn document(workflow: &Workflow) -> serde_json::Value {
    let (graph, steps) = (Graph::new(workflow), graph::steps(workflow));
    let task = |(at, step): (usize, usize)| {
        let task = &workflow.tasks[at];
        let dependencies: Vec<&str> =
            graph::dependencies(workflow, &graph, at).iter().map(|it| it.id.as_str()).collect();
        json!({
            "id": task.id, "method": task.method, "provider": task.provider, "queue": task.queue, "step": step,
            "dependencies": dependencies,
        })
    };
    json!({"name": workflow.name, "tasks": steps.into_iter().enumerate().map(task).collect::<Vec<_>>()})
}
