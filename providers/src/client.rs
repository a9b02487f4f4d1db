//! HTTP clients for executors, all built in one way, so that TLS, certificates and proxies work the same everywhere.
//! The invariant: no client reads the environment itself, and plain HTTP works on a machine without certificates.

use std::path::Path;
use std::time::{Duration, SystemTime};

use gleitzeit_tls::Untrusted;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy};

use crate::settings::Settings;

/// Idle connections are closed after this time. Many servers close them after 5 s (uvicorn, Node.js), and a request
/// that coincides with the close would fail.
const IDLE: Duration = Duration::from_secs(4);
/// The longest wait for a connection: if nothing has answered by then, nothing will.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(10);

/// The pause before a request that reached no server is sent again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest delay that a server may ask for; a longer one means that its clock is wrong.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How a provider is given a root certificate.
const CA: &str =
    "`ca: FILE` below the provider's `connection`, or --ca FILE or GLEITZEIT_CA where its worker is started";
/// The cause shown if nothing listens at the address.
pub(crate) const REFUSED: &str = "connection refused";

/// A client that follows no redirects, trusts the roots of the settings and those in the file `ca`, and uses the
/// proxies that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name, except for addresses of this machine.
/// `timeout` limits connecting and each wait for more of an answer. Of the roots, only the file has been read when this
/// returns.
pub(crate) fn builder(settings: &Settings, ca: Option<&Path>, timeout: Duration) -> Result<ClientBuilder, String> {
    Ok(patient_builder(settings, ca, timeout)?.read_timeout(timeout))
}

/// The same, for a caller that limits the waits for more of an answer itself.
pub(crate) fn patient_builder(
    settings: &Settings,
    ca: Option<&Path>,
    timeout: Duration,
) -> Result<ClientBuilder, String> {
    let mut trust = settings.trust.clone();
    if let Some(ca) = ca {
        trust = trust.with("`ca` of the provider", ca);
        trust.check().map_err(|error| error.to_string())?;
    }
    let mut builder = Client::builder()
        .use_preconfigured_tls(trust.config(&[b"h2", b"http/1.1"]))
        .redirect(Policy::none())
        .referer(false)
        .user_agent(concat!("gleitzeit/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeout.min(MAX_CONNECT_TIME))
        .pool_idle_timeout(IDLE)
        .no_proxy();
    let variable = |name: &str| settings.variable(name).or_else(|| settings.variable(&name.to_lowercase()));
    let mut except = variable("NO_PROXY").unwrap_or_default();
    except.push_str(",localhost,127.0.0.0/8,::1");
    type Make = fn(String) -> reqwest::Result<Proxy>;
    let kinds: [(&str, Make); 3] =
        [("HTTPS_PROXY", Proxy::https), ("HTTP_PROXY", Proxy::http), ("ALL_PROXY", Proxy::all)];
    for (name, make) in kinds {
        if let Some(url) = variable(name) {
            let proxy =
                make(url).map_err(|_| format!("the environment variable {name} is not the address of a proxy"))?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&except)));
        }
    }
    Ok(builder)
}

/// Builds a client on a blocking thread, because `make` may read a file with root certificates.
pub(crate) async fn build(
    make: impl FnOnce() -> Result<ClientBuilder, String> + Send + 'static,
) -> Result<Client, String> {
    let build = move || make()?.build().map_err(|error| format!("no HTTP client can be made: {}", chain(&error)));
    tokio::task::spawn_blocking(build).await.map_err(|error| format!("no HTTP client can be made: {error}"))?
}

/// The root cause of an error: reqwest's own message names only the request. For an untrusted certificate it includes
/// the remedy.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    if let Some(untrusted) = Untrusted::among(error) {
        return format!("{untrusted}; {}", untrusted.remedy_by(CA));
    }
    let mut last: &dyn std::error::Error = error;
    loop {
        if let Some(io) = last.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return REFUSED.to_owned();
        }
        match last.source() {
            Some(source) => last = source,
            None => return last.to_string(),
        }
    }
}

/// Sends requests again that reached no server, so no work is done twice.
pub(crate) struct Retries {
    left: u32,
    pause: Duration,
}

impl Retries {
    /// At most `count` times.
    pub(crate) fn new(count: u32) -> Self {
        Self { left: count, pause: FIRST_PAUSE }
    }

    /// Whether a failed request should be sent again; if so, returns after a pause. Cancel-safe.
    pub(crate) async fn again(&mut self, error: &reqwest::Error) -> bool {
        if self.left == 0 || !error.is_connect() {
            return false;
        }
        self.left -= 1;
        tokio::time::sleep(self.pause).await;
        self.pause *= 2;
        true
    }
}

/// An authentication header. In errors `from` stands for its value, which must not be shown.
///
/// # Errors
/// If the name or the value is not valid in a header.
pub(crate) fn secret_header(name: &str, value: &str, from: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::try_from(name).map_err(|_| "the name of the header is not valid".to_owned())?;
    let mut value = HeaderValue::try_from(value).map_err(|_| format!("{from} is not valid in a header"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// An error with all its causes.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// Whether the causes of an error include one of this type.
pub(crate) fn has_cause<E: std::error::Error + 'static>(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if source.is::<E>() {
            return true;
        }
        next = source.source();
    }
    false
}

/// The delay that an answer asks for before the next try.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    retry_after_at(headers, SystemTime::now())
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds or a date. `retry-after-ms` comes first, as in OpenAI's own clients.
fn retry_after_at(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str, unit: f64| {
        let number: f64 = text.parse().ok()?;
        Duration::try_from_secs_f64(number * unit).ok()
    };
    let delay = text("retry-after-ms").and_then(|ms| number(ms, 0.001)).or_else(|| {
        let after = text(RETRY_AFTER.as_str())?;
        number(after, 1.0).or_else(|| {
            let date = httpdate::parse_http_date(after).ok()?;
            // A date in the past asks for no delay.
            Some(date.duration_since(now).unwrap_or_default())
        })
    })?;
    Some(delay.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_read_as_seconds_milliseconds_or_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |headers: &[(&'static str, &'static str)]| {
            let headers =
                headers.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
            retry_after_at(&headers.collect(), now)
        };
        let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
        assert_eq!(read(&[("retry-after", "7")]), seconds(7.0));
        assert_eq!(read(&[("retry-after", "1.5")]), seconds(1.5));
        assert_eq!(read(&[("retry-after", "Sun, 06 Nov 1994 08:50:00 GMT")]), seconds(23.0));
        assert_eq!(read(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), seconds(0.0));
        assert_eq!(read(&[("retry-after", "9"), ("retry-after-ms", "250")]), seconds(0.25));
        assert_eq!(read(&[("retry-after", "1e300")]), None);
        assert_eq!(read(&[("retry-after", "99999999")]), Some(MAX_RETRY_AFTER));
        for unreadable in ["-1", "soon", "NaN", ""] {
            assert_eq!(read(&[("retry-after", unreadable)]), None, "{unreadable}");
        }
    }
}
