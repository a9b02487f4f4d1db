//! The receivers of spans or metrics, as OpenTelemetry's variables name them: finds out what is at the address if it
//! does not accept the data, and what to do about it.
//!
//! The export library says little more than "network error". The address is checked once at the start, since a wrong
//! protocol would otherwise show only with the first export, and again after a failed export.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use gleitzeit_link::{Found, HTTP2, PROBE_LIMIT, probe, probe_tls};
use gleitzeit_tls::Trust;

use super::export_clients::{self, ExportClient, Http};
use crate::error::CommandError;
use crate::trust;

/// How long a finding is reused.
const KEPT: Duration = Duration::from_secs(30);

/// How long to wait for an answer if no variable says otherwise, OpenTelemetry's default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The protocol of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Http,
    Grpc,
}

/// The receiver of one signal.
#[derive(Debug)]
pub(super) struct Receiver {
    signal: &'static str,
    speech: Speech,
    url: String,
    /// How long to wait for an answer.
    timeout: Duration,
    /// The file of an additional root, and the variable that names it.
    certificate: Option<(&'static str, String)>,
    address: Option<Address>,
    /// The variable that names a proxy for HTTP requests.
    proxy: Option<&'static str>,
    known: Mutex<Option<(Instant, Found)>>,
}

/// The parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    is_tls: bool,
    authority: String,
    host: String,
    port: u16,
    path: String,
}

/// A finding about a receiver, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Advice {
    what: String,
    remedy: String,
    /// Whether it persists until somebody changes something; a receiver that is down comes back.
    lasts: bool,
}

