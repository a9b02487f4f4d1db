//! A Rust client for Gleitzeit.
