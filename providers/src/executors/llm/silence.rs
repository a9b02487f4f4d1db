//! Limits how long a server may stay silent. A server that works on one call after another sends nothing to the others
//! until it is their turn. So the silence of a call counts only while no other call of this process receives anything
//! from the same server. Health checks do not count: a server answers them even if its models hang. The total time of a
//! call is limited by its task's timeout.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use reqwest::Url;
use tokio::time::{Instant, sleep_until};

/// When any call last received something from a server.
type LastReceived = Arc<Mutex<Option<Instant>>>;

/// The servers in use, by origin: two providers may share one.
static SERVERS: Mutex<BTreeMap<String, Weak<Mutex<Option<Instant>>>>> = Mutex::new(BTreeMap::new());

fn last_received_from(url: &str) -> LastReceived {
    let origin = Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization());
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(last) = servers.get(&origin).and_then(Weak::upgrade) {
        return last;
    }
    // Bounded by the open calls: the entries of finished ones are removed here.
    servers.retain(|_, last| last.strong_count() > 0);
    let last = LastReceived::default();
    servers.insert(origin, Arc::downgrade(&last));
    last
}

/// The limit on silence for one call.
pub(super) struct Patience {
    server: LastReceived,
    limit: Duration,
    since: Instant,
}

impl Patience {
    /// Starts now; the server at `url` may be silent for `limit`.
    pub(super) fn begin(url: &str, limit: Duration) -> Self {
        Self { server: last_received_from(url), limit, since: Instant::now() }
    }

    /// Records that the server sent something to this call.
    pub(super) fn received(&mut self) {
        self.since = Instant::now();
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.since);
    }

    /// Waits for `work`; `None` if the server is silent for too long. Cancel-safe if `work` is.
    pub(super) async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let Some(due) = self.due() else { return Some(work.await) };
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = sleep_until(due) => {
                    if self.due().is_some_and(|due| due <= Instant::now()) {
                        return None;
                    }
                }
            }
        }
    }

    /// When the silence becomes too long; `None` if that is beyond what the clock can represent.
    fn due(&self) -> Option<Instant> {
        let last = *self.server.lock().unwrap_or_else(PoisonError::into_inner);
        last.map_or(self.since, |last| last.max(self.since)).checked_add(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn silence_counts_only_while_no_other_call_receives_anything() {
        let begun = Instant::now();
        let mut waiting = Patience::begin("http://one.test:1", LIMIT);
        let mut working = Patience::begin("http://one.test:1/v1", LIMIT);
        let other = async {
            for _ in 0..10 {
                sleep(LIMIT / 2).await;
                working.received();
            }
        };
        let (silent, ()) = tokio::join!(waiting.wait(pending::<()>()), other);
        assert_eq!((silent, begun.elapsed()), (None, LIMIT * 6), "ten halves, and one whole after them");
    }

    #[tokio::test(start_paused = true)]
    async fn another_server_does_not_count() {
        let begun = Instant::now();
        let mut waiting = Patience::begin("http://two.test:1", LIMIT);
        let mut elsewhere = Patience::begin("http://two.test:2", LIMIT);
        let other = async {
            sleep(LIMIT / 2).await;
            elsewhere.received();
        };
        let (silent, ()) = tokio::join!(waiting.wait(pending::<()>()), other);
        assert_eq!((silent, begun.elapsed()), (None, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_dropped_and_restarted_continues() {
        let begun = Instant::now();
        let mut waiting = Patience::begin("http://three.test", LIMIT);
        for _ in 0..3 {
            let cut = tokio::time::timeout(LIMIT / 4, waiting.wait(pending::<()>())).await;
            assert!(cut.is_err(), "still patient");
        }
        assert_eq!(waiting.wait(pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), LIMIT);
        assert_eq!(Patience::begin("http://three.test", Duration::MAX).wait(async { 7 }).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn unused_servers_are_forgotten() {
        for number in 0..100 {
            drop(Patience::begin(&format!("http://four-{number}.test"), LIMIT));
        }
        let kept =
            SERVERS.lock().unwrap_or_else(PoisonError::into_inner).keys().filter(|it| it.contains("four")).count();
        assert!(kept <= 1, "{kept}");
    }
}
