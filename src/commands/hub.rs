//! `gleitzeit hub`: the control plane alone.

use std::sync::Arc;

use crate::background::{self, Marker};
use crate::cli::HubCommandArgs;
use crate::error::{CommandResult, Exit};
use crate::own_token::{OwnToken, publish};
use crate::plane::from_control_plane;
use crate::signals::{OnSignal, block_on};
use crate::telemetry::Telemetry;
use crate::{definitions, plane_config, return_memory, service};

pub(crate) fn run(args: &HubCommandArgs, telemetry: &Telemetry) -> CommandResult {
    let registry = Arc::new(definitions::registry_to_serve(&args.definitions)?);
    let mut own = OwnToken::of(&args.hub)?;
    let config = telemetry.of(plane_config::from_args(&args.hub, own.as_ref().map(OwnToken::token), registry)?);
    block_on(OnSignal::Finish, |stop| async move {
        let app = gleitzeit_control_plane::build(config).await.map_err(from_control_plane)?;
        let _marker = Marker::hold(app.local_addr().port());
        publish(&mut own, app.local_addr())?;
        let _returning = return_memory::when_settled();
        let _notifier = service::of_control_plane(stop.clone(), app.liveness());
        let announced = background::announce(app.local_addr());
        let mut served = Box::pin(app.run(stop));
        // The control plane serves whether or not anybody reads the announcement.
        tokio::select! {
            ended = &mut served => ended.map_err(from_control_plane)?,
            announced = announced => {
                announced?;
                served.await.map_err(from_control_plane)?;
            }
        }
        Ok(Exit::Success)
    })
}
