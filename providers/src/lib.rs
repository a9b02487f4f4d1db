//! Providers: what serves the methods of a protocol.
