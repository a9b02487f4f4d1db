//! Notifies systemd about the service (sd_notify(3)): when it is ready, that it is alive, and that it drains. Does
//! nothing without `NOTIFY_SOCKET` in the environment.

use std::time::Duration;

use gleitzeit_control_plane::Liveness;
use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often an extension of the stop timeout is requested while the service drains.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// The length of each extension.
const EXTEND_BY: Duration = Duration::from_secs(20);
/// A stopping service gives no more answers for a while before its process ends. Silence of up to this long counts as
/// its last steps.
const LAST_STEPS: Duration = Duration::from_secs(30);

/// Notifies systemd from now on until the handle is dropped: that the service is ready once `ready` ends, that it is
/// alive while `is_alive` says so, and that it stops once `stop` is cancelled.
#[must_use]
pub(crate) fn notify<R, A, F>(stop: CancellationToken, ready: R, is_alive: A) -> Option<AbortOnDropHandle<()>>
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
        if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) {
            stop.run_until_cancelled(watched(limit, &is_alive, say)).await;
        }
        stop.cancelled().await;
        draining(is_alive, say).await;
    })))
}

/// Notifies systemd about a control plane.
#[must_use]
pub(crate) fn of_control_plane(stop: CancellationToken, liveness: Liveness) -> Option<AbortOnDropHandle<()>> {
    let looked = liveness.clone();
    let ready = async move { looked.ready().await };
    notify(stop, ready, move || {
        let liveness = liveness.clone();
        async move { liveness.is_alive().await }
    })
}

/// Sends a watchdog notification three times within systemd's limit, while the service is alive; a check may take a
/// third of the limit.
async fn watched<F, S>(limit: Duration, is_alive: impl Fn() -> F, say: impl Fn(Vec<NotifyState<'static>>) -> S)
where
    F: Future<Output = bool>,
    S: Future<Output = ()>,
{
    let mut every = interval(limit / 3);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        match timeout(limit / 3, is_alive()).await {
            Ok(true) => say(vec![NotifyState::Watchdog]).await,
            _ => tracing::warn!("no progress is made; systemd will end this process if this continues"),
        }
    }
}

/// Requests more time while the service drains, as long as it is alive or takes its last steps. After that, systemd
/// ends it when its own timeout runs out.
async fn draining<F, S>(is_alive: impl Fn() -> F, say: impl Fn(Vec<NotifyState<'static>>) -> S)
where
    F: Future<Output = bool>,
    S: Future<Output = ()>,
{
    let by = u32::try_from(EXTEND_BY.as_micros()).unwrap_or(u32::MAX);
    let mut every = interval(EXTEND_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut alive_at) = (vec![NotifyState::Stopping], Instant::now());
    while alive_at.elapsed() < LAST_STEPS {
        every.tick().await;
        told.extend([NotifyState::ExtendTimeoutUsec(by), NotifyState::Watchdog]);
        say(std::mem::take(&mut told)).await;
        if timeout(EXTEND_EVERY, is_alive()).await == Ok(true) {
            alive_at = Instant::now();
        }
    }
    tracing::warn!("the shutdown makes no progress; systemd will end this process");
}

/// Sends states to systemd; errors are of no interest to anybody else. The call may block.
async fn say(states: Vec<NotifyState<'static>>) {
    let told = tokio::task::spawn_blocking(move || sd_notify::notify(&states)).await;
    if let Ok(Err(error)) = told {
        tracing::warn!(%error, "cannot notify systemd of the state of this service");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Say = Box<dyn Fn(Vec<NotifyState<'static>>) -> std::future::Ready<()>>;

    /// The notifications within a minute.
    async fn told<F: Future<Output = ()>>(telling: impl FnOnce(Say) -> F) -> Vec<String> {
        let told = std::sync::Arc::new(Mutex::new(Vec::new()));
        let said = told.clone();
        let say = move |states: Vec<NotifyState<'static>>| {
            let text: Vec<String> = states.iter().map(ToString::to_string).collect();
            said.lock().expect("no panic").push(text.join(" "));
            std::future::ready(())
        };
        let _ = timeout(Duration::from_secs(60), telling(Box::new(say))).await;
        let told = told.lock().expect("no panic");
        told.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_only_while_progress_is_made() {
        let limit = Duration::from_secs(30);
        let alive = told(|say| watched(limit, || async { true }, say)).await;
        assert!(alive.len() >= 6 && alive.iter().all(|told| told == "WATCHDOG=1"), "{alive:?}");
        let dead = told(|say| watched(limit, || async { false }, say)).await;
        assert!(dead.is_empty(), "{dead:?}");
        let stuck = told(|say| watched(limit, std::future::pending, say)).await;
        assert!(stuck.is_empty(), "{stuck:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn time_to_end_is_asked_for_only_while_something_moves() {
        let more = "EXTEND_TIMEOUT_USEC=20000000 WATCHDOG=1";
        let alive = told(|say| draining(|| async { true }, say)).await;
        assert_eq!(alive[0], format!("STOPPING=1 {more}"));
        assert!(alive.len() >= 12 && alive[1..].iter().all(|told| told == more), "{alive:?}");
        let stuck = told(|say| draining(std::future::pending, say)).await;
        assert!((2..=7).contains(&stuck.len()), "{stuck:?}");
    }
}
