//! Logs to stderr, and traces and metrics to whom OpenTelemetry's own environment variables name. Libraries only emit
//! events and spans; this is the one place that decides what becomes of them.

mod calls;
mod log;
mod otlp;
mod sampling;
mod spans;

use std::sync::Arc;

use gleitzeit_control_plane::SpanSink;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::cli::Global;
use crate::error::CommandError;
use otlp::Otlp;
use sampling::Sampling;

/// Where the telemetry of this process goes. To be ended last.
pub(crate) struct Telemetry {
    traces: Option<Arc<dyn SpanSink>>,
    calls: Option<SdkTracerProvider>,
    otlp: Option<Otlp>,
}

impl Telemetry {
    /// Installs logging, and for processes that work (`exports`) what OpenTelemetry's variables ask for. Without a level
    /// `default` is logged.
    ///
    /// # Errors
    /// If the filter, or one of the variables, cannot be read.
    pub(crate) fn install(global: &Global, default: &str, exports: bool) -> Result<Self, CommandError> {
        let filter = log::filter(global, default)?;
        let wanted = exports && otlp::is_wanted("TRACES");
        if !wanted {
            log::install(filter, global.log_format, None);
            return Ok(Self { traces: None, calls: None, otlp: None });
        }
        let (otlp, sampling) = (Otlp::start()?, Sampling::from_env()?);
        let exporter = otlp.span_exporter()?;
        let provider = calls::provider(otlp.call_exporter()?, sampling);
        log::install(filter, global.log_format, Some(calls::layer(&provider)));
        let traces: Arc<dyn SpanSink> = Arc::new(spans::Exported::new(exporter, sampling, otlp.handle()));
        Ok(Self { traces: Some(traces), calls: Some(provider), otlp: Some(otlp) })
    }

    /// Where the traces of runs go, if anywhere.
    pub(crate) fn traces(&self) -> Option<Arc<dyn SpanSink>> {
        self.traces.clone()
    }

    /// Hands over what is left, for a few seconds at most.
    pub(crate) fn finish(self) {
        drop(self.traces);
        if let Some(Err(error)) = self.calls.map(|calls| calls.shutdown_with_timeout(otlp::LAST_WORDS)) {
            tracing::warn!(%error, "some spans are not exported");
        }
        if let Some(otlp) = self.otlp {
            otlp.stop();
        }
    }
}
