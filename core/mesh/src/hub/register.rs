//! Registration: which component a socket belongs to, and where the component continues after a reconnect.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::event::ProtocolRegistered;
use gleitzeit_run::id::ComponentId;
use gleitzeit_run::{Request, Secret, Verdict};
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::payload::Payload;
use serde::de::IgnoredAny;

use crate::frames::frames;
use crate::hub::history::SeenHistory;
use crate::hub::pending::Pending;
use crate::hub::presence::Component;
use crate::hub::{Hub, Output, SocketId, Timer};
use crate::wire::{
    ComponentRegistered, FromHub, MeshError, ProtocolDefinition, Protocols, RegisterComponent, RegistrationRejected,
    Role,
};

/// The maximum length of ids, names and versions of components.
const MAX_NAME_BYTES: usize = 200;
/// The maximum number of queues that a component may name.
const MAX_QUEUES: usize = 10_000;
/// The maximum number of methods, and of protocols: each new one is kept until it has been unused for long.
const MAX_METHODS: usize = 1_000;
/// How long a socket that asked for an id in use stays open.
const TAKEN_MS: u64 = 1_000;
/// The maximum number of capabilities, each as long as a name.
const MAX_CAPABILITIES: usize = 100;
/// The maximum length of the address of a provider's service.
const MAX_ADDRESS_BYTES: usize = 2_000;

impl Hub {
    pub(super) fn register(&mut self, socket: SocketId, register: Box<RegisterComponent>) {
        let checked = self.check_registration(socket, &register).and_then(|()| self.check_history(socket, &register));
        if let Err(error) = checked {
            return self.reject(socket, error);
        }
        self.complete_if_known(socket, register, |hub, it| hub.known.has_exactly(it));
    }

    /// Completes a registration if all its protocols are known. Otherwise it waits until the others are recorded.
    fn complete_if_known(
        &mut self,
        socket: SocketId,
        register: Box<RegisterComponent>,
        is_known: impl Fn(&Self, &ProtocolDefinition) -> bool,
    ) {
        let named = register.protocols.iter().cloned().chain(self.without_schema(&register));
        let unknown: Vec<ProtocolDefinition> = named.filter(|it| !is_known(self, it)).collect();
        if unknown.is_empty() {
            return self.complete_registration(socket, register);
        }
        if !self.sessions.await_protocols(socket, register, unknown.len()) {
            return;
        }
        for ProtocolDefinition { name, version, methods } in unknown {
            let protocol = ProtocolRegistered { name, version, methods };
            self.request(Pending::Protocol { socket }, Request::RegisterProtocol { protocol });
        }
    }

    fn check_registration(&self, socket: SocketId, register: &RegisterComponent) -> Result<(), Failure> {
        check_texts(register)?;
        check_counts(register)?;
        self.check_schema_sizes(&register.protocols)?;
        self.check_identity(socket, register)?;
        check_methods(register)
    }

    fn check_schema_sizes(&self, protocols: &[ProtocolDefinition]) -> Result<(), Failure> {
        let limit = self.config.max_payload_bytes;
        let Some(protocol) = protocols.iter().find(|it| it.methods.size_bytes() > limit) else { return Ok(()) };
        let ProtocolDefinition { name, version, methods } = protocol;
        let bytes = methods.size_bytes();
        Err(invalid(format!("protocol `{name}/{version}` has {bytes} bytes of methods; the limit is {limit}")))
    }

    /// Checks that this socket may register the component under its id, in its role, now.
    fn check_identity(&self, socket: SocketId, register: &RegisterComponent) -> Result<(), Failure> {
        let id = written_id(register);
        if self.sessions.is_registering(socket) {
            return Err(invalid("the previous registration is not answered yet"));
        }
        if let Some(registered) = self.sessions.component(socket).filter(|registered| registered.as_str() != id) {
            return Err(invalid(format!("this socket is registered as `{registered}`")));
        }
        self.check_binding(socket, register)?;
        let other_role =
            self.presence.get(&ComponentId::from(id)).filter(|component| component.role != register.component_type);
        match other_role {
            Some(component) => Err(invalid(format!("component `{id}` is a {}", component.role))),
            None => Ok(()),
        }
    }

