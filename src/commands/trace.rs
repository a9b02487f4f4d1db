//! `gleitzeit trace`: where a run's time went.

use crate::cli::TraceArgs;
use crate::document::TraceDocument;
use crate::error::{CommandResult, Exit};
use crate::find_runs::{self, Found};
use crate::signals::{OnSignal, block_on};
use crate::{output, timeline, view, when};

pub(crate) fn run(args: TraceArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let Found { client, run_id, .. } = find_runs::find(&args.client, &args.run).await?;
        let spans = client.trace(&run_id).await?;
        let trace_id = spans.first().map(|span| span.trace_id.clone()).unwrap_or_default();
        let url = args.trace_url.map(|base| format!("{}/trace/{trace_id}", base.trim_end_matches('/')));
        let document = TraceDocument::new(&run_id, &trace_id, url.as_deref(), &spans);
        output::document(args.output.format(), &document, |_| {
            let mut lines = vec![("run", run_id.clone()), ("trace", trace_id.clone())];
            lines.extend(url.clone().map(|url| ("link", url)));
            format!(
                "{}\n{}",
                view::facts(&lines),
                timeline::draw(&spans, when::now(), output::columns(), output::fitting_columns().is_some())
            )
        })?;
        Ok(Exit::Success)
    })
}
