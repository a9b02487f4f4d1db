//! The settings of a link. No I/O here.

use std::fmt;
use std::time::Duration;

use gleitzeit_tls::Trust;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::token::TokenSource;

/// Largest frame either side accepts: tungstenite's limit for one frame.
pub(crate) const FRAME_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// The size of the read buffer; a larger frame gets more room. The WebSocket library clears that much memory before
/// each read, and every connection keeps it: its default of 128 KiB costs more than a small message does.
pub(crate) const READ_BYTES: usize = 4 * 1024;

/// How a link finds its hub, and how long it waits and retries.
#[derive(Clone)]
pub struct LinkConfig {
    /// Address of the hub, `http://host:port` or `https://host:port`. Default `http://localhost:8000`.
    pub url: String,
    /// The roots that are trusted for an `https` address. Default: the bundled ones and the machine's own.
    pub trust: Trust,
    /// Sent as `auth: {token}`; read anew at each connect. Default none.
    pub token: TokenSource,
    /// Limit for the TCP connection, TLS, the WebSocket upgrade and the Engine.IO handshake together. Default 5 s.
    pub connect_timeout: Duration,
    /// Limit from the handshake to `welcome`; when it passes, the connection is dropped and tried again. Default 5 s.
    pub welcome_timeout: Duration,
    /// Delay before the first attempt after a failure; doubles with each further one. Default 50 ms.
    pub initial_backoff: Duration,
    /// Upper bound of that delay. Default 2 s. Actual delays are drawn from the upper half.
    pub max_backoff: Duration,
    /// Events held for the receiver. When the queue is full, the link stops reading. Default 4,096.
    pub inbound_capacity: usize,
    /// How long the link waits for room in a full inbound queue before it drops the connection. Default 5 s; keep it
    /// below the hub's ping timeout, because pings are not answered meanwhile.
    pub inbound_patience: Duration,
    /// Messages held for the hub. When the queue is full, `send` waits. Default 1,024.
    pub outbound_capacity: usize,
    /// Largest message that may be sent, in bytes including its envelope; at most 16 MiB. Default 15 MiB.
    pub max_frame_bytes: usize,
    /// The environment variable that names a proxy. The link does not use it; it is mentioned when the hub cannot be
    /// reached. Default none.
    pub unused_proxy: Option<&'static str>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            url: "http://localhost:8000".to_owned(),
            trust: Trust::default(),
            token: TokenSource::None,
            connect_timeout: Duration::from_secs(5),
            welcome_timeout: Duration::from_secs(5),
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
            inbound_capacity: 4096,
            inbound_patience: Duration::from_secs(5),
            outbound_capacity: 1024,
            max_frame_bytes: FRAME_LIMIT_BYTES - 1024 * 1024,
            unused_proxy: None,
        }
    }
}

/// Omits the token.
impl fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkConfig")
            .field("url", &self.url)
            .field("token", &self.token)
            .field("max_backoff", &self.max_backoff)
            .finish_non_exhaustive()
    }
}

/// All problems of a [`LinkConfig`].
#[derive(Debug, thiserror::Error)]
#[error("invalid link configuration: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// The address to connect to, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) is_tls: bool,
    pub(crate) authority: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl LinkConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// All problems at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if let Err(problem) = self.address() {
            problems.push(problem);
        }
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("welcome_timeout", self.welcome_timeout),
            ("initial_backoff", self.initial_backoff),
        ] {
            if value.is_zero() {
                problems.push(format!("`{name}` must be more than zero"));
            }
        }
        if self.max_backoff < self.initial_backoff {
            problems.push("`max_backoff` must not be less than `initial_backoff`".to_owned());
        }
        for (name, value) in
            [("inbound_capacity", self.inbound_capacity), ("outbound_capacity", self.outbound_capacity)]
        {
            if value == 0 {
                problems.push(format!("`{name}` must be at least 1"));
            }
        }
        if self.max_frame_bytes == 0 || self.max_frame_bytes > FRAME_LIMIT_BYTES {
            problems.push(format!("`max_frame_bytes` must be between 1 and {FRAME_LIMIT_BYTES}"));
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    pub(crate) fn address(&self) -> Result<Address, String> {
        let url = base_url(&self.url)?;
        let uri: Uri = url.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
            return Err(format!("`{url}` has no host"));
        };
        let is_tls = uri.scheme_str() == Some("https");
        Ok(Address {
            is_tls,
            authority: authority.as_str().rsplit('@').next().unwrap_or_default().to_owned(),
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
        })
    }
}

/// Normalizes the address of a control plane: `http://HOST:PORT`, or `https://HOST:PORT` where a proxy ends TLS.
/// `http://` may be left out and slashes may follow. Every caller that reaches a control plane parses its address with
/// this function.
///
/// # Errors
/// Says what is wrong with the address: another scheme, a path, or no host.
pub fn base_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme = match scheme {
        "http" | "ws" => "http",
        "https" | "wss" => "https",
        _ => {
            return Err(format!("`{text}`: only `http://` and `https://` addresses are supported, not `{scheme}://`"));
        }
    };
    let expected = format!("expected `{scheme}://HOST:PORT`");
    let host = rest.trim_end_matches('/');
    if host.is_empty() {
        return Err(format!("`{text}` is not a valid address: {expected}"));
    }
    if host.contains(['/', '?', '#']) {
        return Err(format!("`{text}` must have no path: {expected}"));
    }
    let url = format!("{scheme}://{host}");
    let names_port = host.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    match url.parse::<Uri>() {
        Ok(uri) if names_port && uri.port_u16().is_none() => {
            Err(format!("`{text}` has no port that is a number: {expected}"))
        }
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(url),
        Ok(_) => Err(format!("`{text}` has no host: {expected}")),
        Err(error) => Err(format!("`{text}` is not a valid address: {error}; {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parsed() {
        let address = |url: &str| LinkConfig { url: url.to_owned(), ..LinkConfig::default() }.address();
        let v6 = address("http://[::1]:8000/").expect("valid");
        assert_eq!((v6.host.as_str(), v6.port, v6.authority.as_str()), ("::1", 8000, "[::1]:8000"));
        assert_eq!(address("http://hub").expect("valid").port, 80);
        assert_eq!(address("hub:8000//").expect("valid").port, 8000);
        for (url, host, port) in
            [("https://hub", "hub", 443), ("wss://[::1]/", "::1", 443), ("https://hub:8443", "hub", 8443)]
        {
            let address = address(url).expect("valid");
            assert_eq!((address.is_tls, address.host.as_str(), address.port), (true, host, port), "{url}");
        }
        for bad in [
            "https://hub/path",
            "https://",
            "http://hub/path",
            "hub:8000/path",
            "hub:8000?x",
            "http://:8000",
            "hub:x",
            "",
            "ftp://hub",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_problems_are_listed_at_once() {
        let config = LinkConfig {
            url: "redis://x".to_owned(),
            inbound_capacity: 0,
            max_frame_bytes: 0,
            ..LinkConfig::default()
        };
        assert_eq!(config.validate().expect_err("three problems").0.len(), 3);
        assert!(LinkConfig::default().validate().is_ok());
    }

    #[test]
    fn the_token_is_not_in_the_debug_output() {
        let config = LinkConfig { token: TokenSource::Given("s3cret".to_owned()), ..LinkConfig::default() };
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
