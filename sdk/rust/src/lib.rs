//! A Rust client for Gleitzeit: submit workflows, follow runs, read results, inspect a control plane.
//!
//! [`Client`] holds one connection and is cheap to clone; [`RunHandle`] stands for one run; [`Watch`] follows a run's
//! events and resumes by itself. All values belong to this crate or to the core; the generated messages are private.
//! The client does not check workflows: the control plane does that and answers with every problem and its place.

mod call;
mod client;
mod config;
mod connect;
mod convert;
mod error;
mod events;
mod handle;
mod in_process;
mod output;
pub mod provider;
mod regular;
mod run;
mod secure;
mod submission;
mod system;
mod trace;
mod watch;
mod workflow;

pub use client::Client;
pub use config::{ClientConfig, DEFAULT_URL};
pub use error::{Error, Result};
pub use events::{Events, RecordedEvent};
pub use gleitzeit_mesh::wire::{HealthState, PresenceStatus, Role};
pub use gleitzeit_run::{RunStatus, TaskStatus};
pub use gleitzeit_workflow::spec::{Note, Problem};
pub use gleitzeit_workflow::{ErrorCode, Failure, Payload, Timestamp};
pub use handle::RunHandle;
pub use output::{OutputStream, TaskOutput};
#[doc(hidden)]
pub use regular::open as open_regular;
pub use run::{Cancelled, Explanation, Run, RunEvent, RunFilter, RunSummary, Task, TaskFilter, Waiting};
#[doc(hidden)]
pub use secure::secure_channel;
pub use submission::Submission;
pub use system::{Component, ComponentCounts, Method, Page, Protocol, Provider, Pruned, RunCounts, Status, Validation};
pub use trace::Span;
pub use watch::Watch;
pub use workflow::{TaskBuilder, WorkflowBuilder};
