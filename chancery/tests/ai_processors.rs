//! External processors through a stock Envoy: one that chooses the model, and one that picks the endpoint.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use inference_sim::{Options, Simulator};
use serde_json::json;
use testkit::model_gateway::{PROTOCOLS, Start, gateway, route, rule};
use testkit::{Dns, Echo, HttpClient, ModelGateway, eventually, free_port, own_address};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
use xds_api::envoy::config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction};
use xds_api::envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
use xds_api::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use xds_api::envoy::service::ext_proc::v3::external_processor_server::{ExternalProcessor, ExternalProcessorServer};
use xds_api::envoy::service::ext_proc::v3::processing_request::Request as Asked;
use xds_api::envoy::service::ext_proc::v3::processing_response::Response as Said;
use xds_api::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ProcessingRequest, ProcessingResponse,
    StreamedBodyResponse, TrailersResponse, body_mutation::Mutation,
};
use xds_api::google::protobuf::{Struct, Value, value};

/// Puts a model in the place of `MoM`, or names the endpoint that it was given.
#[derive(Clone)]
enum Processor {
    Model(&'static str),
    Endpoint(String),
}

fn set(name: &str, value: &str) -> HeaderMutation {
    HeaderMutation {
        set_headers: vec![HeaderValueOption {
            header: Some(HeaderValue {
                key: name.into(),
                raw_value: value.as_bytes().to_vec(),
                ..HeaderValue::default()
            }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
            ..HeaderValueOption::default()
        }],
        ..HeaderMutation::default()
    }
}

/// A processor that runs, with connections of its own: all of them end with it.
struct Running {
    port: u16,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Processor {
    fn start(self) -> Running {
        self.start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn start_at(self, address: SocketAddr) -> Running {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = tonic::transport::Server::builder().add_service(ExternalProcessorServer::new(self));
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            let _ = server.serve_with_incoming(incoming).await;
        });
        Running { port, runtime: Some(runtime) }
    }

    fn answer(&self, asked: Asked) -> ProcessingResponse {
        let mut metadata = None;
        let mut mode = None;
        let said = match asked {
            Asked::RequestHeaders(_) => {
                let mut common = CommonResponse::default();
                if let Self::Endpoint(endpoint) = self {
                    let name = "x-gateway-destination-endpoint";
                    let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.to_owned())) };
                    let inner = Struct { fields: [(name.to_owned(), text(endpoint))].into() };
                    let outer = Value { kind: Some(value::Kind::StructValue(inner)) };
                    metadata = Some(Struct { fields: [("envoy.lb".to_owned(), outer)].into() });
                    common.header_mutation = Some(set(name, endpoint));
                }
                Said::RequestHeaders(HeadersResponse { response: Some(common) })
            }
            Asked::RequestBody(body) => {
                let mut common = CommonResponse::default();
                match self {
                    Self::Model(model) => {
                        let text = String::from_utf8_lossy(&body.body).replace("MoM", model);
                        let mut headers = set("x-selected-model", model);
                        // The body has another length now.
                        headers.remove_headers.push("content-length".to_owned());
                        common.header_mutation = Some(headers);
                        common.body_mutation = Some(BodyMutation { mutation: Some(Mutation::Body(text.into_bytes())) });
                    }
                    Self::Endpoint(_) => {
                        let same = StreamedBodyResponse {
                            body: body.body,
                            end_of_stream: body.end_of_stream,
                            ..StreamedBodyResponse::default()
                        };
                        common.body_mutation = Some(BodyMutation { mutation: Some(Mutation::StreamedResponse(same)) });
                    }
                }
                Said::RequestBody(BodyResponse { response: Some(common) })
            }
            Asked::ResponseHeaders(_) => {
                if let Self::Model(_) = self {
                    // Nobody waits for the end of a stream.
                    mode = Some(ProcessingMode {
                        response_body_mode: BodySendMode::Streamed as i32,
                        ..ProcessingMode::default()
                    });
                }
                Said::ResponseHeaders(HeadersResponse { response: Some(CommonResponse::default()) })
            }
            Asked::ResponseBody(body) => {
                let mut common = CommonResponse::default();
                if let Self::Endpoint(_) = self {
                    let same = StreamedBodyResponse {
                        body: body.body,
                        end_of_stream: body.end_of_stream,
                        ..StreamedBodyResponse::default()
                    };
                    common.body_mutation = Some(BodyMutation { mutation: Some(Mutation::StreamedResponse(same)) });
                }
                Said::ResponseBody(BodyResponse { response: Some(common) })
            }
            Asked::RequestTrailers(_) => Said::RequestTrailers(TrailersResponse::default()),
            Asked::ResponseTrailers(_) => Said::ResponseTrailers(TrailersResponse::default()),
        };
        ProcessingResponse {
            response: Some(said),
            dynamic_metadata: metadata,
            mode_override: mode,
            ..ProcessingResponse::default()
        }
    }
}

