//! The hub's decisions one at a time: ownership, presence, delivery, and when each is given up.

mod answers;
mod bench;
mod binding;
mod calls;
mod leases;
mod named;
mod order;
mod owners;
mod protocols;
mod sockets;
mod terms;
