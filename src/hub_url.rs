//! Where a control plane's address comes from: a flag or an options file, the environment, or the default; and the
//! address of one on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

/// The URL under which processes of this machine reach `address`.
pub(crate) fn local_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_address_is_reached_through_loopback() {
        for (address, url) in [
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("10.1.2.3:80", "http://10.1.2.3:80"),
        ] {
            assert_eq!(local_url(address.parse().expect("an address")), url);
        }
    }

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
