//! A workflow's tasks and their dependencies, drawn in several formats.

mod marks;
mod terminal;

use std::fmt::Write as _;

use gleitzeit_workflow::graph::Graph;
use gleitzeit_workflow::spec::{Task, Workflow};

use crate::states;

pub(crate) use marks::Marks;
pub(crate) use terminal::terminal;

/// For each task, the length of the longest path to it, counting itself: 1 for tasks without dependencies.
pub(crate) fn steps(workflow: &Workflow) -> Vec<usize> {
    let graph = Graph::new(workflow);
    let mut missing: Vec<usize> = (0..graph.len()).map(|at| graph.dependencies(at).len()).collect();
    let mut steps = vec![1; graph.len()];
    let mut ready: Vec<usize> = (0..graph.len()).filter(|at| missing[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        for &dependent in graph.dependents(at) {
            steps[dependent] = steps[dependent].max(steps[at] + 1);
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                ready.push(dependent);
            }
        }
    }
    steps
}

/// The method of a task, and the provider that it names.
pub(crate) fn called(task: &Task) -> String {
    match &task.provider {
        Some(provider) => format!("{} at {provider}", task.method),
        None => task.method.to_string(),
    }
}

/// A drawing for pages that render Mermaid, such as GitHub's.
pub(crate) fn mermaid(workflow: &Workflow, marks: &Marks<'_>) -> String {
    let mut text = String::from("flowchart LR\n");
    for (at, task) in workflow.tasks.iter().enumerate() {
        let (mark, class) = match marks.of(at) {
            Some(state) => (format!("{} ", marks::mark(state)), format!(":::{}", states::task_status(state))),
            None => Default::default(),
        };
        let called = called(task).replace('"', "#quot;");
        let _ = writeln!(text, "    t{at}[\"{mark}{}<br/>{called}\"]{class}", task.id);
    }
    edges(workflow, |from, to| {
        let _ = writeln!(text, "    t{from} --> t{to}");
    });
    for state in marks.found() {
        let _ = writeln!(text, "    classDef {} fill:{},color:#000", states::task_status(state), marks::fill(state));
    }
    text
}

pub(crate) fn dot(workflow: &Workflow, marks: &Marks<'_>) -> String {
    let mut text = format!("digraph {:?} {{\n    rankdir=LR;\n    node [shape=box, style=rounded];\n", workflow.name);
    for (at, task) in workflow.tasks.iter().enumerate() {
        let (mark, fill) = match marks.of(at) {
            Some(state) => (
                format!("{} ", marks::mark(state)),
                format!(", style=\"rounded,filled\", fillcolor=\"{}\"", marks::fill(state)),
            ),
            None => Default::default(),
        };
        let called = called(task).replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "    {:?} [label=\"{mark}{}\\n{called}\"{fill}];", task.id.as_str(), task.id);
    }
    edges(workflow, |from, to| {
        let id = |at: usize| workflow.tasks[at].id.as_str();
        let _ = writeln!(text, "    {:?} -> {:?};", id(from), id(to));
    });
    text.push_str("}\n");
    text
}

fn edges(workflow: &Workflow, mut each: impl FnMut(usize, usize)) {
    let graph = Graph::new(workflow);
    for to in 0..graph.len() {
        graph.dependencies(to).iter().for_each(|&from| each(from, to));
    }
}

/// The dependencies of a task, without duplicates, in the order of the workflow.
pub(crate) fn dependencies<'a>(workflow: &'a Workflow, graph: &Graph, at: usize) -> Vec<&'a Task> {
    graph.dependencies(at).iter().map(|&from| &workflow.tasks[from]).collect()
}
