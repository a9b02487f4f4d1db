//! A provider as its file describes it, after it was read and checked.

use gleitzeit_protocols::yaml::{Node, Spot};
use serde_json::{Map, Value};

use crate::connection::{Authentication, Connection};

/// A provider as its file describes it. Its method `parse` stands in the module `load`.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Unique within an agent; a later definition replaces an earlier one with the same name.
    pub name: String,
    /// The place of the name in the file.
    pub name_place: Spot,
    /// The name of the protocol it serves, such as `python`.
    pub protocol: String,
    /// The version of that protocol, such as `v1`.
    pub version: String,
    /// The place of the protocol in the file, for code that knows which protocols exist.
    pub protocol_place: Spot,
    /// The kind of code behind the provider.
    pub executor: String,
    /// Free words by which tasks can select providers.
    pub capabilities: Vec<String>,
    /// How many calls it takes at a time; `None` means the executor's default.
    pub max_concurrency: Option<u32>,
    /// How it reaches its service, for executors that need one.
    pub connection: Option<Connection>,
    /// How it authenticates itself to its service.
    pub authentication: Authentication,
    /// The options of the executor.
    pub options: Options,
    /// Free information that lists show.
    pub metadata: Map<String, Value>,
}

/// The options of an executor, with their places.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file they were written in, for messages.
    pub file: String,
    /// The options object, if there is one.
    pub node: Option<Node>,
}
