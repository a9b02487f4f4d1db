//! The control plane: gRPC API, Socket.IO hub and journal behind one port.
//!
//! [`build`] creates a control plane from a [`Config`], and [`App::run`] serves it until it is stopped. The domain
//! rules live in `gleitzeit-mesh`; this crate contains their shells.

mod api;
mod app;
mod config;
mod connection;
mod http;
mod hub;
pub mod journal;
mod metrics;
mod platform;
mod port;
mod trace;
pub mod unserved_stores;

pub use app::{App, Error, Liveness, build};
pub use config::{Config, ReadEnv, StoreConfig, Token};
pub use metrics::MetricsSource;
pub use platform::yield_to_others;
pub use trace::SpanSink;
