//! The configuration of a control plane.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_protocols::Registry;

use crate::journal::WriterConfig;
use crate::metrics::MetricsSource;
use crate::trace::SpanSink;

/// The shortest retention: a client that waits for a run must still find it after it has ended.
const MIN_RETENTION: Duration = Duration::from_secs(60);

/// Where the journal is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// In one SQLite file; the file and its folder are created if missing.
    Sqlite(PathBuf),
    /// In memory only: everything is lost when the process ends. For tests.
    Memory,
}

impl StoreConfig {
    /// The path of the store file; `None` for a store in memory.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Memory => None,
        }
    }
}

impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "`{}`", path.display()),
            Self::Memory => f.write_str("memory"),
        }
    }
}

/// Reads one environment variable of the control plane's process.
pub type ReadEnv = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The token that every client must present. It may change while the control plane runs: connected clients stay
/// connected.
#[derive(Clone)]
pub struct Token(Arc<dyn Fn() -> Arc<str> + Send + Sync>);

impl Token {
    /// A token that is read again each time a client presents one.
    pub fn read_by(read: impl Fn() -> Arc<str> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The current token.
    pub fn current(&self) -> Arc<str> {
        (self.0)()
    }
}

/// A token that never changes.
impl From<&str> for Token {
    fn from(token: &str) -> Self {
        let token: Arc<str> = token.into();
        Self::read_by(move || token.clone())
    }
}

/// Never prints the token.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The complete configuration of a control plane.
#[derive(Clone)]
pub struct Config {
    /// The address to listen on (default 127.0.0.1). An address other than loopback needs a token or `insecure`.
    pub host: IpAddr,
    /// The port for gRPC, mesh and health checks (default 8000); 0 lets the system choose.
    pub port: u16,
    /// Where the journal is stored.
    pub store: StoreConfig,
    /// The token that mesh and gRPC clients must present, if set.
    pub token: Option<Token>,
    /// Allows listening beyond loopback without a token.
    pub insecure: bool,
    /// Host names under which clients may call, besides the address and `localhost` (default none). If the address is
    /// not loopback and a token is set, any name is accepted unless some are listed here.
    pub allow_hosts: Vec<String>,
    /// Origins of web pages that may connect; none by default.
    pub allow_origins: Vec<String>,
    /// Environment variables that workflows may refer to. Their values are journaled, so they must not be secrets.
    pub allow_env: Vec<String>,
    /// How these variables are read.
    pub read_env: ReadEnv,
    /// The protocols that are registered at startup.
    pub registry: Arc<Registry>,
    /// The largest workflow including its files, in bytes (default 8 MiB).
    pub max_workflow_bytes: usize,
    /// The largest number of tasks in a workflow (default 200,000).
    pub max_tasks: usize,
    /// The largest parameter set or result of a task, in bytes (default 1 MiB, at most 8 MiB).
    pub max_payload_bytes: usize,
    /// How many bytes of entries of one unfinished run a start replays (default 2 GiB); a run with more is set aside.
    pub max_replay_bytes: usize,
    /// How many bytes of submissions may be checked and recorded at the same time (default 256 MiB). One submission is
    /// always admitted; when there is no room, others get an error and may retry.
    pub max_submitting_bytes: usize,
    /// The largest number of open connections, gRPC and mesh together (default 10,000).
    pub max_connections: usize,
    /// The largest number of open connections from one address; all addresses of this machine count as one. `None`
    /// means half of `max_connections`, so that one address leaves room for others.
    pub max_connections_per_address: Option<usize>,
    /// After this much silence an event stream sends a keepalive message (default 20 s): proxies close streams that are
    /// silent for 60 s, and not all of them count HTTP/2 pings.
    pub keepalive_every: Duration,
    /// Timeouts and limits of the hub.
    pub hub: gleitzeit_mesh::hub::Config,
    /// Finished runs are removed after this time (default 30 days); `None` keeps them forever.
    pub retention: Option<Duration>,
    /// How often to look for finished runs to remove (default 10 min). The first removal also waits this long, so that
    /// an operator who starts with a wrong clock can still stop.
    pub retention_every: Duration,
    /// Where metrics go and how `/metrics` renders them; `None` disables metrics.
    pub metrics: Option<MetricsSource>,
    /// Where the traces of runs are exported to; `None` disables the export.
    pub traces: Option<Arc<dyn SpanSink>>,
    /// How long a shutdown waits for requests in progress (default 5 s).
    pub stop_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8000,
            store: StoreConfig::Memory,
            token: None,
            insecure: false,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            allow_env: Vec::new(),
            read_env: Arc::new(|_| None),
            registry: Arc::new(Registry::shipped()),
            max_workflow_bytes: 8 * 1024 * 1024,
            max_tasks: 200_000,
            max_payload_bytes: 1024 * 1024,
            max_replay_bytes: WriterConfig::default().replay_bytes,
            max_submitting_bytes: 256 * 1024 * 1024,
            max_connections: 10_000,
            max_connections_per_address: None,
            keepalive_every: Duration::from_secs(20),
            hub: gleitzeit_mesh::hub::Config::default(),
            retention: Some(Duration::from_secs(30 * 24 * 3_600)),
            retention_every: Duration::from_secs(600),
            metrics: None,
            traces: None,
            stop_grace: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for Config {
    /// Leaves out the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &SocketAddr::new(self.host, self.port))
            .field("store", &self.store)
            .field("token", &self.token.is_some())
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The largest number of open connections from one address.
    pub(crate) fn connections_of_address(&self) -> usize {
        self.max_connections_per_address.unwrap_or(self.max_connections.div_ceil(2))
    }

    /// Every problem with the configuration, each with its remedy; empty if there is none.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.host.is_loopback() && self.token.is_none() && !self.insecure {
            problems.push(format!(
                "listening on {} without a token would admit every client; set GLEITZEIT_TOKEN, or use `--no-auth`",
                self.host
            ));
        }
        if self.token.as_ref().is_some_and(|token| token.current().is_empty()) {
            problems.push("the token is empty; unset GLEITZEIT_TOKEN or give it a value".to_owned());
        }
        if !(1_024..=8 * 1024 * 1024).contains(&self.max_payload_bytes) {
            problems.push(format!("the payload limit is {}; give 1 KiB to 8 MiB", self.max_payload_bytes));
        }
        if !(1_024..=64 * 1024 * 1024).contains(&self.max_workflow_bytes) {
            problems.push(format!("the workflow limit is {} bytes; give 1 KiB to 64 MiB", self.max_workflow_bytes));
        }
        if self.retention.is_some_and(|age| age < MIN_RETENTION) {
            problems.push(
                "finished runs would be removed before clients read them; give a retention of at least 1m, or off"
                    .to_owned(),
            );
        }
        if self.max_replay_bytes < 64 * 1024 * 1024 {
            problems
                .push(format!("the replay limit of a run is {} bytes; give at least 64 MiB", self.max_replay_bytes));
        }
        if self.max_tasks == 0 {
            problems.push("the limit on tasks is 0; give at least 1".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_a_token_is_required_unless_insecure_is_set() {
        let open = Config { host: "0.0.0.0".parse().expect("an address"), ..Config::default() };
        assert!(open.validate()[0].contains("GLEITZEIT_TOKEN"));
        assert!(Config { token: Some("t".into()), ..open.clone() }.validate().is_empty());
        assert!(Config { insecure: true, ..open }.validate().is_empty());
        assert!(Config::default().validate().is_empty());
    }
}
