//! The one service that a provider is for: its address, and who may see the header that shows who the provider is.

use base64::Engine as _;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};

use crate::client;

/// The shortest secret that is replaced; a shorter text is not a secret, and would match everywhere.
const SHORTEST_SECRET: usize = 4;

/// The one service that a provider is for.
pub(super) struct Service {
    base: Url,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Service {
    /// A service at `base_url`, with the authentication header.
    ///
    /// # Errors
    /// If either cannot be used; the text contains no secret.
    pub(super) fn new(base_url: &str, header: Option<(String, String)>) -> Result<Self, String> {
        let base = Url::parse(base_url).map_err(|error| format!("`base_url` is no address: {error}"))?;
        let header = header.map(|(name, value)| client::secret_header(&name, &value, "the secret"));
        Ok(Self { base, header: header.transpose()? })
    }

    pub(super) fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The address of a path below the service's own address.
    pub(super) fn url_of(&self, path: &str) -> Result<Url, url::ParseError> {
        Url::parse(&format!("{}{path}", self.base_url()))
    }

    /// A GET request for a path below the service's own address.
    pub(super) fn get(&self, client: &Client, path: &str) -> RequestBuilder {
        let request = client.get(format!("{}{path}", self.base_url()));
        match &self.header {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
    }

    /// The header that shows who the provider is, for an address that may get it.
    pub(super) fn header_for(&self, url: &Url) -> Option<&(HeaderName, HeaderValue)> {
        self.header.as_ref().filter(|_| self.is_at(url))
    }

    /// Whether an address is the service's own or below it: only such addresses get the authentication header.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        let base = self.base.path().trim_end_matches('/');
        let below = url.path().strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.base.origin() == url.origin() && below
    }

    /// What an answer must not reveal: the authentication header and the secrets in it.
    pub(super) fn secrets(&self) -> Vec<Vec<u8>> {
        let Some((_, value)) = &self.header else { return Vec::new() };
        let whole = value.as_bytes().to_vec();
        let bare = whole.split(|byte| *byte == b' ').next_back().unwrap_or_default().to_vec();
        let basic = value.to_str().ok().and_then(|value| value.strip_prefix("Basic "));
        let decoded = basic.and_then(|it| base64::engine::general_purpose::STANDARD.decode(it).ok());
        let password = decoded.and_then(|it| Some(it.splitn(2, |byte| *byte == b':').nth(1)?.to_vec()));
        let mut secrets: Vec<Vec<u8>> = [Some(whole), Some(bare), password].into_iter().flatten().collect();
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
        secrets
    }
}