    /// Methods that no protocol describes accept any object. They are registered as such, each in a protocol version of
    /// its own that ranks below any real version.
    fn without_schema(&self, register: &RegisterComponent) -> Vec<ProtocolDefinition> {
        let described: BTreeSet<String> = register.protocols.iter().flat_map(method_names).collect();
        let unknown = register
            .methods
            .iter()
            .filter(|method| !described.contains(method.as_str()) && !self.known.has_method(method.as_str()));
        unknown
            .filter_map(|method| {
                let (name, rest) = method.as_str().split_once('/')?;
                let methods = Payload::from_value(&serde_json::json!({ method.as_str(): {} }));
                Some(ProtocolDefinition { name: name.to_owned(), version: format!("any.{rest}"), methods })
            })
            .collect()
    }

    pub(super) fn reject(&mut self, socket: SocketId, error: Failure) {
        self.log(true, "registration rejected", format!("{}: {error}", self.label(socket)));
        let in_reply_to = Some("register_component".to_owned());
        self.refused = error.known().map(|code| MeshError::new(code, error.message.clone(), in_reply_to));
        let error_code = error.known();
        self.send(socket, FromHub::RegistrationRejected(RegistrationRejected { error }));
        // If the id may be free in a moment, the client is disconnected and then retries by itself.
        let is_taken = error_code == Some(ErrorCode::ComponentIdTaken);
        let stays_ms = if is_taken { self.config.unregistered_ms.min(TAKEN_MS) } else { self.config.unregistered_ms };
        self.set_timer(stays_ms, Timer::Unregistered(socket));
        self.count_refusal(socket);
    }

    pub(super) fn protocol_answered(&mut self, socket: SocketId, verdict: &Verdict) {
        let failure = match verdict {
            Verdict::Ok { .. } | Verdict::Duplicate { .. } => {
                if let Some(register) = self.sessions.protocol_recorded(socket) {
                    // A protocol may have been removed while the others were being recorded.
                    self.complete_if_known(socket, register, |hub, it| hub.known.has(it));
                }
                return;
            }
            Verdict::Invalid(failure) => failure.clone(),
            Verdict::Fenced | Verdict::NoSlot => {
                Failure::new(ErrorCode::InternalError, "the protocol could not be recorded")
            }
        };
        if self.sessions.stop_registering(socket) {
            self.reject(socket, failure);
        }
    }

    fn complete_registration(&mut self, socket: SocketId, mut register: Box<RegisterComponent>) {
        if !self.sessions.contains(socket) {
            return;
        }
        // Another component may have taken the id while the protocols were being recorded.
        if let Err(error) = self.check_binding(socket, &register) {
            return self.reject(socket, error);
        }
        // The component's past was current or lost before its protocols were recorded, and still is.
        let starts_anew = self.check_history(socket, &register) == Ok(SeenHistory::Lost);
        if starts_anew {
            discard_past(&mut register);
        }
        let component_id = register.component_id.clone().unwrap_or_else(|| {
            // Unique among the connected components: socket ids are never reused while a hub runs.
            ComponentId::from(format!("{}-{}-{socket}", register.component_type, self.stream.head()))
        });
        let again = self.take_over_id(socket, &component_id);
        let secret = self.insert_component(socket, &component_id, &register, again);
        if let Some(seen) = register.seen.as_ref().filter(|_| starts_anew) {
            let detail = format!("{component_id}: {}", self.not_of_this_journal(seen));
            self.log(true, "the history that a component has seen is lost, and it starts anew", detail);
        }
        // Calls that the provider was given before go out before the answer, so that it knows that no others are in
        // transit.
        self.flush_calls();
        let mut answer = Some(ComponentRegistered {
            component_id: component_id.clone(),
            name: register.name.clone(),
            heartbeat_interval_ms: self.config.heartbeat_interval_ms,
            secret,
            term: self.term(),
            starts_anew,
        });
        if !is_answered_late(&register, starts_anew)
            && let Some(registered) = answer.take()
        {
            self.send(socket, FromHub::ComponentRegistered(registered));
        }
        self.announce(&component_id);
        if !again {
            self.log(false, "component registered", component_id.to_string());
            self.send_initial_state(socket, &component_id, register.component_type);
        }
        self.resume(socket, &component_id, *register, again, answer);
        if !again {
            // Sent at once: a missing answer counts only after the component has answered a heartbeat.
            self.heartbeat(socket);
        }
        self.ownerships.plan_again();
    }

