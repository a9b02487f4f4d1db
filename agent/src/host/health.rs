//! Checks a provider's health periodically and decides what to report to the hub.
//!
//! The invariant: the hub is not told that a provider is unhealthy while other providers of this agent may still be
//! connecting. Otherwise work that could wait for any of them would fail, although the next provider can do it.
//!
//! A slow check says nothing about the provider: on a busy machine everything is slow. A slow provider still gets work;
//! only the result of a check can make it unhealthy.

use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use gleitzeit_mesh::wire::{Health, HealthState};
use gleitzeit_providers::Provider;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// A provider whose health check takes longer counts as slow. The check goes on: whatever it started (an interpreter,
/// for example) would never become ready if each check started over.
const SLOW_AFTER: Duration = Duration::from_secs(5);
/// A check that takes longer than this is abandoned and started over.
const ABANDON_AFTER: Duration = Duration::from_secs(120);
/// How long the first check may delay the registration, so that the registration usually carries the health already.
const FIRST_LIMIT: Duration = Duration::from_millis(50);
/// An unhealthy provider is checked again after this time, then after twice that, and so on up to the interval.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long to wait for the other providers of this agent.
const PEERS_LIMIT: Duration = Duration::from_secs(2);

type Asking = Pin<Box<dyn Future<Output = Health> + Send>>;
type Checking = Pin<Box<dyn Future<Output = Check> + Send>>;
type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The state of a check.
enum Check {
    /// The check is over.
    Done(Health),
    /// The check is still running.
    Running(Checking),
}

/// The health of one provider.
pub(crate) struct HealthWatch {
    name: String,
    ask: Box<dyn Fn() -> Asking + Send>,
    interval: Duration,
    /// Time until the next check.
    delay: Duration,
    checking: Checking,
    /// The result of the latest check.
    known: Health,
    /// The provider was healthy, and one check since then said otherwise. One such result does not stop its work.
    doubtful: bool,
    all_ready: watch::Receiver<bool>,
    /// Whether, since this provider connected, the others have registered or their time has run out.
    settled: bool,
    settling: Option<Waiting>,
}

impl HealthWatch {
    /// Checks the provider every `interval`; `all_ready` says whether all components of this agent are registered.
    pub(crate) fn new(provider: Provider, interval: Duration, all_ready: watch::Receiver<bool>) -> Self {
        let name = provider.name().to_owned();
        let ask = move || {
            let provider = provider.clone();
            Box::pin(async move { provider.health().await }) as Asking
        };
        Self::asking(name, Box::new(ask), interval, all_ready)
    }

    fn asking(
        name: String,
        ask: Box<dyn Fn() -> Asking + Send>,
        interval: Duration,
        all_ready: watch::Receiver<bool>,
    ) -> Self {
        let known = Health { state: HealthState::Starting, ..Health::default() };
        let checking = Box::pin(limited(ask()));
        Self {
            name,
            ask,
            interval,
            delay: interval,
            checking,
            known,
            doubtful: false,
            all_ready,
            settled: false,
            settling: None,
        }
    }

    /// The health to register with; waits only for a moment. Cancel-safe.
    pub(crate) async fn first(&mut self) -> Health {
        if let Ok(check) = timeout(FIRST_LIMIT, &mut self.checking).await {
            self.checked(check);
        }
        self.reported()
    }

