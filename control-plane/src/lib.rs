//! The control plane: gRPC API, Socket.IO hub and journal.
