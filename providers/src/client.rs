//! HTTP clients of executors: one way to make them, so that TLS, certificates and proxies are the same everywhere. The
//! invariant: no client reads the environment by itself, and plain HTTP works on a machine without certificates.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::factory::Settings;

/// Connections are made anew after so long without use: many servers close idle ones after 5 s (uvicorn, Node.js), and a
/// request that meets the close would fail.
const IDLE: Duration = Duration::from_secs(4);
/// Where nobody answers at all, a longer wait brings nothing.
const MOST_TO_CONNECT: Duration = Duration::from_secs(10);

/// A client that follows no redirects, trusts what this machine trusts and uses the proxies that `HTTPS_PROXY`,
/// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name, except for this machine itself. `timeout` is for connecting and for
/// each wait for more of an answer.
pub(crate) fn builder(settings: &Settings, timeout: Duration) -> Result<ClientBuilder, String> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls()?)
        .redirect(Policy::none())
        .referer(false)
        .user_agent(concat!("gleitzeit/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeout.min(MOST_TO_CONNECT))
        .read_timeout(timeout)
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
            let proxy = make(url).map_err(|_| format!("the environment variable {name} names no proxy"))?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&except)));
        }
    }
    Ok(builder)
}

/// The certificates are read once; where there are none, only what needs them fails.
fn tls() -> Result<ClientConfig, String> {
    static CONFIG: OnceLock<Result<ClientConfig, String>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let config = || {
                ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                    .with_safe_default_protocol_versions()
            };
            let mut config = match config().and_then(|config| config.with_platform_verifier()) {
                Ok(config) => config.with_no_client_auth(),
                Err(error) => {
                    tracing::debug!(%error, "no certificates");
                    let config = config().map_err(|error| format!("TLS cannot be used: {error}"))?;
                    config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
                }
            };
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Ok(config)
        })
        .clone()
}