#[tonic::async_trait]
impl ExternalProcessor for Processor {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let processor = self.clone();
        let answers = request.into_inner().filter_map(move |asked| {
            let answer = asked.ok().and_then(|asked| asked.request).map(|asked| Ok(processor.answer(asked)));
            futures::future::ready(answer)
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

async fn start(port: u16, manifests: &str) -> ModelGateway {
    ModelGateway::start(env!("CARGO_BIN_EXE_chancery"), port, manifests).await.unwrap()
}

async fn served(port: u16, path: &'static str, body: &'static str) -> serde_json::Value {
    eventually("the request is served", Duration::from_secs(15), || async {
        let reply = HttpClient::new(port).header("content-type", "application/json").post(path, body).await.ok()?;
        (reply.status == 200).then(|| reply.json())
    })
    .await
}

const SEMANTIC_ROUTER: &str = include_str!("../../testdata/ai/semantic-router/input.yaml");

/// The guide's manifests as they are, but for the port of the listener: every name in them is an address of this machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_processor_in_the_chain_decides_the_model() {
    for protocol in PROTOCOLS {
        let address = own_address();
        let dns = Dns::start_with(address).await.unwrap();
        let experts = ["math-expert", "science-expert"].map(str::to_owned).to_vec();
        let pace = Duration::from_millis(20);
        let options = Options { loras: experts, pace, max_model_len: 1 << 20, ..Options::new("vllm", "base-model") };
        let server = Simulator::bind(options, SocketAddr::from((address, 8000))).await.unwrap();
        let router = Processor::Model("math-expert").start_at(SocketAddr::from((address, 50051)));
        let port = free_port();
        let resolver = dns.resolver() + "static_resources:";
        let edits = [("static_resources:", resolver.as_str())];
        let start =
            Start { gateway: "default/semantic-router", bootstrap: protocol, edits: &edits, ..Start::default() };
        let manifests = SEMANTIC_ROUTER.replace("port: 80\n", &format!("port: {port}\n"));
        let binary = env!("CARGO_BIN_EXE_chancery");
        let gateway = ModelGateway::start_as(binary, port, &manifests, start).await.unwrap();
        let answer = served(port, "/v1/chat/completions", "{\"model\":\"MoM\",\"messages\":[]}").await;
        assert_eq!(answer["model"], "math-expert");
        let seen = server.requests().pop().unwrap();
        assert_eq!(seen.body, "{\"model\":\"math-expert\",\"messages\":[]}");
        assert_eq!(seen.header("x-selected-model"), Some("math-expert"));

        // A model that a client names stays what it is; a prompt may be long.
        let long = "words of a long prompt ".repeat(40_000);
        let body = json!({"model": "science-expert", "messages": [{"role": "user", "content": long}]});
        let answer = gateway.client().post_json("/v1/chat/completions", &body).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.json()["model"]), (200, &json!("science-expert")));

        // The words of a stream come as they are said.
        let body = json!({"model": "MoM", "stream": true, "messages": [{"role": "user", "content": "count"}]});
        let mut stream = gateway.client().stream_json("/v1/chat/completions", &body).await.unwrap();
        stream.next_event().await.unwrap().unwrap();
        let first = Instant::now();
        assert!(stream.events().await.unwrap().len() > 10);
        assert!(first.elapsed() > pace * 5, "all of it came at once");

        // Without the router nobody is served, at once: so the guide has it.
        drop(router);
        let asked = Instant::now();
        let status = eventually("the router is gone", Duration::from_secs(10), || async {
            let reply = gateway.chat("{\"model\":\"MoM\",\"messages\":[]}").await.ok()?;
            (reply.status != 200).then_some(reply.status.as_u16())
        })
        .await;
        assert!(matches!(status, 500 | 503) && asked.elapsed() < Duration::from_secs(5), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_policy_asks_its_processor_before_the_model_is_read() {
    let server = Echo::start("vllm").await.unwrap();
    let processor = Processor::Model("math").start();
    let router = processor.port;
    let port = free_port();
    let manifests = pool_manifests(port, server.port, "FailOpen", router, "")
        + &format!(
            "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: router, namespace: default}}
spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: {router}}}}}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {{name: router, namespace: default}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: ai}}]
  extProc:
  - backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: router}}]
    processingMode: {{request: {{body: Buffered}}}}
