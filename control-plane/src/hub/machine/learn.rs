//! Keeps the hub's protocol registry up to date with the journal.

use gleitzeit_mesh::hub::Batch;
use gleitzeit_mesh::wire::ProtocolDefinition;
use gleitzeit_protocols::{LearnError, Registry};
use gleitzeit_run::Event;
use gleitzeit_run::event::{ProtocolRegistered, ProtocolRemoved};

use super::HubTask;

impl HubTask {
    pub(super) fn learn_protocols(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            match &entry.event {
                Event::ProtocolRegistered(registered) => self.learn_protocol(registered.clone()),
                Event::ProtocolRemoved(ProtocolRemoved { name, version }) => {
                    tracing::info!(protocol = name, version, "an unused protocol was removed");
                    self.in_registry(|registry| {
                        registry.forget(name, version);
                    });
                }
                Event::WorkflowSubmitted(_)
                | Event::WorkflowCancelRequested(_)
                | Event::TaskReady(_)
                | Event::TaskDispatched(_)
                | Event::TaskStarted(_)
                | Event::TaskCompleted(_)
                | Event::TaskAttemptFailed(_)
                | Event::TaskAttemptStopped(_)
                | Event::TaskRequeued(_)
                | Event::TaskRetryScheduled(_)
                | Event::TaskFailed(_)
                | Event::TaskSkipped(_)
                | Event::TaskCancelled(_)
                | Event::WorkflowCompleted(_)
                | Event::WorkflowFailed(_)
                | Event::WorkflowCancelled(_)
                | Event::OwnershipGranted(_)
                | Event::ProtocolsUsed(_) => {}
            }
        }
    }

    fn learn_protocol(&mut self, ProtocolRegistered { name, version, methods }: ProtocolRegistered) {
        let definition = ProtocolDefinition { name, version, methods };
        let compiled = self.compiling.take(&definition);
        self.in_registry(|registry| match compiled {
            Some(compiled) => note(registry.adopt(&compiled).map_err(LearnError::from)),
            None => note(registry.learn(&definition)),
        });
    }

    fn in_registry(&self, change: impl FnOnce(&mut Registry)) {
        match self.registry.write() {
            Ok(mut registry) => change(&mut registry),
            Err(_) => tracing::error!("the registry of protocols is unusable after a panic"),
        }
    }
}

/// Logs what went wrong if a recorded protocol could not be added to the registry.
pub(super) fn note(learned: Result<bool, LearnError>) {
    match learned {
        Ok(_) => {}
        Err(LearnError::Unreadable(problems)) => tracing::warn!(?problems, "a recorded protocol cannot be read"),
        // The journal has decided which definition counts.
        Err(LearnError::Conflict(conflict)) => {
            tracing::warn!(%conflict, "a recorded protocol differs from the registered one")
        }
    }
}
