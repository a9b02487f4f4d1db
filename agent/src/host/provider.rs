//! Host of one provider: runs its calls, each in a separate task.
//!
//! No call outlives its host: dropping the host drops the calls, and dropping a call ends its work.
//!
//! After this process stood still, no call begins until the hub has confirmed that it is still wanted: a cancel for it
//! may be waiting unread, and the call may have been given to another provider.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_link::Pulse;
use gleitzeit_mesh::id::CallId;
use gleitzeit_mesh::role::provider::{Input, Output, Provider as Role};
use gleitzeit_mesh::role::{Input as HubInput, Output as HubOutput};
use gleitzeit_mesh::wire::{Health, MethodCall, MethodOutcome};
use gleitzeit_providers::{Call, CallError, Context, Provider};
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, error, info};

use super::health::HealthWatch;
use super::{Event, Machine, Todo, call_span};

/// How long an executor may take to notice that a call is cancelled or out of time before the call is dropped.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Progress held for the hub, per call and for all calls together. What does not fit is dropped.
const CALL_PROGRESS: usize = 16;
const PROGRESS: usize = 256;
/// Calls that started late and whose start is not reported to the hub yet; further calls wait for room here.
const BEGUN: usize = 64;
/// Larger progress is dropped.
const MAX_PROGRESS_BYTES: usize = 64 * 1024;

/// What the provider's work reports.
pub(crate) enum Report {
    Finished {
        id: CallId,
        outcome: MethodOutcome,
    },
    Progress {
        id: CallId,
        data: Payload,
    },
    Waiting {
        id: CallId,
    },
    Started {
        id: CallId,
    },
    Health(Health),
    /// The process stood still for a while.
    Woke,
}

/// A call's outcome, unless the executor panicked.
type Ended = Result<Payload, CallError>;
type Progress = (CallId, Payload);

/// The provider's machine and its calls.
pub(crate) struct ProviderHost {
    machine: Role,
    provider: Provider,
    max_payload_bytes: usize,
    health: HealthWatch,
    tracker: TaskTracker,
    room: Arc<Semaphore>,
    calls: JoinSet<Ended>,
    ids: HashMap<Id, CallId>,
    open: HashMap<CallId, (Id, CancellationToken)>,
    progress: (mpsc::Sender<Progress>, mpsc::Receiver<Progress>),
    /// Calls that found no free slot when they arrived; the machine bounds their number.
    waiting: VecDeque<CallId>,
    begun: (mpsc::Sender<CallId>, mpsc::Receiver<CallId>),
    pulse: Arc<Pulse>,
    beats: Interval,
    /// The number of stops that the machine knows of.
    noticed: u64,
    /// The number of stops for which the hub has confirmed which calls are still wanted.
    confirmed: watch::Sender<u64>,
    out: Vec<Output>,
}

impl ProviderHost {
    /// `tracker` tracks every task that the host starts.
    pub(crate) fn new(
        machine: Role,
        provider: Provider,
        max_payload_bytes: usize,
        health: HealthWatch,
        tracker: TaskTracker,
    ) -> Self {
        let places = usize::try_from(provider.max_concurrency()).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        let mut beats = interval(Pulse::EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            machine,
            max_payload_bytes,
            health,
            tracker,
            room: Arc::new(Semaphore::new(places)),
            calls: JoinSet::new(),
            ids: HashMap::new(),
            open: HashMap::new(),
            progress: mpsc::channel(PROGRESS),
            waiting: VecDeque::new(),
            begun: mpsc::channel(BEGUN),
            pulse: Arc::new(Pulse::new()),
            beats,
            noticed: 0,
            confirmed: watch::Sender::new(0),
            provider,
            out: Vec::new(),
        }
    }

    fn start(&mut self, call: MethodCall) {
        let MethodCall { id, method, params, meta, .. } = call;
        let span = call_span::begin(&self.provider, &method, &params, &meta);
        span.in_scope(|| debug!(provider = self.provider.name(), call = %id, method = %method, "call started"));
        let traceparent = call_span::traceparent(&span, &meta);
        let cancel = CancellationToken::new();
        let (sender, progress) = mpsc::channel(CALL_PROGRESS);
        let context = Context {
            cancel: cancel.clone(),
            deadline: None,
            progress: Some(sender),
            attempt: u64::from(meta.attempt),
            run_id: meta.run_id.to_string(),
            task_id: meta.task_id.to_string(),
            correlation_id: meta.correlation_id,
            traceparent,
        };
        // The hub respects the limit, but a cancelled call keeps its slot until it has ended.
        let place = match self.room.clone().try_acquire_owned() {
            Ok(place) => Place::Free(place),
            Err(_none) => {
                self.waiting.push_back(id.clone());
                Place::Next { room: self.room.clone(), id: id.clone(), begun: self.begun.0.clone() }
            }
        };
        let limit = Duration::from_millis(meta.timeout_ms);
        let asked = method.clone();
        let gate = Gate { pulse: self.pulse.clone(), confirmed: self.confirmed.subscribe() };
        let work = serve(self.provider.clone(), (place, gate), Call { method, params }, context, limit);
        let forwarded = forward(id.clone(), work, progress, self.progress.0.clone());
        let forwarded = async move {
            let ended = forwarded.await;
            call_span::end(&asked, &ended);
            ended
        };
        let task = self.calls.spawn(self.tracker.track_future(forwarded.instrument(span)));
        self.ids.insert(task.id(), id.clone());
        self.open.insert(id, (task.id(), cancel));
    }

