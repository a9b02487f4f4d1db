//! Metrics: served at `/metrics`, and exported over OTLP if OpenTelemetry's variables ask for it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_control_plane::MetricsSource;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::{MetricExporter, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::runtime::Handle;

use super::export_clients::ExportClient;
use super::otlp::{self, Otlp};
use super::process;
use super::receiver::Receiver;
use crate::error::CommandError;

/// The meters and their readers.
pub(super) struct Metrics {
    pub(super) provider: SdkMeterProvider,
    pub(super) source: MetricsSource,
}

impl Metrics {
    /// Starts the metrics; with `otlp` they are exported, too.
    ///
    /// # Errors
    /// If a variable cannot be parsed.
    pub(super) fn start(otlp: Option<&Otlp>) -> Result<Self, CommandError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(|error| CommandError::internal(format!("cannot collect metrics: {error}")))?;
        let mut builder = SdkMeterProvider::builder().with_resource(otlp::resource()).with_reader(reader);
        if let Some(otlp) = otlp {
            let handle = otlp.handle();
            let _inside = handle.enter();
            let wrong = |error: &dyn std::fmt::Display| {
                CommandError::usage(format!("cannot export metrics: {error}"))
                    .hint("check OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_PROTOCOL, or set OTEL_METRICS_EXPORTER=none")
            };
            let made = MetricExporter::builder();
            let built = match otlp.metrics.way().map_err(|error| wrong(&error))? {
                ExportClient::Http(client) => made.with_http().with_http_client(client).build(),
                ExportClient::Grpc(None) => made.with_tonic().build(),
                ExportClient::Grpc(Some(channel)) => made.with_tonic().with_channel(channel).build(),
            };
            let exporter = built.map_err(|error| wrong(&error))?;
            let exporter = Inside { exporter, receiver: otlp.metrics.clone(), handle: otlp.handle() };
            builder = builder.with_reader(PeriodicReader::builder(exporter).build());
        }
        let provider = builder.build();
        let meter = provider.meter_with_scope(otlp::scope());
        process::observe(&meter);
        process::observe_log(&meter);
        let render = Arc::new(move || {
            let mut text = Vec::new();
            TextEncoder::new().encode(&registry.gather(), &mut text).map_err(|error| error.to_string())?;
            String::from_utf8(text).map_err(|error| error.to_string())
        });
        Ok(Self { provider, source: MetricsSource { meter, render, is_pushed: otlp.is_some() } })
    }
}

/// An exporter for callers without a runtime: it runs on telemetry's runtime.
struct Inside {
    exporter: MetricExporter,
    receiver: Arc<Receiver>,
    handle: Handle,
}

impl PushMetricExporter for Inside {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let sent = async {
            match self.exporter.export(metrics).await {
                Ok(()) => Ok(()),
                Err(error) => Err(OTelSdkError::InternalFailure(self.receiver.explain(&error.to_string()).await)),
            }
        };
        let mut sent = pin!(sent);
        poll_fn(|context| {
            let _inside = self.handle.enter();
            sent.as_mut().poll(context)
        })
        .await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
