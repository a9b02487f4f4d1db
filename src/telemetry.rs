//! Logs to stderr, and traces and metrics to whom OpenTelemetry's own environment variables name. Libraries only emit
//! events and spans; this is the one place that decides what becomes of them.

mod calls;
mod log;
mod metrics;
mod otlp;
mod process;
mod receiver;
mod sampling;
mod spans;
mod way;

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

/// Who waits for no longer does not say so.
const MOMENT: Duration = Duration::from_millis(300);

/// Where the telemetry of this process goes. To be ended last.
#[derive(Default)]
pub(crate) struct Telemetry {
    traces: Option<Arc<dyn SpanSink>>,
    calls: Option<SdkTracerProvider>,
    metrics: Option<Metrics>,
    otlp: Option<Otlp>,
    last_words: Duration,
    /// Dropped at the end, which ends the wait for it.
    ended: OnceLock<mpsc::Sender<()>>,
}

impl Telemetry {
    /// Installs logging, and for commands that work on runs what OpenTelemetry's variables ask for.
    ///
    /// # Errors
    /// If the filter of the log, or one of the variables, cannot be understood.
    pub(crate) fn install(global: &Global, command: &Command) -> Result<Self, CommandError> {
        let filter = log::filter(global, command.default_log_level())?;
        let is_run = matches!(command, Command::Run(_));
        let last_words = if is_run { otlp::LAST_WORDS_OF_RUN } else { otlp::LAST_WORDS };
        let mut telemetry = Self { last_words, ..Self::default() };
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
            // Who serves shows them to whoever asks.
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

    /// The same with where a control plane's traces and metrics go.
    pub(crate) fn of(&self, config: Config) -> Config {
        let metrics: Option<MetricsSource> = self.metrics.as_ref().map(|metrics| metrics.source.clone());
        Config { traces: self.traces.clone(), metrics, ..config }
    }

    /// The command has done its work. If a receiver of telemetry keeps the process from its end, that is said.
    pub(crate) fn ending(&self) {
        if self.otlp.is_none() {
            return;
        }
        self.ended.get_or_init(|| {
            let (ended, end) = mpsc::channel();
            let at_most = self.last_words * 2;
            std::thread::spawn(move || {
                if end.recv_timeout(MOMENT) == Err(mpsc::RecvTimeoutError::Timeout) {
                    output::note(&format!(
                        "waiting for at most {at_most:?} until spans and metrics are handed over: what listens at \
                         OTEL_EXPORTER_OTLP_ENDPOINT is slow or does not answer"
                    ));
                }
            });
            ended
        });
    }

    /// Hands over what is left, for a few seconds at most.
    pub(crate) fn finish(self) {
        self.ending();
        let until = Instant::now() + self.last_words;
        let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        drop(self.traces);
        // On threads of their own: the one of metrics takes its own time, whatever it is told.
        let (say, said) = mpsc::channel();
        let limit = self.last_words;
        let calls = self.calls.map(|calls| move || calls.shutdown_with_timeout(limit));
        let metrics = self.metrics.map(|metrics| move || metrics.provider.shutdown_with_timeout(limit));
        let ends = [calls.map(boxed), metrics.map(boxed)].into_iter().flatten().map(|end| {
            let say = say.clone();
            // Nobody listens any more if it takes too long.
            std::thread::spawn(move || drop(say.send(end())));
        });
        for _ in 0..ends.count() {
            match said.recv_timeout(left()) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "some spans or metrics are not exported"),
                Err(_) => tracing::warn!("some spans or metrics are not exported: the receiver does not take them"),
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
