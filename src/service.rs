//! What systemd is told of a service (sd_notify(3)): when it can be used, that it is alive, and that it drains. Without
//! `NOTIFY_SOCKET` in the environment nothing is told.

use std::time::Duration;

use gleitzeit_control_plane::Liveness;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often more time is asked for while it drains.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// How much, each time.
const EXTEND_BY: Duration = Duration::from_secs(20);

/// Tells systemd of a service from now on until it is dropped: that it is ready once `ready` ends, that it is alive for as
/// long as `is_alive` says so, and that it stops once it is told to.
#[must_use]
pub(crate) fn tell<R, A, F>(stop: CancellationToken, ready: R, is_alive: A) -> Option<AbortOnDropHandle<()>>
where
    R: Future<Output = ()> + Send + 'static,
    A: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = bool> + Send,
{
    std::env::var_os("NOTIFY_SOCKET")?;
    Some(AbortOnDropHandle::new(tokio::spawn(async move {
        if stop.run_until_cancelled(ready).await.is_some() {
            say(vec![NotifyState::Ready]).await;
        }
        stop.run_until_cancelled(watched(is_alive)).await;
        let by = u32::try_from(EXTEND_BY.as_micros()).unwrap_or(u32::MAX);
        let mut every = interval(EXTEND_EVERY);
        let mut told = vec![NotifyState::Stopping];
        loop {
            every.tick().await;
            told.extend([NotifyState::ExtendTimeoutUsec(by), NotifyState::Watchdog]);
            say(std::mem::take(&mut told)).await;
        }
    })))
}

/// The same of a control plane.
#[must_use]
pub(crate) fn of_control_plane(stop: CancellationToken, liveness: Liveness) -> Option<AbortOnDropHandle<()>> {
    let looked = liveness.clone();
    let ready = async move { looked.ready().await };
    tell(stop, ready, move || {
        let liveness = liveness.clone();
        async move { liveness.is_alive().await }
    })
}

/// Says that the service is alive, twice in the time that systemd waits for it, for as long as it is.
async fn watched<F: Future<Output = bool>>(is_alive: impl Fn() -> F) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return std::future::pending().await;
    };
    let mut every = interval(limit / 2);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        match timeout(limit / 2, is_alive()).await {
            Ok(true) => say(vec![NotifyState::Watchdog]).await,
            _ => tracing::warn!("no progress is made; systemd will end this process if that goes on"),
        }
    }
}

/// What systemd does not take is of no use to anybody else. It may make whoever tells it something wait.
async fn say(states: Vec<NotifyState<'static>>) {
    let told = tokio::task::spawn_blocking(move || sd_notify::notify(&states)).await;
    if let Ok(Err(error)) = told {
        tracing::warn!(%error, "systemd cannot be told how it is with this service");
    }
}
