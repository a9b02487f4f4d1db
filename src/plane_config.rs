//! The configuration of a control plane, from arguments and the environment.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_control_plane::{Config, StoreConfig, Token};
use gleitzeit_link::TokenSource;
use gleitzeit_protocols::Registry;

use crate::cli::{HubArgs, PatienceArgs, RunArgs};
use crate::error::CommandError;
use crate::{output, store_url};

/// The control plane's configuration for `hub` and `start`; `own_token` is the generated one, if there is one.
///
/// # Errors
/// If the store cannot be used.
pub(crate) fn from_args(
    args: &HubArgs,
    own_token: Option<&str>,
    registry: Arc<Registry>,
) -> Result<Config, CommandError> {
    if args.no_auth {
        output::note("no token is required: anyone who can reach the port can run code as the user of the workers");
    }
    if std::env::var_os("GLEITZEIT_REDIS_URL").is_some_and(|url| !url.is_empty()) {
        return Err(CommandError::usage(
            "GLEITZEIT_REDIS_URL is set, but several control planes are not supported yet",
        )
        .hint("unset it; a single control plane needs nothing besides its store"));
    }
    Ok(Config {
        host: args.host,
        port: args.port,
        store: store_url::parse(args.store.as_deref())?,
        token: asked_token(args, own_token)?,
        insecure: args.no_auth,
        allow_hosts: args.allow_hosts.clone(),
        allow_origins: args.allow_origins.clone(),
        allow_env: args.allow_env.clone(),
        read_env: Arc::new(|name| std::env::var(name).ok()),
        registry,
        max_workflow_bytes: args.limits.max_workflow_bytes,
        max_tasks: args.limits.max_tasks,
        max_payload_bytes: args.limits.max_payload_bytes,
        max_replay_bytes: args.max_replay_bytes,
        retention: args.retention.0,
        max_connections: connections_within(args.max_connections, raise_open_files()),
        max_connections_per_address: args
            .max_connections_per_address
            .map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        hub: patience(&args.patience),
        ..Config::default()
    })
}

/// The token that clients must present: the given one, or else the control plane's own.
fn asked_token(args: &HubArgs, own: Option<&str>) -> Result<Option<Token>, CommandError> {
    Ok(match args.token.source()? {
        TokenSource::File(file) => Some(Token::read_by(move || file.current())),
        given => given.current().as_deref().or(own).map(Token::from),
    })
}

/// Raises the limit of open files to the maximum, since each connection is one. Returns the new limit; `None` means
/// unlimited.
fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return maximum;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            current
        }
    }
}

/// Open files that are reserved for the store, the log, and the worker of the same process.
const OTHER_FILES: u64 = 128;
/// The least number of connections that is useful.
const LEAST_CONNECTIONS: u64 = 10;

/// The wanted number of connections, limited by the open files.
fn connections_within(wanted: u32, files: Option<u64>) -> usize {
    let most = files.map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES).max(LEAST_CONNECTIONS));
    if u64::from(wanted) > most {
        tracing::warn!(
            wanted,
            most,
            "the limit of open files (`ulimit -n`) allows fewer connections than `--max-connections`"
        );
    }
    usize::try_from(most.min(u64::from(wanted))).unwrap_or(usize::MAX)
}

fn patience(args: &PatienceArgs) -> gleitzeit_mesh::hub::Config {
    let ms = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
    gleitzeit_mesh::hub::Config {
        heartbeat_interval_ms: ms(args.heartbeat_interval),
        owner_silence_ms: ms(args.owner_patience),
        provider_silence_ms: ms(args.provider_patience),
        engine_silence_ms: ms(args.engine_patience),
        accept_timeout_ms: ms(args.take_timeout),
        slow_consumer_ms: ms(args.confirm_timeout),
        ..gleitzeit_mesh::hub::Config::default()
    }
}

/// The control plane inside `run`: private to this process, on a port that the system chooses.
pub(crate) fn for_run(store: &Path, args: &RunArgs, registry: Arc<Registry>) -> Config {
    Config {
        port: 0,
        store: StoreConfig::Sqlite(store.to_owned()),
        // Other users of this machine could find the port.
        token: Some(crate::own_token::new_token().as_str().into()),
        allow_env: args.allow_env.clone(),
        read_env: Arc::new(|name| std::env::var(name).ok()),
        registry,
        max_workflow_bytes: args.limits.max_workflow_bytes,
        max_tasks: args.limits.max_tasks,
        max_payload_bytes: args.limits.max_payload_bytes,
        // A person waits for the end, and only this process sends requests.
        stop_grace: Duration::from_secs(1),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_by_open_files() {
        for (wanted, files, expected) in
            [(10_000, None, 10_000), (10_000, Some(20_000), 10_000), (10_000, Some(1_024), 896), (100, Some(20), 10)]
        {
            assert_eq!(connections_within(wanted, files), expected, "{wanted} of {files:?}");
        }
    }
}
