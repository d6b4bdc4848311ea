//! External processors through a stock Envoy: one that chooses the model, and one that picks the endpoint.

#![allow(clippy::unwrap_used)]

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use testkit::model_gateway::{Start, gateway, route, rule};
use testkit::{Echo, HttpClient, ModelGateway, eventually, free_port};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
use xds_api::envoy::config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction};
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

impl Processor {
    async fn start(self) -> (u16, tokio::task::JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tonic::transport::Server::builder().add_service(ExternalProcessorServer::new(self));
        let task = tokio::spawn(async move {
            let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        (port, task)
    }

    fn answer(&self, asked: Asked) -> ProcessingResponse {
        let mut metadata = None;
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
        ProcessingResponse { response: Some(said), dynamic_metadata: metadata, ..ProcessingResponse::default() }
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

/// The guide's manifests, with ports and addresses of this machine in the place of the cluster's.
#[tokio::test(flavor = "multi_thread")]
async fn a_processor_in_the_chain_decides_the_model() {
    let server = Echo::start("vllm").await.unwrap();
    let (router, _task) = Processor::Model("math-expert").start().await;
    let port = free_port();
    let manifests = SEMANTIC_ROUTER
        .replace("port: 80\n", &format!("port: {port}\n"))
        .replace("address: semantic-router.vllm-semantic-router-system.svc.cluster.local", "address: 127.0.0.1")
        .replace("port_value: 50051", &format!("port_value: {router}"))
        .replace("hostname: vllm-llama3-8b-instruct.default.svc.cluster.local", "hostname: localhost.localdomain")
        .replace(
            "  - fqdn:\n      hostname: localhost.localdomain\n      port: 8000",
            &format!("  - ip: {{address: 127.0.0.1, port: {}}}", server.port),
        );
    let named = Start { gateway: "default/semantic-router", ..Start::default() };
    let binary = env!("CARGO_BIN_EXE_chancery");
    let _gateway = ModelGateway::start_as(binary, port, &manifests, named).await.unwrap();
    let seen = served(port, "/v1/chat/completions", "{\"model\":\"MoM\",\"messages\":[]}").await;
    assert_eq!(seen["body"], "{\"model\":\"math-expert\",\"messages\":[]}");
    assert_eq!(seen["headers"]["x-selected-model"][0], "math-expert");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_policy_asks_its_processor_before_the_model_is_read() {
    let server = Echo::start("vllm").await.unwrap();
    let (router, _task) = Processor::Model("math").start().await;
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
    let (picker, _task) = Processor::Endpoint(format!("127.0.0.1:{}", server.port)).start().await;
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
