//! External processors through a stock Envoy: one that chooses the model, and one that picks the endpoint.

#![allow(clippy::unwrap_used)]

mod processor;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use inference_sim::{Options, Simulator};
use serde_json::json;
use testkit::model_gateway::{PROTOCOLS, Start, gateway, route, rule};
use testkit::{Dns, Echo, HttpClient, ModelGateway, eventually, free_port, own_address};
use xds_api::envoy::service::ext_proc::v3::processing_request::Request as Asked;
use xds_api::envoy::service::ext_proc::v3::{
    BodyMutation, CommonResponse, ProcessingResponse, StreamedBodyResponse, body_mutation::Mutation,
};
use xds_api::google::protobuf::{Struct, Value, value};

use processor::{Processor, answer, chooses, set};

/// Names the endpoint that it was given, and hands bodies on as they come.
fn names(endpoint: String) -> impl Fn(Asked) -> ProcessingResponse {
    const NAME: &str = "x-gateway-destination-endpoint";
    move |asked| {
        let mut common = CommonResponse::default();
        let mut dynamic_metadata = None;
        match &asked {
            Asked::RequestHeaders(_) => {
                let text = Value { kind: Some(value::Kind::StringValue(endpoint.clone())) };
                let inner = Struct { fields: [(NAME.to_owned(), text)].into() };
                let outer = Value { kind: Some(value::Kind::StructValue(inner)) };
                dynamic_metadata = Some(Struct { fields: [("envoy.lb".to_owned(), outer)].into() });
                common.header_mutation = Some(set(NAME, &endpoint));
            }
            Asked::RequestBody(body) | Asked::ResponseBody(body) => {
                let same = StreamedBodyResponse {
                    body: body.body.clone(),
                    end_of_stream: body.end_of_stream,
                    ..StreamedBodyResponse::default()
                };
                common.body_mutation = Some(BodyMutation { mutation: Some(Mutation::StreamedResponse(same)) });
            }
            _ => {}
        }
        ProcessingResponse { dynamic_metadata, ..answer(&asked, common) }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
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
        let router = Processor::start(SocketAddr::from((address, 50051)), chooses("math-expert"));
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
    let router = free_port();
    let _processor = Processor::start(local(router), chooses("math"));
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
    let picker = free_port();
    let _processor = Processor::start(local(picker), names(local(server.port).to_string()));
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
