//! Workflow definitions: from YAML or JSON as written to a checked [`Workflow`], every problem with its place.

mod catalog;
mod workflow;

pub use catalog::{Catalog, Language, MethodInfo, PathSegment, Violation};
pub use workflow::{Backoff, FileContent, Priority, RetryPolicy, Task, Workflow};
