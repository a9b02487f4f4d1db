//! `gleitzeit start`: a control plane and a worker with all roles, in the foreground or in the background.

use std::ffi::OsString;
use std::sync::Arc;

use crate::background::{self, Marker};
use crate::cli::StartArgs;
use crate::error::{CommandResult, Exit};
use crate::own_token::{OwnToken, publish};
use crate::plane::Plane;
use crate::signals::{OnSignal, Threads, block_on, block_on_threads};
use crate::telemetry::Telemetry;
use crate::{definitions, output, plane_config, return_memory, service, worker_config};

pub(crate) fn run(args: StartArgs, telemetry: &Telemetry) -> CommandResult {
    let registry = Arc::new(definitions::registry_to_serve(&args.definitions)?);
    let worker = worker_config::from_args(
        &args.worker,
        &["all".to_owned()],
        None,
        args.hub.limits.max_payload_bytes,
        registry.clone(),
    )?;
    if args.background && !args.in_background {
        return in_background(args.hub.port);
    }
    let mut own = OwnToken::of(&args.hub)?;
    let config = telemetry.of(plane_config::from_args(&args.hub, own.as_ref().map(OwnToken::token), registry)?);
    block_on_threads(Threads::All, OnSignal::Finish, |stop| async move {
        let mut plane = Plane::start(config, worker).await?;
        let _marker = Marker::hold(plane.address().port());
        let ready = plane.ready();
        let _returning = return_memory::when_settled();
        let _notifier = service::of_control_plane(stop.clone(), plane.liveness());
        publish(&mut own, plane.address())?;
        let address = plane.address();
        let announced = async move {
            ready.await;
            background::announce(address).await
        };
        tokio::select! {
            announced = announced => announced?,
            () = stop.cancelled() => {}
            error = plane.ended() => return Err(error),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            error = plane.ended() => return Err(error),
        }
        plane.stop().await?;
        Ok(Exit::Success)
    })
}

/// Starts this same command again as a background process.
fn in_background(port: u16) -> CommandResult {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).filter(|argument| argument != "--background").collect();
    block_on(OnSignal::Drop, |_| async move {
        let started = background::start(arguments, port).await?;
        output::print_prose(&format!(
            "ready at {} (pid {}, log {})\n",
            started.url,
            started.pid,
            started.log.display()
        ))?;
        Ok(Exit::Success)
    })
}
