//! `gleitzeit providers`: lists the providers and their health.

use crate::cli::ClientOnly;
use crate::color::Tone;
use crate::document::{List, ProviderItem};
use crate::error::{CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::table::Table;
use crate::{client, color, output, states, view};

pub(crate) fn run(args: ClientOnly) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let client = client::connect(&args.client).await?;
        let providers = client::all_pages(async |token| client.providers(None, token).await).await?;
        // An empty column is left out.
        let capable = providers.iter().any(|provider| !provider.capabilities.is_empty());
        let paint = color::stdout();
        let placed = providers.iter().any(|it| it.address.as_deref().is_some_and(|address| address != "*"));
        let rows: Vec<Vec<String>> = providers
            .iter()
            .map(|provider| {
                let mut row = vec![
                    view::cell(&provider.name, 30),
                    paint.text(Tone::of_presence(provider.status), states::presence(provider.status)),
                    paint.text(Tone::of_health(provider.health), states::health(provider.health)),
                    format!("{}/{}", provider.in_flight, provider.capacity),
                    view::cell(&provider.methods.join(", "), 60),
                ];
                if capable {
                    row.push(view::cell(&provider.capabilities.join(", "), 40));
                }
                if placed {
                    row.push(view::cell(provider.address.as_deref().unwrap_or_default(), 60));
                }
                row.push(view::cell(provider.health_reason.as_deref().unwrap_or_default(), 100));
                row
            })
            .collect();
        let list = List { items: providers.into_iter().map(ProviderItem::from).collect(), next_page_token: None };
        output::document(args.output.format(), &list, |_| {
            let mut head = vec!["provider", "status", "health", "in flight", "methods"];
            if capable {
                head.push("capabilities");
            }
            if placed {
                head.push("address");
            }
            head.push("reason");
            view::fitted(&Table::new(&head, &rows).optional(&["capabilities", "in flight", "status"]))
        })?;
        Ok(Exit::Success)
    })
}
