//! Providers serve the methods of a protocol. A provider is a YAML file that names a protocol and an executor; the
//! executor is the kind of code behind it. This crate contains definitions, the factory and the executors. It contains
//! neither the mesh, nor retries, nor the choice of a provider.

mod call;
mod client;
mod connection;
mod definition;
mod executors;
mod factory;
mod known;
mod platform;
mod provider;
mod regular;
pub mod syntax;

pub use call::{Call, CallError, Context, Executor};
pub use connection::{Authentication, BaseUrl, Connection, HealthCheck, Scheme, Secret};
pub use definition::{Definition, load_dir, load_file, shipped};
pub use executors::http::check_url;
pub use factory::{Environment, Factory, ProviderError, Settings};
pub use known::known;
pub use platform::describe as describe_platform;
pub use provider::Provider;

/// Reads an answer as the HTTP provider does. Only for fuzzing.
#[cfg(fuzzing)]
pub use executors::http::read_any as read_http_answer;
