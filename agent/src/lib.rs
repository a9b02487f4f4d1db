//! The agent: a library that runs any mix of roles in one process, each as a component with its own line to the hub.
//!
//! It moves messages and time for the machines of `gleitzeit_mesh::role` and runs the providers' calls. It holds no
//! state that must survive: that is in the journal. It does not read the environment and installs nothing global.

mod agent;
mod config;
mod connect;
mod host;
mod line;
mod roster;

pub use agent::{Agent, AgentError};
pub use config::{AgentConfig, ConfigError, merge_definitions, parse_roles};
pub use connect::{Connection, Connector, sockets, within};
pub use host::{CALL_TARGET, LOG_FIELDS, attribute_value};
