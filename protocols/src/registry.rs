//! All known protocols by name and version, with compiled schemas. The invariant: what is registered under a name and
//! version never changes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use gleitzeit_mesh::wire::ProtocolDefinition;
use gleitzeit_workflow::contract;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::spec::{Catalog, MethodInfo, Violation};
use serde_json::Value;
use thiserror::Error;

use crate::known::{self, Entry, Known, Schemas};
use crate::protocol::{Method, Protocol};
use crate::schema::{Schema, SchemaError};
use gleitzeit_workflow::yaml::{Problem, describe};

/// Protocols and their compiled schemas. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// By name; versions in natural order, the newest last.
    protocols: BTreeMap<String, Vec<Entry>>,
}

/// What is shipped.
static SHIPPED: LazyLock<Registry> = LazyLock::new(|| {
    let mut registry = Registry::new();
    known::SHIPPED.iter().for_each(|shipped| registry.insert(Entry::Shipped(shipped)));
    registry
});

/// A definition that cannot be learned.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LearnError {
    /// It is no protocol.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unreadable(Vec<Problem>),
    /// Another is known under its name and version.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// A protocol that cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// The same name and version with other schemas.
    #[error("protocol `{id}` is registered with other schemas ({differences}); give the changed one a new version")]
    Mismatch {
        /// Such as `math/v1`.
        id: String,
        /// Where they differ.
        differences: String,
    },
    /// A schema does not compile.
    #[error("`{field}` of method `{method}` is no valid schema")]
    Schema {
        /// Full name.
        method: String,
        /// `parameters` or `returns`.
        field: &'static str,
        /// Why.
        #[source]
        cause: SchemaError,
    },
}

/// A protocol that was read and compiled, to be added later.
#[derive(Clone, Debug)]
pub struct Compiled {
    known: Arc<Known>,
    definition: ProtocolDefinition,
}

impl Compiled {
    /// As it came.
    pub fn definition(&self) -> &ProtocolDefinition {
        &self.definition
    }
}

/// Whether two protocols of the same name and version are the same contract.
fn same(known: &Protocol, other: &Protocol) -> Result<(), Conflict> {
    let methods = |protocol: &Protocol| serde_json::json!(protocol.methods);
    let differences = contract::differences(&methods(known), &methods(other));
    match differences.is_empty() {
        true => Ok(()),
        false => Err(Conflict::Mismatch { id: other.id(), differences: differences.join(", ") }),
    }
}

/// What is shipped under the name and version of a definition, if it is the same to the letter.
fn shipped_as(definition: &ProtocolDefinition) -> Option<&'static Arc<Known>> {
    let shipped = SHIPPED.known(&definition.name, &definition.version)?;
    (shipped.definition == *definition).then_some(shipped)
}

impl From<Conflict> for Failure {
    fn from(conflict: Conflict) -> Self {
        match &conflict {
            Conflict::Mismatch { .. } => Self::new(ErrorCode::ProtocolVersionMismatch, conflict.to_string()),
            Conflict::Schema { cause, .. } => Self::new(ErrorCode::InvalidParams, format!("{conflict}: {cause}")),
        }
    }
}

impl Registry {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the protocols that ship with Gleitzeit.
    pub fn shipped() -> Self {
        SHIPPED.clone()
    }

    /// Whether a definition is, to the letter, one that ships with Gleitzeit.
    pub fn ships(definition: &ProtocolDefinition) -> bool {
        shipped_as(definition).is_some()
    }

    /// Compiles all schemas now: for processes that serve, so that nobody waits for it later.
    pub fn prepare(&self) {
        let schemas = self.entries().flat_map(|entry| entry.known().schemas.values());
        schemas.flat_map(|of| of.parameters.iter().chain(&of.returns)).for_each(Schema::prepare);
    }

    /// Adds a protocol as it came over the mesh or from the journal; `false` if the same was known already.
    ///
    /// # Errors
    /// If it is no protocol, or the name and version are known with other schemas.
    pub fn learn(&mut self, definition: &ProtocolDefinition) -> Result<bool, LearnError> {
        match (self.known(&definition.name, &definition.version), shipped_as(definition)) {
            (Some(known), _) if known.definition == *definition => Ok(false),
            (None, Some(shipped)) => {
                self.insert(Entry::Read(shipped.clone()));
                Ok(true)
            }
            _ => {
                let protocol = Protocol::from_definition(definition).map_err(LearnError::Unreadable)?;
                Ok(self.register(protocol)?)
            }
        }
    }

