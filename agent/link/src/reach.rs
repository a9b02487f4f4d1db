//! Why nobody could be reached at an address: from what was found there to what is told, and what to do about it.
//!
//! Pure: [`crate::probe`] does the looking. What is told has the address, what was found there, and the remedy.

use std::ffi::OsString;

use gleitzeit_core::ErrorCode;

/// So many characters of what a stranger says are shown, and of why a control plane refuses.
const SHOWN: usize = 60;
const SHOWN_REFUSAL: usize = 300;
/// The body of a control plane's own answer to a path that it does not serve begins so.
const OURS: &str = "nothing is served here; gRPC, Socket.IO";
/// What servers answer to plain HTTP on a port for TLS: nginx, Go, Apache.
const WANTS_TLS: [&str; 3] =
    ["plain HTTP request was sent to HTTPS port", "an HTTP request to an HTTPS server", "plain HTTP to an SSL-enabled"];

/// What was found at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The host's name has no address; why, in the words of whoever looked it up.
    NoHost(String),
    /// The host answers, and nothing listens at the port.
    Refused,
    /// There is no way to the host; why, in the words of the system.
    Unreachable(String),
    /// The host does not answer.
    NoAnswer,
    /// What listens accepts connections and says nothing.
    Silent,
    /// What listens accepts connections and closes them without a word.
    Closed,
    /// A port for TLS.
    Tls,
    /// A server that answers over HTTP/1.
    Http {
        /// The status of its answer.
        status: u16,
        /// What it calls itself; empty if it does not say.
        server: String,
    },
    /// A server that speaks HTTP/2 only, as those of gRPC do.
    Http2,
    /// A control plane.
    ControlPlane,
    /// A control plane that refuses: the code and its own words.
    Refusal(ErrorCode, String),
    /// Something else; how it begins.
    Other(String),
}

impl Found {
    /// What it is that answered so to a request over HTTP/1, or to the beginning of HTTP/2; `ended` if the connection was
    /// closed after that.
    pub fn of_answer(answer: &[u8], ended: bool) -> Self {
        match answer {
            [] if ended => Self::Closed,
            [] => Self::Silent,
            // A record of TLS: its type, and the major version.
            [0x14..=0x17, 3, ..] => Self::Tls,
            answer if answer.starts_with(b"HTTP/1.") => http(&String::from_utf8_lossy(answer)),
            // A frame of the connection (stream 0): SETTINGS, with which both sides begin, or GOAWAY.
            [_, _, _, 4 | 7, _, 0, 0, 0, 0, ..] => Self::Http2,
            answer => Self::Other(shown(&String::from_utf8_lossy(answer), SHOWN)),
        }
    }

    /// Whether it may be otherwise soon: a control plane that is started again looks so for a while.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused
            | Self::Unreachable(_)
            | Self::NoAnswer
            | Self::Silent
            | Self::Closed
            | Self::ControlPlane => true,
            Self::Http { status, .. } => is_gateway(*status),
            Self::NoHost(_) | Self::Tls | Self::Http2 | Self::Refusal(..) | Self::Other(_) => false,
        }
    }
}

/// What a proxy answers whose server is away.
fn is_gateway(status: u16) -> bool {
    matches!(status, 502..=504)
}

fn http(answer: &str) -> Found {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let server = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("server").then(|| shown(value, SHOWN))
    });
    if WANTS_TLS.iter().any(|text| body.contains(text)) {
        return Found::Tls;
    }
    // Bodies without a length come in pieces, each behind a line with its size.
    let body = body.lines().find(|line| line.contains(' ')).unwrap_or(body).trim();
    if body.starts_with(OURS) {
        return Found::ControlPlane;
    }
    let refusal = body.split_once(": ").and_then(|(name, text)| Some((ErrorCode::from_name(name)?, text)));
    match refusal {
        Some((code, text)) => Found::Refusal(code, shown(text, SHOWN_REFUSAL)),
        None => Found::Http { status, server: server.unwrap_or_default() },
    }
}

/// The start of the first line that says something, without anything that a terminal would obey.
fn shown(text: &str, most: usize) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let clean: String =
        line.chars().take(most).flat_map(|c| if c == '"' { vec![c] } else { c.escape_debug().collect() }).collect();
    if line.chars().count() > most { format!("{clean}…") } else { clean }
}

/// What a caller speaks with a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// gRPC, as clients do.
    Grpc,
    /// Socket.IO over WebSocket, as components do.
    Mesh,
}

/// Why a control plane cannot be reached, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its code of the error table.
    pub code: ErrorCode,
    /// What was found where, on one line.
    pub message: String,
    /// What to do about it, on one line.
    pub hint: String,
    /// Whether it may be otherwise soon, without anybody doing anything here.
    pub may_pass: bool,
}

impl Cause {
    /// Of what was found at `url` after the caller could not connect, which it says itself was for `reason`.
    pub fn new(url: &str, found: &Found, speech: Speech, reason: &str) -> Self {
        let (code, message) = told(url, found, speech, reason);
        Self { code, message, hint: hint(url, found, speech), may_pass: found.may_pass() }
    }

