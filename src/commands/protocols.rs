//! `gleitzeit protocols`: the methods that tasks may name.

use crate::cli::{Format, ProtocolsArgs};
use crate::document::{List, ProtocolItem};
use crate::error::{CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{client, output, setup, view};

pub(crate) fn run(args: ProtocolsArgs) -> CommandResult {
    let format = args.output.format;
    if args.offline {
        let registry = setup::registry(&args.definitions)?;
        return print(format, registry.iter().cloned().map(ProtocolItem::from).collect());
    }
    block_on(OnSignal::Drop, |_| async move {
        let client = client::connect(&args.client).await?;
        let protocols = client::all_pages(async |token| client.protocols(token).await).await?;
        print(format, protocols.into_iter().map(ProtocolItem::from).collect())
    })
}

fn print(format: Format, items: Vec<ProtocolItem>) -> CommandResult {
    let list = List { items, next_page_token: None };
    output::document(format, &list, |list| {
        let rows: Vec<Vec<String>> = list.items.iter().flat_map(ProtocolItem::rows).collect();
        view::table(&["method", "protocol", "about"], &rows)
    })?;
    Ok(Exit::Success)
}
