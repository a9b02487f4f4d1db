//! Protocols that components bring are compiled aside: that can take a second, and everybody waits for the hub's task.
//! What the component says meanwhile is held, so that its order stays.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use gleitzeit_mesh::hub::SocketId;
use gleitzeit_mesh::wire::{ProtocolDefinition, ToHub};
use gleitzeit_protocols::{Compiled, Registry};
use gleitzeit_workflow::{ErrorCode, Failure};
use tokio::sync::{Semaphore, mpsc};

use crate::hub::message::{Heard, Received, ToMachine};

/// So many registrations are compiled at once; others wait their turn.
const AT_ONCE: usize = 2;
/// So many protocols are kept compiled until they are recorded; those that are not are compiled again then.
const KEPT: usize = 64;

/// Registrations that are being compiled, and what came of it.
#[derive(Debug)]
pub(crate) struct Compiling {
    turns: Arc<Semaphore>,
    /// What sockets said after a registration; bounded by what each may have waiting.
    held: BTreeMap<SocketId, VecDeque<Heard>>,
    compiled: VecDeque<Compiled>,
}

impl Default for Compiling {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), held: BTreeMap::new(), compiled: VecDeque::new() }
    }
}

impl Compiling {
    /// Gives an event back if it can be heard now; else it is held, or comes again as [`ToMachine::Compiled`].
    pub(crate) fn pass(
        &mut self,
        socket: SocketId,
        heard: Heard,
        registry: &RwLock<Registry>,
        machine: &mpsc::UnboundedSender<ToMachine>,
    ) -> Option<Heard> {
        if let Some(held) = self.held.get_mut(&socket) {
            held.push_back(heard);
            return None;
        }
        let new = new_protocols(&heard.event, registry);
        if new.is_empty() {
            return Some(heard);
        }
        self.held.insert(socket, VecDeque::new());
        let (turns, machine) = (self.turns.clone(), machine.clone());
        tokio::spawn(async move {
            // It is never closed.
            let _turn = turns.acquire_owned().await;
            let compiled = tokio::task::spawn_blocking(move || compile(&new)).await;
            let outcome = compiled.unwrap_or_else(|error| {
                tracing::error!(%error, "compiling protocols failed");
                Err(Failure::new(ErrorCode::InternalError, "the protocols could not be compiled"))
            });
            // Without a machine there is no hub to register at.
            machine.send(ToMachine::Compiled { socket, heard, outcome }).ok();
        });
        None
    }

    /// What the socket said meanwhile.
    pub(crate) fn finish(&mut self, socket: SocketId) -> VecDeque<Heard> {
        self.held.remove(&socket).unwrap_or_default()
    }

    /// Keeps what was compiled until it is recorded.
    pub(crate) fn keep(&mut self, compiled: Vec<Compiled>) {
        self.compiled.extend(compiled);
        while self.compiled.len() > KEPT {
            self.compiled.pop_front();
        }
    }

    /// What was compiled for a definition that was recorded now.
    pub(crate) fn take(&mut self, definition: &ProtocolDefinition) -> Option<Compiled> {
        let at = self.compiled.iter().position(|compiled| compiled.definition() == definition)?;
        self.compiled.remove(at)
    }
}

/// What a registration brings that nobody has compiled yet.
fn new_protocols(event: &Received, registry: &RwLock<Registry>) -> Vec<ProtocolDefinition> {
    let Ok((ToHub::RegisterComponent(register), _)) = event else { return Vec::new() };
    if register.protocols.is_empty() {
        return Vec::new();
    }
    let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
    register.protocols.iter().filter(|definition| !registry.knows(definition)).cloned().collect()
}

/// All of them, or what is wrong with the first bad one: the machine takes protocols as they are.
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

    /// An event as its socket's inbox has it.
    fn event(inbox: &crate::hub::inbox::Inbox, all: &mut mpsc::UnboundedReceiver<ToMachine>, event: Received) -> Heard {
        inbox.take(1, None, || event);
        match all.try_recv() {
            Ok(ToMachine::Event { heard, .. }) => heard,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_follows_a_registration_waits_for_its_protocols_and_others_do_not() {
        #[expect(clippy::disallowed_methods, reason = "as the hub has it")]
        let (machine, mut all) = mpsc::unbounded_channel();
        let inbox = crate::hub::inbox::Entrance::new(machine.clone(), None).inbox();
        let registry = RwLock::new(Registry::shipped());
        let mut compiling = Compiling::default();
        let good = json!({"type": "object", "properties": {"text": {"pattern": "^.{1,500}$"}}});
        let first = event(&inbox, &mut all, register("mine", &good));
        assert!(compiling.pass(1, first, &registry, &machine).is_none());
        let second = event(&inbox, &mut all, Err(malformed()));
        assert!(compiling.pass(1, second, &registry, &machine).is_none(), "it waits");
        let other = event(&inbox, &mut all, Err(malformed()));
        assert!(compiling.pass(2, other, &registry, &machine).is_some(), "another socket does not");

        let Some(ToMachine::Compiled { socket: 1, heard: Heard { event: Ok(_), .. }, outcome: Ok(compiled), .. }) =
            all.recv().await
        else {
            panic!("it was compiled")
        };
        assert_eq!(compiling.finish(1).len(), 1);
        let definition = compiled[0].definition().clone();
        compiling.keep(compiled);
        let compiled = compiling.take(&definition).expect("kept until it is recorded");
        assert!(compiling.take(&definition).is_none());
        let mut registry = registry.into_inner().expect("a registry");
        assert_eq!(registry.adopt(&compiled), Ok(true));
        assert_eq!(registry.adopt(&compiled), Ok(false));
        assert!(registry.knows(&definition));

        // What is known is heard at once, and what cannot be compiled is refused with its reason.
        let registry = RwLock::new(registry);
        let again = event(&inbox, &mut all, register("mine", &good));
        assert!(compiling.pass(3, again, &registry, &machine).is_some());
        let bad = event(&inbox, &mut all, register("bad", &json!({"pattern": "\\p{L}{900}"})));
        assert!(compiling.pass(4, bad, &registry, &machine).is_none());
        let Some(ToMachine::Compiled { socket: 4, outcome: Err(failure), .. }) = all.recv().await else {
            panic!("it was refused")
        };
        assert!(failure.message.contains("protocol `bad/v1`") && failure.message.contains("patterns"), "{failure}");
    }
}
