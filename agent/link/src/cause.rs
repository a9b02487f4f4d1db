//! Explains why no control plane could be reached at an address: what was found there, and what to do about it.
//!
//! Pure: [`crate::probe`] does the looking. Each explanation names the address, what was found there, and the remedy.

use std::ffi::OsString;

use gleitzeit_workflow::ErrorCode;

use crate::reach::{Found, Lacks, is_gateway};

/// The protocol in which a caller speaks to a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// gRPC, as clients do.
    Grpc,
    /// Socket.IO over WebSocket, as components do.
    Mesh,
}

/// Why a control plane cannot be reached, in a form that can be shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The code from the error table.
    pub code: ErrorCode,
    /// What was found at which address, on one line.
    pub message: String,
    /// What the reader can do about it, on one line.
    pub hint: String,
    /// Whether the cause may disappear soon without a change on this side.
    pub may_pass: bool,
}

impl Cause {
    /// Builds the cause from what was found at `url` after the caller failed to connect; `reason` is the caller's own
    /// description of that failure.
    pub fn new(url: &str, found: &Found, speech: Speech, reason: &str) -> Self {
        let message = message(&without_secrets(url), found, speech, reason);
        Self { code: code(found), message, hint: hint(url, found, speech), may_pass: found.may_pass() }
    }

    /// Adds a note that a variable, as found by [`proxy`], names a proxy, and that connections do not use it.
    #[must_use]
    pub fn beside_proxy(mut self, name: Option<&str>) -> Self {
        let is_unreached = matches!(
            self.code,
            ErrorCode::NetworkUnreachable | ErrorCode::ConnectionTimeout | ErrorCode::ConnectionRefused
        );
        if let Some(name) = name.filter(|_| is_unreached) {
            self.hint =
                format!("{}; {name} is set, but control planes are reached directly, not through a proxy", self.hint);
        }
        self
    }
}

