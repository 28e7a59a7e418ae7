//! A collector of traces as a test wants one: it takes OTLP over gRPC and over HTTP, and keeps what it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// One span that was told.
#[derive(Debug, Clone)]
pub struct Told {
    /// `service.instance.id`: the node.
    pub node: String,
    pub service: String,
    pub name: String,
    /// Hex.
    pub trace: String,
    pub span: String,
    /// Empty for the first of a trace.
    pub parent: String,
    pub attributes: BTreeMap<String, String>,
}

/// Ends with the value.
#[derive(Debug)]
pub struct Collector {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    kept: Kept,
    serving: [JoinHandle<()>; 2],
}

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Told>>>);

impl Collector {
    pub async fn start() -> Collector {
        let listen = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("the system has a free port");
            let address = listener.local_addr().expect("it is bound");
            (listener, address)
        };
        let kept = Kept::default();
        let (grpc_listener, grpc) = listen().await;
        let (http_listener, http) = listen().await;
        let service = TraceServiceServer::new(kept.clone());
        let serving_grpc = tokio::spawn(async move {
            let incoming = TcpIncoming::from(grpc_listener);
            let server = Server::builder().add_service(service);
            let _ = server.serve_with_incoming(incoming).await;
        });
        let keeping = kept.clone();
        let serving_http = tokio::spawn(async move {
            while let Ok((stream, _)) = http_listener.accept().await {
                tokio::spawn(take(stream, keeping.clone()));
            }
        });
        Collector {
            grpc,
            http,
            kept,
            serving: [serving_grpc, serving_http],
        }
    }

    /// The spans of one trace so far.
    pub fn spans_of(&self, trace: &str) -> Vec<Told> {
        let mut spans = self.all();
        spans.retain(|told| told.trace == trace);
        spans
    }

    pub fn all(&self) -> Vec<Told> {
        let kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

impl Kept {
    fn keep(&self, request: ExportTraceServiceRequest) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_process in request.resource_spans {
            let resource = of_process.resource.unwrap_or_default();
            let resource = attributes(resource.attributes);
            let named = |key: &str| resource.get(key).cloned().unwrap_or_default();
            let spans = of_process.scope_spans.into_iter().flat_map(|it| it.spans);
            kept.extend(spans.map(|span| Told {
                node: named("service.instance.id"),
                service: named("service.name"),
                name: span.name,
                trace: hex::encode(span.trace_id),
                span: hex::encode(span.span_id),
                parent: hex::encode(span.parent_span_id),
                attributes: attributes(span.attributes),
            }));
        }
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.keep(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Requests of one connection: `POST /v1/traces` with a length, as exporters send it.
async fn take(stream: TcpStream, kept: Kept) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            match stream.read_line(&mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let (name, value) = line.split_once(':').unwrap_or((line.trim(), ""));
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let request = ExportTraceServiceRequest::decode(body.as_slice());
        kept.keep(request.expect("protobuf, as the protocol says"));
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter();
    pairs.map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}
