//! Protocols: the contracts between tasks and providers. A protocol is a YAML file that names methods and gives the JSON
//! Schemas (2020-12) of their parameters and results. Lives here: reading and checking them, the registry, validation.
//! Never here: I/O other than reading protocol files, clocks, knowledge of who serves a method.
//!
//! A parameter that is program text carries the annotation `language: python` (or `shell`) beside its `type`; JSON
//! Schema ignores unknown keywords, so the mark changes nothing about validation, and references inside such a
//! parameter are inserted as data.

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
