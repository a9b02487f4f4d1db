//! `gleitzeit monitor`.

use crate::cli::MonitorArgs;
use crate::error::CommandResult;
use crate::monitor;
use crate::signals::{OnSignal, block_on};

pub(crate) fn run(args: MonitorArgs) -> CommandResult {
    // In the monitor Ctrl-C is a key. SIGTERM drops the future, and its drop restores the terminal.
    block_on(OnSignal::Drop, |_| async move { monitor::show(&args.client).await })
}
