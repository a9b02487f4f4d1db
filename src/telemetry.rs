//! Logs to stderr, and exports traces and metrics to the receivers in OpenTelemetry's environment variables. Libraries
//! only emit events and spans; what happens to them is decided here.

mod calls;
mod export_clients;
mod log;
mod metrics;
mod otlp;
mod process;
mod receiver;
mod sampling;
mod spans;

use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use gleitzeit_control_plane::{Config, MetricsSource, SpanSink};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::cli::{Command, Global};
use crate::error::CommandError;
use crate::output;
use metrics::Metrics;
use otlp::Otlp;
use sampling::Sampling;

/// A shorter wait for a receiver is not reported.
const MOMENT: Duration = Duration::from_millis(300);

/// The telemetry of this process. Ended last.
#[derive(Default)]
pub(crate) struct Telemetry {
    traces: Option<Arc<dyn SpanSink>>,
    calls: Option<SdkTracerProvider>,
    metrics: Option<Metrics>,
    otlp: Option<Otlp>,
    export_limit: Duration,
    /// Dropped at the end, which ends the wait for it.
    ended: OnceLock<mpsc::Sender<()>>,
}

impl Telemetry {
    /// Installs logging, and for commands that work on runs the exports that OpenTelemetry's variables ask for.
    ///
    /// # Errors
    /// If the log filter or one of the variables cannot be parsed.
    pub(crate) fn install(global: &Global, command: &Command) -> Result<Self, CommandError> {
        let filter = log::filter(global, command.default_log_level())?;
        let is_run = matches!(command, Command::Run(_));
        let export_limit = if is_run { otlp::EXPORT_LIMIT_OF_RUN } else { otlp::EXPORT_LIMIT };
        let mut telemetry = Self { export_limit, ..Self::default() };
        if command.works() {
            let (traces, metrics) = (otlp::is_wanted("TRACES"), otlp::is_wanted("METRICS"));
            telemetry.otlp = (traces || metrics).then(Otlp::start).transpose()?;
            let otlp = telemetry.otlp.as_ref();
            if let Some(otlp) = otlp.filter(|_| traces) {
                let sampling = Sampling::from_env()?;
                let exported =
                    spans::Exported::new(otlp.span_exporter()?, otlp.traces.clone(), sampling, otlp.handle());
                telemetry.traces = Some(Arc::new(exported));
                telemetry.calls = Some(calls::provider(otlp.call_exporter()?, sampling));
            }
            // A serving process exposes its metrics.
            if metrics || command.serves() {
                telemetry.metrics = Some(Metrics::start(otlp.filter(|_| metrics))?);
            }
        }
        log::install(filter, global.log_format, telemetry.calls.as_ref().map(calls::layer));
        if let Some(otlp) = &telemetry.otlp {
            otlp.check_receivers();
        }
        Ok(telemetry)
    }

    /// Adds the destinations of a control plane's traces and metrics to its configuration.
    pub(crate) fn of(&self, config: Config) -> Config {
        let metrics: Option<MetricsSource> = self.metrics.as_ref().map(|metrics| metrics.source.clone());
        Config { traces: self.traces.clone(), metrics, ..config }
    }

    /// The command has done its work. If a receiver of telemetry delays the exit, this says so.
    pub(crate) fn ending(&self) {
        if self.otlp.is_none() {
            return;
        }
        self.ended.get_or_init(|| {
            let (ended, end) = mpsc::channel();
            let at_most = self.export_limit * 2;
            std::thread::spawn(move || {
                if end.recv_timeout(MOMENT) == Err(mpsc::RecvTimeoutError::Timeout) {
                    output::note(&format!(
                        "waiting for at most {at_most:?} for the export of spans and metrics: the receiver at \
                         OTEL_EXPORTER_OTLP_ENDPOINT is slow or does not answer"
                    ));
                }
            });
            ended
        });
    }

    /// Exports the remaining data, for a few seconds at most.
    pub(crate) fn finish(self) {
        self.ending();
        let until = Instant::now() + self.export_limit;
        let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        drop(self.traces);
        // On separate threads: the shutdown of metrics ignores the timeout that it is given.
        let (say, said) = mpsc::channel();
        let limit = self.export_limit;
        let calls = self.calls.map(|calls| move || calls.shutdown_with_timeout(limit));
        let metrics = self.metrics.map(|metrics| move || metrics.provider.shutdown_with_timeout(limit));
        let ends = [calls.map(boxed), metrics.map(boxed)].into_iter().flatten().map(|end| {
            let say = say.clone();
            // After the timeout nobody receives this.
            std::thread::spawn(move || drop(say.send(end())));
        });
        for _ in 0..ends.count() {
            match said.recv_timeout(left()) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "some spans or metrics are not exported"),
                Err(_) => tracing::warn!("some spans or metrics are not exported: the receiver does not accept them"),
            }
        }
        if let Some(otlp) = self.otlp {
            otlp.stop(left());
        }
    }
}

fn boxed(end: impl FnOnce() -> OTelSdkResult + Send + 'static) -> Box<dyn FnOnce() -> OTelSdkResult + Send> {
    Box::new(end)
}
