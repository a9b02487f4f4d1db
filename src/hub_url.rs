//! Where a control plane's address comes from: a flag or an options file, the environment, or the default.

use std::net::IpAddr;

use gleitzeit_sdk::DEFAULT_URL;

/// The variable with the address of the control plane, for commands that are given none.
pub(crate) const VARIABLE: &str = "GLEITZEIT_HUB_URL";
/// The port of an address that names none, the default for `http`.
const HTTP_PORT: u16 = 80;

/// The address in an argument; an empty one counts as unset.
pub(crate) fn named(argument: Option<&str>) -> Option<&str> {
    argument.filter(|url| !url.is_empty())
}

/// The address from the environment.
pub(crate) fn of_environment() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|url| !url.is_empty())
}

/// The port of an address on this machine; `None` for another machine or an invalid address.
pub(crate) fn own_port(url: &str) -> Option<u16> {
    let url = gleitzeit_link::base_url(url).ok()?;
    let authority = url.strip_prefix("http://")?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, HTTP_PORT),
    };
    let host = host.trim_matches(['[', ']']);
    let is_own = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_own.then_some(port)
}

/// Where the address came from, if the command line does not show it.
pub(crate) fn origin(argument: Option<&str>) -> Option<String> {
    match named(argument) {
        None => Some(format!("{DEFAULT_URL} is the default, since no address was given")),
        Some(url) if of_environment().as_deref() == Some(url) => Some(format!("the address is from {VARIABLE}")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_has_ports_of_its_own() {
        for (url, expected) in [
            ("http://localhost:9001", Some(9001)),
            ("127.0.0.1:9001/", Some(9001)),
            ("http://[::1]:9001", Some(9001)),
            ("http://[::1]", Some(80)),
            ("localhost", Some(80)),
            ("http://10.0.0.7:8000", None),
            ("http://hub:8000", None),
            ("redis://localhost", None),
            ("", None),
        ] {
            assert_eq!(own_port(url), expected, "{url}");
        }
    }

    #[test]
    fn a_default_address_is_marked_as_such() {
        for (argument, expected) in [
            (None, Some("http://localhost:8000 is the default, since no address was given")),
            (Some(""), Some("http://localhost:8000 is the default, since no address was given")),
            (Some("http://elsewhere:1"), None),
        ] {
            assert_eq!(origin(argument).as_deref(), expected);
        }
    }
}
