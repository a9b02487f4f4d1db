//! The fork server and its idle lanes. The server is started when it is first needed, and again after it has died.

use std::io;
use std::sync::Arc;

use gleitzeit_workflow::error::ErrorCode;
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::lane::Lane;
use super::server::{Server, Start};
use crate::call::CallError;
use crate::executors::process::readiness::NotReady;

/// The most idle lanes; further ones end with their call.
const MAX_IDLE: usize = 16;

#[derive(Debug)]
pub(super) struct Pool {
    keep: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    server: Option<Arc<Server>>,
    /// A start in progress. It belongs to no call, so that a call with little time does not undo it for the next one.
    starting: Option<AbortOnDropHandle<Result<Server, NotReady>>>,
    generation: u64,
    idle: Vec<Lane>,
}

impl Pool {
    /// For about this many concurrent calls.
    pub(super) fn new(concurrency: u32) -> Self {
        let keep = usize::try_from(concurrency).unwrap_or(MAX_IDLE).clamp(1, MAX_IDLE);
        Self { keep, state: Mutex::default() }
    }

    /// Starts the server and a first lane if there is none; returns what the machine does not provide. Cancel-safe.
    pub(super) async fn ready(&self, start: &Arc<Start>) -> Result<Option<String>, NotReady> {
        let mut state = self.state.lock().await;
        Ok(state.live(start).await?.lacks.clone())
    }

    /// Takes an idle lane, or opens a new one however long that takes. Cancel-safe.
    pub(super) async fn take(&self, start: &Arc<Start>) -> Result<Lane, CallError> {
        loop {
            let (server, generation) = {
                let mut state = self.state.lock().await;
                let server = match state.live(start).await {
                    Ok(server) => server,
                    Err(not_ready) => match not_ready.into_final_error() {
                        Some(error) => return Err(error),
                        None => continue,
                    },
                };
                if let Some(lane) = state.idle.pop() {
                    return Ok(lane);
                }
                (server, state.generation)
            };
            match Lane::open(&server, generation).await {
                Ok(lane) => return Ok(lane),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => {
                    let message = format!("no process can be forked for the call: {error}");
                    return Err(CallError::new(ErrorCode::ProviderNotAvailable, message).with("lost", true));
                }
            }
        }
    }

    /// Takes back a lane whose call has ended.
    pub(super) async fn give_back(&self, mut lane: Lane) {
        if lane.is_spent || lane.prepare().await.is_err() {
            lane.end().await;
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
    /// The live server, started if necessary.
    async fn live(&mut self, start: &Arc<Start>) -> Result<Arc<Server>, NotReady> {
        if let Some(server) = &mut self.server {
            // While opening a lane, another call holds a reference; the server was alive just before that.
            if Arc::get_mut(server).is_none_or(Server::lives) {
                return Ok(server.clone());
            }
            tracing::warn!("the fork server has died and is started again");
        }
        self.server = None;
        self.idle.clear();
        let starting = self.starting.get_or_insert_with(|| {
            let start = start.clone();
            AbortOnDropHandle::new(tokio::spawn(async move { Server::start(&start).await }))
        });
        let started = starting.await;
        self.starting = None;
        let broken = |error| Err(NotReady::Refused(format!("the start of the fork server failed: {error}")));
        let server = Arc::new(started.unwrap_or_else(broken)?);
        self.generation += 1;
        let lane = Lane::open(&server, self.generation).await.map_err(|error| {
            let why = format!("the fork server does not fork: {error}");
            if error.kind() == io::ErrorKind::TimedOut { NotReady::Slow(why) } else { NotReady::Refused(why) }
        })?;
        self.idle.push(lane);
        self.server = Some(server.clone());
        Ok(server)
    }
}
