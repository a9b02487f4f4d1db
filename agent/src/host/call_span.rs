//! The span of a call: the fields that its logs carry, and what a trace shows below the attempt.

use gleitzeit_mesh::wire::CallMeta;
use gleitzeit_providers::{CallError, Provider};
use gleitzeit_run::trace::{self, TraceParent};
use gleitzeit_workflow::id::MethodName;
use gleitzeit_workflow::payload::Payload;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, Context, StringValue};
use tracing::{Level, Span, debug_span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of call spans, for filters that include or exclude them.
pub const CALL_TARGET: &str = "gleitzeit::call";

/// Fields of a call span for logs only: in a trace, the span's own context or a `gleitzeit.*` attribute carries them.
pub const LOG_FIELDS: [&str; 6] = ["correlation_id", "trace_id", "span_id", "run_id", "task_id", "attempt"];

/// Begins a span for a call, below the attempt's span. It is cheap unless a subscriber records it. Requests to language
/// models are named according to OpenTelemetry's conventions.
pub(super) fn begin(provider: &Provider, method: &MethodName, params: &Payload, meta: &CallMeta) -> Span {
    let is_taken = tracing::enabled!(target: CALL_TARGET, Level::DEBUG);
    let of_model = if is_taken { trace::gen_ai_span_name(method, params) } else { None };
    let kind = if of_model.is_some() { "client" } else { "server" };
    let span = debug_span!(
        target: CALL_TARGET,
        "call",
        otel.name = of_model.clone().unwrap_or_else(|| format!("call {method}")),
        otel.kind = kind,
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        gleitzeit.provider = provider.name(),
        gleitzeit.method = %method,
        correlation_id = meta.correlation_id,
        trace_id = meta.correlation_id,
        span_id = TraceParent::parse(&meta.traceparent).map(|parent| parent.span_id),
        run_id = %meta.run_id,
        task_id = %meta.task_id,
        attempt = meta.attempt,
    );
    if !span.is_disabled()
        && let Some(parent) = parent(&meta.traceparent)
    {
        // Without a tracer there is no trace to attach the span to.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        span.set_attribute("gleitzeit.run.id", meta.run_id.to_string());
        span.set_attribute("gleitzeit.task.id", meta.task_id.to_string());
        span.set_attribute("gleitzeit.attempt", i64::from(meta.attempt));
        if of_model.is_some() {
            if let Some(server) = server_of(provider) {
                span.set_attribute("gen_ai.provider.name", server);
            }
            attributes(&span, trace::gen_ai_asked(method, params));
        }
    }
    span
}

/// Records in the current span how the call ended.
pub(super) fn end(method: &MethodName, ended: &Result<Payload, CallError>) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    match ended {
        Ok(result) => {
            attributes(&span, trace::gen_ai_answered(method, result));
            span.record("otel.status_code", "OK");
        }
        Err(error) => {
            span.set_attribute("error.type", error.code.name());
            span.record("otel.status_code", "ERROR").record("otel.status_description", error.message.as_str());
        }
    }
}

/// The trace context for requests that the call makes: below the call's own span if that is exported, otherwise below
/// the attempt's.
pub(super) fn traceparent(span: &Span, meta: &CallMeta) -> String {
    let context = span.context();
    let own = context.span().span_context().clone();
    if own.is_valid() && own.is_sampled() {
        let (trace_id, span_id) = (own.trace_id().to_string(), own.span_id().to_string());
        TraceParent { trace_id: &trace_id, span_id: &span_id, flags: own.trace_flags().to_u8() }.to_string()
    } else {
        meta.traceparent.clone()
    }
}

/// The conventions' name for the kind of server behind a provider.
fn server_of(provider: &Provider) -> Option<&'static str> {
    let executor = provider.definition().executor.as_str();
    ["ollama", "openai"].into_iter().find(|server| executor.starts_with(server))
}

fn attributes(span: &Span, attributes: Vec<(&'static str, serde_json::Value)>) {
    for (name, value) in attributes {
        if let Some(value) = attribute_value(value) {
            span.set_attribute(name, value);
        }
    }
}

/// Converts a JSON value to a span attribute. List items become strings. Null and objects have no attribute.
pub fn attribute_value(value: serde_json::Value) -> Option<opentelemetry::Value> {
    Some(match value {
        serde_json::Value::Bool(of) => of.into(),
        serde_json::Value::String(of) => of.into(),
        serde_json::Value::Number(of) => match of.as_i64() {
            Some(of) => of.into(),
            None => of.as_f64()?.into(),
        },
        serde_json::Value::Array(of) => {
            let texts = of.into_iter().filter_map(|it| it.as_str().map(|text| StringValue::from(text.to_owned())));
            opentelemetry::Value::Array(Array::String(texts.collect()))
        }
        serde_json::Value::Null | serde_json::Value::Object(_) => return None,
    })
}

/// Parses a W3C trace context.
fn parent(traceparent: &str) -> Option<SpanContext> {
    let parent = TraceParent::parse(traceparent)?;
    let (trace_id, span_id) = (TraceId::from_hex(parent.trace_id).ok()?, SpanId::from_hex(parent.span_id).ok()?);
    let context = SpanContext::new(trace_id, span_id, TraceFlags::new(parent.flags), true, TraceState::default());
    context.is_valid().then_some(context)
}
