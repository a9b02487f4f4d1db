//! Where one request goes.

use reqwest::header::{HeaderName, HeaderValue};

/// The address and credentials of a request, read again for each one.
pub(super) struct Target {
    pub(super) url: String,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    /// The texts that must never be shown.
    pub(super) secrets: Vec<String>,
    /// The source of the secret, if one is sent.
    pub(super) secret_from: Option<String>,
}