    fn ended(&mut self, joined: Result<(Id, Ended), JoinError>) -> Option<Report> {
        let (task, ended) = match joined {
            Ok((task, ended)) => (task, Some(ended)),
            Err(error) => {
                error!(provider = self.provider.name(), %error, "a call panicked");
                (error.id(), None)
            }
        };
        let id = self.ids.remove(&task)?;
        // This is a cancelled call that ended late, and the same call was requested again meanwhile.
        if self.open.get(&id).is_none_or(|(newest, _)| *newest != task) {
            return None;
        }
        self.open.remove(&id);
        let outcome = match ended {
            Some(Ok(result)) => MethodOutcome::of_result(result, self.max_payload_bytes),
            Some(Err(error)) => MethodOutcome::Error(self.failure(error)),
            None => {
                let message =
                    format!("the call panicked in provider `{}`; its log has the message", self.provider.name());
                MethodOutcome::Error(Failure::new(ErrorCode::InternalError, message))
            }
        };
        debug!(provider = self.provider.name(), call = %id, "call ended");
        Some(Report::Finished { id, outcome })
    }

    fn failure(&self, error: CallError) -> Failure {
        let (retryable, retry_after) = (error.retryable, error.retry_after);
        let failure = Failure::from(error.clone());
        let size = failure.message.len() + failure.data.as_ref().map_or(0, Payload::size_bytes);
        if size <= self.max_payload_bytes {
            return failure;
        }
        let message = format!("{} (the details of the error are omitted: {size} bytes)", start_of(&failure.message));
        let mut short = CallError::new(error.code, message).retryable(retryable);
        short.retry_after = retry_after;
        Failure::from(short)
    }

    /// Tells the machine if the process stood still since the last check.
    fn notice(&mut self, now: Instant) {
        let stops = self.pulse.beat();
        if stops != self.noticed {
            self.noticed = stops;
            info!(
                provider = self.provider.name(),
                "the process stood still; asking the hub which calls are still wanted"
            );
            self.machine.accept(now, Input::Woke, &mut self.out);
        }
    }

    fn act(&mut self, todo: &mut Todo) {
        if !self.machine.is_in_doubt() {
            let noticed = self.noticed;
            self.confirmed.send_if_modified(|confirmed| std::mem::replace(confirmed, noticed) != noticed);
        }
        let mut out = std::mem::take(&mut self.out);
        for output in out.drain(..) {
            match output {
                Output::Hub(output) => {
                    if output == HubOutput::Registered {
                        self.health.registered();
                    }
                    todo.outputs.push(output);
                }
                Output::Start { call } => self.start(call),
                Output::Cancel { id } => {
                    if let Some((_, cancel)) = self.open.remove(&id) {
                        cancel.cancel();
                    }
                }
                Output::Drained => todo.drained = true,
            }
        }
        self.out = out;
    }
}

impl Machine for ProviderHost {
    type Report = Report;

    /// Makes the registration carry the provider's health.
    async fn prepare(&mut self, now: Instant) {
        let health = self.health.first().await;
        // This has no effect before there is a connection.
        self.machine.accept(now, Input::Health(health), &mut self.out);
    }

    fn accept(&mut self, now: Instant, event: Event<Report>, todo: &mut Todo) {
        self.notice(now);
        let input = match event {
            Event::Hub(HubInput::Disconnected) => {
                let health = self.health.disconnected();
                self.machine.accept(now, Input::Health(health), &mut self.out);
                Input::Hub(HubInput::Disconnected)
            }
            Event::Hub(input) => Input::Hub(input),
            Event::Drain { grace_ms } => Input::Drain { grace_ms },
            Event::Report(Report::Finished { id, outcome }) => Input::Finished { id, outcome },
            Event::Report(Report::Progress { id, data }) => Input::Progress { id, data },
            Event::Report(Report::Waiting { id }) => Input::Waiting { id },
            Event::Report(Report::Started { id }) => Input::Started { id },
            Event::Report(Report::Health(health)) => Input::Health(health),
            // `notice` handled this above.
            Event::Report(Report::Woke) => return self.act(todo),
        };
        self.machine.accept(now, input, &mut self.out);
        self.act(todo);
    }

    fn flush(&mut self, now: Instant, todo: &mut Todo) {
        self.machine.flush(now, &mut self.out);
        self.act(todo);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.machine.next_deadline()
    }

