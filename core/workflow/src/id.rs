//! Names of the things a workflow file refers to: tasks, queues, methods, providers, protocols.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Defines a newtype over shared text.
#[doc(hidden)]
#[macro_export]
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub std::sync::Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// The id of a task, unique in its workflow: `[A-Za-z_][A-Za-z0-9_-]*`.
    TaskId
);
text_id!(
    /// The name of a queue of ready tasks.
    QueueName
);
text_id!(
    /// A method's full name, such as `llm/chat`.
    MethodName
);
text_id!(
    /// The name of a provider, set by its file or its program; several providers may share a name.
    ProviderName
);
impl QueueName {
    /// The queue of a task that does not name one.
    pub fn default_queue() -> Self {
        Self::from("default")
    }
}

/// Names one version of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProtocolName {
    /// The protocol's name, such as `math`.
    pub name: String,
    /// The version, such as `v1`.
    pub version: String,
}

impl ProtocolName {
    /// Joins a name and a version.
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned() }
    }
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}
