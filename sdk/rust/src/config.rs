//! How a client reaches its control plane.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gleitzeit_link::{SecretFile, TokenSource};
use gleitzeit_tls::{CA_VARIABLE, Trust};

use crate::error::{Error, Result};

/// The control plane's default address.
pub const DEFAULT_URL: &str = "http://localhost:8000";

/// How a client reaches its control plane, and how long it waits and retries.
#[derive(Clone)]
pub struct ClientConfig {
    /// The control plane's address, `http://HOST:PORT`, or `https://HOST:PORT` where a proxy ends TLS; without a scheme
    /// `http://` is meant. Default: [`DEFAULT_URL`].
    pub url: String,
    /// A file (PEM) with the root of a private authority, trusted for `https` beside the bundled roots and the machine's
    /// own, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Default: none.
    pub ca: Option<PathBuf>,
    /// The token that the control plane asks for. Default: none; the client then uses the token of a control plane of
    /// the same user, if one runs at that port of this machine (`$XDG_STATE_HOME/gleitzeit/token-PORT`).
    pub token: Option<String>,
    /// A file that holds only the token, read again when it changes. [`ClientConfig::token`] takes precedence. Default:
    /// none.
    pub token_file: Option<PathBuf>,
    /// The W3C trace context (`traceparent`) that submitted runs join: their spans become part of that trace. Default:
    /// none, and each run starts its own trace.
    pub traceparent: Option<String>,
    /// How long making the connection may take. Default: 5 s.
    pub connect_timeout: Duration,
    /// Limit for one call on an established connection. Default: 30 s.
    pub call_timeout: Duration,
    /// How often a call is repeated if the control plane cannot take it at the moment. Default: 4.
    pub max_retries: u32,
    /// How long [`crate::Watch`] and the waiting calls keep trying while the control plane is unreachable. Default: 60 s.
    pub patience: Duration,
    /// The user agent that the client sends. Default: this crate's name and version.
    pub user_agent: String,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            url: DEFAULT_URL.to_owned(),
            ca: None,
            token: None,
            token_file: None,
            traceparent: None,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
            max_retries: 4,
            patience: Duration::from_secs(60),
            user_agent: concat!("gleitzeit-sdk-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Omits the token.
impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConfig")
            .field("url", &self.url)
            .field("ca", &self.ca)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("token_file", &self.token_file)
            .field("traceparent", &self.traceparent)
            .field("connect_timeout", &self.connect_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("max_retries", &self.max_retries)
            .field("patience", &self.patience)
            .field("user_agent", &self.user_agent)
            .finish()
    }
}

impl ClientConfig {
    /// The default configuration for the control plane at this address.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// The configuration from the environment: `GLEITZEIT_HUB_URL` (default [`DEFAULT_URL`]), the token in
    /// `GLEITZEIT_TOKEN` or in the file that `GLEITZEIT_TOKEN_FILE` names, a private root in the file that
    /// `GLEITZEIT_CA` names, and the caller's trace context in `TRACEPARENT`.
    pub fn from_env() -> Self {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = read("GLEITZEIT_HUB_URL").unwrap_or_else(|| DEFAULT_URL.to_owned());
        let path = |name: &str| read(name).map(PathBuf::from);
        let (ca, token_file) = (path(CA_VARIABLE), path("GLEITZEIT_TOKEN_FILE"));
        Self { ca, token: read("GLEITZEIT_TOKEN"), token_file, traceparent: read("TRACEPARENT"), ..Self::new(url) }
    }

    /// The source of the token for the address `url`.
    ///
    /// # Errors
    /// If the token file cannot be used.
    pub(crate) fn token_source(&self, url: &str) -> Result<TokenSource> {
        token_source(self.token.as_ref(), self.token_file.as_deref(), url)
    }

    /// The address with its scheme.
    ///
    /// # Errors
    /// If the address is invalid.
    pub(crate) fn endpoint(&self) -> Result<String> {
        gleitzeit_link::base_url(&self.url).map_err(Error::invalid)
    }

    /// The roots that are trusted.
    pub(crate) fn trust(&self) -> Trust {
        trust(self.ca.as_deref())
    }
}

/// The roots that are trusted: those of the environment except `GLEITZEIT_CA`, and those of the file `ca`.
pub(crate) fn trust(ca: Option<&Path>) -> Trust {
    let machine = Trust::of_environment(|name| (name != CA_VARIABLE).then(|| gleitzeit_link::variable(name)).flatten());
    ca.map_or(machine.clone(), |ca| machine.with("`ca` or GLEITZEIT_CA", ca))
}

/// The given token, or else the one in a file, or else that of this user's own control plane at the address.
pub(crate) fn token_source(given: Option<&String>, file: Option<&Path>, url: &str) -> Result<TokenSource> {
    let source = match (given, file) {
        (Some(token), _) => TokenSource::Given(token.clone()),
        (None, Some(path)) => SecretFile::open(path)
            .map(TokenSource::File)
            .map_err(|error| Error::invalid(format!("cannot use the token in `{}`: {error}", path.display())))?,
        (None, None) => TokenSource::None,
    };
    Ok(source.or_kept(url, gleitzeit_link::variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_omit_its_scheme_but_not_use_another() {
        for (url, expected) in [
            ("http://localhost:8000", Some("http://localhost:8000")),
            ("http://localhost:8000/", Some("http://localhost:8000")),
            ("localhost:8000", Some("http://localhost:8000")),
            ("localhost:8000//", Some("http://localhost:8000")),
            ("http://localhost:8000/path", None),
            ("localhost:x", None),
            (":8000", None),
            ("https://localhost:8000/", Some("https://localhost:8000")),
            ("https://localhost", Some("https://localhost")),
            ("https://localhost/path", None),
            ("redis://x", None),
            ("http://", None),
            ("", None),
        ] {
            assert_eq!(ClientConfig::new(url).endpoint().ok().as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let config = ClientConfig { token: Some("secret-7".to_owned()), ..ClientConfig::default() };
        assert!(!format!("{config:?}").contains("secret-7"));
    }
}
