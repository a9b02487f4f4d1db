//! The address of an Ollama server as an environment variable contains it. `OLLAMA_HOST` means here what it means to
//! `ollama` itself, which accepts much that is not a URL. The rules are those of its `envconfig` (`Host` and
//! `ConnectableHost`).

use std::net::IpAddr;

use crate::connection::{BaseUrl, clean_url};
use crate::settings::Settings;

/// The variable that `ollama` reads; if it is unset, the address is [`DEFAULT`].
const VARIABLE: &str = "OLLAMA_HOST";
/// The default address of an Ollama server.
pub(super) const DEFAULT: &str = "http://127.0.0.1:11434";
const DEFAULT_PORT: u16 = 11434;

/// The base URL of an Ollama server, without a trailing slash.
///
/// # Errors
/// If the variable is unset or contains no address, with the remedy.
pub(super) fn resolve(base_url: &BaseUrl, settings: &Settings) -> Result<String, String> {
    let BaseUrl::Variable(name) = base_url else { return base_url.resolve(settings) };
    let Some(value) = (settings.environment)(name) else {
        return if name == VARIABLE { Ok(DEFAULT.to_owned()) } else { base_url.resolve(settings) };
    };
    let value = value.into_string().map_err(|_| format!("the environment variable {name} is not UTF-8 text"))?;
    if value.is_empty() && name != VARIABLE {
        return base_url.resolve(settings);
    }
    clean_url(&address(&value)).map_err(|why| format!("the environment variable {name} {why}"))
}

/// Interprets a value as `ollama` does: the scheme defaults to `http`, the port to 11434 unless a scheme is given, and
/// a wildcard address becomes this machine. An invalid port counts as not given.
fn address(value: &str) -> String {
    let value = value.trim().trim_matches(['"', '\'']).trim();
    let (scheme, rest, default_port) = match value.split_once("://") {
        // Ollama's hosted service accepts only HTTPS.
        None if value == "ollama.com" => ("https", value, 443),
        None => ("http", value, DEFAULT_PORT),
        Some((scheme, rest)) => {
            let port = match scheme {
                "http" => 80,
                "https" => 443,
                _ => DEFAULT_PORT,
            };
            (scheme, rest, port)
        }
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        // It is refused later, with a better reason than that it is not a host.
        return format!("{scheme}://{authority}/{path}");
    }
    let (host, port) = match split(authority) {
        Some((host, port)) => (host, port.parse::<u16>().unwrap_or(default_port)),
        None => (authority.trim_matches(['[', ']']), default_port),
    };
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "[::1]".to_owned(),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V4(ip)) => ip.to_string(),
        Err(_) if host.is_empty() => "127.0.0.1".to_owned(),
        Err(_) => host.to_owned(),
    };
    format!("{scheme}://{host}:{port}/{path}")
}

/// Splits `HOST:PORT` or `[HOST]:PORT`; `None` if there is no port, as in an IPv6 address without brackets.
fn split(authority: &str) -> Option<(&str, &str)> {
    let (host, port) = authority.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').map(|host| (host, port)),
        None => (!host.contains(':')).then_some((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_as_ollama_reads_it() {
        for (value, expected) in [
            ("", "http://127.0.0.1:11434"),
            ("1.2.3.4", "http://1.2.3.4:11434"),
            (":1234", "http://127.0.0.1:1234"),
            ("1.2.3.4:1234", "http://1.2.3.4:1234"),
            ("example.com", "http://example.com:11434"),
            ("example.com:1234", "http://example.com:1234"),
            ("example.com:", "http://example.com:11434"),
            (":66000", "http://127.0.0.1:11434"),
            ("host:-1", "http://host:11434"),
            ("host:port", "http://host:11434"),
            ("[::1]", "http://[::1]:11434"),
            ("::1", "http://[::1]:11434"),
            ("[::1]:1337", "http://[::1]:1337"),
            ("[::]", "http://[::1]:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
            (" 1.2.3.4\n", "http://1.2.3.4:11434"),
            ("\"1.2.3.4\"", "http://1.2.3.4:11434"),
            ("' 1.2.3.4 '", "http://1.2.3.4:11434"),
            ("http://1.2.3.4", "http://1.2.3.4:80"),
            ("https://1.2.3.4", "https://1.2.3.4:443"),
            ("https://1.2.3.4:4321/", "https://1.2.3.4:4321"),
            ("https://example.com/ollama", "https://example.com:443/ollama"),
            ("example.com:1/a/b/", "http://example.com:1/a/b"),
            ("ollama.com", "https://ollama.com:443"),
        ] {
            let leaked: &'static str = Box::leak(value.to_owned().into_boxed_str());
            let settings = Settings::from_env(move |name| (name == VARIABLE).then(|| leaked.into()));
            let read = resolve(&BaseUrl::Variable(VARIABLE.to_owned()), &settings);
            assert_eq!(read.as_deref(), Ok(expected), "{value:?}");
        }
    }

    #[test]
    fn an_invalid_address_is_reported_with_the_variable() {
        for (value, said) in [
            ("a b", "is no address"),
            ("a:b:c", "is no address"),
            ("ftp://host", "must begin with http:// or https://"),
            ("http://me:secret@host:1", "use `authentication`"),
            ("host:1/x?y", "must end before `?`"),
        ] {
            let settings = Settings::from_env(move |name| (name == VARIABLE).then(|| value.into()));
            let why = resolve(&BaseUrl::Variable(VARIABLE.to_owned()), &settings).expect_err(value);
            assert!(why.contains("environment variable OLLAMA_HOST") && why.contains(said), "{value}: {why}");
        }
    }

    #[test]
    fn only_the_variable_of_ollama_may_be_unset() {
        let settings = Settings::from_env(|_| None);
        assert_eq!(resolve(&BaseUrl::Variable(VARIABLE.to_owned()), &settings).as_deref(), Ok(DEFAULT));
        let other = BaseUrl::Variable("MY_OLLAMA".to_owned());
        assert!(resolve(&other, &settings).expect_err("unset").contains("MY_OLLAMA"));
        let set = Settings::from_env(|name| (name == "MY_OLLAMA").then(|| "models:80".into()));
        assert_eq!(resolve(&other, &set).as_deref(), Ok("http://models:80"));
    }
}
