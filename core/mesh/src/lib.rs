//! Who does it: the events of the mesh, the hub that delivers them, and the roles that decide.
//!
//! The last of the three crates of the domain. The hub and each role are machines: they take what has happened and the
//! time, and answer with what to do. Hosts (`control-plane`, `agent`, the SDKs) only move bytes and time. Nothing here
//! keeps anything that cannot be built again from the journal, so any process may be killed at any moment.
//!
//! # What lives where
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`wire`] | every event of the mesh and its JSON body; `local`, by which roles join a hub of their own process |
//! | [`hub`] | who is there, who owns what, what is sent to whom; leases of engines and calls to providers |
//! | [`role`] | what each role decides: `resolver` (which task is ready), `queue` (who gets it, when to retry), `engine` (running an attempt), `provider` (serving a method) |
//! | [`id`] | names of proposals and calls |
//! | [`placement`] | who may take a ready task, and in which order |
//!
//! # The way of a task
//!
//! 1. The resolver that owns the run's shard sees in the journal that a task's dependencies are complete. It proposes
//!    that the task is ready, with its parameters filled in.
//! 2. The owner of the task's queue chooses an engine with a free slot and proposes the dispatch.
//! 3. The hub sends the lease to the engine. The engine calls a provider of the method through the hub, and reports how
//!    the attempt ended.
//! 4. Each of these becomes an entry of the journal, and the entries reach whoever owns or watches the run.
//!
//! # Rules
//!
//! - The hub makes no choices about work, and roles keep no truth.
//! - A lost message is never a lost task: whoever connects again goes on from its position in the journal.
//! - Everything that arrives late proves that it is current, or is refused.
//! - All buffers are bounded; what does not fit is asked for again.

mod frames;
pub mod hub;
pub mod id;
pub mod placement;
pub mod role;
pub mod wire;

pub use id::*;
