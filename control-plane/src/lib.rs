//! The control plane: gRPC API, Socket.IO hub and journal behind one port.
//!
//! [`build`] makes one from a [`Config`], [`App::run`] serves it until it is told to stop. Rules of the domain live in
//! `gleitzeit-mesh`; here are their shells.

mod api;
mod app;
mod config;
mod connection;
mod front;
mod http;
mod hub;
pub mod journal;
pub mod kept;
mod metrics;
mod platform;
mod trace;

pub use app::{App, Error, Liveness, build};
pub use config::{Config, ReadEnv, StoreConfig, Token};
pub use metrics::MetricsSource;
pub use platform::yield_to_others;
pub use trace::SpanSink;
