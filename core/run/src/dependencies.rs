//! The count of dependencies. It is the only one: the ledger, the resolver and the trace each hold one and tell it which
//! tasks are final, in any order and any number of times. Each step costs only its own neighbourhood in the graph.

use std::sync::Arc;

use gleitzeit_workflow::graph::Graph;

use crate::chunks::Chunks;
use crate::phase::Outcome;

/// What became of a task, for those that depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It has a result.
    Completed,
    /// It failed for good.
    Failed,
    /// It could not run.
    Skipped,
    /// Its run was cancelled.
    Cancelled,
}

impl Became {
    /// What an outcome is to those that depend on the task.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed { .. } => Self::Completed,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::Skipped { .. } => Self::Skipped,
            Outcome::Cancelled => Self::Cancelled,
        }
    }

    /// Its name in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Which tasks of a run are final, and what that means for the tasks behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct Dependencies {
    graph: Arc<Graph>,
    tasks: Chunks<Count>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Count {
    /// How many of its dependencies are not final.
    unfinished: u32,
    /// Whether one of them ended without a result, so that it cannot run.
    is_doomed: bool,
    became: Option<Became>,
}

impl Dependencies {
    /// The count at the beginning of a run.
    pub fn new(graph: Arc<Graph>) -> Self {
        // A checked workflow has far fewer tasks than the number can count.
        let unfinished = |at: usize| u32::try_from(graph.dependencies(at).len()).unwrap_or(u32::MAX);
        let tasks =
            (0..graph.len()).map(|at| Count { unfinished: unfinished(at), is_doomed: false, became: None }).collect();
        Self { graph, tasks }
    }

    /// The graph that it counts.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// What became of a task; `None` if it is not final.
    pub fn became(&self, at: usize) -> Option<Became> {
        self.tasks[at].became
    }

    /// Whether all dependencies of a task have completed.
    pub fn are_met(&self, at: usize) -> bool {
        self.tasks[at].unfinished == 0 && !self.tasks[at].is_doomed
    }

    /// Records that a task is final. Returns the tasks whose dependencies are all met by that, ascending, unless they are
    /// final already. A repetition changes nothing.
    pub fn end(&mut self, at: usize, became: Became) -> Vec<usize> {
        let mut met = Vec::new();
        self.count(at, became, |task| met.push(task));
        met
    }

    /// Records that a task is final, like [`Self::end`], for those who do not ask what follows.
    pub fn note(&mut self, at: usize, became: Became) {
        self.count(at, became, |_| {});
    }

    fn count(&mut self, at: usize, became: Became, mut met: impl FnMut(usize)) {
        if self.tasks[at].became.is_some() {
            return;
        }
        self.tasks[at].became = Some(became);
        for &dependent in self.graph.dependents(at) {
            let count = &mut self.tasks[dependent];
            count.unfinished = count.unfinished.saturating_sub(1);
            count.is_doomed |= became != Became::Completed;
            if count.unfinished == 0 && !count.is_doomed && count.became.is_none() {
                met(dependent);
            }
        }
    }

    /// The tasks that cannot run if this one fails: all behind it that are not final, each once, nearest first.
    pub fn doomed(&self, at: usize) -> Vec<usize> {
        self.graph.descendants(at, |task| self.tasks[task].became.is_none())
    }
}
