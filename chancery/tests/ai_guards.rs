//! What guards an AI route holds although the route is chosen only after the body was read.

#![allow(clippy::unwrap_used)]

use testkit::model_gateway::{backend, gateway, route, rule};
use testkit::{Echo, HttpClient, ModelGateway, free_port};

const KEYS: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: default}
stringData: {alice: sk-alice, .htpasswd: 'alice:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM='}
";

fn security(target: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{name: guard, namespace: default}}
spec:
  targetRefs: [{target}]
{spec}"
    )
}

const GATEWAY: &str = "{group: gateway.networking.k8s.io, kind: Gateway, name: ai}";
/// As policies name the route that Envoy AI Gateway would make.
const ROUTE: &str = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: models}";

/// Requests that are let in and kept out: headers, then the expected status.
async fn guard(policy: String, good: &[(&str, &str)], bad: &[(&str, &str)], refusal: u16) {
    let server = Echo::start("one").await.unwrap();
    let port = free_port();
    let manifests = gateway(port)
        + &backend("one", server.port, "{name: OpenAI}", "")
        + &route(&rule("small", "[{name: one}]"))
        + KEYS
        + &policy;
    let gateway = ModelGateway::start(env!("CARGO_BIN_EXE_chancery"), port, &manifests).await.unwrap();
    let client = |headers: &[(&str, &str)]| {
        let start = HttpClient::new(port).header("content-type", "application/json");
        headers.iter().fold(start, |client, (name, value)| client.header(name, value))
    };
    gateway.ready_for(&client(good), "small").await;
    let served = server.served();
    for (path, body) in
        [("/v1/chat/completions", "{\"model\":\"small\"}"), ("/v1/chat/completions", "{\"model\":\"unknown\"}")]
    {
        let reply = client(bad).post(path, body).await.unwrap();
        assert_eq!(reply.status, refusal, "{path} {body}: {} {}", reply.text(), gateway.envoy.log());
        assert!(reply.json()["error"]["message"].is_string(), "{}", reply.text());
    }
    // A client's own headers open nothing.
    let spoof = [("x-chancery-scope", "model/x"), ("x-ai-eg-model", "small"), ("x-chancery-api", "openai")];
    let all: Vec<_> = bad.iter().copied().chain(spoof).collect();
    let reply = client(&all).post("/v1/chat/completions", "{\"model\":\"small\"}").await.unwrap();
    assert_eq!(reply.status, refusal);
    assert_eq!(client(bad).get("/v1/models").await.unwrap().status, refusal);
    assert_eq!(client(good).get("/v1/models").await.unwrap().status, 200);
    assert_eq!(server.served(), served, "nothing that was refused reached the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn api_keys() {
    let spec = "  apiKeyAuth:
    credentialRefs: [{name: keys}]
    extractFrom: [{headers: [x-api-key]}]
";
    for target in [GATEWAY, ROUTE] {
        guard(security(target, spec), &[("x-api-key", "sk-alice")], &[("x-api-key", "wrong")], 401).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_by_headers() {
    let spec = "  authorization:
    defaultAction: Deny
    rules:
    - action: Allow
      principal: {headers: [{name: x-user-id, values: [alice]}]}
";
    guard(security(GATEWAY, spec), &[("x-user-id", "alice")], &[("x-user-id", "eve")], 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_auth() {
    let spec = "  basicAuth: {users: {name: keys}}\n";
    // The password is `pw`.
    guard(security(GATEWAY, spec), &[("authorization", "Basic YWxpY2U6cHc=")], &[], 401).await;
}
