//! Who gets in: no web pages of other origins, and only with the token if one is set.

use axum::extract::Request;
use axum::http::{StatusCode, header};
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

    fn admits_origin(&self, origin: &str) -> bool {
        self.allow_origins.iter().any(|allowed| allowed == "*" || allowed == origin)
    }
}

/// Refuses requests of web pages that are not allowed by name: any page could otherwise drive a local hub. It stands
/// before every service of the port, so the answer comes before anything is upgraded.
pub(crate) async fn check_origin(admission: std::sync::Arc<Admission>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN);
    let refused = origin.is_some_and(|origin| !origin.to_str().is_ok_and(|origin| admission.admits_origin(origin)));
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