impl Receiver {
    /// The receiver of a signal such as `TRACES`, from the variables, which `read` reads.
    ///
    /// # Errors
    /// If the time limit is no number of milliseconds.
    pub(super) fn new(signal: &'static str, read: impl Fn(&str) -> Option<String>) -> Result<Self, CommandError> {
        let set = |name: &str| read(name).filter(|value| !value.is_empty());
        let own = |what: &str| set(&format!("OTEL_EXPORTER_OTLP_{signal}_{what}"));
        let protocol = own("PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let speech = if protocol.as_deref() == Some("grpc") { Speech::Grpc } else { Speech::Http };
        let common = || {
            let base = set("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_default();
            match speech {
                Speech::Http => format!("{}/v1/{}", base.trim_end_matches('/'), signal.to_ascii_lowercase()),
                Speech::Grpc => base,
            }
        };
        let url = own("ENDPOINT").unwrap_or_else(common);
        let address = Address::of(&url);
        let is_http = speech == Speech::Http;
        let proxy = address.as_ref().filter(|_| is_http).and_then(|address| proxy(address, set));
        let names = [format!("OTEL_EXPORTER_OTLP_{signal}_TIMEOUT"), "OTEL_EXPORTER_OTLP_TIMEOUT".to_owned()];
        let named = names.into_iter().find_map(|name| set(&name).map(|text| (name, text)));
        let timeout = named.map_or(Ok(TIMEOUT), |(name, text)| milliseconds(&name, &text))?;
        let of_signal = match signal {
            "METRICS" => "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
            _ => "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        };
        let certificate =
            [of_signal, "OTEL_EXPORTER_OTLP_CERTIFICATE"].into_iter().find_map(|name| Some((name, set(name)?)));
        Ok(Self { signal, speech, url, timeout, certificate, address, proxy, known: Mutex::new(None) })
    }

    /// The signal that it receives, such as `TRACES`.
    pub(super) fn signal(&self) -> &'static str {
        self.signal
    }

    /// The roots of this process, and the additional one that OpenTelemetry's variables name.
    fn trust(&self) -> Trust {
        let roots = trust::roots();
        self.certificate.as_ref().map_or(roots.clone(), |(named, path)| roots.with(named, path))
    }

    /// The client for exports; must be called inside the runtime that sends.
    ///
    /// # Errors
    /// If no client can be made.
    pub(super) fn way(&self) -> Result<ExportClient, String> {
        let trust = self.trust();
        match self.speech {
            Speech::Http => Http::new(self.timeout, &trust).map(ExportClient::Http),
            Speech::Grpc if self.url.starts_with("https:") => {
                export_clients::grpc(&self.url, self.timeout, &trust).map(|channel| ExportClient::Grpc(Some(channel)))
            }
            Speech::Grpc => Ok(ExportClient::Grpc(None)),
        }
    }

    /// Checks what is at the address, and logs once if it cannot be the intended receiver.
    pub(super) async fn check(&self) {
        // A receiver behind a proxy cannot be checked directly.
        if self.proxy.is_some() {
            return;
        }
        let Some(advice) = self.advice().await.filter(|advice| advice.lasts) else { return };
        let signal = self.signal.to_ascii_lowercase();
        tracing::warn!(
            endpoint = shown(&self.url),
            remedy = advice.remedy,
            "no {signal} will be exported: {}",
            advice.what
        );
    }

    /// Explains a failed export: the address, the reason, and what to do.
    pub(super) async fn explain(&self, error: &str) -> String {
        let error = error.strip_prefix("Operation failed: ").unwrap_or(error);
        let way = match (self.speech, self.proxy) {
            (Speech::Http, Some(name)) => format!(" over HTTP through the proxy of {name}"),
            (Speech::Http, None) => " over HTTP".to_owned(),
            (Speech::Grpc, _) => " over gRPC".to_owned(),
        };
        let failed = format!("to {}{way}: {error}", shown(&self.url));
        if self.proxy.is_some() {
            return format!("{failed}; set NO_PROXY to reach it directly");
        }
        match self.advice().await {
            Some(advice) => format!("{failed}: {}; {}", advice.what, advice.remedy),
            None => failed,
        }
    }

    async fn advice(&self) -> Option<Advice> {
        let address = self.address.as_ref()?;
        let known = || self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let recent = known().as_ref().filter(|(at, _)| at.elapsed() < KEPT).map(|(_, found)| found.clone());
        let found = match recent {
            Some(found) => found,
            None => {
                let (host, port, asked) = (&address.host, address.port, question(self.speech, address));
                let found = match address.is_tls {
                    // A server that speaks only HTTP/2 says so before any request.
                    true => probe_tls(host, port, &asked, PROBE_LIMIT, &self.trust()).await,
                    false => probe(host, port, &asked, PROBE_LIMIT).await,
                };
                *known() = Some((Instant::now(), found.clone()));
                found
            }
        };
        advice(self.speech, address, &found)
    }
}

/// The address in a form that is safe to show: without a user, a password and anything after its path.
fn shown(url: &str) -> String {
    gleitzeit_link::without_secrets(url)
}

impl Address {
    /// `None` if it is not an address with a scheme: the exporter reports that itself.
    fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, if is_tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        (!host.is_empty()).then(|| Self { is_tls, authority: authority.to_owned(), host, port, path: path.to_owned() })
    }
}

/// The variable that names the proxy for HTTP requests to an address, as the library reads them.
fn proxy(address: &Address, set: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let names = match address.is_tls {
        true => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        false => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    let exempt = set("NO_PROXY").or_else(|| set("no_proxy")).unwrap_or_default();
    if exempt.split(',').any(|entry| is_exempt(&address.host, entry.trim())) {
        return None;
    }
    names.into_iter().find(|name| set(name).is_some())
}

/// Whether an entry of `NO_PROXY` covers a host: everything, a domain, an address, or a network.
fn is_exempt(host: &str, entry: &str) -> bool {
    if entry == "*" {
        return true;
    }
    let Ok(ip) = host.parse::<IpAddr>() else {
        let domain = entry.trim_start_matches('.').to_ascii_lowercase();
        let host = host.to_ascii_lowercase();
        return !domain.is_empty()
            && host.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    };
    let (network, length) = entry.split_once('/').unwrap_or((entry, "128"));
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let (shared, width) = match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => ((ip.to_bits() ^ network.to_bits()).leading_zeros(), 32),
        (IpAddr::V6(ip), IpAddr::V6(network)) => ((ip.to_bits() ^ network.to_bits()).leading_zeros(), 128),
        _ => return false,
    };
    shared >= length.min(width)
}

/// The request that finds out what listens: over HTTP, an empty export in the correct form.
fn question(speech: Speech, address: &Address) -> Vec<u8> {
    match speech {
        Speech::Grpc => HTTP2.to_vec(),
        Speech::Http => format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nuser-agent: gleitzeit/{}\r\ncontent-type: application/x-protobuf\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n",
            address.path,
            address.authority,
            env!("CARGO_PKG_VERSION")
        )
        .into_bytes(),
    }
}

