//! Finds cycles of dependencies, without recursion.

use super::checker::Checker;
use super::names::id_of;
use crate::error::ErrorCode;
use crate::yaml::{At, Node, Spot};

/// A dependency of one task on another, and the place in the file that creates it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) on: usize,
    pub(super) spot: Spot,
    /// Whether the dependency comes from a reference rather than from the list.
    pub(super) implied: bool,
}

/// The maximum number of cycles that are reported; once they are removed, the next check reports the rest.
const CYCLES: usize = 10;

/// Reports cycles as paths such as `a -> b -> a`. `wanted` has one list per task.
pub(super) fn check(checker: &mut Checker<'_>, tasks: &[Node], wanted: &[Vec<Wanted>]) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; wanted.len()];
    let mut found = 0;
    for start in 0..wanted.len() {
        if marks[start] != Mark::New {
            continue;
        }
        // The path from `start`: each task, and how many of its dependencies have been followed.
        let mut path = vec![(start, 0)];
        marks[start] = Mark::Open;
        while let Some((task, followed)) = path.last_mut() {
            let task = *task;
            let Some(edge) = wanted[task].get(*followed) else {
                marks[task] = Mark::Done;
                path.pop();
                continue;
            };
            *followed += 1;
            match marks[edge.on] {
                Mark::New => {
                    marks[edge.on] = Mark::Open;
                    path.push((edge.on, 0));
                }
                Mark::Open => {
                    let from = path.iter().position(|(task, _)| *task == edge.on).unwrap_or(0);
                    let circle: Vec<usize> = path[from..].iter().map(|(task, _)| *task).collect();
                    report(checker, tasks, &circle, *edge, task);
                    found += 1;
                    if found == CYCLES {
                        return;
                    }
                }
                Mark::Done => {}
            }
        }
    }
}

fn report(checker: &mut Checker<'_>, tasks: &[Node], circle: &[usize], edge: Wanted, task: usize) {
    let name = |index: usize| id_of(&tasks[index]).unwrap_or("?");
    let mut names: Vec<&str> = circle.iter().take(20).map(|&index| name(index)).collect();
    if circle.len() > names.len() {
        names.push("…");
    }
    names.push(name(circle[0]));
    let message = format!("tasks depend on each other in a cycle: {}", names.join(" -> "));
    let hint = if edge.implied {
        format!(
            "the reference here makes `{}` wait for `{}`; remove one of the dependencies",
            name(task),
            name(edge.on)
        )
    } else {
        "remove one of the dependencies".to_owned()
    };
    let root = At::Root;
    let list = root.key("tasks");
    let at = list.index(task);
    let at = if edge.implied { at.key("parameters") } else { at.key("dependencies") };
    checker.report(edge.spot, at, ErrorCode::WorkflowCircularDependency, message, Some(hint));
}
