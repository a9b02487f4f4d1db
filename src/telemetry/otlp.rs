//! The OTLP export: a separate low-priority thread that sends over gRPC or HTTP, as the variables say.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::runtime::{Builder, Handle, Runtime};

use super::export_clients::ExportClient;
use super::receiver::Receiver;
use crate::error::CommandError;

/// How long a process tries to export the remaining data at its end.
pub(super) const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// The same for a command that a person waits for; before that, its control plane has as long for the spans of its run.
pub(super) const EXPORT_LIMIT_OF_RUN: Duration = Duration::from_secs(1);

/// Whether OpenTelemetry's variables enable a signal, such as `TRACES`: its own or the common endpoint is set, and
/// nothing disables it.
pub(super) fn is_wanted(signal: &str) -> bool {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let is_off = read("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || read(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == "none");
    let endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")];
    !is_off && endpoints.iter().any(|name| read(name).is_some())
}

/// The export thread and its receivers.
pub(super) struct Otlp {
    runtime: Runtime,
    pub(super) traces: Arc<Receiver>,
    pub(super) metrics: Arc<Receiver>,
}

impl Otlp {
    /// # Errors
    /// If the thread cannot be started, or a variable names no time limit.
    pub(super) fn start() -> Result<Self, CommandError> {
        let be_nice = || {
            // Without the lower priority, the export competes with all other work.
            if let Err(error) = gleitzeit_control_plane::yield_to_others() {
                tracing::debug!(%error, "cannot lower the priority of the telemetry export");
            }
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .on_thread_start(be_nice)
            .build()
            .map_err(|error| CommandError::internal(format!("cannot start the telemetry thread: {error}")))?;
        let read = |name: &str| std::env::var(name).ok();
        let receiver = |signal| Receiver::new(signal, read).map(Arc::new);
        Ok(Self { runtime, traces: receiver("TRACES")?, metrics: receiver("METRICS")? })
    }

    /// Checks in the background whether the receivers can be what they are meant to be, and logs it if not.
    pub(super) fn check_receivers(&self) {
        for receiver in [self.traces.clone(), self.metrics.clone()] {
            if is_wanted(receiver.signal()) {
                self.runtime.spawn(async move { receiver.check().await });
            }
        }
    }

    pub(super) fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// # Errors
    /// If a variable cannot be understood.
    pub(super) fn span_exporter(&self) -> Result<SpanExporter, CommandError> {
        let _inside = self.runtime.enter();
        let wrong = |error: &dyn std::fmt::Display| {
            CommandError::usage(format!("traces cannot be exported: {error}")).hint(
                "check OTEL_EXPORTER_OTLP_ENDPOINT (such as http://localhost:4318) and OTEL_EXPORTER_OTLP_PROTOCOL \
                 (grpc or http/protobuf), or unset them",
            )
        };
        let builder = SpanExporter::builder();
        let built = match self.traces.way().map_err(|error| wrong(&error))? {
            ExportClient::Http(client) => builder.with_http().with_http_client(client).build(),
            ExportClient::Grpc(None) => builder.with_tonic().build(),
            ExportClient::Grpc(Some(channel)) => builder.with_tonic().with_channel(channel).build(),
        };
        let mut exporter = built.map_err(|error| wrong(&error))?;
        exporter.set_resource(&resource());
        Ok(exporter)
    }

    /// # Errors
    /// As [`Otlp::span_exporter`].
    pub(super) fn call_exporter(&self) -> Result<OnThread, CommandError> {
        let receiver = self.traces.clone();
        Ok(OnThread { exporter: Arc::new(self.span_exporter()?), receiver, handle: self.handle() })
    }

    pub(super) fn stop(self, limit: Duration) {
        self.runtime.shutdown_timeout(limit);
    }
}

/// The version of OpenTelemetry's conventions whose names are used.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// The instrumentation scope of everything exported.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("gleitzeit")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build()
}

/// The resource of this process: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, or else `gleitzeit`; and an id
/// that distinguishes it from all other processes.
pub(super) fn resource() -> Resource {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    let instance = INSTANCE.get_or_init(|| uuid::Uuid::now_v7().to_string());
    let is_set = |name: &str| {
        let names = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        names.split(',').any(|pair| pair.split('=').next().is_some_and(|key| key.trim() == name))
    };
    let mut attributes = Vec::new();
    for (name, value) in [("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", instance)] {
        if !is_set(name) {
            attributes.push(KeyValue::new(name, value.to_owned()));
        }
    }
    let builder = Resource::builder().with_schema_url(attributes, SCHEMA_URL);
    let is_named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty()) || is_set("service.name");
    if is_named { builder.build() } else { builder.with_service_name("gleitzeit").build() }
}

/// An exporter for callers on any thread: it runs on telemetry's thread.
#[derive(Debug)]
pub(super) struct OnThread {
    exporter: Arc<SpanExporter>,
    receiver: Arc<Receiver>,
    handle: Handle,
}

impl opentelemetry_sdk::trace::SpanExporter for OnThread {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        // Fields that exist only for logs are removed; a trace has its own form of them.
        for span in &mut batch {
            span.attributes.retain(|attribute| !gleitzeit_agent::LOG_FIELDS.contains(&attribute.key.as_str()));
        }
        let (exporter, receiver) = (self.exporter.clone(), self.receiver.clone());
        let send = async move {
            match exporter.export(batch).await {
                Ok(()) => Ok(()),
                Err(error) => Err(OTelSdkError::InternalFailure(receiver.explain(&error.to_string()).await)),
            }
        };
        let sent = self.handle.spawn(send).await;
        sent.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())))
    }
}
