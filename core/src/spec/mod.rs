//! Workflow definitions: from YAML or JSON as written to a checked [`Workflow`], every problem with its place.

mod catalog;
mod check;
mod cycle;
mod problem;
mod references;
mod scalar;
mod submission;
mod task;
mod tree;
mod types;
mod workflow;
mod yaml;

pub use catalog::{AnyMethod, Catalog, Language, MethodInfo, PathSegment, Violation};
pub use check::{Limits, check, check_bytes, check_value, place_of};
pub use problem::{Problem, closest};
pub use submission::{Environment, Given, bind};
pub use workflow::{Backoff, FileContent, Priority, RetryPolicy, Task, Workflow};