    /// Whether exactly this definition is known, or shipped: then nothing has to be compiled for it.
    pub fn knows(&self, definition: &ProtocolDefinition) -> bool {
        let known = self.known(&definition.name, &definition.version);
        known.is_some_and(|known| known.definition == *definition) || shipped_as(definition).is_some()
    }

    /// Reads and compiles a definition, which can take a second: not on a thread that others wait for.
    ///
    /// # Errors
    /// If it is no protocol.
    pub fn compile(definition: &ProtocolDefinition) -> Result<Compiled, LearnError> {
        if let Some(shipped) = shipped_as(definition) {
            return Ok(Compiled { known: shipped.clone(), definition: definition.clone() });
        }
        let protocol = Protocol::from_definition(definition).map_err(LearnError::Unreadable)?;
        Ok(Compiled { known: Arc::new(Known::compiled(protocol)?), definition: definition.clone() })
    }

    /// Adds what was compiled before; `false` if the same was known already.
    ///
    /// # Errors
    /// If the name and version are known with other schemas.
    pub fn adopt(&mut self, compiled: &Compiled) -> Result<bool, Conflict> {
        let protocol = &compiled.known.protocol;
        if let Some(known) = self.known(&protocol.name, &protocol.version) {
            return same(&known.protocol, protocol).map(|()| false);
        }
        self.insert(Entry::Read(compiled.known.clone()));
        Ok(true)
    }

    /// Adds a protocol; `false` if the same was known already. Words for people, such as descriptions and
    /// examples, may differ.
    ///
    /// # Errors
    /// If the name and version are known with other schemas, or a schema does not compile.
    pub fn register(&mut self, protocol: Protocol) -> Result<bool, Conflict> {
        if let Some(known) = self.known(&protocol.name, &protocol.version) {
            return same(&known.protocol, &protocol).map(|()| false);
        }
        self.insert(Entry::Read(Arc::new(Known::compiled(protocol)?)));
        Ok(true)
    }

    fn insert(&mut self, entry: Entry) {
        let versions = self.protocols.entry(entry.name().to_owned()).or_default();
        let at = versions.partition_point(|it| natural(it.version(), entry.version()).is_lt());
        versions.insert(at, entry);
    }