    async fn next_report(&mut self) -> Report {
        loop {
            if let Some(id) = self.waiting.pop_front() {
                return Report::Waiting { id };
            }
            let joined = tokio::select! {
                // The output of a call goes before its end.
                biased;
                Some(id) = self.begun.1.recv() => return Report::Started { id },
                Some((id, data)) = self.progress.1.recv() => return Report::Progress { id, data },
                Some(joined) = self.calls.join_next_with_id() => joined,
                health = self.health.next() => return Report::Health(health),
                _ = self.beats.tick() => {
                    if self.pulse.beat() != self.noticed {
                        return Report::Woke;
                    }
                    continue;
                }
                else => return pending().await,
            };
            if let Some(report) = self.ended(joined) {
                return report;
            }
        }
    }

    fn try_report(&mut self) -> Option<Report> {
        if let Some(id) = self.waiting.pop_front() {
            return Some(Report::Waiting { id });
        }
        if let Ok(id) = self.begun.1.try_recv() {
            return Some(Report::Started { id });
        }
        if let Ok((id, data)) = self.progress.1.try_recv() {
            return Some(Report::Progress { id, data });
        }
        while let Some(joined) = self.calls.try_join_next_with_id() {
            if let Some(report) = self.ended(joined) {
                return Some(report);
            }
        }
        None
    }
}

/// The slot that a call runs in.
enum Place {
    /// A slot was free when the call arrived.
    Free(OwnedSemaphorePermit),
    /// The next slot that becomes free; `begun` then reports the start of the call.
    Next { room: Arc<Semaphore>, id: CallId, begun: mpsc::Sender<CallId> },
}

impl Place {
    async fn take(self) -> Result<OwnedSemaphorePermit, CallError> {
        let (room, id, begun) = match self {
            Self::Free(place) => return Ok(place),
            Self::Next { room, id, begun } => (room, id, begun),
        };
        let place = room.acquire_owned().await.map_err(|_closed| {
            CallError::new(ErrorCode::SystemShutdown, "the provider is shutting down").retryable(true)
        })?;
        // Without a host there is no receiver.
        let _ = begun.send(id).await;
        Ok(place)
    }
}

/// Holds a call back while it may no longer be wanted.
struct Gate {
    pulse: Arc<Pulse>,
    confirmed: watch::Receiver<u64>,
}

impl Gate {
    /// Waits until the hub has answered for every stop of this process.
    async fn pass(mut self) {
        loop {
            let stops = self.pulse.beat();
            if self.confirmed.wait_for(|confirmed| *confirmed >= stops).await.is_err() {
                // Without a host the call is about to be dropped.
                return pending().await;
            }
            // The process may have stood still during the wait.
            if self.pulse.beat() == stops {
                return;
            }
        }
    }
}

/// Runs a call once a slot is free, if it is still wanted then; its time limit starts at that moment. The executor ends
/// the call when it is cancelled or out of time; if the executor does not, the call is dropped.
async fn serve(
    provider: Provider,
    (place, gate): (Place, Gate),
    call: Call,
    mut context: Context,
    limit: Duration,
) -> Ended {
    let _place = tokio::select! {
        biased;
        error = context.ended() => return Err(error),
        place = async {
            let place = place.take().await;
            gate.pass().await;
            place
        } => place?,
    };
    context.deadline = tokio::time::Instant::now().checked_add(limit);
    let limits = context.clone();
    tokio::select! {
        ended = provider.call(call, context) => ended,
        error = async {
            let error = limits.ended().await;
            sleep(STOP_GRACE).await;
            error
        } => Err(error),
    }
}

/// Runs a call and forwards its progress; the last progress goes before the result.
async fn forward(
    id: CallId,
    work: impl Future<Output = Ended>,
    mut from: mpsc::Receiver<Payload>,
    to: mpsc::Sender<Progress>,
) -> Ended {
    let hand = |data: Payload| {
        let size = data.size_bytes();
        if size > MAX_PROGRESS_BYTES || to.try_send((id.clone(), data)).is_err() {
            debug!(call = %id, size, "progress dropped");
        }
    };
    let mut work = std::pin::pin!(work);
    let ended = loop {
        tokio::select! {
            Some(data) = from.recv() => hand(data),
            ended = &mut work => break ended,
        }
    };
    while let Ok(data) = from.try_recv() {
        hand(data);
    }
    ended
}

fn start_of(text: &str) -> &str {
    const KEPT: usize = 1024;
    let end = (0..=text.len().min(KEPT)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_call_starts_at_once_but_after_a_suspension_only_when_the_hub_has_confirmed_it() {
        let (pulse, confirmed) = (Arc::new(Pulse::new()), watch::Sender::new(0));
        let gate = || Gate { pulse: pulse.clone(), confirmed: confirmed.subscribe() };
        gate().pass().await;
        pulse.stop();
        let mut waiting = std::pin::pin!(gate().pass());
        assert!(waiting.as_mut().now_or_never().is_none(), "nobody has said that it is wanted");
        confirmed.send_replace(1);
        waiting.await;
        gate().pass().await;
    }
}
