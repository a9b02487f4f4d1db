//! The event mesh: its events, the hub that delivers them, and the roles that make decisions.
//!
//! This is the last of the three core crates. The hub and each role are state machines: they take an input and the
//! time, and return what to do. The hosts (`control-plane`, `agent`, the SDKs) only move bytes and keep time. Nothing
//! here holds state that cannot be rebuilt from the journal, so any process may be killed at any moment.
//!
//! # Modules
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`wire`] | every event of the mesh and its JSON body; `local`, which lets roles join a hub in their own process |
//! | [`hub`] | presence, ownership, delivery of entries; leases of engines and calls to providers |
//! | [`role`] | the decisions of each role: `resolver` (which task is ready), `queue` (which engine gets it, when to retry), `engine` (running an attempt), `provider` (serving a method) |
//! | [`id`] | ids of proposals and calls |
//! | [`placement`] | which engine may take a ready task, and in which order tasks go |
//!
//! # How a task is processed
//!
//! 1. The resolver that owns the run's shard sees in the journal that a task's dependencies are completed. It proposes
//!    that the task is ready, with its parameters resolved.
//! 2. The owner of the task's queue chooses an engine with a free slot and proposes the dispatch.
//! 3. The hub sends the lease to the engine. The engine calls a provider of the method through the hub, and reports how
//!    the attempt ended.
//! 4. Each of these steps becomes a journal entry. The hub sends the entries to the components that own or watch the
//!    run.
//!
//! # Rules
//!
//! - The hub makes no choices about work, and roles hold no truth.
//! - A lost message is never a lost task: a component that reconnects continues from its position in the journal.
//! - A message that arrives late must prove that it is current, or is refused.
//! - All buffers are bounded; what does not fit is requested again.

mod frames;
pub mod hub;
pub mod id;
pub mod placement;
pub mod role;
pub mod wire;

pub use id::*;
