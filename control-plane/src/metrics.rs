//! The metrics of a control plane. The writer counts commits after it has answered; gauges are refreshed when they are
//! read.

mod now;

use std::sync::Arc;
use std::time::Duration;

use gleitzeit_mesh::hub::Batch;
use gleitzeit_mesh::wire::Role;
use gleitzeit_run::event::StopReason;
use gleitzeit_run::ledger::Ledger;
use gleitzeit_run::{Entry, Event, Instance, RunId, State};
use gleitzeit_workflow::TaskId;
use now::Now;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

/// Where measurements go, and how they are rendered as text.
#[derive(Clone)]
pub struct MetricsSource {
    /// Creates the instruments.
    pub meter: Meter,
    /// Renders all metrics of the process in Prometheus text format.
    pub render: Arc<dyn Fn() -> Result<String, String> + Send + Sync>,
    /// Whether metrics are also pushed somewhere without being asked for.
    pub is_pushed: bool,
}

/// Histogram boundaries in seconds, from the latency of a busy disk to that of a language model.
const SECONDS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
const ENTRIES: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// The instruments; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Instruments>);

struct Instruments {
    runs_submitted: Counter<u64>,
    runs_ended: Counter<u64>,
    run_duration: Histogram<f64>,
    tasks_ended: Counter<u64>,
    attempt_duration: Histogram<f64>,
    attempts_stopped: Counter<u64>,
    task_retries: Counter<u64>,
    dispatch_latency: Histogram<f64>,
    batch_entries: Histogram<u64>,
    commit_duration: Histogram<f64>,
    messages: Counter<u64>,
    transferred: Counter<u64>,
    registrations: Counter<u64>,
    resyncs: Counter<u64>,
    now: Arc<Now>,
}

