//! How large a workflow may be, and how many of its problems are reported.

use crate::json;

/// What a workflow may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text; also of a typed submission as JSON.
    pub bytes: usize,
    /// Tasks.
    pub tasks: usize,
    /// Values in the file (keys, scalars, lists, objects), aliases expanded.
    pub nodes: usize,
    /// How deep lists and objects are nested; at most [`json::MAX_DEPTH`], as deep as a value may be that is made of it.
    pub depth: usize,
    /// How many problems are reported.
    pub problems: usize,
}

impl Limits {
    /// 8 MiB, 200,000 tasks, 5 million values, 128 levels, 100 problems.
    pub const DEFAULT: Self =
        Self { bytes: 8 << 20, tasks: 200_000, nodes: 5_000_000, depth: json::MAX_DEPTH, problems: 100 };

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