    /// Waits for a change and returns the health to report. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Health {
        let settling = async {
            match &mut self.settling {
                Some(settling) => settling.await,
                None => pending().await,
            }
        };
        tokio::select! {
            check = &mut self.checking => self.checked(check),
            () = settling => {
                self.settling = None;
                self.settled = true;
            }
        }
        self.reported()
    }

    /// Notes that this provider is registered at the hub.
    pub(crate) fn registered(&mut self) {
        if !self.settled && self.settling.is_none() {
            let mut all_ready = self.all_ready.clone();
            self.settling = Some(Box::pin(async move {
                // After the timeout, providers that are still missing are not waited for.
                let _ = timeout(PEERS_LIMIT, all_ready.wait_for(|ready| *ready)).await;
            }));
        }
    }

    /// Notes that the hub is away; returns the health to report on reconnect.
    pub(crate) fn disconnected(&mut self) -> Health {
        self.settled = false;
        self.settling = None;
        self.reported()
    }

    fn reported(&self) -> Health {
        let early = !self.settled && self.known.state == HealthState::Unhealthy;
        match early {
            true => Health { state: HealthState::Starting, lasting: false, ..self.known.clone() },
            false => self.known.clone(),
        }
    }

    fn checked(&mut self, check: Check) {
        match check {
            Check::Done(health) => self.found(health),
            Check::Running(checking) => {
                self.checking = checking;
                self.know(late(SLOW_AFTER));
            }
        }
    }

    /// Records a result and schedules the next check: soon if that may bring news.
    fn found(&mut self, health: Health) {
        let broken = self.known.state.works() && !health.state.works();
        self.doubtful = broken && !self.doubtful;
        if self.doubtful {
            let reason = health.reason.as_deref().unwrap_or_default();
            debug!(provider = self.name, reason, "provider may be unhealthy");
            self.delay = RETRY_DELAY.min(self.interval);
        } else {
            self.know(health);
        }
        let (answer, delay) = ((self.ask)(), self.delay);
        self.checking = Box::pin(async move {
            sleep(delay).await;
            limited(answer).await
        });
    }

    fn know(&mut self, health: Health) {
        let (provider, reason) = (self.name.as_str(), health.reason.as_deref().unwrap_or_default());
        match (self.known.state, health.state) {
            (HealthState::Healthy | HealthState::Slow, HealthState::Unhealthy) => {
                warn!(provider, reason, "provider became unhealthy");
            }
            (_, HealthState::Slow) if self.known != health => info!(provider, reason, "provider is slow"),
            (HealthState::Starting, HealthState::Unhealthy) => info!(provider, reason, "provider is unhealthy"),
            (HealthState::Unhealthy, HealthState::Healthy) => info!(provider, "provider is healthy again"),
            _ if self.known != health => debug!(provider, state = ?health.state, reason, "provider health checked"),
            _ => {}
        }
        self.delay = match (self.known.state, health.state) {
            (_, HealthState::Healthy | HealthState::Slow) => self.interval,
            (HealthState::Unhealthy, _) => self.delay.saturating_mul(2).min(self.interval),
            _ => RETRY_DELAY.min(self.interval),
        };
        self.known = health;
    }
}

/// Limits a check: a panic makes the provider unhealthy, nothing more; a slow check goes on.
async fn limited(answer: Asking) -> Check {
    let mut answer: Asking = Box::pin(AssertUnwindSafe(answer).catch_unwind().map(|ended| {
        let broken = |_panic| Health::unhealthy("the health check panicked; the log has the message");
        ended.unwrap_or_else(broken)
    }));
    match timeout(SLOW_AFTER, &mut answer).await {
        Ok(health) => Check::Done(health),
        Err(_elapsed) => Check::Running(Box::pin(async move {
            let ended = timeout(ABANDON_AFTER.saturating_sub(SLOW_AFTER), answer).await;
            Check::Done(ended.unwrap_or_else(|_elapsed| late(ABANDON_AFTER)))
        })),
    }
}

