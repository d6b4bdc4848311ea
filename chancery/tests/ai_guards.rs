//! What guards an AI route holds although the route is chosen only after the body was read.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use testkit::model_gateway::{PROTOCOLS, Start, backend, gateway, route, rule};
use testkit::{Echo, HttpClient, ModelGateway, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

/// The filters of guards are nothing before the first policy, and a request whose body is still coming by then has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_does_not_pass_the_first_guard() {
    for protocol in PROTOCOLS {
        let server = Echo::start("one").await.unwrap();
        let port = free_port();
        let open = gateway(port)
            + &backend("one", server.port, "{name: OpenAI}", "")
            + &route(&rule("small", "[{name: one}]"))
            + KEYS;
        let start = Start { bootstrap: protocol, ..Start::default() };
        let gateway = ModelGateway::start_as(env!("CARGO_BIN_EXE_chancery"), port, &open, start).await.unwrap();
        gateway.ready("small").await;
        let body = "{\"model\":\"small\",\"messages\":[]}";
        let (first, last) = body.split_at(8);
        let mut slow = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        slow.write_all(format!("{head}{first}").as_bytes()).await.unwrap();
        eventually("the request is under way", Duration::from_secs(20), || async {
            let active = gateway.envoy.stat(&format!("http.http-{port}.downstream_rq_active")).await;
            (active > 0).then_some(())
        })
        .await;
        let spec = "  apiKeyAuth:
    credentialRefs: [{name: keys}]
    extractFrom: [{headers: [x-api-key]}]
";
        gateway.control.write("all.yaml", &(open + &security(GATEWAY, spec))).unwrap();
        eventually("the policy is in force", Duration::from_secs(20), || async {
            let reply = gateway.chat(body).await.ok()?;
            (reply.status == 401).then_some(())
        })
        .await;
        let served = server.served();
        slow.write_all(last.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        slow.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 403", "{protocol:?}");
        assert_eq!(server.served(), served);
    }
}
