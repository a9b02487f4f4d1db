//! What can be written: workflow files, from YAML to a checked definition.
//!
//! This is the first of the three crates of the domain. `gleitzeit-run` builds on it and says what happens to a
//! definition that was submitted; `gleitzeit-mesh` builds on both and says who does the work. All three are synchronous
//! and deterministic: no clock, no randomness, no I/O, no async runtime, no logger. Time and new ids come in with the
//! input, and maps have a fixed order, so a simulator can run thousands of crash schedules in seconds, and the same code
//! runs in production behind thin shells.
//!
//! # What lives where
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`spec`] | workflow files: read with the place of each value, checked in one pass, every problem reported |
//! | [`yaml`] | YAML read with the place of each value: of workflow, protocol, provider and configuration files |
//! | [`template`] | `${task.field}`: how references are written, found and filled in, also within Python, shell and URLs |
//! | [`graph`] | which task waits for which |
//! | [`contract`] | whether two versions of a protocol are the same contract |
//! | [`json`], [`payload`] | values: the limits of what is carried, and JSON text that is passed on without being parsed |
//! | [`tagged`] | enums that travel as a name and a JSON body |
//! | [`error`] | the table of error codes, one for the whole system |
//! | [`suggest`] | what a misspelt word was probably meant to be |
//! | [`id`] | names of tasks, queues, methods, providers and protocols |
//! | [`time`] | instants and durations as they are stored and shown |
//!
//! # The way of a file
//!
//! 1. [`spec::examine`] reads the text within limits of size and depth ([`json::MAX_DEPTH`]); each value keeps its place.
//! 2. Fields are read one by one; an unknown field, a duplicate key or a wrong type becomes a [`spec::Problem`] with
//!    place, expectation and remedy, and the reading goes on.
//! 3. References are parsed and looked up, the graph is searched for cycles, parameters are checked against the schema
//!    of their method, which a [`spec::Catalog`] knows.
//! 4. If nothing is wrong the result is a [`spec::Workflow`], whose tasks stand in the order of the file. It is the
//!    snapshot that each run keeps.
//!
//! # Rules
//!
//! - Text from outside is parsed once, here, and is within limits afterwards. No later crate parses YAML by itself.
//! - A problem never hides another one: checking reports all that is wrong.
//! - What a template inserts is never read again, and what is built stays within a [`template::Budget`].

pub mod contract;
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
