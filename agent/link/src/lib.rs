//! The mesh client: connection, reconnection and registration over Socket.IO.
