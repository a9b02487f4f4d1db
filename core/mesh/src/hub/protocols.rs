//! The protocols that the hub knows, and which of them its components serve or have served. Pruning uses the latter.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::event::{ProtocolRegistered, ProtocolRemoved};
use gleitzeit_run::{ProtocolUse, Request, Verdict};
use gleitzeit_workflow::id::ProtocolName;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Instant;

use crate::hub::pending::Pending;
use crate::hub::register::method_names;
use crate::hub::{Hub, SocketId};
use crate::wire::{FromHub, ProtocolDefinition, Protocols, RegisterComponent, Role};

/// The registered protocols, as far as the hub has received them.
#[derive(Debug, Default)]
pub(super) struct Known {
    protocols: BTreeMap<ProtocolName, Payload>,
    /// By full method name: the protocols that have the method.
    methods: BTreeMap<String, BTreeSet<ProtocolName>>,
    /// When a component that served a protocol left or was lost; only for registered protocols.
    left: BTreeMap<ProtocolName, Instant>,
}

impl Known {
    pub(super) fn new(definitions: Vec<ProtocolDefinition>) -> Self {
        let mut known = Self::default();
        for definition in definitions {
            known.insert(definition);
        }
        known
    }

    fn insert(&mut self, definition: ProtocolDefinition) {
        let name = ProtocolName::new(&definition.name, &definition.version);
        self.forget_methods(&name);
        for method in method_names(&definition) {
            self.methods.entry(method).or_default().insert(name.clone());
        }
        self.protocols.insert(name, definition.methods);
    }

    fn remove(&mut self, name: &ProtocolName) -> Option<Payload> {
        self.forget_methods(name);
        self.left.remove(name);
        self.protocols.remove(name)
    }

    fn forget_methods(&mut self, name: &ProtocolName) {
        let Some(methods) = self.protocols.get(name).cloned() else { return };
        let ProtocolName { name: protocol, version } = name.clone();
        for method in method_names(&ProtocolDefinition { name: protocol, version, methods }) {
            let Some(those) = self.methods.get_mut(&method) else { continue };
            those.remove(name);
            if those.is_empty() {
                self.methods.remove(&method);
            }
        }
    }

    pub(super) fn has_method(&self, method: &str) -> bool {
        self.methods.contains_key(method)
    }

    /// Whether the name and version are registered, whatever the schemas.
    pub(super) fn has(&self, it: &ProtocolDefinition) -> bool {
        self.protocols.contains_key(&ProtocolName::new(&it.name, &it.version))
    }

    /// Whether the protocol is registered with identical schemas.
    pub(super) fn has_exactly(&self, it: &ProtocolDefinition) -> bool {
        self.protocols.get(&ProtocolName::new(&it.name, &it.version)) == Some(&it.methods)
    }

    pub(super) fn definitions(&self) -> impl Iterator<Item = ProtocolDefinition> {
        self.protocols.iter().map(|(it, methods)| definition(it.clone(), methods.clone()))
    }

    /// The protocols that a component serves: those that it names, and for each method that none of these describes,
    /// every protocol that has it.
    pub(super) fn served_by(&self, register: &RegisterComponent) -> BTreeSet<ProtocolName> {
        let described: BTreeSet<String> = register.protocols.iter().flat_map(method_names).collect();
        let others = register.methods.iter().filter(|method| !described.contains(method.as_str()));
        let of_others = others.filter_map(|method| self.methods.get(method.as_str())).flatten().cloned();
        register.protocols.iter().map(|it| ProtocolName::new(&it.name, &it.version)).chain(of_others).collect()
    }

    /// A component that served these protocols has left.
    pub(super) fn left(&mut self, served: BTreeSet<ProtocolName>, now: Instant) {
        self.left.extend(served.into_iter().filter(|name| self.protocols.contains_key(name)).map(|name| (name, now)));
    }
}

fn definition(ProtocolName { name, version }: ProtocolName, methods: Payload) -> ProtocolDefinition {
    ProtocolDefinition { name, version, methods }
}

impl Hub {
    /// When components last served which protocols, since the hub started; protocols that were never served are left
    /// out.
    pub fn served(&self, now: Instant) -> Vec<ProtocolUse> {
        let mut ago: BTreeMap<&ProtocolName, u64> =
            self.known.left.iter().map(|(name, at)| (name, now.ms_since(*at).max(1))).collect();
        let there = self.presence.iter().map(|(_, it)| it).flat_map(|component| &component.served);
        ago.extend(there.map(|name| (name, 0)));
        ago.into_iter().map(|(name, ago_ms)| ProtocolUse { protocol: name.clone(), ago_ms }).collect()
    }

    pub(super) fn protocol_registered(&mut self, protocol: &ProtocolRegistered) {
        let ProtocolRegistered { name, version, methods } = protocol.clone();
        let definition = ProtocolDefinition { name, version, methods };
        self.known.insert(definition.clone());
        self.broadcast_protocols(&Protocols { protocols: vec![definition], removed: Vec::new() });
    }

    pub(super) fn protocol_removed(&mut self, removed: &ProtocolRemoved) {
        let name = ProtocolName::new(&removed.name, &removed.version);
        let Some(methods) = self.known.remove(&name) else { return };
        self.broadcast_protocols(&Protocols { protocols: Vec::new(), removed: vec![name.clone()] });
        // A component that serves it registered while it was being removed.
        if self.presence.iter().map(|(_, it)| it).any(|component| component.served.contains(&name)) {
            let ProtocolName { name, version } = name;
            let protocol = ProtocolRegistered { name, version, methods };
            self.request(Pending::Restored, Request::RegisterProtocol { protocol });
        }
    }

    pub(super) fn protocol_restored(&mut self, verdict: &Verdict) {
        if let Verdict::Invalid(failure) = verdict {
            let message = "a protocol that is served was removed and cannot be registered again";
            self.log(true, message, failure.to_string());
        }
    }

    fn broadcast_protocols(&mut self, protocols: &Protocols) {
        let listeners =
            self.presence.iter().map(|(_, it)| it).filter(|it| matches!(it.role, Role::Resolver | Role::Engine));
        let listeners: Vec<SocketId> = listeners.filter_map(|it| it.socket).collect();
        for socket in listeners {
            self.send(socket, FromHub::Protocols(protocols.clone()));
        }
    }
}
