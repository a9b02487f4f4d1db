//! `gleitzeit stop`: ends the control plane that runs on this machine.

use crate::cli::StopArgs;
use crate::error::{CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{background, output};

pub(crate) fn run(args: &StopArgs) -> CommandResult {
    let (port, limit, force) = (args.port, args.timeout, args.force);
    block_on(OnSignal::Drop, |_| async move {
        match background::stop(port, limit, force).await? {
            Some(pid) => output::print(&format!("stopped the control plane on port {port} (pid {pid})\n"))?,
            None => output::print(&format!("no control plane of yours runs on port {port}\n"))?,
        };
        Ok(Exit::Success)
    })
}
