//! The span of a call: what its logs say they are about, and what a trace shows below the attempt.

use gleitzeit_core::id::MethodName;
use gleitzeit_core::mesh::CallMeta;
use gleitzeit_core::payload::Payload;
use gleitzeit_providers::CallError;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::{Span, debug_span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of the spans of calls, for whoever takes or leaves them.
pub const CALL_TARGET: &str = "gleitzeit::call";

/// A span for a call, below the attempt's. It costs nothing unless somebody takes it.
pub(super) fn begin(provider: &str, method: &MethodName, meta: &CallMeta) -> Span {
    let span = debug_span!(
        target: CALL_TARGET,
        "call",
        otel.name = format!("call {method}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        gleitzeit.provider = provider,
        gleitzeit.method = %method,
        correlation_id = meta.correlation_id,
        trace_id = meta.correlation_id,
        span_id = meta.traceparent.split('-').nth(2),
        run_id = %meta.run_id,
        task_id = %meta.task_id,
        attempt = meta.attempt,
    );
    if !span.is_disabled()
        && let Some(parent) = parent(&meta.traceparent)
    {
        // Nobody may trace: then there is nothing that it could be below.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

/// Says in the current span how the call ended.
pub(super) fn end(ended: &Result<Payload, CallError>) {
    let span = Span::current();
    match ended {
        Ok(_) => span.record("otel.status_code", "OK"),
        Err(error) => {
            span.record("otel.status_code", "ERROR").record("otel.status_description", error.message.as_str())
        }
    };
}

/// Reads a W3C trace context.
fn parent(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let trace_id = TraceId::from_hex(parts.next()?).ok()?;
    let span_id = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    let context = SpanContext::new(trace_id, span_id, TraceFlags::new(flags), true, TraceState::default());
    context.is_valid().then_some(context)
}
