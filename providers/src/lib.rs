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
mod load;
mod platform;
mod provider;
mod regular;
mod settings;
pub mod syntax;

pub use call::{Call, CallError, Context, Executor};
pub use connection::{Authentication, BaseUrl, Connection, HealthCheck, Scheme, Secret};
pub use definition::Definition;
pub use executors::http::check_url;
pub use factory::{Factory, ProviderError};
pub use known::known;
pub use load::{load_dir, load_file, shipped};
pub use platform::describe as describe_platform;
pub use provider::Provider;
pub use settings::{Environment, Settings};

/// Reads an answer as the HTTP provider does. Only for fuzzing.
#[cfg(fuzzing)]
pub use executors::http::read_any as read_http_answer;
