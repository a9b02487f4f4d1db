//! Who gets in: no web pages, unless they are allowed by name, and only with the token if one is set.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use subtle::ConstantTimeEq;

/// What decides who gets in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    /// Required on mesh and gRPC if set.
    pub(crate) token: Option<String>,
    /// Origins of web pages that may connect; `*` is any.
    pub(crate) allow_origins: Vec<String>,
}

/// What a client says when it connects.
#[derive(Debug, Deserialize)]
pub(crate) struct Auth {
    #[serde(default)]
    pub(crate) token: Option<String>,
}

/// Whether a given token is the required one, in a time that does not depend on where they differ.
pub(crate) fn check_token(required: Option<&str>, given: Option<&str>) -> bool {
    match (required, given) {
        (None, _) => true,
        (Some(required), Some(given)) => required.as_bytes().ct_eq(given.as_bytes()).into(),
        (Some(_), None) => false,
    }
}

impl Admission {
    pub(crate) fn admits_token(&self, given: Option<&str>) -> bool {
        check_token(self.token.as_deref(), given)
    }

    fn admits_origin(&self, origin: &str, host: Option<&str>) -> bool {
        self.allow_origins.iter().any(|allowed| allowed == "*" || allowed == origin)
            || host.is_some_and(|host| is_own_origin(origin, host))
    }
}

/// Whether an origin is this very server, as some client libraries say of themselves; no page comes from here. Only
/// where the server was called by its address: a page could give itself a name that leads here.
fn is_own_origin(origin: &str, host: &str) -> bool {
    let is_address = host.parse::<Authority>().is_ok_and(|authority| {
        let name = authority.host().trim_matches(['[', ']']);
        name == "localhost" || name.parse::<IpAddr>().is_ok()
    });
    is_address && origin.strip_prefix("http://") == Some(host)
}

/// Refuses requests of web pages that are not allowed by name: any page could otherwise drive a local hub. It stands
/// before every service of the port, so the answer comes before anything is upgraded.
pub(crate) async fn check_origin(admission: std::sync::Arc<Admission>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN);
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let is_admitted = |origin: &HeaderValue| origin.to_str().is_ok_and(|origin| admission.admits_origin(origin, host));
    let refused = origin.is_some_and(|origin| !is_admitted(origin));
    if refused {
        let text = "AUTHORIZATION_FAILED: this origin is not allowed; start the control plane with `--allow-origin`\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_origin_is_the_address_that_was_called() {
        for (origin, host, is_own) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000", true),
            ("http://localhost:8000", "localhost:8000", true),
            ("http://[::1]:8000", "[::1]:8000", true),
            ("http://localhost:3000", "localhost:8000", false),
            ("http://127.0.0.1:8000", "localhost:8000", false),
            ("https://localhost:8000", "localhost:8000", false),
            ("http://rebound.example:8000", "rebound.example:8000", false),
            ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example", false),
            ("null", "localhost:8000", false),
            ("http://", "", false),
        ] {
            assert_eq!(is_own_origin(origin, host), is_own, "{origin} at {host}");
        }
    }

    #[test]
    fn a_token_is_required_only_if_one_is_set() {
        for (required, given, admitted) in [
            (None, None, true),
            (None, Some("x"), true),
            (Some("secret"), Some("secret"), true),
            (Some("secret"), Some("secreT"), false),
            (Some("secret"), Some("secret "), false),
            (Some("secret"), Some(""), false),
            (Some("secret"), None, false),
        ] {
            assert_eq!(check_token(required, given), admitted, "{required:?} {given:?}");
        }
    }
}
