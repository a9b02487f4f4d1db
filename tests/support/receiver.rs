//! A receiver of OpenTelemetry exports, over gRPC and HTTP on one port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

/// The received spans, each once, with their sender.
type Spans = Arc<Mutex<BTreeMap<Vec<u8>, (Span, Sender)>>>;

/// The sender of a span.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sender {
    pub(crate) resource: Vec<KeyValue>,
    pub(crate) scope: String,
    /// The schema URLs of the resource and of the scope.
    pub(crate) schema_urls: [String; 2],
}

/// The receiver; it stops on drop.
pub(crate) struct Receiver {
    spans: Spans,
    metrics: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) url: String,
    _runtime: Runtime,
}

struct Service(Spans);

impl Receiver {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (runtime, spans) = (runtime.expect("a runtime"), Spans::default());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let http = spans.clone();
        let over_http = move |body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).expect("what the protocol says");
            take(&http, request);
            ExportTraceServiceResponse::default().encode_to_vec()
        };
        let grpc = tonic::service::Routes::new(TraceServiceServer::new(Service(spans.clone()))).into_axum_router();
        let metrics = Arc::new(Mutex::new(BTreeSet::new()));
        let measured = metrics.clone();
        let metrics_over_http = move |body: Bytes| async move {
            let request = ExportMetricsServiceRequest::decode(body).expect("what the protocol says");
            let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
            measured.lock().expect("no panic").extend(names);
            ExportMetricsServiceResponse::default().encode_to_vec()
        };
        let router: Router = grpc.route("/v1/traces", post(over_http)).route("/v1/metrics", post(metrics_over_http));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { spans, metrics, url, _runtime: runtime }
    }

    /// The names of the metrics that came over HTTP.
    pub(crate) fn metrics(&self) -> BTreeSet<String> {
        self.metrics.lock().expect("no panic").clone()
    }

    /// The spans of one trace.
    pub(crate) fn trace(&self, trace_id: &str) -> Vec<Span> {
        let spans = self.spans.lock().expect("no panic");
        spans.values().map(|(span, _)| span).filter(|span| hex(&span.trace_id) == trace_id).cloned().collect()
    }

    /// The senders of the spans of one trace.
    pub(crate) fn senders(&self, trace_id: &str) -> Vec<Sender> {
        let spans = self.spans.lock().expect("no panic");
        let of_trace = spans.values().filter(|(span, _)| hex(&span.trace_id) == trace_id);
        of_trace.map(|(_, sender)| sender.clone()).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        take(&self.0, request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn take(spans: &Spans, request: ExportTraceServiceRequest) {
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        for of_scope in of_resource.scope_spans {
            let sender = Sender {
                resource: resource.clone(),
                scope: of_scope.scope.map(|scope| scope.name).unwrap_or_default(),
                schema_urls: [of_resource.schema_url.clone(), of_scope.schema_url],
            };
            for span in of_scope.spans {
                let mut known = spans.lock().expect("no panic");
                if let Some((before, _)) = known.insert(span.span_id.clone(), (span.clone(), sender.clone())) {
                    assert_eq!(before, span, "whoever writes a span writes the same one");
                }
            }
        }
    }
}

/// An id as text.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text, empty without it.
pub(crate) fn attribute(span: &Span, name: &str) -> String {
    shown(&span.attributes, name)
}

/// One of many attributes as text, empty without it. The items of a list are joined by blanks.
pub(crate) fn shown(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|it| it.key == name);
    match found.and_then(|it| it.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => format!("{number:?}"),
        Some(Value::ArrayValue(list)) => {
            let texts = list.values.iter().filter_map(|value| match &value.value {
                Some(Value::StringValue(text)) => Some(text.as_str()),
                _ => None,
            });
            texts.collect::<Vec<_>>().join(" ")
        }
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}
