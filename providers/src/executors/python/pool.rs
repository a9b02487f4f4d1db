//! The fork server and its idle lanes. Started when first needed, and again when it has died.

use std::sync::Arc;

use gleitzeit_core::error::ErrorCode;
use tokio::sync::Mutex;

use super::lane::Lane;
use super::server::{Server, Start};
use crate::call::CallError;

/// Lanes that wait for work; more than these end with their call.
const MOST_IDLE: usize = 16;

#[derive(Debug)]
pub(super) struct Pool {
    keep: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    server: Option<Arc<Server>>,
    generation: u64,
    idle: Vec<Lane>,
}

impl Pool {
    /// For about so many calls at a time.
    pub(super) fn new(concurrency: u32) -> Self {
        let keep = usize::try_from(concurrency).unwrap_or(MOST_IDLE).clamp(1, MOST_IDLE);
        Self { keep, state: Mutex::default() }
    }

    /// Starts the server if there is none, and a first lane.
    pub(super) async fn ready(&self, start: Start<'_>) -> Result<(), CallError> {
        let mut state = self.state.lock().await;
        state.live(start).await?;
        Ok(())
    }

    /// An idle lane, or a new one. Safe to drop at any time.
    pub(super) async fn take(&self, start: Start<'_>) -> Result<Lane, CallError> {
        let (server, generation) = {
            let mut state = self.state.lock().await;
            let server = state.live(start).await?;
            if let Some(lane) = state.idle.pop() {
                return Ok(lane);
            }
            (server, state.generation)
        };
        Lane::open(&server, generation).await.map_err(|error| {
            let message = format!("no process can be forked for the call: {error}");
            CallError::new(ErrorCode::ProviderNotAvailable, message).with("lost", true)
        })
    }

    /// Takes back a lane whose call has ended.
    pub(super) async fn give_back(&self, mut lane: Lane) {
        if lane.prepare().await.is_err() {
            return;
        }
        let mut state = self.state.lock().await;
        if lane.generation == state.generation && state.idle.len() < self.keep {
            state.idle.push(lane);
        }
    }

    #[cfg(test)]
    pub(super) async fn namespaces(&self) -> Option<super::server::Namespaces> {
        self.state.lock().await.server.as_ref().map(|server| server.namespaces)
    }

    #[cfg(test)]
    pub(super) async fn server_pid(&self) -> Option<u32> {
        self.state.lock().await.server.as_ref().and_then(|server| server.pid())
    }
}

impl State {
    /// The living server, started if need be.
    async fn live(&mut self, start: Start<'_>) -> Result<Arc<Server>, CallError> {
        if let Some(server) = &mut self.server {
            // Lanes of other calls may hold it for the moment of their opening; then it was alive just now.
            if Arc::get_mut(server).is_none_or(Server::lives) {
                return Ok(server.clone());
            }
            tracing::warn!("the fork server has died and is started again");
        }
        self.server = None;
        self.idle.clear();
        self.generation += 1;
        let failed = |message| CallError::new(ErrorCode::ProviderInitializationFailed, message);
        let server = Arc::new(Server::start(start).await.map_err(failed)?);
        self.idle.push(Lane::open(&server, self.generation).await.map_err(|error| {
            CallError::new(ErrorCode::ProviderInitializationFailed, format!("the fork server does not fork: {error}"))
        })?);
        self.server = Some(server.clone());
        Ok(server)
    }
}
