//! Compiles the protocols that components register on blocking threads: compiling can take a second, and everything
//! waits for the hub's task. Further events of the same socket are held meanwhile, so that their order is kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use gleitzeit_mesh::hub::SocketId;
use gleitzeit_mesh::wire::{ProtocolDefinition, ToHub};
use gleitzeit_protocols::{Compiled, Registry};
use gleitzeit_workflow::{ErrorCode, Failure};
use tokio::sync::{Semaphore, mpsc};

use crate::hub::message::{Incoming, Received, ToMachine};

/// How many registrations are compiled at the same time; others wait.
const MAX_CONCURRENT: usize = 2;
/// How many compiled protocols are kept until they are recorded; one that was dropped is compiled again then.
const MAX_KEPT: usize = 64;

/// Registrations that are being compiled, and their results.
#[derive(Debug)]
pub(crate) struct Compiling {
    turns: Arc<Semaphore>,
    /// Events that sockets sent after such a registration; bounded by what each socket may have waiting.
    held: BTreeMap<SocketId, VecDeque<Incoming>>,
    compiled: VecDeque<Compiled>,
}

impl Default for Compiling {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(MAX_CONCURRENT)), held: BTreeMap::new(), compiled: VecDeque::new() }
    }
}

impl Compiling {
    /// Returns the event if it can be processed now. Otherwise it is held, or comes back as [`ToMachine::Compiled`].
    pub(crate) fn pass(
        &mut self,
        socket: SocketId,
        incoming: Incoming,
        registry: &RwLock<Registry>,
        machine: &mpsc::UnboundedSender<ToMachine>,
    ) -> Option<Incoming> {
        if let Some(held) = self.held.get_mut(&socket) {
            held.push_back(incoming);
            return None;
        }
        let new = new_protocols(&incoming.event, registry);
        if new.is_empty() {
            return Some(incoming);
        }
        self.held.insert(socket, VecDeque::new());
        let (turns, machine) = (self.turns.clone(), machine.clone());
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _turn = turns.acquire_owned().await;
            let compiled = tokio::task::spawn_blocking(move || compile(&new)).await;
            let outcome = compiled.unwrap_or_else(|error| {
                tracing::error!(%error, "compiling protocols failed");
                Err(Failure::new(ErrorCode::InternalError, "the protocols could not be compiled"))
            });
            // If the machine is gone, there is no hub to register with.
            machine.send(ToMachine::Compiled { socket, incoming, outcome }).ok();
        });
        None
    }

    /// The events that the socket sent while its registration was being compiled.
    pub(crate) fn finish(&mut self, socket: SocketId) -> VecDeque<Incoming> {
        self.held.remove(&socket).unwrap_or_default()
    }

    /// Keeps compiled protocols until they are recorded.
    pub(crate) fn keep(&mut self, compiled: Vec<Compiled>) {
        self.compiled.extend(compiled);
        while self.compiled.len() > MAX_KEPT {
            self.compiled.pop_front();
        }
    }

    /// The compiled form of a definition that has now been recorded.
    pub(crate) fn take(&mut self, definition: &ProtocolDefinition) -> Option<Compiled> {
        let at = self.compiled.iter().position(|compiled| compiled.definition() == definition)?;
        self.compiled.remove(at)
    }
}

/// The protocols in a registration that are not yet known.
fn new_protocols(event: &Received, registry: &RwLock<Registry>) -> Vec<ProtocolDefinition> {
    let Ok((ToHub::RegisterComponent(register), _)) = event else { return Vec::new() };
    if register.protocols.is_empty() {
        return Vec::new();
    }
    let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
    register.protocols.iter().filter(|definition| !registry.knows(definition)).cloned().collect()
}

/// Compiles all definitions; fails with the first invalid one, because the machine does not check protocols itself.
fn compile(definitions: &[ProtocolDefinition]) -> Result<Vec<Compiled>, Failure> {
    let compile = |definition: &ProtocolDefinition| {
        Registry::compile(definition).map_err(|error| {
            let message = format!("protocol `{}/{}`: {error}", definition.name, definition.version);
            Failure::new(ErrorCode::InvalidParams, message)
        })
    };
    definitions.iter().map(compile).collect()
}

