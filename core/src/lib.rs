//! The pure domain of Gleitzeit.
//!
//! Everything here is synchronous and deterministic: no clock, no randomness, no I/O, no async runtime, no logger. Time
//! and new ids come in with the input; maps have a fixed order. So a simulator can run thousands of crash schedules in
//! seconds, and the same code runs in production behind thin shells.

pub mod contract;
pub mod error;
pub mod graph;
pub mod hub;
pub mod id;
pub mod json;
pub mod ledger;
pub mod mesh;
pub mod payload;
pub mod placement;
mod planted;
pub mod retry;
pub mod role;
pub mod route;
pub mod run;
pub mod secret;
pub mod spec;
pub mod tagged;
pub mod template;
pub mod term;
pub mod time;
pub mod trace;

#[cfg(test)]
extern crate self as gleitzeit_core;
#[cfg(test)]
#[path = "../tests/simulation/planted.rs"]
mod simulation;

pub use error::{ErrorCode, Failure};
pub use id::*;
pub use payload::Payload;
pub use secret::Secret;
pub use tagged::DecodeError;
pub use term::{History, Seen, Term};
pub use time::{Instant, Timestamp};
