//! Where one request goes.

use reqwest::header::{HeaderName, HeaderValue};

/// Where a request goes and who it says it is from, read anew for each.
pub(super) struct Target {
    pub(super) url: String,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    /// What must never be shown.
    pub(super) secrets: Vec<String>,
    /// Where the secret is from, if one is sent.
    pub(super) secret_from: Option<String>,
}