/// The variable that names a proxy for an address, if there is one; `read` reads the environment.
pub fn proxy(url: &str, read: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    let own =
        if url.trim().starts_with("https://") { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let names = [own[0], own[1], "ALL_PROXY", "all_proxy"];
    names.into_iter().find(|name| read(name).is_some_and(|value| !value.is_empty()))
}

/// The address in a form that is safe to show: without user, password, and anything after its path.
pub fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

fn code(found: &Found) -> ErrorCode {
    match found {
        Found::Refused => ErrorCode::ConnectionRefused,
        Found::NoAnswer | Found::Silent => ErrorCode::ConnectionTimeout,
        Found::NoHost(_) | Found::Unreachable(_) => ErrorCode::NetworkUnreachable,
        Found::Http { status, .. } if is_gateway(*status) => ErrorCode::NetworkUnreachable,
        Found::Closed
        | Found::NoHandshake(_)
        | Found::UnknownHost
        | Found::WantsCertificate
        | Found::ControlPlane { .. } => ErrorCode::ConnectionLost,
        Found::Tls | Found::NotTls | Found::Http { .. } | Found::Http2 | Found::Other(_) => ErrorCode::NotAControlPlane,
        Found::Untrusted { .. } => ErrorCode::CertificateNotTrusted,
        Found::Refusal(code, _) => *code,
    }
}

fn message(url: &str, found: &Found, speech: Speech, reason: &str) -> String {
    let host = host(url);
    match found {
        Found::NoHost(why) => format!("cannot connect to {url}: no address is known for the host `{host}` ({why})"),
        Found::Refused => format!("cannot connect to {url}: nothing listens there (connection refused)"),
        Found::Unreachable(why) => format!("cannot connect to {url}: {why}"),
        Found::NoAnswer => format!("cannot connect to {url}: the host does not answer ({reason})"),
        Found::Silent => format!(
            "{url} accepts connections but sends nothing ({reason}): either no control plane listens there, or it is stuck"
        ),
        Found::Closed => {
            format!("{url} accepts connections and closes them without an answer: no control plane answers there")
        }
        Found::Tls => format!("{url} is a port for TLS (https), but the client used plain HTTP"),
        Found::NotTls => format!("{url} is not a port for TLS: the server there does not use TLS"),
        Found::NoHandshake(why) => format!("{url} is a port for TLS, but the handshake fails: {why}"),
        Found::UnknownHost => {
            format!("cannot connect to {url}: the server there does not serve the host name `{host}` over TLS")
        }
        Found::WantsCertificate => format!(
            "cannot connect to {url}: the server there requires a client certificate, and clients here have none"
        ),
        Found::Untrusted { what, .. } => format!("cannot connect to {url}: {what}"),
        Found::Http { status, server } if is_gateway(*status) => {
            format!("{url} leads to a proxy that cannot reach its control plane: it answers {status}{}", named(server))
        }
        Found::Http { status, server } => format!(
            "{url} is not a control plane: another HTTP server answers there (status {status}{})",
            named(server)
        ),
        Found::Http2 => {
            format!(
                "{url} is not a control plane: another server answers there, which speaks HTTP/2 only, as gRPC does"
            )
        }
        Found::ControlPlane { proxy, lacks: Some(lacks) } => message_for_proxy(url, proxy, lacks),
        Found::ControlPlane { lacks: None, .. } => {
            let what = match speech {
                Speech::Grpc => "gRPC",
                Speech::Mesh => "WebSocket",
            };
            format!("a control plane answers at {url}, but {what} does not get through: {reason}")
        }
        Found::Refusal(_, text) => format!("the control plane at {url} refuses the connection: {text}"),
        Found::Other(start) => {
            format!("{url} is not a control plane: the server there does not speak HTTP; its answer is `{start}`")
        }
    }
}

fn named(server: &str) -> String {
    if server.is_empty() { String::new() } else { format!(", server `{server}`") }
}

fn message_for_proxy(url: &str, proxy: &str, lacks: &Lacks) -> String {
    let proxy = if proxy.is_empty() { String::new() } else { format!(" (`{proxy}`)") };
    let what = match lacks {
        Lacks::Http2 => "speaks HTTP/1 only, and gRPC needs HTTP/2".to_owned(),
        Lacks::Grpc => "forwards calls over HTTP/1, and gRPC needs HTTP/2".to_owned(),
        Lacks::Refused(text) => format!("forwards gRPC calls in a form that the control plane refuses: {text}"),
        Lacks::Upgrade => "does not forward WebSocket upgrades, which components need".to_owned(),
    };
    format!("a control plane answers at {url}, but the proxy in front of it{proxy} {what}")
}

fn hint(url: &str, found: &Found, speech: Speech) -> String {
    const NAME_IT: &str = "name the control plane's address with --hub-url or GLEITZEIT_HUB_URL";
    match found {
        Found::Refused => {
            "start one with `gleitzeit start`, or name one with --hub-url or GLEITZEIT_HUB_URL".to_owned()
        }
        Found::NoHost(_) => format!("check the spelling of the host and this machine's DNS, or {NAME_IT}"),
        Found::Unreachable(_) | Found::NoAnswer => {
            format!("check the address, the network, and firewalls between here and there, or {NAME_IT}")
        }
        Found::Silent | Found::Closed => format!("see what listens there (`ss -ltnp`), or {NAME_IT}"),
        Found::Tls => format!("write `https://` if a TLS proxy is in front of the control plane, or {NAME_IT}"),
        Found::NotTls => format!("write `http://` if this is the control plane's own port, or {NAME_IT}"),
        Found::NoHandshake(_) => format!(
            "see the log of the proxy that terminates TLS there: it must know this host name and offer TLS 1.2 or 1.3; or {NAME_IT}"
        ),
        Found::UnknownHost => format!(
            "use a name that the proxy there serves (nginx: `server_name`, and a certificate for it), or {NAME_IT}"
        ),
        Found::WantsCertificate => {
            "configure the proxy to ask for none (nginx: `ssl_verify_client off;`); the token authenticates clients"
                .to_owned()
        }
        Found::Untrusted { remedy, .. } => remedy.clone(),
        Found::Http { status, .. } if is_gateway(*status) => {
            "start the control plane behind it, or see the proxy's log".to_owned()
        }
        Found::Http2 if matches!(port(url), Some(4317)) => {
            format!("port 4317 is the usual port of OpenTelemetry collectors: {NAME_IT}")
        }
        Found::Http { .. } | Found::Http2 | Found::Other(_) => format!(
            "another program uses the port: {NAME_IT}, or start one on a free port: `gleitzeit start --port PORT`"
        ),
        Found::ControlPlane { lacks: Some(lacks), .. } => hint_for_proxy(url, lacks),
        Found::ControlPlane { lacks: None, .. } => match speech {
            Speech::Grpc => "try again; a proxy or load balancer in between must support HTTP/2".to_owned(),
            Speech::Mesh => {
                "the connection is retried; a proxy or load balancer in between must support WebSockets".to_owned()
            }
        },
        Found::Refusal(code, _) => code.remedy().to_owned(),
    }
}

fn hint_for_proxy(url: &str, lacks: &Lacks) -> String {
    match lacks {
        Lacks::Http2 => format!(
            "configure the proxy to accept HTTP/2 and to forward calls over it (nginx: `listen … ssl http2` and \
             `grpc_pass`){}",
            if url.starts_with("https:") { "" } else { "; most proxies support this only over TLS: use `https://`" }
        ),
        Lacks::Grpc => "configure the proxy to forward calls over HTTP/2 (nginx: `grpc_pass grpc://…` for \
                        `/gleitzeit.v1.` and `/grpc.`)"
            .to_owned(),
        Lacks::Refused(_) => "configure the proxy to forward the host name of the request (nginx: \
                              `grpc_set_header Host $host;`), and start the control plane with `--allow-host` of that \
                              name"
            .to_owned(),
        Lacks::Upgrade => "configure the proxy to forward them (nginx: `proxy_http_version 1.1; proxy_set_header \
                           Upgrade $http_upgrade; proxy_set_header Connection upgrade;` for `/socket.io/`)"
            .to_owned(),
    }
}

fn host(url: &str) -> &str {
    let authority = url.split("://").last().unwrap_or(url);
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

fn port(url: &str) -> Option<u16> {
    url.rsplit_once(':')?.1.trim_end_matches('/').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{ErrorCode as C, *};

    const URL: &str = "http://hub.example:8000";

    fn behind(proxy: &str) -> Found {
        Found::ControlPlane { proxy: proxy.to_owned(), lacks: None }
    }

    fn lacking(lacks: Lacks) -> Found {
        Found::ControlPlane { proxy: "nginx/1.25".to_owned(), lacks: Some(lacks) }
    }

    fn http(status: u16) -> Found {
        Found::Http { status, server: "x".to_owned() }
    }

    #[test]
    fn secrets_in_an_address_are_not_shown() {
        for (url, expected) in [
            ("http://user:hunter2@hub:8000/x?api_key=y#z", "http://hub:8000/x"),
            ("user:hunter2@hub", "hub"),
            ("http://[::1]:8000", "http://[::1]:8000"),
        ] {
            assert_eq!(without_secrets(url), expected);
        }
    }

    /// The finding, and of its cause: the code, a part of the message, a part of the hint, and whether it may pass.
    type Case = (Found, ErrorCode, &'static str, &'static str, bool);

    fn check(cases: impl IntoIterator<Item = Case>) {
        for (found, code, message, hint, may_pass) in cases {
            let cause = Cause::new(URL, &found, Speech::Grpc, "why");
            assert_eq!((cause.code, cause.may_pass), (code, may_pass), "{found:?}");
            assert!(cause.message.contains(URL) && cause.message.contains(message), "{found:?}: {}", cause.message);
            assert!(cause.hint.contains(hint), "{found:?}: {}", cause.hint);
            assert!(!cause.message.contains('\n') && !cause.hint.contains('\n'), "{found:?}");
        }
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_explained() {
        let host_unknown = "the host `hub.example` (unknown)";
        check([
            (Found::Refused, C::ConnectionRefused, "nothing listens there", "gleitzeit start", true),
            (Found::NoHost("unknown".to_owned()), C::NetworkUnreachable, host_unknown, "DNS", false),
            (Found::Unreachable("no route".to_owned()), C::NetworkUnreachable, "no route", "the network", true),
            (Found::NoAnswer, C::ConnectionTimeout, "does not answer (why)", "firewalls", true),
            (Found::Silent, C::ConnectionTimeout, "accepts connections but sends nothing (why)", "what listens", true),
            (Found::Closed, C::ConnectionLost, "closes them without an answer", "what listens", true),
        ]);
    }

    #[test]
    fn a_problem_with_tls_is_explained() {
        let untrusted = Found::Untrusted { what: "it expired".to_owned(), remedy: "renew it".to_owned() };
        let certificate = "requires a client certificate";
        check([
            (Found::Tls, C::NotAControlPlane, "a port for TLS", "write `https://`", false),
            (Found::NotTls, C::NotAControlPlane, "not a port for TLS", "write `http://`", false),
            (Found::NoHandshake("why".to_owned()), C::ConnectionLost, "the handshake fails: why", "TLS 1.2", true),
            (Found::UnknownHost, C::ConnectionLost, "the host name `hub.example`", "server_name", false),
            (Found::WantsCertificate, C::ConnectionLost, certificate, "ssl_verify_client", false),
            (untrusted, C::CertificateNotTrusted, "it expired", "renew it", false),
        ]);
    }

    #[test]
    fn a_proxy_in_front_of_a_control_plane_is_explained() {
        let http1 = "the proxy in front of it (`nginx/1.25`) speaks HTTP/1 only";
        let away = "a proxy that cannot reach its control plane: it answers 503";
        let refused = Lacks::Refused("wrong host".to_owned());
        check([
            (lacking(Lacks::Http2), C::ConnectionLost, http1, "use `https://`", false),
            (lacking(Lacks::Grpc), C::ConnectionLost, "forwards calls over HTTP/1", "`grpc_pass grpc://…`", false),
            (lacking(refused), C::ConnectionLost, "refuses: wrong host", "grpc_set_header", false),
            (lacking(Lacks::Upgrade), C::ConnectionLost, "WebSocket upgrades", "Upgrade $http_upgrade", false),
            (http(503), C::NetworkUnreachable, away, "the proxy's log", true),
            (behind(""), C::ConnectionLost, "gRPC does not get through: why", "must support HTTP/2", true),
        ]);
        let mesh = Cause::new(URL, &behind(""), Speech::Mesh, "why");
        assert!(mesh.message.contains("WebSocket does not get through"), "{}", mesh.message);
    }

    #[test]
    fn another_server_and_a_refusal_are_explained() {
        let other_http = "another HTTP server answers there (status 404, server `x`)";
        let refusal = Found::Refusal(C::AuthorizationFailed, "not called x".to_owned());
        check([
            (http(404), C::NotAControlPlane, other_http, "--port", false),
            (Found::Http2, C::NotAControlPlane, "HTTP/2 only", "another program uses the port", false),
            (Found::Other("SSH".to_owned()), C::NotAControlPlane, "its answer is `SSH`", "--hub-url", false),
            (refusal, C::AuthorizationFailed, "not called x", "option", false),
        ]);
        let collector = Cause::new("http://localhost:4317", &Found::Http2, Speech::Grpc, "");
        assert!(collector.hint.contains("OpenTelemetry"), "{}", collector.hint);
    }

    #[test]
    fn an_unused_proxy_is_named_if_the_host_cannot_be_reached() {
        let set = |name: &str| (name == "ALL_PROXY").then(|| OsString::from("socks5://proxy:1080"));
        let cause = |found: &Found| Cause::new(URL, found, Speech::Mesh, "");
        assert!(cause(&Found::NoAnswer).beside_proxy(proxy(URL, set)).hint.contains("ALL_PROXY is set"));
        assert_eq!(cause(&Found::NoAnswer).beside_proxy(proxy(URL, |_| None)), cause(&Found::NoAnswer));
        assert_eq!(cause(&Found::Tls).beside_proxy(proxy(URL, set)), cause(&Found::Tls));
    }

    #[test]
    fn hosts_and_ports_are_read_from_addresses() {
        for (url, expected) in [
            ("http://hub:8000", ("hub", Some(8000))),
            ("http://[::1]:8000", ("[::1]", Some(8000))),
            ("http://[::1]", ("[::1]", None)),
            ("http://hub", ("hub", None)),
        ] {
            assert_eq!((host(url), port(url)), expected, "{url}");
        }
    }

    #[test]
    fn the_variable_of_a_proxy_is_that_of_the_scheme() {
        let set = |names: &'static [&'static str]| move |name: &str| names.contains(&name).then(|| "p:1".into());
        for (url, names, expected) in [
            ("http://h", &["HTTPS_PROXY", "HTTP_PROXY"][..], Some("HTTP_PROXY")),
            ("h:8000", &["http_proxy"][..], Some("http_proxy")),
            ("https://h", &["HTTPS_PROXY", "HTTP_PROXY"][..], Some("HTTPS_PROXY")),
            ("https://h", &["HTTP_PROXY"][..], None),
            ("https://h", &["all_proxy"][..], Some("all_proxy")),
        ] {
            assert_eq!(proxy(url, set(names)), expected, "{url} {names:?}");
        }
    }
}
