//! Exports the spans of runs to OpenTelemetry.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use gleitzeit_agent::attribute_value;
use gleitzeit_control_plane::SpanSink;
use gleitzeit_run::trace::{Outcome, Span, TraceId};
use gleitzeit_workflow::Timestamp;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::runtime::Handle;

use super::otlp;
use super::receiver::Receiver;
use super::sampling::Sampling;

/// Exports the spans of runs.
pub(super) struct Exported {
    exporter: Arc<SpanExporter>,
    receiver: Arc<Receiver>,
    scope: InstrumentationScope,
    sampling: Sampling,
    handle: Handle,
}

impl Exported {
    pub(super) fn new(exporter: SpanExporter, receiver: Arc<Receiver>, sampling: Sampling, handle: Handle) -> Self {
        Self { exporter: Arc::new(exporter), receiver, scope: otlp::scope(), sampling, handle }
    }
}

#[async_trait]
impl SpanSink for Exported {
    fn wants(&self, trace_id: TraceId, is_sampled: Option<bool>) -> bool {
        self.sampling.keeps(trace_id, is_sampled)
    }

    async fn export(&self, spans: Vec<Span>) -> Result<(), String> {
        let (exporter, receiver, scope) = (self.exporter.clone(), self.receiver.clone(), self.scope.clone());
        let send = async move {
            let batch = spans.into_iter().map(|span| data(span, &scope)).collect();
            match exporter.export(batch).await {
                Ok(()) => Ok(()),
                Err(error) => Err(receiver.explain(&error.to_string()).await),
            }
        };
        self.handle.spawn(send).await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let (trace_id, span_id) = (span.trace_id.0.into(), span.span_id.0.into());
    // The run's own span continues the caller's trace.
    let span_kind = if span.is_of_run() { SpanKind::Server } else { SpanKind::Internal };
    SpanData {
        span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::default()),
        parent_span_id: span.parent.map_or(0, |id| id.0).into(),
        parent_span_is_remote: span.is_remote,
        span_kind,
        name: span.name.into(),
        start_time: time(span.start),
        end_time: time(span.end.unwrap_or(span.start)),
        attributes: span
            .attributes
            .into_iter()
            .filter_map(|(name, of)| attribute_value(of).map(|of| KeyValue::new(name, of)))
            .collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match span.outcome {
            Outcome::Unset => Status::Unset,
            Outcome::Ok => Status::Ok,
            Outcome::Error(message) => Status::error(message),
        },
        instrumentation_scope: scope.clone(),
    }
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or_default())
}
