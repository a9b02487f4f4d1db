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
    /// Whether the cause may go away soon without anybody doing anything on this side.
    pub may_pass: bool,
}

impl Cause {
    /// Builds the cause from what was found at `url` after the caller failed to connect; `reason` is the caller's own
    /// description of that failure.
    pub fn new(url: &str, found: &Found, speech: Speech, reason: &str) -> Self {
        let (code, message) = explain(url, found, speech, reason);
        Self { code, message, hint: hint(url, found, speech), may_pass: found.may_pass() }
    }

    /// Adds that a variable, as [`proxy`] finds it, names a proxy, and that nothing here connects through one.
    #[must_use]
    pub fn beside_proxy(mut self, name: Option<&str>) -> Self {
        let is_way = matches!(
            self.code,
            ErrorCode::NetworkUnreachable | ErrorCode::ConnectionTimeout | ErrorCode::ConnectionRefused
        );
        if let Some(name) = name.filter(|_| is_way) {
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

fn explain(url: &str, found: &Found, speech: Speech, reason: &str) -> (ErrorCode, String) {
    let url = &without_secrets(url);
    let host = host(url);
    match found {
        Found::NoHost(why) => (
            ErrorCode::NetworkUnreachable,
            format!("cannot connect to {url}: no address is known for the host `{host}` ({why})"),
        ),
        Found::Refused => (
            ErrorCode::ConnectionRefused,
            format!("cannot connect to {url}: nothing listens there (connection refused)"),
        ),
        Found::Unreachable(why) => (ErrorCode::NetworkUnreachable, format!("cannot connect to {url}: {why}")),
        Found::NoAnswer => {
            (ErrorCode::ConnectionTimeout, format!("cannot connect to {url}: the host does not answer ({reason})"))
        }
        Found::Silent => (
            ErrorCode::ConnectionTimeout,
            format!(
                "{url} accepts connections but said nothing ({reason}): either no control plane listens there, or it is stuck"
            ),
        ),
        Found::Closed => (
            ErrorCode::ConnectionLost,
            format!("{url} accepts connections and closes them without a word: no control plane answers there"),
        ),
        Found::Tls => {
            (ErrorCode::NotAControlPlane, format!("{url} is a port for TLS (https), and plain HTTP was spoken"))
        }
        Found::NotTls => {
            (ErrorCode::NotAControlPlane, format!("{url} is no port for TLS: what listens there speaks without it"))
        }
        Found::NoHandshake(why) => {
            (ErrorCode::ConnectionLost, format!("{url} is a port for TLS, but the handshake fails: {why}"))
        }
        Found::UnknownHost => (
            ErrorCode::ConnectionLost,
            format!("cannot connect to {url}: the server there serves no host of the name `{host}` over TLS"),
        ),
        Found::WantsCertificate => (
            ErrorCode::ConnectionLost,
            format!("cannot connect to {url}: the server there requires a client certificate, and none can be given"),
        ),
        Found::Untrusted { what, .. } => (ErrorCode::CertificateNotTrusted, format!("cannot connect to {url}: {what}")),
        Found::Http { status, server } if is_gateway(*status) => (
            ErrorCode::NetworkUnreachable,
            format!("{url} leads to a proxy whose control plane is away: it answers {status}{}", named(server)),
        ),
        Found::Http { status, server } => (
            ErrorCode::NotAControlPlane,
            format!("{url} is no control plane: another HTTP server answers there (status {status}{})", named(server)),
        ),
        Found::Http2 => (
            ErrorCode::NotAControlPlane,
            format!("{url} is no control plane: another server answers there, which speaks HTTP/2 only, as gRPC does"),
        ),
        Found::ControlPlane { proxy, lacks: Some(lacks) } => {
            let proxy = if proxy.is_empty() { String::new() } else { format!(" (`{proxy}`)") };
            let what = match lacks {
                Lacks::Http2 => "speaks HTTP/1 only, and gRPC needs HTTP/2".to_owned(),
                Lacks::Grpc => "passes calls on as HTTP/1, and gRPC needs HTTP/2".to_owned(),
                Lacks::Refused(text) => format!("passes calls of gRPC on in a way that is refused: {text}"),
                Lacks::Upgrade => "passes no upgrade to WebSocket, over which components come".to_owned(),
            };
            (
                ErrorCode::ConnectionLost,
                format!("a control plane answers at {url}, but the proxy before it{proxy} {what}"),
            )
        }
        Found::ControlPlane { lacks: None, .. } => {
            let how = match speech {
                Speech::Grpc => "gRPC does not get through",
                Speech::Mesh => "no WebSocket gets through",
            };
            (ErrorCode::ConnectionLost, format!("a control plane answers at {url}, but {how}: {reason}"))
        }
        Found::Refusal(code, text) => (*code, format!("the control plane at {url} refuses: {text}")),
        Found::Other(start) => (
            ErrorCode::NotAControlPlane,
            format!("{url} is no control plane: what listens there does not speak HTTP; it says `{start}`"),
        ),
    }
}

fn named(server: &str) -> String {
    if server.is_empty() { String::new() } else { format!(", server `{server}`") }
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
        Found::Tls => format!("write `https://` if a proxy with TLS stands before the control plane, or {NAME_IT}"),
        Found::NotTls => format!("write `http://` if it is the control plane's own port, or {NAME_IT}"),
        Found::NoHandshake(_) => {
            format!(
                "see the log of the proxy that ends TLS there: it must know this name and offer TLS 1.2 or 1.3; or {NAME_IT}"
            )
        }
        Found::UnknownHost => {
            format!(
                "use a name that the proxy there serves (nginx: `server_name`, and a certificate for it), or {NAME_IT}"
            )
        }
        Found::WantsCertificate => {
            "let the proxy ask for none (nginx: `ssl_verify_client off;`); the token says who may come in".to_owned()
        }
        Found::Untrusted { remedy, .. } => remedy.clone(),
        Found::Http { status, .. } if is_gateway(*status) => {
            "start the control plane behind it, or see the proxy's log".to_owned()
        }
        Found::Http2 if matches!(port(url), Some(4317)) => {
            format!("port 4317 is that of collectors of OpenTelemetry: {NAME_IT}")
        }
        Found::Http { .. } | Found::Http2 | Found::Other(_) => format!(
            "another program has the port: {NAME_IT}, or start one on a free port: `gleitzeit start --port PORT`"
        ),
        Found::ControlPlane { lacks: Some(lacks), .. } => match lacks {
            Lacks::Http2 => format!(
                "let it take HTTP/2 and pass calls on with it (nginx: `listen … ssl http2` and `grpc_pass`){}",
                if url.starts_with("https:") { "" } else { "; over plain HTTP most proxies cannot: use `https://`" }
            ),
            Lacks::Grpc => {
                "let it pass calls on over HTTP/2 (nginx: `grpc_pass grpc://…` for `/gleitzeit.v1.` and `/grpc.`)"
                    .to_owned()
            }
            Lacks::Refused(_) => {
                "let it pass on the name that it was called by (nginx: `grpc_set_header Host $host;`), and start the \
                 control plane with `--allow-host` of that name"
                    .to_owned()
            }
            Lacks::Upgrade => {
                "let it pass them (nginx: `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                               proxy_set_header Connection upgrade;` for `/socket.io/`)"
                    .to_owned()
            }
        },
        Found::ControlPlane { lacks: None, .. } => match speech {
            Speech::Grpc => "try again; a proxy or load balancer in between must pass HTTP/2".to_owned(),
            Speech::Mesh => "it is tried again; a proxy or load balancer in between must pass WebSockets".to_owned(),
        },
        Found::Refusal(code, _) => code.remedy().to_owned(),
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
    use super::*;

    const URL: &str = "http://hub.example:8000";

    fn behind(proxy: &str) -> Found {
        Found::ControlPlane { proxy: proxy.to_owned(), lacks: None }
    }

    fn lacking(lacks: Lacks) -> Found {
        Found::ControlPlane { proxy: "nginx/1.25".to_owned(), lacks: Some(lacks) }
    }

    #[test]
    fn no_secret_of_an_address_is_told() {
        for (url, expected) in [
            ("http://user:hunter2@hub:8000/x?api_key=y#z", "http://hub:8000/x"),
            ("user:hunter2@hub", "hub"),
            ("http://[::1]:8000", "http://[::1]:8000"),
        ] {
            assert_eq!(without_secrets(url), expected);
        }
    }

    #[test]
    fn each_cause_has_the_address_a_code_and_what_to_do() {
        use ErrorCode as C;
        let other = |status| Found::Http { status, server: "x".to_owned() };
        for (found, code, message, hint, may_pass) in [
            (Found::Refused, C::ConnectionRefused, "nothing listens there", "gleitzeit start", true),
            (
                Found::NoHost("unknown".to_owned()),
                C::NetworkUnreachable,
                "the host `hub.example` (unknown)",
                "DNS",
                false,
            ),
            (Found::Unreachable("no route".to_owned()), C::NetworkUnreachable, "no route", "the network", true),
            (Found::NoAnswer, C::ConnectionTimeout, "does not answer (why)", "firewalls", true),
            (Found::Silent, C::ConnectionTimeout, "accepts connections but said nothing (why)", "what listens", true),
            (Found::Closed, C::ConnectionLost, "closes them without a word", "what listens", true),
            (Found::Tls, C::NotAControlPlane, "a port for TLS", "write `https://`", false),
            (Found::NotTls, C::NotAControlPlane, "no port for TLS", "write `http://`", false),
            (Found::NoHandshake("why".to_owned()), C::ConnectionLost, "the handshake fails: why", "TLS 1.2", true),
            (Found::UnknownHost, C::ConnectionLost, "no host of the name `hub.example`", "server_name", false),
            (Found::WantsCertificate, C::ConnectionLost, "requires a client certificate", "ssl_verify_client", false),
            (
                Found::Untrusted { what: "it expired".to_owned(), remedy: "renew it".to_owned() },
                C::CertificateNotTrusted,
                "it expired",
                "renew it",
                false,
            ),
            (
                lacking(Lacks::Http2),
                C::ConnectionLost,
                "the proxy before it (`nginx/1.25`) speaks HTTP/1 only",
                "use `https://`",
                false,
            ),
            (lacking(Lacks::Grpc), C::ConnectionLost, "passes calls on as HTTP/1", "`grpc_pass grpc://…`", false),
            (
                lacking(Lacks::Refused("not so".into())),
                C::ConnectionLost,
                "is refused: not so",
                "grpc_set_header",
                false,
            ),
            (lacking(Lacks::Upgrade), C::ConnectionLost, "no upgrade to WebSocket", "Upgrade $http_upgrade", false),
            (
                other(404),
                C::NotAControlPlane,
                "another HTTP server answers there (status 404, server `x`)",
                "--port",
                false,
            ),
            (
                other(503),
                C::NetworkUnreachable,
                "a proxy whose control plane is away: it answers 503",
                "the proxy's log",
                true,
            ),
            (Found::Http2, C::NotAControlPlane, "HTTP/2 only", "another program has the port", false),
            (behind(""), C::ConnectionLost, "gRPC does not get through: why", "must pass HTTP/2", true),
            (Found::Other("SSH".to_owned()), C::NotAControlPlane, "it says `SSH`", "--hub-url", false),
            (
                Found::Refusal(C::AuthorizationFailed, "not called x".to_owned()),
                C::AuthorizationFailed,
                "not called x",
                "option",
                false,
            ),
        ] {
            let cause = Cause::new(URL, &found, Speech::Grpc, "why");
            assert_eq!((cause.code, cause.may_pass), (code, may_pass), "{found:?}");
            assert!(cause.message.contains(URL) && cause.message.contains(message), "{found:?}: {}", cause.message);
            assert!(cause.hint.contains(hint), "{found:?}: {}", cause.hint);
            assert!(!cause.message.contains('\n') && !cause.hint.contains('\n'), "{found:?}");
        }
        let collector = Cause::new("http://localhost:4317", &Found::Http2, Speech::Grpc, "");
        assert!(collector.hint.contains("OpenTelemetry"), "{}", collector.hint);
        let mesh = Cause::new(URL, &behind(""), Speech::Mesh, "why");
        assert!(mesh.message.contains("no WebSocket gets through"), "{}", mesh.message);
    }

    #[test]
    fn a_proxy_that_is_not_used_is_told_of_where_the_way_is_the_trouble() {
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
