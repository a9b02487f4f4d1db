//! The hub's configuration, and what it is given at its start.

use gleitzeit_run::id::{ComponentId, Epoch, Position, Slice};
use gleitzeit_run::ledger::OpenLease;
use gleitzeit_run::term::History;
use gleitzeit_workflow::id::QueueName;

use crate::wire::ProtocolDefinition;

/// Limits and timeouts of the hub.
#[derive(Clone, Debug)]
pub struct Config {
    /// The version of the hub's software, for `welcome`.
    pub version: String,
    /// The interval of `heartbeat`. A component that has not answered one when the next is due becomes silent.
    pub heartbeat_interval_ms: u64,
    /// How long an owner may be silent before it is replaced.
    pub owner_silence_ms: u64,
    /// How long a provider may be silent before it is lost.
    pub provider_silence_ms: u64,
    /// How long an engine may be silent before it is lost.
    pub engine_silence_ms: u64,
    /// How long a sent attempt may remain untaken before it is ended; also how long a cancel may remain unanswered.
    pub accept_timeout_ms: u64,
    /// How long a call may have no holder after a reconnect before it is lost.
    pub orphan_timeout_ms: u64,
    /// The largest number of bytes of entries that are sent past the confirmed position, except for a single larger
    /// entry.
    pub window_bytes: usize,
    /// The largest number of entries that are sent past the confirmed position.
    pub window_entries: usize,
    /// How long a consumer may confirm nothing before it is disconnected.
    pub slow_consumer_ms: u64,
    /// How long a socket may neither register nor watch before it is disconnected.
    pub unregistered_ms: u64,
    /// How many bytes of the latest entries are kept in memory for the cursors; older ones are read from the store.
    pub kept_bytes: usize,
    /// The largest parameter set or result, in bytes of JSON text.
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
            unregistered_ms: 30_000,
            kept_bytes: 16 * 1024 * 1024,
            max_payload_bytes: 1024 * 1024,
        }
    }
}

/// The journal's state when the hub starts.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The owner and epoch of each slice.
    pub owners: Vec<(Slice, ComponentId, Epoch)>,
    /// The open attempts.
    pub open: Vec<OpenLease>,
    /// Every queue that a task has named.
    pub queues: Vec<QueueName>,
    /// Every registered protocol.
    pub protocols: Vec<ProtocolDefinition>,
    /// The position of the last entry.
    pub position: Position,
    /// Entries up to this position may have been removed with their runs.
    pub pruned: Position,
    /// A random seed for the secrets of components that bring none.
    pub seed: [u8; 32],
    /// The terms up to the current one; if empty, positions are not checked.
    pub history: History,
}
