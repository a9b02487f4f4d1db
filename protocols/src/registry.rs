//! All known protocols by name and version, with compiled schemas. The invariant: once a name and version are
//! registered, their contract never changes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use gleitzeit_mesh::wire::ProtocolDefinition;
use gleitzeit_workflow::contract;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::spec::{Catalog, MethodInfo, Violation};
use gleitzeit_workflow::yaml::{Problem, describe};
use serde_json::Value;
use thiserror::Error;

use crate::conflict::Conflict;
use crate::known::{self, Entry, Known, Schemas};
use crate::protocol::{Method, Protocol};
use crate::schema::Schema;

/// Protocols and their compiled schemas. Copies share the schemas.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// By name; versions in natural order, the newest last.
    protocols: BTreeMap<String, Vec<Entry>>,
}

/// The registry of the shipped protocols.
static SHIPPED: LazyLock<Registry> = LazyLock::new(|| {
    let mut registry = Registry::new();
    known::SHIPPED.iter().for_each(|shipped| registry.insert(Entry::Shipped(shipped)));
    registry
});

/// Why a definition cannot be learned.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LearnError {
    /// It is not a valid protocol.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unreadable(Vec<Problem>),
    /// Its name and version are known with a different contract.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// A parsed and compiled protocol, to be added later.
#[derive(Clone, Debug)]
pub struct Compiled {
    known: Arc<Known>,
    definition: ProtocolDefinition,
}

impl Compiled {
    /// The definition that was compiled.
    pub fn definition(&self) -> &ProtocolDefinition {
        &self.definition
    }
}

/// Whether two protocols of the same name and version have the same contract.
fn same(known: &Protocol, other: &Protocol) -> Result<(), Conflict> {
    let methods = |protocol: &Protocol| serde_json::json!(protocol.methods);
    let differences = contract::differences(&methods(known), &methods(other));
    match differences.is_empty() {
        true => Ok(()),
        false => Err(Conflict::Mismatch { id: other.id(), differences: differences.join(", ") }),
    }
}

/// The shipped protocol with the name and version of a definition, if the two are identical.
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
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry of the protocols that ship with Gleitzeit.
    pub fn shipped() -> Self {
        SHIPPED.clone()
    }

    /// Whether a definition is identical to one that ships with Gleitzeit.
    pub fn ships(definition: &ProtocolDefinition) -> bool {
        shipped_as(definition).is_some()
    }

    /// Compiles all schemas now, so that a serving process does not have to do it later.
    pub fn prepare(&self) {
        let schemas = self.entries().flat_map(|entry| entry.known().schemas.values());
        schemas.flat_map(|of| of.parameters.iter().chain(&of.returns)).for_each(Schema::prepare);
    }

    /// Adds a definition from the mesh or the journal; `false` if the same contract was known already.
    ///
    /// # Errors
    /// If it is not a valid protocol, or its name and version are known with other schemas.
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

    /// Whether exactly this definition is known or shipped, so that it need not be compiled.
    pub fn knows(&self, definition: &ProtocolDefinition) -> bool {
        let known = self.known(&definition.name, &definition.version);
        known.is_some_and(|known| known.definition == *definition) || shipped_as(definition).is_some()
    }

    /// Parses and compiles a definition, which can take a second: do not call it on a thread that others wait for.
    ///
    /// # Errors
    /// If it is not a valid protocol.
    pub fn compile(definition: &ProtocolDefinition) -> Result<Compiled, LearnError> {
        if let Some(shipped) = shipped_as(definition) {
            return Ok(Compiled { known: shipped.clone(), definition: definition.clone() });
        }
        let protocol = Protocol::from_definition(definition).map_err(LearnError::Unreadable)?;
        Ok(Compiled { known: Arc::new(Known::compiled(protocol)?), definition: definition.clone() })
    }

    /// Adds a compiled definition; `false` if the same contract was known already.
    ///
    /// # Errors
    /// If its name and version are known with other schemas.
    pub fn adopt(&mut self, compiled: &Compiled) -> Result<bool, Conflict> {
        let protocol = &compiled.known.protocol;
        if let Some(known) = self.known(&protocol.name, &protocol.version) {
            return same(&known.protocol, protocol).map(|()| false);
        }
        self.insert(Entry::Read(compiled.known.clone()));
        Ok(true)
    }

    /// Adds a protocol; `false` if the same contract was known already. Descriptions and examples may differ.
    ///
    /// # Errors
    /// If its name and version are known with other schemas, or a schema does not compile.
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

    /// A registry of only those protocols that have one of these methods.
    #[must_use]
    pub fn only_with<'a>(&self, methods: impl IntoIterator<Item = &'a str>) -> Self {
        let methods: BTreeSet<&str> = methods.into_iter().collect();
        let mut only = Self::new();
        self.entries()
            .filter(|entry| entry.methods().any(|method| methods.contains(method)))
            .for_each(|entry| only.insert(entry.clone()));
        only
    }

    /// Removes a protocol; `false` if it was not known.
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

    /// The definitions of all protocols, by name and version.
    pub fn definitions(&self) -> impl Iterator<Item = &ProtocolDefinition> {
        self.entries().map(|entry| &entry.known().definition)
    }

    /// The protocol with this name and version.
    pub fn protocol(&self, name: &str, version: &str) -> Option<&Protocol> {
        self.known(name, version).map(|known| &known.protocol)
    }

    /// The full names of the methods in this version of a protocol; `None` if it is not known.
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

    /// Fills in the defaults of absent parameters; does nothing if the method is unknown or has no schema.
    pub fn fill_defaults(&self, method: &str, version: &str, parameters: &mut Value) {
        if let Some(schema) = self.schemas(method, version).and_then(|schemas| schemas.parameters.as_ref()) {
            schema.fill_defaults(parameters);
        }
    }

    /// Checks parameters against the schema; without a schema any object is valid.
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

    /// Checks a result against the schema; without a schema any value is valid.
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

/// Compares versions with their numbers as numbers: v10 is newer than v9.
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
