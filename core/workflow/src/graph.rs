//! The dependency graph of a workflow: tasks by index, so that each step costs only its own neighbourhood.

use indexmap::IndexMap;

use crate::id::TaskId;
use crate::spec::Workflow;

/// The dependencies of a checked workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    index: IndexMap<TaskId, usize>,
    dependencies: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
}

impl Graph {
    /// Indexes a workflow. A dependency on a task that does not exist is left out; a checked workflow has none.
    pub fn new(workflow: &Workflow) -> Self {
        let index: IndexMap<TaskId, usize> =
            workflow.tasks.iter().enumerate().map(|(at, task)| (task.id.clone(), at)).collect();
        let mut dependents = vec![Vec::new(); workflow.tasks.len()];
        let mut dependencies = Vec::with_capacity(workflow.tasks.len());
        for (at, task) in workflow.tasks.iter().enumerate() {
            let mut of: Vec<usize> = task.dependencies.iter().filter_map(|id| index.get(id).copied()).collect();
            of.sort_unstable();
            of.dedup();
            for &dependency in &of {
                dependents[dependency].push(at);
            }
            dependencies.push(of);
        }
        Self { index, dependencies, dependents }
    }

    /// The number of tasks.
    pub fn len(&self) -> usize {
        self.dependencies.len()
    }

    /// Whether the workflow has no task.
    pub fn is_empty(&self) -> bool {
        self.dependencies.is_empty()
    }

    /// The index of a task.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// The tasks that a task waits for, ascending.
    pub fn dependencies(&self, at: usize) -> &[usize] {
        &self.dependencies[at]
    }

    /// The tasks that wait for a task, ascending.
    pub fn dependents(&self, at: usize) -> &[usize] {
        &self.dependents[at]
    }

    /// All tasks that wait for a task, directly or through others, each once, nearest first. `enter` is called before a
    /// task is taken; a task that it rejects is not followed either.
    pub fn descendants(&self, at: usize, mut enter: impl FnMut(usize) -> bool) -> Vec<usize> {
        let mut seen = std::collections::BTreeSet::new();
        let mut found: Vec<usize> = Vec::new();
        let mut next = 0;
        let mut from = at;
        loop {
            for &dependent in &self.dependents[from] {
                if seen.insert(dependent) && enter(dependent) {
                    found.push(dependent);
                }
            }
            let Some(&following) = found.get(next) else { return found };
            next += 1;
            from = following;
        }
    }
}
