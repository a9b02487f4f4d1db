//! `gleitzeit stop`: stops the control plane that runs on this machine.

use crate::cli::{DEFAULT_PORT, StopArgs};
use crate::error::{CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{background, hub_url, output};

pub(crate) fn run(args: &StopArgs) -> CommandResult {
    let (limit, force) = (args.timeout, args.force);
    let (port, note) = port(args.port, hub_url::of_environment().as_deref());
    if let Some(note) = note {
        output::note(&note);
    }
    block_on(OnSignal::Drop, |_| async move {
        match background::stop(port, limit, force).await? {
            Some(pid) => output::print_prose(&format!("stopped the control plane on port {port} (pid {pid})\n"))?,
            None => output::print(&format!("no control plane of yours runs on port {port}\n"))?,
        };
        Ok(Exit::Success)
    })
}

/// The port to use, and a note about that choice.
fn port(given: Option<u16>, named: Option<&str>) -> (u16, Option<String>) {
    match (given, named.map(|url| (url, hub_url::own_port(url)))) {
        (Some(port), _) => (port, None),
        (None, None) => (DEFAULT_PORT, None),
        (None, Some((_, Some(port)))) => (port, None),
        (None, Some((url, None))) => {
            let note = format!(
                "GLEITZEIT_HUB_URL names {url}, which is {}: `stop` only ends a control plane of this machine, here the \
                 one on port {DEFAULT_PORT}",
                if url.starts_with("https:") { "a proxy's" } else { "not of this machine" }
            );
            (DEFAULT_PORT, Some(note))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_given_one_or_that_of_a_local_address_in_the_environment() {
        assert_eq!(port(Some(9), Some("http://localhost:7")), (9, None));
        assert_eq!(port(None, Some("http://localhost:7")), (7, None));
        assert_eq!(port(None, None), (DEFAULT_PORT, None));
        let (port, note) = port(None, Some("http://hub:7"));
        assert_eq!(port, DEFAULT_PORT);
        assert!(note.is_some_and(|note| note.contains("http://hub:7")));
    }
}
