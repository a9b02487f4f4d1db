//! `gleitzeit components`: what is connected; with roles it is `gleitzeit agent`.

use crate::cli::{AgentArgs, ComponentsArgs};
use crate::color::Tone;
use crate::document::{ComponentItem, List};
use crate::error::{CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::table::Table;
use crate::{client, color, output, states, view};

pub(crate) fn run(args: ComponentsArgs) -> CommandResult {
    if !args.roles.is_empty() {
        return super::agent::run(&as_agent(args));
    }
    block_on(OnSignal::Drop, |_| async move {
        let client = client::connect(&args.client).await?;
        let components = client::all_pages(async |token| client.components(&[], token).await).await?;
        let paint = color::stdout();
        let rows: Vec<Vec<String>> = components
            .iter()
            .map(|component| {
                vec![
                    component.component_id.clone(),
                    component.role.to_string(),
                    view::cell(&component.name, 30),
                    paint.text(Tone::of_presence(component.status), states::presence(component.status)),
                    format!("{}/{}", component.in_use, component.capacity),
                    owned(component.owned_shards.len(), &component.owned_queues),
                ]
            })
            .collect();
        let list = List { items: components.into_iter().map(ComponentItem::from).collect(), next_page_token: None };
        output::document(args.output.format(), &list, |_| {
            let head = ["component", "role", "name", "status", "in use", "owns"];
            view::fitted(&Table::new(&head, &rows).optional(&["role", "name", "in use"]))
        })?;
        Ok(Exit::Success)
    })
}

fn as_agent(args: ComponentsArgs) -> AgentArgs {
    let ComponentsArgs { roles, name, max_payload_bytes, worker, definitions, client, output: _ } = args;
    AgentArgs { roles, name, max_payload_bytes, worker, definitions, client }
}

fn owned(shards: usize, queues: &[String]) -> String {
    match (shards, queues) {
        (0, []) => String::new(),
        (0, queues) => view::cell(&queues.join(", "), 40),
        (shards, _) => format!("{shards} shards"),
    }
}