"
        );
    let _gateway = start(port, &manifests).await;
    let seen = served(port, "/v1/chat/completions", "{\"model\":\"MoM\"}").await;
    assert_eq!(seen["body"], "{\"model\":\"math\"}");
}

fn pool_manifests(port: u16, server: u16, failure_mode: &str, picker: u16, picker_ref: &str) -> String {
    let pool = format!(
        "---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {{name: pool, namespace: default}}
spec:
  selector: {{matchLabels: {{app: vllm}}}}
  targetPorts: [{{number: {server}}}]
{picker_ref}
---
apiVersion: v1
kind: Pod
metadata: {{name: one, namespace: default, labels: {{app: vllm}}}}
status: {{podIP: 127.0.0.1, conditions: [{{type: Ready, status: 'True'}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: dead, namespace: default, labels: {{app: vllm}}}}
status: {{podIP: 127.9.9.9, conditions: [{{type: Ready, status: 'False'}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: picker, namespace: default}}
spec: {{ports: [{{name: grpc, port: 9002, appProtocol: kubernetes.io/h2c}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: picker-1, namespace: default, labels: {{kubernetes.io/service-name: picker}}, annotations: {{mode: {failure_mode}}}}}
addressType: IPv4
ports: [{{name: grpc, port: {picker}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
    );
    let to_pool = "[{group: inference.networking.k8s.io, kind: InferencePool, name: pool}]";
    gateway(port) + &pool + &route(&rule("math", to_pool))
}

fn picked_by(failure_mode: &str) -> String {
    format!("  endpointPickerRef: {{name: picker, port: {{number: 9002}}, failureMode: {failure_mode}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picker_names_the_endpoint_of_a_pool() {
    let server = Echo::start("vllm").await.unwrap();
    let processor = Processor::Endpoint(format!("127.0.0.1:{}", server.port)).start();
    let picker = processor.port;
    let port = free_port();
    let manifests = pool_manifests(port, server.port, "FailClose", picker, &picked_by("FailClose"));
    let _gateway = start(port, &manifests).await;
    let seen = served(port, "/v1/chat/completions", "{\"model\":\"math\"}").await;
    assert_eq!(
        (seen["path"].as_str(), seen["body"].as_str()),
        (Some("/v1/chat/completions"), Some("{\"model\":\"math\"}"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_picker_is_away_serves_or_not_as_its_author_says() {
    for failure_mode in ["FailOpen", "FailClose"] {
        let server = Echo::start("vllm").await.unwrap();
        let port = free_port();
        let manifests = pool_manifests(port, server.port, failure_mode, free_port(), &picked_by(failure_mode));
        let gateway = start(port, &manifests).await;
        if failure_mode == "FailOpen" {
            served(port, "/v1/chat/completions", "{\"model\":\"math\"}").await;
            continue;
        }
        let asked = "cluster.picker/default/picker/9002/h2.health_check.failure";
        eventually("the picker is known to be away", Duration::from_secs(15), || async {
            let client = HttpClient::new(port).header("content-type", "application/json");
            let reply = client.post("/v1/chat/completions", "{\"model\":\"math\"}").await.ok()?;
            assert_ne!(reply.status, 200);
            (gateway.envoy.stat(asked).await > 1).then_some(())
        })
        .await;
        assert_eq!(server.served(), 0);
    }
}
