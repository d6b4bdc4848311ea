//! A change leaves a trace, from the edit to the last acknowledgement, at a collector that speaks OTLP.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::{Chancery, Echo, Envoy, HttpClient, eventually, free_port};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use xds_api::opentelemetry::proto::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use xds_api::opentelemetry::proto::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use xds_api::opentelemetry::proto::common::v1::any_value::Value;
use xds_api::opentelemetry::proto::trace::v1::Span;

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let spans = resources.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(collector.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, address)
    }

    /// The spans of a trace that begins at or after a moment.
    fn trace_since(&self, moment: u64) -> Option<Vec<Span>> {
        let spans = self.0.lock().unwrap();
        let root = spans.iter().find(|span| span.name == "change" && span.start_time_unix_nano >= moment)?;
        Some(spans.iter().filter(|span| span.trace_id == root.trace_id).cloned().collect())
    }
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

async fn traced(protocol: &str) {
    let (collector, address) = Collector::start().await;
    let (one, two) = (Echo::start("one").await.unwrap(), Echo::start("two").await.unwrap());
    let port = free_port();
    let manifests = |upstream: u16| {
        include_str!("bootstraps.yaml").replace("PORT", &port.to_string()).replace("UPSTREAM", &upstream.to_string())
    };
    let binary = env!("CARGO_BIN_EXE_chancery");
    let options = ["--otlp-endpoint", &address];
    let control = Chancery::start_with(binary, &[("all.yaml", &manifests(one.port))], &options).await.unwrap();
    let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
    let _envoy = Envoy::start(&bootstrap).await.unwrap();
    let becomes = |name: &'static str| {
        eventually("the edit is served", Duration::from_secs(20), move || async move {
            HttpClient::new(port).get("/").await.ok().filter(|reply| reply.json()["name"] == name)
        })
    };
    becomes("one").await;
    let before = now();
    control.write("all.yaml", &manifests(two.port)).unwrap();
    becomes("two").await;
    let after = now();

    let arrived = || async { collector.trace_since(before) };
    let trace = eventually("the trace arrives", Duration::from_secs(30), arrived).await;
    let of = |name: &str| trace.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {trace:#?}"));
    let root = of("change");
    assert!(root.parent_span_id.is_empty());
    let mut last = root.start_time_unix_nano;
    for name in ["read", "translate", "publish", "deliver"] {
        let span = of(name);
        assert_eq!(span.parent_span_id, root.span_id, "{name}");
        assert!(span.start_time_unix_nano >= last, "{name} follows what was before");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{name}");
        last = span.start_time_unix_nano;
    }
    let delivered = of("deliver");
    assert_eq!(attribute(delivered, "chancery.gateway"), Some(Value::StringValue("default/web".into())));
    assert_eq!(attribute(delivered, "chancery.envoys"), Some(Value::IntValue(1)));
    assert_eq!(attribute(delivered, "chancery.in_step"), Some(Value::BoolValue(true)));
    assert!(delivered.end_time_unix_nano > delivered.start_time_unix_nano, "an acknowledgement takes time");
    assert_eq!(root.end_time_unix_nano, delivered.end_time_unix_nano, "the last acknowledgement ends it");
    assert!(root.end_time_unix_nano < after + 50_000_000, "and not when somebody looked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_traced_to_its_acknowledgement() {
    tokio::join!(traced("delta"), traced("sotw"));
}

/// `chancery run`: the control plane and its Envoy in one.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_on_one_machine_is_traced_too() {
    let (collector, address) = Collector::start().await;
    let (one, two) = (Echo::start("one").await.unwrap(), Echo::start("two").await.unwrap());
    let port = free_port();
    let directory = tempfile::tempdir().unwrap();
    let write = |upstream: u16| {
        let text = include_str!("bootstraps.yaml");
        let text = text.replace("PORT", &port.to_string()).replace("UPSTREAM", &upstream.to_string());
        std::fs::write(directory.path().join("all.yaml"), text).unwrap();
    };
    write(one.port);
    let local = || format!("127.0.0.1:{}", free_port());
    let mut gateway = tokio::process::Command::new(env!("CARGO_BIN_EXE_chancery"))
        .arg("run")
        .arg(directory.path())
        .arg("--envoy")
        .arg(testkit::envoy_binary().unwrap())
        .args(["--gateway", "default/web", "--otlp-endpoint", &address, "--xds", &local(), "--admin", &local()])
        .args(["--ratelimit", &local(), "--envoy-admin", &local()])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let becomes = |name: &'static str| {
        eventually("the edit is served", Duration::from_secs(20), move || async move {
            HttpClient::new(port).get("/").await.ok().filter(|reply| reply.json()["name"] == name)
        })
    };
    becomes("one").await;
    let before = now();
    write(two.port);
    becomes("two").await;
    let arrived = || async { collector.trace_since(before) };
    let trace = eventually("the trace arrives", Duration::from_secs(30), arrived).await;
    let delivered = trace.iter().find(|span| span.name == "deliver").unwrap();
    assert_eq!(attribute(delivered, "chancery.envoys"), Some(Value::IntValue(1)));
    // It ends its Envoy only when it is asked to end.
    let pid = gateway.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    assert!(gateway.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_collector_that_is_not_there_holds_up_nothing() {
    let one = Echo::start("one").await.unwrap();
    let port = free_port();
    let manifests =
        include_str!("bootstraps.yaml").replace("PORT", &port.to_string()).replace("UPSTREAM", &one.port.to_string());
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let options = ["--otlp-endpoint", &nobody];
    let control = Chancery::start_with(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &manifests)], &options).await;
    let control = control.unwrap();
    let _envoy = Envoy::start(&control.bootstrap("default/web", &[]).await.unwrap()).await.unwrap();
    let served = || async { HttpClient::new(port).get("/").await.ok().filter(|reply| reply.status == 200) };
    eventually("routes are served", Duration::from_secs(20), served).await;
}
