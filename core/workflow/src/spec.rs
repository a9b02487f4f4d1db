//! Workflow definitions: from the text of a YAML or JSON file to a checked [`Workflow`], every problem with its place.

mod catalog;
mod check;
mod checker;
mod cycle;
mod fields;
mod inputs;
mod known;
mod limits;
mod migrate;
mod names;
mod notes;
mod parameter_texts;
mod providers;
mod references;
mod scalar;
mod task;
mod types;
mod workflow;

pub use crate::yaml::{Note, Problem};
pub use catalog::{AnyMethod, Catalog, ENVIRONMENT, MethodInfo, PathSegment, Violation};
pub use check::{Checked, check, check_bytes, check_value, examine, examine_bytes, examine_value, place_of};
pub use inputs::check_inputs;
pub use known::{KnownProvider, KnownProviders, Others};
pub use limits::Limits;
pub use migrate::{Change, Migrated, migrate};
pub use parameter_texts::{ParameterText, template_position, written};
pub use providers::WithProviders;
pub use workflow::{Backoff, Priority, RetryPolicy, Task, Workflow};
