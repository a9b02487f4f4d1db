//! Logs to stderr, and traces and metrics to whom OpenTelemetry's own environment variables name. Libraries only emit
//! events and spans; this is the one place that decides what becomes of them.

mod calls;
mod log;
mod metrics;
mod otlp;
mod process;
mod sampling;
mod spans;

use std::sync::Arc;

use gleitzeit_control_plane::{Config, MetricsSource, SpanSink};
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::cli::{Command, Global};
use crate::error::CommandError;
use metrics::Metrics;
use otlp::Otlp;
use sampling::Sampling;

/// Where the telemetry of this process goes. To be ended last.
#[derive(Default)]
pub(crate) struct Telemetry {
    traces: Option<Arc<dyn SpanSink>>,
    calls: Option<SdkTracerProvider>,
    metrics: Option<Metrics>,
    otlp: Option<Otlp>,
}

impl Telemetry {
    /// Installs logging, and for commands that work on runs what OpenTelemetry's variables ask for.
    ///
    /// # Errors
    /// If the filter of the log, or one of the variables, cannot be understood.
    pub(crate) fn install(global: &Global, command: &Command) -> Result<Self, CommandError> {
        let filter = log::filter(global, command.default_log_level())?;
        let mut telemetry = Self::default();
        if command.works() {
            let (traces, metrics) = (otlp::is_wanted("TRACES"), otlp::is_wanted("METRICS"));
            telemetry.otlp = (traces || metrics).then(Otlp::start).transpose()?;
            let otlp = telemetry.otlp.as_ref();
            if let Some(otlp) = otlp.filter(|_| traces) {
                let sampling = Sampling::from_env()?;
                telemetry.traces = Some(Arc::new(spans::Exported::new(otlp.span_exporter()?, sampling, otlp.handle())));
                telemetry.calls = Some(calls::provider(otlp.call_exporter()?, sampling));
            }
            // Who serves shows them to whoever asks.
            if metrics || command.serves() {
                telemetry.metrics = Some(Metrics::start(otlp.filter(|_| metrics))?);
            }
        }
        log::install(filter, global.log_format, telemetry.calls.as_ref().map(calls::layer));
        Ok(telemetry)
    }

    /// The same with where a control plane's traces and metrics go.
    pub(crate) fn of(&self, config: Config) -> Config {
        let metrics: Option<MetricsSource> = self.metrics.as_ref().map(|metrics| metrics.source.clone());
        Config { traces: self.traces.clone(), metrics, ..config }
    }

    /// Hands over what is left, for a few seconds at most.
    pub(crate) fn finish(self) {
        drop(self.traces);
        let calls = self.calls.map(|calls| calls.shutdown_with_timeout(otlp::LAST_WORDS));
        let metrics = self.metrics.map(|metrics| metrics.provider.shutdown_with_timeout(otlp::LAST_WORDS));
        for error in [calls, metrics].into_iter().flatten().filter_map(Result::err) {
            tracing::warn!(%error, "some spans or metrics are not exported");
        }
        if let Some(otlp) = self.otlp {
            otlp.stop();
        }
    }
}