    /// The same where a variable, as [`proxy`] finds it, names a proxy: nothing here goes through one.
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

/// The variable that names a proxy for HTTP, if one does; `read` reads the environment.
pub fn proxy(read: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    let names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    names.into_iter().find(|name| read(name).is_some_and(|value| !value.is_empty()))
}

/// An address as anybody may read it: without a user and a password, and without what stands behind its path.
pub fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

fn told(url: &str, found: &Found, speech: Speech, reason: &str) -> (ErrorCode, String) {
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
        Found::Tls => (
            ErrorCode::NotAControlPlane,
            format!("{url} is a port for TLS (https), and control planes speak plain HTTP"),
        ),
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
        Found::ControlPlane => {
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
        Found::Tls => format!(
            "{NAME_IT}, `http://HOST:PORT` with the port that the control plane itself listens on; `https://` cannot be \
             reached directly: put a tunnel in between (stunnel, ssh -L)"
        ),
        Found::Http { status, .. } if is_gateway(*status) => {
            "start the control plane behind it, or see the proxy's log".to_owned()
        }
        Found::Http2 if matches!(port(url), Some(4317)) => {
            format!("port 4317 is that of collectors of OpenTelemetry: {NAME_IT}")
        }
        Found::Http { .. } | Found::Http2 | Found::Other(_) => format!(
            "another program has the port: {NAME_IT}, or start one on a free port: `gleitzeit start --port PORT`"
        ),
        Found::ControlPlane => match speech {
            Speech::Grpc => "try again; a proxy or load balancer in between must pass HTTP/2 without TLS".to_owned(),
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

    fn http1(status: &str, body: &str) -> Found {
        let answer = format!("HTTP/1.1 {status}\r\nServer: nginx/1.25\r\nx: y\r\n\r\n{body}");
        Found::of_answer(answer.as_bytes(), true)
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
    fn what_answers_is_known_by_its_first_words() {
        let other = |status| Found::Http { status, server: "nginx/1.25".to_owned() };
        let refused = "AUTHORIZATION_FAILED: this control plane is not called \"x\"; use its address\n";
        let hostile = "AUTHORIZATION_FAILED: \x1b[2Jgone\n";
        for (found, expected) in [
            (Found::of_answer(b"", true), Found::Closed),
            (Found::of_answer(b"", false), Found::Silent),
            (Found::of_answer(&[0x15, 3, 1, 0, 2, 2, 70], true), Found::Tls),
            (Found::of_answer(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9], true), Found::Http2),
            (Found::of_answer(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], true), Found::Http2),
            (Found::of_answer(b"SSH-2.0-OpenSSH_9.6\r\n", false), Found::Other("SSH-2.0-OpenSSH_9.6".to_owned())),
            (Found::of_answer(b"\0\x1b[2Jx", false), Found::Other("\\0\\u{1b}[2Jx".to_owned())),
            (http1("404 Not Found", "<html>nothing: here</html>"), other(404)),
            (http1("502 Bad Gateway", ""), other(502)),
            (http1("400 Bad Request", "The plain HTTP request was sent to HTTPS port"), Found::Tls),
            (http1("400 Bad Request", "Client sent an HTTP request to an HTTPS server.\n"), Found::Tls),
            (http1("404 Not Found", &format!("{OURS}, /healthz are\n")), Found::ControlPlane),
            (http1("404 Not Found", &format!("4a\r\n{OURS}, /healthz are\n\r\n0\r\n\r\n")), Found::ControlPlane),
            (
                http1("403 Forbidden", refused),
                Found::Refusal(
                    ErrorCode::AuthorizationFailed,
                    refused.trim()["AUTHORIZATION_FAILED: ".len()..].to_owned(),
                ),
            ),
            (
                http1("403 Forbidden", hostile),
                Found::Refusal(ErrorCode::AuthorizationFailed, "\\u{1b}[2Jgone".to_owned()),
            ),
            (Found::of_answer(b"HTTP/1.0", true), Found::Http { status: 0, server: String::new() }),
        ] {
            assert_eq!(found, expected);
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
            (Found::Tls, C::NotAControlPlane, "a port for TLS", "`http://HOST:PORT`", false),
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
            (Found::ControlPlane, C::ConnectionLost, "gRPC does not get through: why", "must pass HTTP/2", true),
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
        let mesh = Cause::new(URL, &Found::ControlPlane, Speech::Mesh, "why");
        assert!(mesh.message.contains("no WebSocket gets through"), "{}", mesh.message);
    }

    #[test]
    fn a_proxy_that_is_not_used_is_told_of_where_the_way_is_the_trouble() {
        let set = |name: &str| (name == "ALL_PROXY").then(|| OsString::from("socks5://proxy:1080"));
        let cause = |found: &Found| Cause::new(URL, found, Speech::Mesh, "");
        assert!(cause(&Found::NoAnswer).beside_proxy(proxy(set)).hint.contains("ALL_PROXY is set"));
        assert_eq!(cause(&Found::NoAnswer).beside_proxy(proxy(|_| None)), cause(&Found::NoAnswer));
        assert_eq!(cause(&Found::Tls).beside_proxy(proxy(set)), cause(&Found::Tls));
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
}
