//! `gleitzeit healthcheck`: says whether a control plane can be used, for supervisors that start dependent services or
//! restart the control plane.

use gleitzeit_link::{Cause, Found, Speech, ask_ready};
use gleitzeit_sdk::DEFAULT_URL;
use gleitzeit_workflow::ErrorCode;
use serde_json::json;

use crate::cli::HealthcheckArgs;
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{hub_url, output, trust};

pub(crate) fn run(args: HealthcheckArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let url = hub_url::named(args.hub_url.as_deref()).unwrap_or(DEFAULT_URL);
        match ask_ready(url, &trust::roots()).await.map_err(CommandError::usage)? {
            Found::Http { status: 200, .. } => {}
            Found::Http { status: 503, .. } => {
                let message = format!("the control plane at {url} is not ready: it is starting or stopping");
                return Err(CommandError::new(Exit::Failed, ErrorCode::SystemNotInitialized, message)
                    .hint("wait; its log shows the progress"));
            }
            found => {
                let cause = Cause::new(url, &found, Speech::Grpc, "");
                return Err(CommandError::new(Exit::Unreachable, cause.code, cause.message).hint(cause.hint));
            }
        }
        output::document(args.output.format(), &json!({ "url": url, "ready": true }), |_| format!("ready: {url}\n"))?;
        Ok(Exit::Success)
    })
}
