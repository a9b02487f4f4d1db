//! `gleitzeit protocols`: lists the methods that tasks may call, and describes what one takes and returns.

use gleitzeit_sdk::DEFAULT_URL;
use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::suggest::did_you_mean;

use crate::cli::ProtocolsArgs;
use crate::document::{List, ProtocolItem};
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{client, definitions, hub_url, method_view, output, view};

pub(crate) fn run(args: ProtocolsArgs) -> CommandResult {
    if args.offline {
        let registry = definitions::registry(&args.definitions)?;
        return print(&args, registry.iter().cloned().map(ProtocolItem::from).collect());
    }
    block_on(OnSignal::Drop, |_| async move {
        let client = match client::connect(&args.client).await {
            // If no control plane was named, the built-in protocols will do.
            Err(error)
                if error.exit == Exit::Unreachable && hub_url::named(args.client.hub_url.as_deref()).is_none() =>
            {
                output::note(&format!(
                    "no control plane answers at {DEFAULT_URL}: only locally known protocols are shown"
                ));
                let registry = definitions::registry(&args.definitions)?;
                return print(&args, registry.iter().cloned().map(ProtocolItem::from).collect());
            }
            connected => connected?,
        };
        let protocols = client::all_pages(async |token| client.protocols(token).await).await?;
        print(&args, protocols.into_iter().map(ProtocolItem::from).collect())
    })
}

fn print(args: &ProtocolsArgs, items: Vec<ProtocolItem>) -> CommandResult {
    let format = args.output.format();
    let Some(name) = &args.name else {
        let list = List { items, next_page_token: None };
        output::document(format, &list, |list| {
            let rows: Vec<Vec<String>> = list.items.iter().flat_map(ProtocolItem::rows).collect();
            view::table(&["method", "protocol", "about"], &rows)
        })?;
        return Ok(Exit::Success);
    };
    let known: Vec<String> = items.iter().flat_map(ProtocolItem::names).collect();
    let items: Vec<ProtocolItem> = items.into_iter().filter_map(|item| item.named(name)).collect();
    if items.is_empty() {
        let message = format!("there is no protocol or method `{name}`");
        let hint = did_you_mean(name, known.iter().map(String::as_str));
        let hint = hint.unwrap_or_else(|| "`gleitzeit protocols` lists all".to_owned());
        return Err(CommandError::new(Exit::Failed, ErrorCode::MethodNotFound, message).hint(hint));
    }
    let list = List { items, next_page_token: None };
    output::document(format, &list, |list| {
        let described: Vec<String> = list
            .items
            .iter()
            .flat_map(|item| item.methods().iter().map(|method| method_view::describe(&item.id(), method)))
            .collect();
        described.join("\n")
    })?;
    Ok(Exit::Success)
}
