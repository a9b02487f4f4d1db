//! Documents of protocols and their methods.

use gleitzeit_sdk::{Payload, Protocol};
use serde::Serialize;

use crate::text;

/// A protocol in a list.
#[derive(Serialize)]
pub(crate) struct ProtocolItem {
    name: String,
    version: String,
    methods: Vec<MethodItem>,
}

/// A method of a protocol.
#[derive(Serialize)]
pub(crate) struct MethodItem {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) parameters: Option<Payload>,
    pub(crate) returns: Option<Payload>,
    pub(crate) timeout_ms: Option<u64>,
}

impl ProtocolItem {
    /// The protocol with its version, such as `llm/v1`.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }

    /// All names that a user may use for it, including its methods.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let methods = self.methods.iter().map(|method| method.name.clone());
        [self.name.clone(), self.id()].into_iter().chain(methods)
    }

    /// The part with this name: everything if the name is the protocol's, one method, or `None`.
    pub(crate) fn named(mut self, name: &str) -> Option<Self> {
        if name != self.name && name != self.id() {
            self.methods.retain(|method| method.name == name);
        }
        (!self.methods.is_empty()).then_some(self)
    }

    pub(crate) fn methods(&self) -> &[MethodItem] {
        &self.methods
    }

    /// Rows of a table: method, protocol, description.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.methods.iter().map(|method| {
            let about = method.description.as_deref().unwrap_or_default();
            vec![method.name.clone(), self.id(), text::first_line(about, 80)]
        })
    }
}

impl From<Protocol> for ProtocolItem {
    fn from(protocol: Protocol) -> Self {
        let method = |method: gleitzeit_sdk::Method| MethodItem {
            name: method.name,
            description: method.description,
            parameters: method.parameters,
            returns: method.returns,
            timeout_ms: method.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        };
        Self {
            name: protocol.name,
            version: protocol.version,
            methods: protocol.methods.into_iter().map(method).collect(),
        }
    }
}

impl From<gleitzeit_protocols::Protocol> for ProtocolItem {
    fn from(protocol: gleitzeit_protocols::Protocol) -> Self {
        let method = |(name, method): (String, gleitzeit_protocols::Method)| MethodItem {
            name,
            description: method.description,
            parameters: method.parameters.map(Payload::from),
            returns: method.returns.map(Payload::from),
            timeout_ms: method.timeout_ms,
        };
        Self {
            name: protocol.name,
            version: protocol.version,
            methods: protocol.methods.into_iter().map(method).collect(),
        }
    }
}
