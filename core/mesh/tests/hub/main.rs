//! The hub's decisions one at a time: who owns what, who is there, what is sent to whom and when it is given up.

mod answers;
mod bench;
mod binding;
mod calls;
mod leases;
mod named;
mod owners;
mod protocols;
mod sockets;
mod terms;
