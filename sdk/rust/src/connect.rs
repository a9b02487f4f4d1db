//! Makes the connection, and finds out why it cannot be made.

use std::time::Duration;

use gleitzeit_link::{Cause, Found, Speech, look, proxy};
use gleitzeit_tls::Trust;
use gleitzeit_workflow::ErrorCode;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::config::ClientConfig;
use crate::error::{Error, Result, innermost};
use crate::secure::{self, Secure};

/// How often a connection with open calls is checked, and how long the check may take.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long to wait for the first message of the control plane, whatever it is.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Connects to the control plane at `url`.
///
/// # Errors
/// If the address is invalid, or with the reason why no control plane can be reached there.
pub(crate) async fn channel(config: &ClientConfig, url: &str) -> Result<Channel> {
    let trust = config.trust();
    let way = url.starts_with("https:").then(|| Secure::new(&trust));
    let endpoint = match way {
        Some(_) => secure::endpoint(url),
        None => Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string()),
    };
    let endpoint = endpoint
        .and_then(|endpoint| endpoint.user_agent(config.user_agent.clone()).map_err(|error| error.to_string()))
        .map_err(|error| Error::invalid(format!("`{}` is not a valid address: {error}", config.url)))?
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let reason = match open(&endpoint, way.as_ref(), config.connect_timeout).await {
        Ok(channel) => return Ok(channel),
        Err(reason) => reason,
    };
    let cause = cause(url, &reason, &trust).await;
    // The control plane may have started to listen just now.
    if cause.code == ErrorCode::ConnectionLost && cause.may_pass {
        return open(&endpoint, way.as_ref(), config.connect_timeout).await.map_err(|_| Error::unreached(cause));
    }
    Err(Error::unreached(cause))
}

/// Connects and waits for a control plane's answer: a port may accept connections although nobody reads them, or
/// another server does. Whether the control plane can do its work shows at the first call.
///
/// # Errors
/// The reason why it cannot be reached, in the connection's own words.
async fn open(endpoint: &Endpoint, way: Option<&Secure>, limit: Duration) -> std::result::Result<Channel, String> {
    let connecting = async {
        match way {
            Some(way) => endpoint.connect_with_connector(way.clone()).await,
            None => endpoint.connect().await,
        }
    };
    let connected = tokio::time::timeout(limit, connecting).await;
    let channel = connected
        .map_err(|_| format!("no connection within {} s", limit.as_secs_f32()))?
        .map_err(|error| innermost(&error))?;
    let mut health = tonic::client::Grpc::new(channel.clone());
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let answered = async {
        health.ready().await.map_err(|error| innermost(&error))?;
        // Both messages are decoded as empty ones. A control plane answers this to anybody.
        let answer = health.unary(Request::new(()), path, ProstCodec::<(), ()>::default()).await;
        answer.map(drop).map_err(|status| innermost(&status))
    };
    let silent = |_| format!("no answer within {} s", ANSWER_LIMIT.as_secs());
    tokio::time::timeout(ANSWER_LIMIT, answered).await.map_err(silent)??;
    Ok(channel)
}

/// Finds out why no control plane can be reached at the address.
async fn cause(url: &str, reason: &str, trust: &Trust) -> Cause {
    let found = look(url, Speech::Grpc, reason, trust).await.unwrap_or_else(Found::NoHost);
    Cause::new(url, &found, Speech::Grpc, reason).beside_proxy(proxy(url, |name| std::env::var_os(name)))
}
