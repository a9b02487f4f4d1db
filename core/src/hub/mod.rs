//! The hub's logic: who is there, who owns what, what is sent to whom. It makes no choices about work and keeps no truth:
//! everything durable in it follows from committed entries.

mod io;

pub use io::{Batch, Input, Output, SocketId, Token};
