//! Workflow definitions: from YAML or JSON as written to a checked [`Workflow`], every problem with its place.

mod catalog;
mod check;
mod cycle;
mod fields;
mod migrate;
mod notes;
mod problem;
mod references;
mod scalar;
mod submission;
mod task;
mod tree;
mod types;
mod workflow;
mod yaml;

pub use catalog::{AnyMethod, Catalog, ENVIRONMENT, Language, MethodInfo, PathSegment, Violation};
pub use check::{Checked, Limits, check, check_bytes, check_value, examine, examine_bytes, examine_value, place_of};
pub use migrate::{Change, Migrated, migrate};
pub use problem::{Note, Problem, closest};
pub use submission::{Environment, Given, bind};
pub use workflow::{Backoff, FileContent, Priority, RetryPolicy, Task, Workflow};