    /// Gives a component id to a socket and closes the socket that had it. Returns whether the socket was registered
    /// before.
    fn take_over_id(&mut self, socket: SocketId, component_id: &ComponentId) -> bool {
        let again = self.sessions.register(socket, component_id.clone());
        let before = self.presence.socket(component_id);
        if let Some(before) = before.filter(|before| *before != socket) {
            self.end_session(before);
            let reason = "its component connected again".to_owned();
            self.out.push(Output::Close { socket: before, for_good: true, reason });
        }
        again
    }

    /// Records a component as it registered. Returns the secret that it needs to take its id again, if that is new.
    fn insert_component(
        &mut self,
        socket: SocketId,
        component_id: &ComponentId,
        register: &RegisterComponent,
        again: bool,
    ) -> Option<Secret> {
        let connected_at = self.presence.get(component_id).filter(|_| again).and_then(|it| it.connected_at);
        let (proof, secret) = self.bind(component_id, register.secret.as_ref());
        let served = self.known.served_by(register);
        let component =
            Component { proof: Some(proof), served, ..component(register, socket, connected_at.or(Some(self.now))) };
        if let Some(before) = self.presence.insert(component_id.clone(), component) {
            self.known.left(before.served, self.now);
        }
        secret
    }

    /// Sends a component what it receives once after each connect.
    fn send_initial_state(&mut self, socket: SocketId, component_id: &ComponentId, role: Role) {
        if matches!(role, Role::Resolver | Role::Engine) {
            for protocols in frames(self.known.definitions(), |it| it.methods.size_bytes()) {
                self.send(socket, FromHub::Protocols(Protocols { protocols, removed: Vec::new() }));
            }
        }
        if matches!(role, Role::Queue | Role::Engine) {
            self.send_all_statuses(socket, component_id);
        }
    }

    fn resume(
        &mut self,
        socket: SocketId,
        component_id: &ComponentId,
        register: RegisterComponent,
        again: bool,
        answer: Option<ComponentRegistered>,
    ) {
        match register.component_type {
            Role::Queue | Role::Resolver if !again => {
                self.resume_ownership(socket, component_id, register.owned);
            }
            Role::Queue | Role::Resolver => {}
            Role::Engine => {
                for queue in register.queues.iter().flatten() {
                    self.ownerships.name_queue(queue);
                }
                self.leases.resume(component_id, register.attempts);
                self.engine_is_there(socket, component_id, register.slots.unwrap_or(1), answer);
                self.resume_engine_calls(component_id, register.calls.unwrap_or_default());
            }
            Role::Provider => {
                self.resume_provider_calls(socket, component_id, register.calls, again);
                if let Some(registered) = answer {
                    self.send(socket, FromHub::ComponentRegistered(registered));
                }
                self.provider_changed(component_id);
            }
        }
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidRequest, message)
}

/// The id that a registration gives, or a text that is no component's id.
fn written_id(register: &RegisterComponent) -> &str {
    register.component_id.as_ref().map_or("-", ComponentId::as_str)
}

fn check_texts(register: &RegisterComponent) -> Result<(), Failure> {
    let id = written_id(register);
    let capabilities = register.capabilities.iter().map(|word| ("capabilities", word.as_str()));
    let names = [("component_id", id), ("name", &register.name), ("version", &register.version)];
    for (field, text) in names.into_iter().chain(capabilities) {
        if text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
            let message = format!("`{field}` must have at most {MAX_NAME_BYTES} bytes and no control characters");
            return Err(invalid(message));
        }
    }
    check_address(register.address.as_deref())?;
    if id.is_empty() {
        return Err(invalid("`component_id` is empty; omit it to have one assigned"));
    }
    Ok(())
}

fn check_counts(register: &RegisterComponent) -> Result<(), Failure> {
    let queues = register.queues.as_ref().map_or(0, Vec::len);
    for (what, count, most) in [
        ("queues", queues, MAX_QUEUES),
        ("methods", register.methods.len(), MAX_METHODS),
        ("protocols", register.protocols.len(), MAX_METHODS),
        ("capabilities", register.capabilities.len(), MAX_CAPABILITIES),
    ] {
        if count > most {
            return Err(invalid(format!("a component may have at most {most} {what}, and this one has {count}")));
        }
    }
    Ok(())
}

