//! What was found at an address where no control plane could be reached.
//!
//! Pure: [`crate::probe`] does the looking, and [`crate::cause`] words the explanation.

use gleitzeit_workflow::ErrorCode;

/// How many characters are shown of an unknown server's answer, or of a control plane's refusal.
const SHOWN: usize = 60;
const SHOWN_REFUSAL: usize = 300;
/// How the body of a control plane's answer to an unknown path begins.
const OURS: &str = "nothing is served here; gRPC, Socket.IO";
/// What servers answer to plain HTTP on a port for TLS: nginx, Go, Apache.
const WANTS_TLS: [&str; 3] =
    ["plain HTTP request was sent to HTTPS port", "an HTTP request to an HTTPS server", "plain HTTP to an SSL-enabled"];

/// What nginx answers, over TLS, to a client without a certificate.
const WANTS_CERTIFICATE: &str = "No required SSL certificate was sent";

/// What was found at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The host's name has no address; the string is the resolver's reason.
    NoHost(String),
    /// The host answers, but nothing listens at the port.
    Refused,
    /// There is no route to the host; the string is the system's reason.
    Unreachable(String),
    /// The host does not answer.
    NoAnswer,
    /// The server accepts connections and sends nothing.
    Silent,
    /// The server accepts connections and closes them without sending anything.
    Closed,
    /// The port expects TLS, and we spoke to it without.
    Tls,
    /// The port does not speak TLS, and we spoke to it with TLS.
    NotTls,
    /// The server speaks TLS, but the handshake fails; the string says why.
    NoHandshake(String),
    /// The server speaks TLS, but does not serve a host of the requested name.
    UnknownHost,
    /// The server requires a client certificate.
    WantsCertificate,
    /// A server whose certificate is not trusted.
    Untrusted {
        /// The certificate's host, its issuer, and what is wrong with it.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A server that answers over HTTP/1.
    Http {
        /// The HTTP status of the answer.
        status: u16,
        /// The server's name for itself; empty if it does not say.
        server: String,
    },
    /// A server that speaks only HTTP/2, as gRPC servers do.
    Http2,
    /// A control plane.
    ControlPlane {
        /// The name that a proxy in between gives itself; empty if there is no proxy, or it does not say.
        proxy: String,
        /// What the proxy does not let through, if that was checked.
        lacks: Option<Lacks>,
    },
    /// A control plane that refuses: the code and its own message.
    Refusal(ErrorCode, String),
    /// Something else; the string is how its answer begins.
    Other(String),
}

/// What a proxy does not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// HTTP/2 from its clients, which gRPC needs.
    Http2,
    /// gRPC calls: the proxy passes them on as HTTP/1.
    Grpc,
    /// gRPC calls in their original form: the control plane refuses what the proxy passes on, with this message.
    Refused(String),
    /// Upgrades to WebSocket.
    Upgrade,
}

impl Found {
    /// Classifies the answer to an HTTP/1 request or to the beginning of HTTP/2; `ended` says whether the server closed
    /// the connection after that.
    pub fn of_answer(answer: &[u8], ended: bool) -> Self {
        match answer {
            [] if ended => Self::Closed,
            [] => Self::Silent,
            // A TLS record: its type and the major version.
            [0x14..=0x17, 3, ..] => Self::Tls,
            answer if answer.starts_with(b"HTTP/1.") => http(&String::from_utf8_lossy(answer)),
            // A frame of the connection (stream 0): SETTINGS, with which both sides begin, or GOAWAY.
            [_, _, _, 4 | 7, _, 0, 0, 0, 0, ..] => Self::Http2,
            answer => Self::Other(shown(&String::from_utf8_lossy(answer), SHOWN)),
        }
    }

    /// Whether the finding may change soon: a control plane that is restarting looks like this for a while.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused
            | Self::Unreachable(_)
            | Self::NoAnswer
            | Self::Silent
            | Self::Closed
            | Self::NoHandshake(_) => true,
            Self::ControlPlane { lacks, .. } => lacks.is_none(),
            Self::Http { status, .. } => is_gateway(*status),
            Self::NoHost(_)
            | Self::Tls
            | Self::NotTls
            | Self::UnknownHost
            | Self::WantsCertificate
            | Self::Untrusted { .. }
            | Self::Http2
            | Self::Refusal(..)
            | Self::Other(_) => false,
        }
    }
}

/// Whether a proxy answers with this status when its server is away.
pub(crate) fn is_gateway(status: u16) -> bool {
    matches!(status, 502..=504)
}

fn http(answer: &str) -> Found {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let header = |wanted: &str| {
        head.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| shown(value, SHOWN))
        })
    };
    let server = header("server").unwrap_or_default();
    if WANTS_TLS.iter().any(|text| body.contains(text)) {
        return Found::Tls;
    }
    if body.contains(WANTS_CERTIFICATE) {
        return Found::WantsCertificate;
    }
    // A body without a length comes in chunks, each after a line with its size.
    let body = body.lines().find(|line| line.contains(' ')).unwrap_or(body).trim();
    if body.starts_with(OURS) {
        // Control planes send no `Server` header.
        let proxy = if server.is_empty() { header("via").unwrap_or_default() } else { server };
        return Found::ControlPlane { proxy, lacks: None };
    }
    let refusal = body.split_once(": ").and_then(|(name, text)| Some((ErrorCode::from_name(name)?, text)));
    match refusal {
        Some((code, text)) => Found::Refusal(code, shown(text, SHOWN_REFUSAL)),
        None => Found::Http { status, server },
    }
}

/// The start of the first non-empty line, without characters that a terminal would interpret.
fn shown(text: &str, most: usize) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let clean: String =
        line.chars().take(most).flat_map(|c| if c == '"' { vec![c] } else { c.escape_debug().collect() }).collect();
    if line.chars().count() > most { format!("{clean}…") } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http1(status: &str, body: &str) -> Found {
        let answer = format!("HTTP/1.1 {status}\r\nServer: nginx/1.25\r\nx: y\r\n\r\n{body}");
        Found::of_answer(answer.as_bytes(), true)
    }

    fn behind(proxy: &str) -> Found {
        Found::ControlPlane { proxy: proxy.to_owned(), lacks: None }
    }

    #[test]
    fn a_server_is_identified_by_the_start_of_its_answer() {
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
            (
                http1("400 Bad Request", "<center>No required SSL certificate was sent</center>"),
                Found::WantsCertificate,
            ),
            (http1("404 Not Found", &format!("{OURS}, /healthz are\n")), behind("nginx/1.25")),
            (http1("404 Not Found", &format!("4a\r\n{OURS}, /healthz are\n\r\n0\r\n\r\n")), behind("nginx/1.25")),
            (Found::of_answer(format!("HTTP/1.1 404 N\r\n\r\n{OURS}").as_bytes(), true), behind("")),
            (Found::of_answer(format!("HTTP/1.1 404 N\r\nVia: 1.1 x\r\n\r\n{OURS}").as_bytes(), true), behind("1.1 x")),
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
}
