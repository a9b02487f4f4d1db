//! The host names under which the control plane may be called. A web page can make a name of its own resolve to this
//! machine (DNS rebinding); its requests then reach a local port, but their `Host` header still shows that name.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::uri::Authority;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The names and addresses under which requests are answered.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    bound: IpAddr,
    /// Names besides the address and `localhost`, in lower case.
    names: Vec<String>,
    /// Whether any other name is accepted too.
    any_name: bool,
}

impl Hosts {
    /// The rule for a control plane that listens on `bound`. If the address is not loopback, clients usually use names
    /// that the control plane cannot know. So with a token, which no web page has, and without a list of names, any
    /// name is accepted.
    pub(crate) fn new(bound: IpAddr, allow: &[String], has_token: bool) -> Self {
        let names = allow.iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>();
        let any_name = !bound.is_loopback() && has_token && names.is_empty();
        Self { bound, names, any_name }
    }

    /// Whether a request may name this host: `HOST` or `HOST:PORT`.
    pub(crate) fn admit(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || self.names.contains(&name) {
            return true;
        }
        match name.parse::<IpAddr>() {
            Ok(ip) if self.bound.is_loopback() => ip.is_loopback(),
            Ok(ip) => self.bound.is_unspecified() || ip == self.bound || ip.is_loopback(),
            Err(_) => self.any_name,
        }
    }

    /// The refusal of a request under a name that is not accepted.
    pub(crate) fn refusal<B>(&self, request: &Request<B>) -> Option<Response> {
        let of_header = || request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
        let host = request.uri().authority().map(Authority::as_str).or_else(of_header)?;
        if self.admit(host) {
            return None;
        }
        let text = format!(
            "AUTHORIZATION_FAILED: this control plane is not called {host:?}; use its address or localhost, or start \
             it with `--allow-host NAME`\n"
        );
        Some((StatusCode::FORBIDDEN, text).into_response().map(Body::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_accepted_for_the_address_localhost_and_allowed_names() {
        let hosts = |bound: &str, allow: &[&str], has_token| {
            let allow: Vec<String> = allow.iter().map(|&name| name.to_owned()).collect();
            Hosts::new(bound.parse().expect("an address"), &allow, has_token)
        };
        let here = hosts("127.0.0.1", &["Hub.Example"], true);
        for (host, is_admitted) in [
            ("127.0.0.1:8000", true),
            ("localhost:8000", true),
            ("LOCALHOST.", true),
            ("[::1]:8000", true),
            ("hub.example:1", true),
            ("10.0.0.1:8000", false),
            ("rebound.example:8000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(here.admit(host), is_admitted, "{host}");
        }
        let everywhere = "0.0.0.0";
        assert!(hosts(everywhere, &[], true).admit("hub:8000"), "a token protects it");
        assert!(!hosts(everywhere, &[], false).admit("hub:8000"), "nothing else does");
        assert!(!hosts(everywhere, &["a"], true).admit("hub:8000"), "others were named");
        assert!(hosts(everywhere, &[], false).admit("10.1.2.3:8000"));
        assert!(hosts("10.1.2.3", &[], false).admit("10.1.2.3:8000"));
        assert!(!hosts("10.1.2.3", &[], false).admit("10.1.2.4:8000"));
    }
}