    /// The protocols that have one of these methods, and no others.
    #[must_use]
    pub fn only_with<'a>(&self, methods: impl IntoIterator<Item = &'a str>) -> Self {
        let methods: BTreeSet<&str> = methods.into_iter().collect();
        let mut only = Self::new();
        self.entries()
            .filter(|entry| entry.methods().any(|method| methods.contains(method)))
            .for_each(|entry| only.insert(entry.clone()));
        only
    }

    /// Takes a protocol out; `false` if it was not known.
    pub fn forget(&mut self, name: &str, version: &str) -> bool {
        let Some(versions) = self.protocols.get_mut(name) else { return false };
        let before = versions.len();
        versions.retain(|entry| entry.version() != version);
        let is_gone = versions.len() < before;
        if versions.is_empty() {
            self.protocols.remove(name);
        }
        is_gone
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.protocols.values().flatten()
    }

    /// All protocols, by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Protocol> {
        self.entries().map(|entry| &entry.known().protocol)
    }

    /// The same as they are handed around.
    pub fn definitions(&self) -> impl Iterator<Item = &ProtocolDefinition> {
        self.entries().map(|entry| &entry.known().definition)
    }

    /// The protocol of this name and version.
    pub fn protocol(&self, name: &str, version: &str) -> Option<&Protocol> {
        self.known(name, version).map(|known| &known.protocol)
    }

    /// The methods of this version of a protocol, by full name; none if it is not known.
    pub fn methods(&self, name: &str, version: &str) -> Option<impl Iterator<Item = &str>> {
        self.entry(name, version).map(Entry::methods)
    }

    /// The method in this version of its protocol.
    pub fn method(&self, method: &str, version: &str) -> Option<&Method> {
        self.known(prefix(method), version)?.protocol.methods.get(method)
    }

    /// The newest version of its protocol that has the method.
    pub fn newest(&self, method: &str) -> Option<(&Protocol, &Method)> {
        let versions = self.protocols.get(prefix(method))?;
        let newest = versions.iter().rev().find(|entry| entry.methods().any(|known| known == method))?.known();
        Some((&newest.protocol, newest.protocol.methods.get(method)?))
    }

    /// Adds the defaults of absent parameters; does nothing if the method or its schema is not known.
    pub fn fill_defaults(&self, method: &str, version: &str, parameters: &mut Value) {
        if let Some(schema) = self.schemas(method, version).and_then(|schemas| schemas.parameters.as_ref()) {
            schema.fill_defaults(parameters);
        }
    }

    /// Whether parameters fit; without a schema any object does.
    ///
    /// # Errors
    /// All violations.
    pub fn validate_parameters(&self, method: &str, version: &str, parameters: &Value) -> Result<(), Vec<Violation>> {
        object(parameters)?;
        match self.schemas(method, version).and_then(|schemas| schemas.parameters.as_ref()) {
            Some(schema) => verdict(schema.check(parameters)),
            None => Ok(()),
        }
    }

    /// Whether a result fits; without a schema anything does.
    ///
    /// # Errors
    /// All violations.
    pub fn validate_result(&self, method: &str, version: &str, result: &Value) -> Result<(), Vec<Violation>> {
        match self.schemas(method, version).and_then(|schemas| schemas.returns.as_ref()) {
            Some(schema) => verdict(schema.check(result)),
            None => Ok(()),
        }
    }

    fn entry(&self, name: &str, version: &str) -> Option<&Entry> {
        self.protocols.get(name)?.iter().find(|entry| entry.version() == version)
    }

    fn known(&self, name: &str, version: &str) -> Option<&Arc<Known>> {
        self.entry(name, version).map(Entry::known)
    }

    fn schemas(&self, method: &str, version: &str) -> Option<&Schemas> {
        self.known(prefix(method), version)?.schemas.get(method)
    }
}

impl Catalog for Registry {
    fn method(&self, name: &str) -> Option<MethodInfo> {
        let (protocol, method) = self.newest(name)?;
        Some(MethodInfo {
            protocol_version: protocol.version.clone(),
            code: method.code(),
            returns: method.returns.clone(),
            parameters: method.parameters.clone(),
            timeout_ms: method.timeout_ms,
        })
    }

    fn method_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.entries().flat_map(Entry::methods).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn check_template(&self, method: &str, parameters: &Value) -> Vec<Violation> {
        if let Err(violations) = object(parameters) {
            return violations;
        }
        let schema =
            self.newest(method).and_then(|(protocol, _)| self.schemas(method, &protocol.version)?.parameters.as_ref());
        schema.map(|schema| schema.check_template(parameters)).unwrap_or_default()
    }
}

fn object(parameters: &Value) -> Result<(), Vec<Violation>> {
    if parameters.is_object() {
        return Ok(());
    }
    let message = format!("expected an object, found {}", describe(parameters));
    Err(vec![Violation { path: Vec::new(), message, hint: None }])
}

fn verdict(violations: Vec<Violation>) -> Result<(), Vec<Violation>> {
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn prefix(method: &str) -> &str {
    method.split_once('/').map_or(method, |(protocol, _)| protocol)
}

/// Numbers inside versions count as numbers: v10 is newer than v9.
fn natural(a: &str, b: &str) -> Ordering {
    let pieces = |text: &str| {
        let mut pieces: Vec<(Option<u64>, String)> = Vec::new();
        for c in text.chars() {
            match pieces.last_mut() {
                Some((number, piece)) if number.is_some() == c.is_ascii_digit() => {
                    piece.push(c);
                    *number = number.and(Some(piece.parse().unwrap_or(u64::MAX)));
                }
                _ => pieces.push((c.to_digit(10).map(u64::from), c.to_string())),
            }
        }
        pieces
    };
    pieces(a).cmp(&pieces(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
