//! Protocols are the contracts between tasks and providers. A protocol is a YAML file that names methods and gives the
//! JSON Schemas (2020-12) of their parameters and results. This crate reads and checks protocols, keeps the registry,
//! and validates values. It does no I/O other than reading protocol files, and it knows neither the time nor who serves
//! a method.
//!
//! A parameter that is program text carries the annotation `language: python` (or `shell`) beside its `type`. JSON
//! Schema ignores unknown keywords, so the mark does not affect validation. References inside such a parameter are
//! inserted as data.

mod conflict;
mod cost;
mod known;
mod load;
mod pattern;
mod protocol;
mod registry;
mod schema;
mod violation;
pub mod yaml;

pub use conflict::Conflict;
pub use load::{load_dir, load_files, read_file, yaml_files};
pub use protocol::{Method, Protocol};
pub use registry::{Compiled, LearnError, Registry};
pub use schema::{Schema, SchemaError};
