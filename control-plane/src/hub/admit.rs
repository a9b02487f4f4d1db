//! Admission to the hub: only web pages from allowed origins, and only clients with the token if one is set.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use subtle::{Choice, ConstantTimeEq};

use crate::config::Token;
use crate::connection::{Address, Connection};

/// A connection, such as a polling session, is closed if it does not join the namespace within this time.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many polling sessions one address may begin without the token within [`CONNECT_TIMEOUT`].
const HANDSHAKES: usize = 64;
/// Above this many addresses, those that have begun no session recently are forgotten.
const ADDRESSES: usize = 1_024;

/// The rules of admission.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    pub(crate) handshakes: Handshakes,
    /// The token that mesh and gRPC clients must present, if set.
    pub(crate) token: Option<Token>,
    /// Origins of web pages that may connect; `*` allows any.
    pub(crate) allow_origins: Vec<String>,
}

/// The `auth` payload of a connecting client.
#[derive(Debug, Deserialize)]
pub(crate) struct Auth {
    #[serde(default)]
    pub(crate) token: Option<String>,
}

/// Compares a presented token with the required one, in a time that depends only on the length of the presented one.
pub(crate) fn check_token(required: Option<&Token>, given: Option<&str>) -> bool {
    match (required, given) {
        (None, _) => true,
        (Some(required), Some(given)) => {
            let required = required.current();
            let pairs = given.bytes().zip(required.bytes().cycle());
            let same = pairs.fold(Choice::from(1), |same, (given, required)| same & given.ct_eq(&required));
            (same & given.len().ct_eq(&required.len())).into()
        }
        (Some(_), None) => false,
    }
}

/// The error text for a caller with this token: why it is not admitted, and what to do.
pub(crate) fn token_refusal(given: Option<&str>) -> &'static str {
    match given.filter(|token| !token.is_empty()) {
        None => {
            "the token is missing: this control plane requires one; set GLEITZEIT_TOKEN, or send `authorization: Bearer TOKEN`"
        }
        Some(_) => {
            "the token is wrong: it is not this control plane's; omit it (unset GLEITZEIT_TOKEN) if the control plane is your own \
             on this machine, otherwise use the one that it was started with"
        }
    }
}

/// When callers without the token began polling sessions, by address.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(Mutex<HashMap<Address, VecDeque<Instant>>>);

impl Handshakes {
    /// Whether this address may begin another session now.
    fn admit(&self, address: Address, now: Instant) -> bool {
        let is_over = |begun: &Instant| now.duration_since(*begun) >= CONNECT_TIMEOUT;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES {
            all.retain(|_, begun| begun.back().is_some_and(|last| !is_over(last)));
        }
        let begun = all.entry(address).or_default();
        while begun.front().is_some_and(is_over) {
            begun.pop_front();
        }
        let admitted = begun.len() < HANDSHAKES;
        if admitted {
            begun.push_back(now);
        }
        admitted
    }
}

/// Refuses WebSocket requests without the `Upgrade` header, which some proxies remove. Otherwise such a request would
/// be accepted and its connection closed without an error.
pub(crate) async fn check_upgrade(request: Request, next: Next) -> Response {
    let is_for_socket = request.uri().path().starts_with("/socket.io")
        && request.uri().query().is_some_and(|query| query.contains("transport=websocket"));
    let upgrade = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if is_for_socket && !upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        let text = "a WebSocket was requested without `Upgrade: websocket`; configure the proxy in between to forward upgrades\n";
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], text).into_response();
    }
    next.run(request).await
}

/// Limits the polling sessions that are begun without the token. Most clients present the token only after the session
/// has begun, so it must be created first. Over WebSocket, the connection limits apply instead.
pub(crate) async fn check_handshake(admission: Arc<Admission>, request: Request, next: Next) -> Response {
    let is_handshake = request.uri().path().starts_with("/socket.io")
        && request.uri().query().is_some_and(|query| {
            let mut pairs = query.split('&');
            query.contains("transport=polling") && !pairs.any(|pair| pair.starts_with("sid="))
        });
    if is_handshake && admission.token.is_some() {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let has_token = admission.admits_token(given.and_then(|value| value.strip_prefix("Bearer ")));
        let address = request.extensions().get::<Connection>().map(Connection::address);
        if !has_token && address.is_some_and(|address| !admission.handshakes.admit(address, Instant::now())) {
            let text = "RESOURCE_EXHAUSTED: too many unauthenticated sessions were begun from this address; use \
                        WebSocket, or send `authorization: Bearer TOKEN` (GLEITZEIT_TOKEN)\n";
            let retry_after = [(header::RETRY_AFTER, CONNECT_TIMEOUT.as_secs().to_string())];
            return (StatusCode::TOO_MANY_REQUESTS, retry_after, text).into_response();
        }
    }
    next.run(request).await
}

impl Admission {
    pub(crate) fn admits_token(&self, given: Option<&str>) -> bool {
        check_token(self.token.as_ref(), given)
    }

    fn admits_origin(&self, origin: &str, host: Option<&str>) -> bool {
        self.allow_origins.iter().any(|allowed| allowed == "*" || allowed == origin)
            || host.is_some_and(|host| is_own_origin(origin, host))
    }
}

/// Whether an origin names this very server, as some client libraries set it; no web page is served from here. It
/// counts only if the server was addressed by IP address or as `localhost`: a page could make a name of its own resolve
/// to this machine.
fn is_own_origin(origin: &str, host: &str) -> bool {
    let is_address = host.parse::<Authority>().is_ok_and(|authority| {
        let name = authority.host().trim_matches(['[', ']']);
        name == "localhost" || name.parse::<IpAddr>().is_ok()
    });
    is_address && origin.strip_prefix("http://") == Some(host)
}

/// Refuses requests from web pages whose origin is not allowed: otherwise any page could control a local hub. This
/// layer stands before every service of the port, so it answers before any upgrade.
pub(crate) async fn check_origin(admission: Arc<Admission>, request: Request, next: Next) -> Response {
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
    fn sessions_without_a_namespace_are_bounded_per_address() {
        let (handshakes, now) = (Handshakes::default(), Instant::now());
        let address = |n: u32| Address::from(IpAddr::from(n.to_be_bytes()));
        assert_eq!((0..100).filter(|_| handshakes.admit(address(1), now)).count(), HANDSHAKES);
        assert!(handshakes.admit(address(2), now));
        let later = now + CONNECT_TIMEOUT;
        assert!(handshakes.admit(address(1), later));
        for n in 3..3_000 {
            assert!(handshakes.admit(address(n), later + CONNECT_TIMEOUT * n));
        }
        assert!(handshakes.0.lock().expect("no panic").len() <= ADDRESSES);
    }

    #[test]
    fn a_missing_token_and_a_wrong_one_are_distinguished() {
        for (given, told) in [(None, "missing"), (Some(""), "missing"), (Some("x"), "wrong")] {
            let refusal = token_refusal(given);
            assert!(refusal.contains(told) && refusal.contains("GLEITZEIT_TOKEN"), "{given:?}: {refusal}");
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
            (Some("secret"), Some("secretsecret"), false),
            (Some("secret"), Some("sec"), false),
            (Some("secret"), Some("secreu"), false),
            (Some("secret"), None, false),
        ] {
            let token = required.map(Token::from);
            assert_eq!(check_token(token.as_ref(), given), admitted, "{required:?} {given:?}");
        }
    }
}