/// What is wrong with the server that was found; `None` if it may well be a receiver.
fn advice(speech: Speech, address: &Address, found: &Found) -> Option<Advice> {
    let Address { authority, .. } = address;
    Some(match found {
        Found::NoHost(why) => Advice::lasting(
            format!("no address is known for the host `{}` ({why})", address.host),
            "correct OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        Found::Refused => Advice::passing(format!("nothing listens at {authority}")),
        Found::Unreachable(why) => Advice::passing(format!("{authority} cannot be reached ({why})")),
        Found::NoAnswer => Advice::passing(format!("{authority} does not answer")),
        Found::Untrusted { what, remedy } => Advice::lasting(what.clone(), remedy),
        Found::NotTls => {
            Advice::lasting(format!("{authority} does not use TLS"), "write OTEL_EXPORTER_OTLP_ENDPOINT with `http://`")
        }
        Found::UnknownHost => Advice::lasting(
            format!("the server at {authority} does not serve that host name over TLS"),
            "write OTEL_EXPORTER_OTLP_ENDPOINT with a name that it serves",
        ),
        Found::WantsCertificate => Advice::lasting(
            format!("the server at {authority} requires a client certificate, and none can be given"),
            "configure the server to require none",
        ),
        Found::NoHandshake(why) => Advice::passing(format!("the TLS handshake with {authority} fails ({why})")),
        Found::Tls => Advice::lasting(
            format!("{authority} is a port for TLS"),
            "write OTEL_EXPORTER_OTLP_ENDPOINT with `https://`",
        ),
        Found::Silent => Advice::passing(format!("{authority} accepts connections but sends nothing")),
        Found::Other(start) => Advice::lasting(
            format!("the server at {authority} is not an OTLP receiver: it sends `{start}`"),
            "correct OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        Found::ControlPlane { .. } | Found::Refusal(..) => Advice::lasting(
            format!("a Gleitzeit control plane listens at {authority}, and it does not receive telemetry"),
            "set OTEL_EXPORTER_OTLP_ENDPOINT to a collector",
        ),
        Found::Http2 => return on_http2(speech, address),
        Found::Closed => on_closing(speech, address),
        Found::Http { status, .. } => return on_http1(speech, address, *status),
    })
}

/// Advice on a server that speaks only HTTP/2.
fn on_http2(speech: Speech, address: &Address) -> Option<Advice> {
    match speech {
        // HTTP/2 is offered as well when spans are sent.
        Speech::Http if address.is_tls => None,
        Speech::Http => Some(Advice::grpc_only(address)),
        Speech::Grpc => None,
    }
}

/// Advice on a server that closes the connection without an answer.
fn on_closing(speech: Speech, address: &Address) -> Advice {
    if speech == Speech::Http && address.port == 4317 {
        return Advice::grpc_only(address);
    }
    Advice::passing(format!("{} closes connections without an answer", address.authority))
}

/// Advice on a server that answers over HTTP/1.
fn on_http1(speech: Speech, Address { authority, path, is_tls, .. }: &Address, status: u16) -> Option<Advice> {
    match (speech, status) {
        // Over TLS both protocols are offered HTTP/1 here; the gRPC client negotiates for itself.
        (Speech::Grpc, _) if *is_tls => None,
        (Speech::Grpc, _) => Some(Advice::lasting(
            format!("{authority} accepts only HTTP/1, but gRPC is sent"),
            "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or use the receiver's port for gRPC (4317)",
        )),
        (Speech::Http, 404 | 405 | 501) => Some(Advice::lasting(
            format!("the HTTP server at {authority} does not accept exports at {path} (status {status})"),
            "set OTEL_EXPORTER_OTLP_ENDPOINT to a collector's port for HTTP (4318)",
        )),
        (Speech::Http, 502..=504) => Some(Advice::passing(format!("the proxy at {authority} answers {status}"))),
        // Other statuses are about the test request, which was not a real export.
        (Speech::Http, _) => None,
    }
}

impl Advice {
    fn lasting(what: String, remedy: &str) -> Self {
        Self { what, remedy: remedy.to_owned(), lasts: true }
    }

    fn passing(what: String) -> Self {
        let remedy = "start a receiver there, or correct OTEL_EXPORTER_OTLP_ENDPOINT".to_owned();
        Self { what, remedy, lasts: false }
    }

    fn grpc_only(address: &Address) -> Self {
        Self::lasting(
            format!("{} accepts only gRPC, but HTTP is sent", address.authority),
            "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or use the receiver's port for HTTP (4318)",
        )
    }
}

fn milliseconds(name: &str, text: &str) -> Result<Duration, CommandError> {
    text.parse().map(Duration::from_millis).map_err(|_| {
        CommandError::usage(format!("{name} is `{text}`")).hint("give a number of milliseconds, such as 10000")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(variables: &[(&str, &str)]) -> Receiver {
        let read = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
        Receiver::new("TRACES", read).expect("the variables are good")
    }

    #[test]
    fn a_time_limit_is_a_number_of_milliseconds() {
        let limit = |name: &str, value: &str| {
            Receiver::new("TRACES", |asked| (asked == name).then(|| value.to_owned())).map(|receiver| receiver.timeout)
        };
        assert_eq!(limit("OTEL_EXPORTER_OTLP_TIMEOUT", "").expect("as if unset"), TIMEOUT);
        assert_eq!(limit("OTEL_EXPORTER_OTLP_TIMEOUT", "250").expect("a number"), Duration::from_millis(250));
        for (name, value) in [("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1")] {
            let refused = limit(name, value).expect_err("no number of milliseconds").to_string();
            assert!(refused.contains(&format!("{name} is `{value}`")), "{refused}");
        }
    }

    #[test]
    fn where_a_signal_goes_is_read_as_the_exporter_reads_it() {
        const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const OWN: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
        for (variables, speech, url) in [
            (&[(BASE, "http://c:4318/")][..], Speech::Http, "http://c:4318/v1/traces"),
            (&[(BASE, "http://c:4317"), (PROTOCOL, "grpc")], Speech::Grpc, "http://c:4317"),
            (&[(BASE, "http://c:4318"), (OWN, "http://d/x"), (PROTOCOL, "")], Speech::Http, "http://d/x"),
            (
                &[(BASE, "http://c:1"), (PROTOCOL, "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")],
                Speech::Http,
                "http://c:1/v1/traces",
            ),
        ] {
            let receiver = receiver(variables);
            assert_eq!((receiver.speech, receiver.url.as_str()), (speech, url), "{variables:?}");
        }
        let address = |url: &str| Address::of(url).map(|it| (it.is_tls, it.host, it.port, it.path));
        assert_eq!(address("http://[::1]:4318/v1/traces"), Some((false, "::1".into(), 4318, "/v1/traces".into())));
        assert_eq!(address("https://u:p@c"), Some((true, "c".into(), 443, "/".into())));
        for none in ["c:4318", "http://", "ftp://c", "http://c:x"] {
            assert_eq!(address(none), None, "{none}");
        }
    }

    #[test]
    fn a_proxy_is_named_where_the_library_uses_one() {
        const TO: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        for (variables, expected) in [
            (&[(TO, "http://c:1"), ("http_proxy", "p")][..], Some("http_proxy")),
            (&[(TO, "http://c:1"), ("HTTPS_PROXY", "p")], None),
            (&[(TO, "https://c:1"), ("HTTPS_PROXY", "p")], Some("HTTPS_PROXY")),
            (&[(TO, "https://c:1"), ("all_proxy", "p"), ("HTTPS_PROXY", "")], Some("all_proxy")),
            (&[(TO, "http://c:1"), ("HTTP_PROXY", "p"), grpc], None),
            (&[(TO, "http://a.c:1"), ("HTTP_PROXY", "p"), ("NO_PROXY", "x, .C")], None),
            (&[(TO, "http://bc:1"), ("HTTP_PROXY", "p"), ("no_proxy", "c,")], Some("HTTP_PROXY")),
            (&[(TO, "http://10.1.2.3:1"), ("HTTP_PROXY", "p"), ("NO_PROXY", "10.1.0.0/16")], None),
            (
                &[(TO, "http://10.2.2.3:1"), ("HTTP_PROXY", "p"), ("NO_PROXY", "10.1.0.0/16,10.2.2.4")],
                Some("HTTP_PROXY"),
            ),
            (&[(TO, "http://[::1]:1"), ("HTTP_PROXY", "p"), ("NO_PROXY", "::1")], None),
            (&[(TO, "http://c:1"), ("HTTP_PROXY", "p"), ("NO_PROXY", "*")], None),
        ] {
            assert_eq!(receiver(variables).proxy, expected, "{variables:?}");
        }
    }

    #[test]
    fn a_listener_that_is_no_receiver_is_named_with_a_remedy() {
        let http = |status| Found::Http { status, server: String::new() };
        let control_plane = Found::ControlPlane { proxy: String::new(), lacks: None };
        let (plain, tls) = ("http://c:4317/v1/traces", "https://c:4318");
        for (speech, url, found, told) in [
            (Speech::Http, plain, Found::Http2, Some(("accepts only gRPC", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", true))),
            (Speech::Http, plain, Found::Closed, Some(("accepts only gRPC", "4318", true))),
            (Speech::Http, "http://c:1", Found::Closed, Some(("without an answer", "correct", false))),
            (Speech::Grpc, plain, Found::Http2, None),
            (Speech::Grpc, plain, http(400), Some(("accepts only HTTP/1", "http/protobuf", true))),
            (Speech::Http, plain, http(404), Some(("does not accept exports at /v1/traces", "4318", true))),
            (Speech::Http, plain, http(200), None),
            (Speech::Http, plain, http(401), None),
            (Speech::Http, plain, http(503), Some(("answers 503", "start", false))),
            (Speech::Http, plain, Found::Tls, Some(("a port for TLS", "`https://`", true))),
            (Speech::Http, tls, Found::NotTls, Some(("does not use TLS", "`http://`", true))),
            (
                Speech::Http,
                tls,
                Found::NoHandshake("odd".into()),
                Some(("handshake with c:4318 fails (odd)", "start", false)),
            ),
            (
                Speech::Grpc,
                tls,
                Found::Untrusted { what: "it expired".into(), remedy: "renew it".into() },
                Some(("it expired", "renew it", true)),
            ),
            (Speech::Grpc, tls, http(400), None),
            (Speech::Http, tls, Found::Refused, Some(("nothing listens at c:4318", "start a receiver", false))),
            (Speech::Http, plain, control_plane, Some(("a Gleitzeit control plane", "a collector", true))),
            (Speech::Grpc, plain, Found::Other("SSH".to_owned()), Some(("it sends `SSH`", "correct", true))),
            (Speech::Grpc, plain, Found::NoHost("no".to_owned()), Some(("for the host `c` (no)", "correct", true))),
        ] {
            let address = Address::of(url).expect("an address");
            let given = advice(speech, &address, &found);
            let Some((what, remedy, lasts)) = told else {
                assert_eq!(given, None, "{speech:?} {url} {found:?}");
                continue;
            };
            let given = given.unwrap_or_else(|| panic!("nothing is told: {speech:?} {url} {found:?}"));
            assert!(given.what.contains(what) && given.remedy.contains(remedy), "{given:?}");
            assert_eq!(given.lasts, lasts, "{given:?}");
        }
    }
}