/// The direction of an event on the mesh, seen from the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        let seconds = |name: &'static str, what: &'static str| {
            let histogram = meter.f64_histogram(name).with_description(what).with_unit("s");
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        let now = Arc::new(Now::default());
        now.observe(meter);
        Self(Arc::new(Instruments {
            runs_submitted: counter("gleitzeit.runs.submitted", "Runs that were accepted"),
            runs_ended: counter("gleitzeit.runs.ended", "Runs that have ended, by status"),
            run_duration: seconds("gleitzeit.run.duration", "Duration of a run from its acceptance, by status"),
            tasks_ended: counter("gleitzeit.tasks.ended", "Tasks that have ended, by status"),
            attempt_duration: seconds(
                "gleitzeit.attempt.duration",
                "How long a provider worked on an attempt, by method and outcome",
            ),
            attempts_stopped: counter("gleitzeit.attempts.stopped", "Attempts that ended without an answer, by reason"),
            task_retries: counter("gleitzeit.task.retries", "Failed attempts after which a task is retried"),
            dispatch_latency: seconds(
                "gleitzeit.dispatch.latency",
                "From ready to its dispatch to an engine, for first attempts",
            ),
            batch_entries: meter
                .u64_histogram("gleitzeit.journal.batch.entries")
                .with_description("Entries that were committed together")
                .with_boundaries(ENTRIES.to_vec())
                .build(),
            commit_duration: seconds(
                "gleitzeit.journal.commit.duration",
                "Duration of writing a batch, including the sync to disk",
            ),
            messages: counter("gleitzeit.mesh.messages", "Events on the mesh, in and out"),
            transferred: meter
                .u64_counter("gleitzeit.mesh.transferred")
                .with_description("Bytes of events on the mesh, in and out")
                .with_unit("By")
                .build(),
            registrations: counter("gleitzeit.component.registrations", "Registrations of components, by role"),
            resyncs: counter("gleitzeit.mesh.resyncs", "Transfers of state to owners"),
            now,
        }))
    }

    /// The gauges, to be kept up to date.
    pub(crate) fn now(&self) -> &Now {
        &self.0.now
    }

    /// Counts a committed batch that took `took`; `ledger` must still hold the runs that ended with it.
    pub(crate) fn committed(&self, batch: &Batch, ledger: &Ledger, took: Duration) {
        self.0.commit_duration.record(took.as_secs_f64(), &[]);
        self.0.batch_entries.record(batch.entries.len() as u64, &[]);
        let mut tasks_ended = [0_u64; 4];
        for entry in &batch.entries {
            self.entry(entry, ledger, &mut tasks_ended);
        }
        for (count, status) in tasks_ended.into_iter().zip(["completed", "failed", "skipped", "cancelled"]) {
            if count > 0 {
                self.0.tasks_ended.add(count, &[KeyValue::new("status", status)]);
            }
        }
    }

    fn entry(&self, entry: &Entry, ledger: &Ledger, tasks_ended: &mut [u64; 4]) {
        match &entry.event {
            Event::WorkflowSubmitted(_) => self.0.runs_submitted.add(1, &[]),
            Event::TaskDispatched(event) if event.attempt == 1 => {
                let ready = task(ledger, entry.run_id, &event.task_id).and_then(|(_, _, task)| task.ready_at());
                if let Some(ready) = ready {
                    self.0.dispatch_latency.record(seconds(entry.recorded_at.ms_since(ready)), &[]);
                }
            }
            Event::TaskCompleted(event) => {
                tasks_ended[0] += 1;
                if !event.carried {
                    self.attempt(ledger, entry.run_id, &event.task_id, event.ran_ms, "completed");
                }
            }
            Event::TaskAttemptFailed(event) => {
                self.attempt(ledger, entry.run_id, &event.task_id, event.ran_ms, "failed");
            }
            Event::TaskAttemptStopped(event) => {
                self.0.attempts_stopped.add(1, &[KeyValue::new("reason", reason(event.reason))]);
            }
            Event::TaskRetryScheduled(_) => self.0.task_retries.add(1, &[]),
            Event::TaskFailed(_) => tasks_ended[1] += 1,
            Event::TaskSkipped(_) => tasks_ended[2] += 1,
            Event::TaskCancelled(_) => tasks_ended[3] += 1,
            Event::WorkflowCompleted(_) => self.ended(entry, ledger, "completed"),
            Event::WorkflowFailed(_) => self.ended(entry, ledger, "failed"),
            Event::WorkflowCancelled(_) => self.ended(entry, ledger, "cancelled"),
            Event::WorkflowCancelRequested(_)
            | Event::TaskReady(_)
            | Event::TaskDispatched(_)
            | Event::TaskStarted(_)
            | Event::TaskRequeued(_)
            | Event::OwnershipGranted(_)
            | Event::ProtocolRegistered(_)
            | Event::ProtocolsUsed(_)
            | Event::ProtocolRemoved(_) => {}
        }
    }

    fn attempt(&self, ledger: &Ledger, run: Option<RunId>, id: &TaskId, ran_ms: u64, outcome: &'static str) {
        let Some((state, at, _)) = task(ledger, run, id) else { return };
        let method = KeyValue::new("method", state.task(at).method.0.clone());
        self.0.attempt_duration.record(seconds(ran_ms), &[method, KeyValue::new("outcome", outcome)]);
    }

    fn ended(&self, entry: &Entry, ledger: &Ledger, status: &'static str) {
        let status = [KeyValue::new("status", status)];
        self.0.runs_ended.add(1, &status);
        if let Some(state) = entry.run_id.and_then(|run_id| ledger.run(run_id)) {
            self.0.run_duration.record(seconds(entry.recorded_at.ms_since(state.submitted_at)), &status);
        }
    }

    /// Counts an event on the mesh.
    pub(crate) fn message(&self, way: Way, bytes: usize) {
        let way = [KeyValue::new("direction", if way == Way::In { "in" } else { "out" })];
        self.0.messages.add(1, &way);
        self.0.transferred.add(bytes as u64, &way);
    }

    /// Counts an owner that is sent the last page of the state of what it owns.
    pub(crate) fn resync(&self) {
        self.0.resyncs.add(1, &[]);
    }

    /// Counts a component that asks to be registered.
    pub(crate) fn registration(&self, role: Role) {
        self.0.registrations.add(1, &[KeyValue::new("role", role.to_string())]);
    }
}

fn task<'a>(ledger: &'a Ledger, run: Option<RunId>, id: &TaskId) -> Option<(&'a State, usize, &'a Instance)> {
    let state = ledger.run(run?)?;
    let at = state.index_of(id.as_str())?;
    Some((state, at, &state.tasks[at]))
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EngineLost => "engine_lost",
        StopReason::ProviderLost => "provider_lost",
        StopReason::NoProvider => "no_provider",
        StopReason::NotTaken => "not_taken",
        StopReason::Drain => "drain",
        StopReason::Cancelled => "cancelled",
    }
}