fn late(limit: Duration) -> Health {
    Health::slow(format!("the health check takes longer than {} s; calls continue", limit.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::Instant;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// A provider under the test's control; time stands still except while something waits.
    struct Bench {
        watch: HealthWatch,
        /// The answer of the provider; `None`: it never answers.
        answer: Arc<Mutex<Option<Health>>>,
        /// When the provider was asked.
        asked: Arc<Mutex<Vec<Instant>>>,
        all_ready: watch::Sender<bool>,
    }

    impl Bench {
        fn new(answer: Option<Health>) -> Self {
            let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(Mutex::new(Vec::new())));
            let all_ready = watch::Sender::new(false);
            let (answers, times) = (answer.clone(), asked.clone());
            let ask = move || {
                let (answers, times) = (answers.clone(), times.clone());
                Box::pin(async move {
                    times.lock().expect("no panic").push(Instant::now());
                    let answer = answers.lock().expect("no panic").clone();
                    match answer {
                        Some(health) => health,
                        None => pending().await,
                    }
                }) as Asking
            };
            let watch = HealthWatch::asking("p".to_owned(), Box::new(ask), INTERVAL, all_ready.subscribe());
            Self { watch, answer, asked, all_ready }
        }

        fn answers(&self, health: Health) {
            *self.answer.lock().expect("no panic") = Some(health);
        }

        /// The pauses between checks, in seconds.
        fn pauses(&self) -> Vec<u64> {
            let asked = self.asked.lock().expect("no panic");
            asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect()
        }
    }

    fn unhealthy() -> Health {
        Health::unhealthy("no key")
    }

    fn starting() -> Health {
        Health { state: HealthState::Starting, ..Health::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn checks_of_an_unhealthy_provider_back_off() {
        let mut bench = Bench::new(Some(unhealthy()));
        bench.watch.first().await;
        for _ in 0..6 {
            bench.watch.next().await;
        }
        assert_eq!(bench.pauses(), [1, 2, 4, 8, 10, 10]);
        bench.answers(Health::default());
        assert_eq!(bench.watch.next().await, Health::default());
        bench.watch.next().await;
        bench.answers(unhealthy());
        assert_eq!(bench.watch.next().await, Health::default(), "once may be a mishap");
        assert_eq!(bench.watch.next().await.reason, unhealthy().reason);
        bench.watch.next().await;
        assert_eq!(bench.pauses()[6..], [10, 10, 10, 1, 1], "and soon again after the next breakdown");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_check_delays_the_registration_only_briefly() {
        let begun = Instant::now();
        let mut bench = Bench::new(Some(Health::default()));
        assert_eq!(bench.watch.first().await, Health::default());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let mut bench = Bench::new(None);
        assert_eq!(bench.watch.first().await, starting());
        assert_eq!(begun.elapsed(), FIRST_LIMIT);
        bench.all_ready.send_replace(true);
        bench.watch.registered();
        assert_eq!(bench.watch.next().await, starting(), "the others are there, but not the answer");
        let reported = bench.watch.next().await;
        assert_eq!((reported, begun.elapsed()), (late(SLOW_AFTER), SLOW_AFTER));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_check_makes_a_provider_slow_and_continues() {
        let mut bench = Bench::new(Some(Health::default()));
        assert_eq!(bench.watch.first().await, Health::default());
        bench.all_ready.send_replace(true);
        bench.watch.registered();
        assert_eq!(bench.watch.next().await, Health::default(), "the others are there");
        *bench.answer.lock().expect("no panic") = None;
        let begun = Instant::now();
        assert_eq!(bench.watch.next().await, late(SLOW_AFTER), "not unhealthy");
        assert_eq!(begun.elapsed(), INTERVAL + SLOW_AFTER);
        assert_eq!(bench.watch.next().await, late(ABANDON_AFTER), "still not");
        assert_eq!(begun.elapsed(), INTERVAL + ABANDON_AFTER);
        assert_eq!(bench.pauses(), [10], "the same check went on");
        assert_eq!(bench.watch.next().await, late(SLOW_AFTER), "and the next one began");
        bench.answers(unhealthy());
        assert_eq!(bench.watch.next().await, late(ABANDON_AFTER), "the one before never answers");
        assert_eq!(bench.watch.next().await, late(ABANDON_AFTER), "one refusal may be a mishap");
        assert_eq!(bench.watch.next().await, unhealthy(), "what it refuses counts");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unhealthy_result_waits_for_the_other_providers_for_a_limited_time() {
        let mut bench = Bench::new(Some(unhealthy()));
        let early = Health { state: HealthState::Starting, ..unhealthy() };
        assert_eq!(bench.watch.first().await, early);
        bench.watch.registered();
        let begun = Instant::now();
        bench.all_ready.send_replace(true);
        assert_eq!(bench.watch.next().await, unhealthy());
        assert_eq!(begun.elapsed(), Duration::ZERO);

        bench.all_ready.send_replace(false);
        assert_eq!(bench.watch.disconnected(), early, "the same when the hub is back");
        bench.watch.registered();
        while bench.watch.next().await != unhealthy() {}
        assert_eq!(begun.elapsed(), PEERS_LIMIT, "somebody is missing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_starting_provider_reports_its_reason_and_is_checked_each_second() {
        let loading = Health::starting("loading a model");
        let mut bench = Bench::new(Some(loading.clone()));
        assert_eq!(bench.watch.first().await, loading);
        for _ in 0..3 {
            assert_eq!(bench.watch.next().await, loading);
        }
        bench.answers(Health::default());
        assert_eq!(bench.watch.next().await, Health::default());
        assert_eq!(bench.pauses(), [1, 1, 1, 1]);
        bench.answers(loading.clone());
        assert_eq!(bench.watch.next().await, Health::default(), "once may be a mishap");
        assert_eq!(bench.watch.next().await, loading, "it loads another one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lasting_failure_is_reported_once_it_is_certain() {
        let mut bench = Bench::new(Some(Health::broken("wrong key")));
        assert_eq!(bench.watch.first().await, Health::starting("wrong key"));
        bench.watch.registered();
        bench.all_ready.send_replace(true);
        assert_eq!(bench.watch.next().await, Health::broken("wrong key"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_panics_is_an_unhealthy_provider() {
        let Check::Done(reported) = limited(Box::pin(async { panic!("of the executor") })).await else {
            panic!("it is over")
        };
        assert_eq!(reported.state, HealthState::Unhealthy);
        assert!(reported.reason.is_some_and(|reason| reason.contains("health check panicked")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_healthy_result_is_reported_at_once() {
        let mut bench = Bench::new(Some(unhealthy()));
        bench.watch.first().await;
        bench.answers(Health::default());
        assert_eq!(bench.watch.next().await, Health::default());
    }
}
