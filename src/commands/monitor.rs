//! `gleitzeit monitor`.

use crate::cli::MonitorArgs;
use crate::error::CommandResult;
use crate::monitor;
use crate::signals::{OnSignal, block_on};

pub(crate) fn run(args: MonitorArgs) -> CommandResult {
    // Ctrl-C is a key there; SIGTERM ends it and the terminal is put right again by its drop.
    block_on(OnSignal::Drop, |_| async move { monitor::show(&args.client).await })
}
