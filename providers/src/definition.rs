//! A provider as its file describes it, after it was read and checked.

use gleitzeit_protocols::yaml::{Node, Place};
use serde_json::{Map, Value};

use crate::connection::{Authentication, Connection};

/// A provider as its file describes it. Its method `parse` stands in the module `load`.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Unique in an agent; a later definition replaces an earlier one of the same name.
    pub name: String,
    /// Where its file gives the name.
    pub name_place: Place,
    /// Name of the protocol it serves, such as `python`.
    pub protocol: String,
    /// Version of that protocol, such as `v1`.
    pub version: String,
    /// Where its file names the protocol, for whoever knows which there are.
    pub protocol_place: Place,
    /// The kind of code behind it.
    pub executor: String,
    /// Free words for choosing providers.
    pub capabilities: Vec<String>,
    /// How many calls it takes at a time; absent: the executor's default.
    pub max_concurrency: Option<u32>,
    /// How it reaches its service, for executors that need one.
    pub connection: Option<Connection>,
    /// How it shows who it is to its service.
    pub authentication: Authentication,
    /// Settings of the executor.
    pub options: Options,
    /// Free information, shown in lists.
    pub metadata: Map<String, Value>,
}

/// Settings of an executor with their places.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where they were written, for messages.
    pub file: String,
    /// The object, if there is one.
    pub node: Option<Node>,
}