#[cfg(test)]
mod tests {
    use gleitzeit_mesh::wire::{Meta, RegisterComponent, Role};
    use gleitzeit_workflow::Payload;
    use serde_json::{Value, json};

    use super::*;

    fn register(protocol: &str, schema: &Value) -> Received {
        let methods = json!({format!("{protocol}/do"): {"parameters": schema}});
        let (name, version) = (protocol.to_owned(), "v1".to_owned());
        let definition = ProtocolDefinition { name, version, methods: Payload::from_value(&methods) };
        let text = json!({"component_type": "provider", "protocols": [definition]}).to_string();
        let register: RegisterComponent = serde_json::from_str(&text).expect("a registration");
        assert_eq!(register.component_type, Role::Provider);
        Ok((ToHub::RegisterComponent(Box::new(register)), Meta::default().id))
    }

    fn malformed() -> crate::hub::message::Malformed {
        crate::hub::message::Malformed { in_reply_to: None, message: "x".to_owned(), ends: Vec::new() }
    }

    /// Wraps an event as the socket's inbox would.
    fn event(
        inbox: &crate::hub::inbox::Inbox,
        all: &mut mpsc::UnboundedReceiver<ToMachine>,
        event: Received,
    ) -> Incoming {
        inbox.take(1, None, || event);
        match all.try_recv() {
            Ok(ToMachine::Event { incoming, .. }) => incoming,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn events_after_a_registration_wait_for_its_protocols_and_others_do_not() {
        #[expect(clippy::disallowed_methods, reason = "as the hub has it")]
        let (machine, mut all) = mpsc::unbounded_channel();
        let inbox = crate::hub::inbox::Entrance::new(machine.clone(), None).inbox();
        let registry = RwLock::new(Registry::shipped());
        let mut compiling = Compiling::default();
        let good = json!({"type": "object", "properties": {"text": {"pattern": "^.{1,500}$"}}});
        let first = event(&inbox, &mut all, register("mine", &good));
        assert!(compiling.pass(SocketId(1), first, &registry, &machine).is_none());
        let second = event(&inbox, &mut all, Err(malformed()));
        assert!(compiling.pass(SocketId(1), second, &registry, &machine).is_none(), "it waits");
        let other = event(&inbox, &mut all, Err(malformed()));
        assert!(compiling.pass(SocketId(2), other, &registry, &machine).is_some(), "another socket does not");

        let Some(ToMachine::Compiled {
            socket: SocketId(1),
            incoming: Incoming { event: Ok(_), .. },
            outcome: Ok(compiled),
            ..
        }) = all.recv().await
        else {
            panic!("it was compiled")
        };
        assert_eq!(compiling.finish(SocketId(1)).len(), 1);
        let definition = compiled[0].definition().clone();
        compiling.keep(compiled);
        let compiled = compiling.take(&definition).expect("kept until it is recorded");
        assert!(compiling.take(&definition).is_none());
        let mut registry = registry.into_inner().expect("a registry");
        assert_eq!(registry.adopt(&compiled), Ok(true));
        assert_eq!(registry.adopt(&compiled), Ok(false));
        assert!(registry.knows(&definition));

        // Known protocols are processed at once, and those that do not compile are refused with the reason.
        let registry = RwLock::new(registry);
        let again = event(&inbox, &mut all, register("mine", &good));
        assert!(compiling.pass(SocketId(3), again, &registry, &machine).is_some());
        let bad = event(&inbox, &mut all, register("bad", &json!({"pattern": "\\p{L}{900}"})));
        assert!(compiling.pass(SocketId(4), bad, &registry, &machine).is_none());
        let Some(ToMachine::Compiled { socket: SocketId(4), outcome: Err(failure), .. }) = all.recv().await else {
            panic!("it was refused")
        };
        assert!(failure.message.contains("protocol `bad/v1`") && failure.message.contains("patterns"), "{failure}");
    }
}
