//! The spans of calls, which the providers of this process create below the attempts' spans.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample};
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;

use super::log::ExtraLayer;
use super::otlp::{self, OnThread};
use super::sampling::Sampling;

/// Batches, limits and exports spans.
pub(super) fn provider(exporter: OnThread, sampling: Sampling) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(ByTrace(sampling))
        .with_resource(otlp::resource())
        .build()
}

/// Records the spans of calls, and nothing else.
pub(super) fn layer(provider: &SdkTracerProvider) -> ExtraLayer {
    let tracer = provider.tracer_with_scope(otlp::scope());
    let calls = Targets::new().with_target(gleitzeit_agent::CALL_TARGET, Level::DEBUG);
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(calls)
        .boxed()
}

/// Samples like the traces of runs, so that no call is kept without its run.
#[derive(Clone, Debug)]
struct ByTrace(Sampling);

impl ShouldSample for ByTrace {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: opentelemetry::trace::TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let caller = parent.map(|parent| parent.span().span_context().clone()).filter(|it| it.is_valid());
        // An attempt counts as sampled unless the caller of the run says otherwise.
        let refused = caller.as_ref().filter(|caller| !caller.is_sampled()).map(|_| false);
        let trace_id = gleitzeit_run::trace::TraceId(u128::from_be_bytes(trace_id.to_bytes()));
        let keeps = caller.is_some() && self.0.keeps(trace_id, refused);
        SamplingResult {
            decision: if keeps { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: caller.map(|caller| caller.trace_state().clone()).unwrap_or_default(),
        }
    }
}
