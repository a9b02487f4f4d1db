//! One protocol of a registry, with its schemas. A shipped protocol is parsed only when more of it is needed than its
//! names: most processes use one or two protocols.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

use gleitzeit_mesh::wire::ProtocolDefinition;
use serde_json::Value;

use crate::conflict::Conflict;
use crate::load::{self, Shipped};
use crate::protocol::{Method, Protocol};
use crate::schema::Schema;

/// A parsed protocol.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) protocol: Protocol,
    /// The form in which it is sent over the mesh and journaled.
    pub(crate) definition: ProtocolDefinition,
    pub(crate) schemas: BTreeMap<String, Schemas>,
}

/// The schemas of a method.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    pub(crate) parameters: Option<Schema>,
    pub(crate) returns: Option<Schema>,
}

impl Known {
    /// Compiles the schemas now.
    ///
    /// # Errors
    /// If a schema does not compile.
    pub(crate) fn compiled(protocol: Protocol) -> Result<Self, Conflict> {
        let mut schemas = BTreeMap::new();
        for (name, method) in &protocol.methods {
            let compile = |field: &'static str, schema: &Option<Value>| {
                schema.as_ref().map(Schema::compile).transpose().map_err(|cause| Conflict::Schema {
                    method: name.clone(),
                    field,
                    cause,
                })
            };
            let compiled = Schemas {
                parameters: compile("parameters", &method.parameters)?,
                returns: compile("returns", &method.returns)?,
            };
            schemas.insert(name.clone(), compiled);
        }
        Ok(Self { definition: protocol.to_definition(), protocol, schemas })
    }

    fn shipped(protocol: Protocol) -> Self {
        let of = |method: &Method| Schemas {
            parameters: method.parameters.as_ref().map(Schema::shipped),
            returns: method.returns.as_ref().map(Schema::shipped),
        };
        let schemas = protocol.methods.iter().map(|(name, method)| (name.clone(), of(method))).collect();
        Self { definition: protocol.to_definition(), protocol, schemas }
    }
}

/// The shipped protocols, each parsed at most once per process.
pub(crate) static SHIPPED: LazyLock<[Unread; load::SHIPPED.len()]> =
    LazyLock::new(|| load::SHIPPED.map(|shipped| Unread { shipped, known: OnceLock::new() }));

/// A shipped protocol that may not have been parsed yet.
#[derive(Debug)]
pub(crate) struct Unread {
    shipped: Shipped,
    known: OnceLock<Arc<Known>>,
}

/// A protocol of a registry.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Read(Arc<Known>),
    Shipped(&'static Unread),
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Read(known) => &known.protocol.name,
            Self::Shipped(unread) => unread.shipped.name,
        }
    }

    pub(crate) fn version(&self) -> &str {
        match self {
            Self::Read(known) => &known.protocol.version,
            Self::Shipped(unread) => unread.shipped.version,
        }
    }

    /// The full names of its methods, in the order of the protocol.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &str> {
        let (read, shipped) = match self {
            Self::Read(known) => (Some(known.protocol.methods.keys()), None),
            Self::Shipped(unread) => (None, Some(unread.shipped.methods.iter().copied())),
        };
        read.into_iter().flatten().map(String::as_str).chain(shipped.into_iter().flatten())
    }

    /// The complete protocol; parses a shipped one if necessary.
    pub(crate) fn known(&self) -> &Arc<Known> {
        match self {
            Self::Read(known) => known,
            Self::Shipped(unread) => unread.known.get_or_init(|| Arc::new(Known::shipped(unread.shipped.read()))),
        }
    }
}
