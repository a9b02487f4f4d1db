//! Workflow definitions: from YAML or JSON as written to a checked [`Workflow`], every problem with its place.

mod catalog;
mod check;
mod cycle;
mod fields;
mod inputs;
mod migrate;
mod notes;
mod providers;
mod references;
mod scalar;
mod task;
mod types;
mod workflow;
mod written;

pub use crate::yaml::{Note, Problem};
pub use catalog::{AnyMethod, Catalog, ENVIRONMENT, Language, MethodInfo, PathSegment, Violation};
pub use check::{Checked, Limits, check, check_bytes, check_value, examine, examine_bytes, examine_value, place_of};
pub use inputs::check_inputs;
pub use migrate::{Change, Migrated, migrate};
pub use providers::{KnownProvider, KnownProviders, Others, WithProviders};
pub use workflow::{Backoff, FileContent, Priority, RetryPolicy, Task, Workflow};
pub use written::{Written, unfilled, written};