fn check_methods(register: &RegisterComponent) -> Result<(), Failure> {
    if let Some(protocol) = register.protocols.iter().find(|protocol| read_method_names(protocol).is_none()) {
        let ProtocolDefinition { name, version, .. } = protocol;
        return Err(invalid(format!("the methods of protocol `{name}/{version}` are not a JSON object")));
    }
    if let Some(method) = register.methods.iter().find(|method| !is_method_name(method.as_str())) {
        let message = format!("`{method}` cannot be a method's name; expected PROTOCOL/METHOD, such as `math/add`");
        return Err(invalid(message));
    }
    if register.component_type == Role::Provider && register.methods.is_empty() && register.protocols.is_empty() {
        return Err(invalid("a provider needs `methods`, `protocols` or both"));
    }
    Ok(())
}

/// Checks an address, which is shown to everybody who lists providers.
fn check_address(address: Option<&str>) -> Result<(), Failure> {
    let Some(address) = address else { return Ok(()) };
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let wrong = if address.len() > MAX_ADDRESS_BYTES || address.chars().any(char::is_control) {
        format!("must have at most {MAX_ADDRESS_BYTES} bytes and no control characters")
    } else if authority.contains('@') {
        "contains a user name or a password, and everyone can read it: remove them".to_owned()
    } else if address.contains(['?', '#']) {
        "has a query or a fragment, which often contain keys, and everyone can read it: remove it".to_owned()
    } else {
        return Ok(());
    };
    Err(invalid(format!("`address` {wrong}")))
}

/// Removes what a component brings from a journal that is lost.
fn discard_past(register: &mut RegisterComponent) {
    register.owned.clear();
    register.attempts.clear();
    if register.component_type == Role::Engine {
        register.calls = None;
    }
}

/// Whether a registration is answered only after the component's work is resumed. A draining engine is answered once
/// the writer knows that it drains: no attempt is in transit then. A provider is answered after the cancels of the
/// calls that it lists, so that it knows which of them are still wanted.
fn is_answered_late(register: &RegisterComponent, starts_anew: bool) -> bool {
    match register.component_type {
        // An engine that starts anew would discard what it receives before the answer.
        Role::Engine => register.slots == Some(0) && !starts_anew,
        Role::Provider => true,
        Role::Queue | Role::Resolver => false,
    }
}

fn component(
    register: &RegisterComponent,
    socket: SocketId,
    connected_at: Option<gleitzeit_workflow::time::Instant>,
) -> Component {
    let role = register.component_type;
    let capacity = match role {
        Role::Engine => register.slots.unwrap_or(1),
        Role::Provider => register.max_concurrency.unwrap_or(1),
        Role::Queue | Role::Resolver => 0,
    };
    let mut methods: BTreeSet<_> = register.methods.iter().cloned().collect();
    methods.extend(register.protocols.iter().flat_map(method_names).map(Into::into));
    Component {
        role,
        name: register.name.clone(),
        version: register.version.clone(),
        proof: None,
        socket: Some(socket),
        connected_at,
        silent_since: None,
        queues: register.queues.clone(),
        methods: methods.into_iter().collect(),
        protocols: register.protocols.iter().map(|it| format!("{}/{}", it.name, it.version)).collect(),
        served: BTreeSet::new(),
        capabilities: register.capabilities.clone(),
        capacity,
        batch: register.batch,
        health: register.health.clone().unwrap_or_default(),
        address: register.address.clone(),
    }
}

/// The full names of a protocol's methods. The methods are opaque here, but their keys are those names.
pub(super) fn method_names(protocol: &ProtocolDefinition) -> Vec<String> {
    // A registration without them has been refused.
    read_method_names(protocol).unwrap_or_default()
}

fn read_method_names(protocol: &ProtocolDefinition) -> Option<Vec<String>> {
    let methods: BTreeMap<String, IgnoredAny> = serde_json::from_str(protocol.methods.get()).ok()?;
    Some(methods.into_keys().collect())
}

fn is_method_name(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    text.len() <= 128 && text.split_once('/').is_some_and(|(protocol, method)| is_name(protocol) && is_name(method))
}
