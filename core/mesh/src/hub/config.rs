//! What the hub is set to, and what it knows when it starts.

use gleitzeit_run::id::{ComponentId, Epoch, Position, Slice};
use gleitzeit_run::ledger::OpenLease;
use gleitzeit_run::term::History;
use gleitzeit_workflow::id::QueueName;

use crate::wire::ProtocolDefinition;

/// Limits and times of the hub.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of the hub's software, for `welcome`.
    pub version: String,
    /// How often `heartbeat` is sent; one that is unanswered when the next is due makes its component silent.
    pub heartbeat_interval_ms: u64,
    /// An owner that is silent for so long is replaced.
    pub owner_silence_ms: u64,
    /// A provider that is silent for so long is lost.
    pub provider_silence_ms: u64,
    /// An engine that is silent for so long is lost.
    pub engine_silence_ms: u64,
    /// An attempt that was sent and not taken for so long is ended; the same for a cancel that was not answered.
    pub accept_timeout_ms: u64,
    /// A call that nobody has held for so long after a reconnect is lost.
    pub orphan_timeout_ms: u64,
    /// At most so many bytes of entries are sent past the confirmed position, save for one larger entry.
    pub window_bytes: usize,
    /// At most so many entries are sent past the confirmed position.
    pub window_entries: usize,
    /// A consumer that has confirmed nothing for so long is disconnected.
    pub slow_consumer_ms: u64,
    /// A socket that neither registers nor watches for so long is disconnected.
    pub stranger_ms: u64,
    /// So many bytes of the latest entries are kept in memory for the cursors; older ones are read from the store.
    pub kept_bytes: usize,
    /// The largest parameter set or result, as JSON text.
    pub max_payload_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            heartbeat_interval_ms: 5_000,
            owner_silence_ms: 2_000,
            provider_silence_ms: 5_000,
            engine_silence_ms: 15_000,
            accept_timeout_ms: 5_000,
            orphan_timeout_ms: 5_000,
            window_bytes: 1024 * 1024,
            window_entries: 1_000,
            slow_consumer_ms: 30_000,
            stranger_ms: 30_000,
            kept_bytes: 16 * 1024 * 1024,
            max_payload_bytes: 1024 * 1024,
        }
    }
}

/// What the journal says when the hub starts.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Who owns what.
    pub owners: Vec<(Slice, ComponentId, Epoch)>,
    /// The open attempts.
    pub open: Vec<OpenLease>,
    /// Every queue that a task has named.
    pub queues: Vec<QueueName>,
    /// Every registered protocol.
    pub protocols: Vec<ProtocolDefinition>,
    /// The last entry's place.
    pub position: Position,
    /// Entries up to here may be gone with their runs.
    pub pruned: Position,
    /// Random, for the secrets of components that bring none.
    pub seed: [u8; 32],
    /// The terms up to the one that lasts; empty: positions are not checked.
    pub history: History,
}
