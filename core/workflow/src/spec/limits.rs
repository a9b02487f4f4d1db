//! How large a workflow may be, and how many of its problems are reported.

use crate::yaml::{self, FileKind, Node, Problem};

/// What a workflow may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text; also of a typed submission as JSON.
    pub bytes: usize,
    /// Tasks.
    pub tasks: usize,
    /// Values in the file (keys, scalars, lists, objects), aliases expanded.
    pub nodes: usize,
    /// How deep lists and objects are nested; at most [`crate::json::MAX_DEPTH`], as deep as a value may be that is made
    /// of it.
    pub depth: usize,
    /// How many problems are reported.
    pub problems: usize,
}

impl Limits {
    /// 8 MiB, 200,000 tasks, 5 million values, 128 levels, 100 problems.
    pub const DEFAULT: Self = Self::of_text(yaml::Limits::WORKFLOW);

    const fn of_text(yaml::Limits { bytes, nodes, depth }: yaml::Limits) -> Self {
        Self { bytes, tasks: 200_000, nodes, depth, problems: 100 }
    }

    /// Reads the text of a workflow within these limits. As [`yaml::read`].
    pub(super) fn read(&self, source: &str, file: &str) -> Result<(Node, Vec<Problem>), Box<Problem>> {
        let limits = yaml::Limits { bytes: self.bytes, nodes: self.nodes, depth: self.depth };
        yaml::read(source, file, FileKind::Workflow, &limits)
    }

    /// For so many bytes and tasks: more tasks may have as many more values.
    pub fn of(bytes: usize, tasks: usize) -> Self {
        let for_each = Self::DEFAULT.nodes / Self::DEFAULT.tasks;
        let nodes = Self::DEFAULT.nodes.max(tasks.saturating_mul(for_each));
        Self { bytes, tasks, nodes, ..Self::DEFAULT }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
