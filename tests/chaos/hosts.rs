//! Hosts for the tests: each is a network namespace, joined to the control plane's by a cable that can be cut, also in
//! one direction only. They have no names and disappear with their last process, so nothing can be left behind.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::Command;

/// The error if such hosts cannot be made and the caller insists on them.
const REMEDY: &str = "run as root with `ip` (package iproute2) installed, or leave faults of networks out with \
                      GLEITZEIT_SKIP_NETNS=1";
/// A hardware address that no host has: packets sent there are lost.
const NOBODY: &str = "02:00:00:00:00:99";

/// The fault of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing passes.
    Both,
    /// Packets from the host are lost.
    Up,
    /// Packets to the host are lost.
    Down,
}

/// The hosts besides the control plane's. The thread that makes them moves to the control plane's host, as do all
/// threads and processes that it starts afterwards.
pub(crate) struct Hosts {
    spaces: Vec<File>,
}

impl Hosts {
    /// Makes `count` hosts; `None` if they are not wanted.
    pub(crate) fn make(count: usize) -> Result<Option<Self>, String> {
        if std::env::var_os("GLEITZEIT_SKIP_NETNS").is_some_and(|value| value == "1") {
            return Ok(None);
        }
        Self::try_make(count).map(Some).map_err(|what| format!("no network namespaces: {what}; {REMEDY}"))
    }

    fn try_make(count: usize) -> Result<Self, String> {
        let own = space(count)?;
        enter(&own)?;
        ip("link set lo up")?;
        let mut hosts = Self { spaces: Vec::new() };
        for number in 0..count {
            let space = space(number)?;
            let there = format!("/proc/{}/fd/{}", std::process::id(), space.as_raw_fd());
            ip(&format!("link add to-{number} type veth peer name eth0 netns {there}"))?;
            ip(&format!("address add {}/24 dev to-{number}", near(number)))?;
            ip(&format!("link set to-{number} up"))?;
            hosts.spaces.push(space);
            hosts.on(number, || {
                ip("link set lo up")?;
                ip(&format!("address add {}/24 dev eth0", far(number)))?;
                ip("link set eth0 up")
            })?;
        }
        Ok(hosts)
    }

    /// Runs a function on a host; processes that it starts stay there.
    pub(crate) fn on<T: Send>(&self, host: usize, work: impl FnOnce() -> T + Send) -> T {
        let space = &self.spaces[host];
        let there = || {
            enter(space).expect("it has been entered before");
            work()
        };
        std::thread::scope(|scope| scope.spawn(there).join().expect("no panic"))
    }

    pub(crate) fn cut(&self, host: usize, cut: Cut) {
        let done = match cut {
            Cut::Both => ip(&format!("link set to-{host} down")),
            Cut::Up => self.on(host, || misdirect(&near(host), "eth0")),
            Cut::Down => misdirect(&far(host), &format!("to-{host}")),
        };
        done.expect("a cable can be cut");
    }

    pub(crate) fn heal(&self, host: usize, cut: Cut) {
        let done = match cut {
            Cut::Both => ip(&format!("link set to-{host} up")),
            Cut::Up => self.on(host, || ip(&format!("neighbour del {} dev eth0", near(host)))),
            Cut::Down => ip(&format!("neighbour del {} dev to-{host}", far(host))),
        };
        done.expect("a cable can be mended");
    }
}

/// The control plane's address on the cable to a host.
pub(crate) fn near(host: usize) -> String {
    format!("10.77.{}.1", host + 1)
}

fn far(host: usize) -> String {
    format!("10.77.{}.2", host + 1)
}

fn misdirect(address: &str, device: &str) -> Result<(), String> {
    ip(&format!("neighbour replace {address} lladdr {NOBODY} dev {device} nud permanent"))
}

/// Creates a network namespace without a name.
fn space(number: usize) -> Result<File, String> {
    let name = format!("gleitzeit-{}-{number}", std::process::id());
    ip(&format!("netns add {name}"))?;
    let space = File::open(format!("/run/netns/{name}")).map_err(|error| format!("`{name}` cannot be opened: {error}"));
    ip(&format!("netns delete {name}"))?;
    space
}

/// Moves this thread into a namespace.
#[cfg(target_os = "linux")]
fn enter(space: &File) -> Result<(), String> {
    use std::os::fd::AsFd as _;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| format!("a namespace cannot be entered: {error}"))
}

/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
fn enter(_space: &File) -> Result<(), String> {
    Err("only Linux has them".to_owned())
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("`ip {arguments}` cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`ip {arguments}`: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
