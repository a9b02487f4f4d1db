//! The control plane: gRPC API, Socket.IO hub and journal.

pub mod journal;
