//! Workflow definitions: from a YAML file to a checked definition.
//!
//! This is the first of the three core crates. `gleitzeit-run` builds on it and defines what happens to a submitted
//! definition. `gleitzeit-mesh` builds on both and defines which process does the work. All three are synchronous and
//! deterministic: no clock, no randomness, no I/O, no async runtime, no logger. Time and new ids come in with the
//! input, and maps have a fixed order. A simulator can therefore run thousands of crash schedules in seconds, and the
//! same code runs in production behind thin shells.
//!
//! # Modules
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`spec`] | workflow files: each value is read with its place, everything is checked in one pass, every problem is reported |
//! | [`yaml`] | YAML read with the place of each value: workflow, protocol, provider and configuration files |
//! | [`template`] | `${task.field}`: how references are written, found and filled in, also within Python, shell and URLs |
//! | [`graph`] | which task waits for which |
//! | [`contract`] | whether two versions of a protocol are the same contract |
//! | [`json`], [`payload`] | values: the limits of what is carried, and JSON text that is passed on without being parsed |
//! | [`mod@tagged`] | enums that are sent and stored as a name and a JSON body |
//! | [`error`] | the table of error codes for the whole system |
//! | [`suggest`] | what a misspelt word was probably meant to be |
//! | [`id`] | names of tasks, queues, methods, providers and protocols |
//! | [`duration`] | durations as people write them |
//! | [`time`] | instants and durations in the form in which they are stored and shown |
//!
//! # How a file is read
//!
//! 1. [`spec::examine`] reads the text within the limits of size and depth ([`json::MAX_DEPTH`]). Each value keeps its
//!    place.
//! 2. Fields are read one by one. An unknown field, a duplicate key or a wrong type becomes a [`spec::Problem`] with
//!    its place, what was expected and a remedy, and reading continues.
//! 3. References are parsed and looked up, the graph is searched for cycles, and parameters are checked against the
//!    schema of their method, which comes from a [`spec::Catalog`].
//! 4. If there is no problem, the result is a [`spec::Workflow`] with its tasks in the order of the file. Each run
//!    keeps it as its snapshot.
//!
//! # Rules
//!
//! - Text from outside is parsed once, here, and is within the limits from then on. No later crate parses YAML by itself.
//! - A problem never hides another one: checking reports everything that is wrong.
//! - Inserted text is never scanned for references again, and the result of a template stays within a
//!   [`template::Budget`].

pub mod contract;
pub mod duration;
pub mod error;
pub mod graph;
pub mod id;
pub mod json;
pub mod payload;
pub mod spec;
pub mod suggest;
pub mod tagged;
pub mod template;
pub mod time;
pub mod yaml;

pub use error::{ErrorCode, Failure};
pub use id::*;
pub use payload::Payload;
pub use tagged::DecodeError;
pub use time::{Instant, Timestamp};
