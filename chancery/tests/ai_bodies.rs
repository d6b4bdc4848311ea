//! Bodies through a stock Envoy: however they come, they are read as `serde_json` reads them, and arrive as they were sent.

#![allow(clippy::unwrap_used)]

use testkit::bodies::{Random, Verdict, body, verdict, without_strings};
use testkit::model_gateway::{backend, gateway, route};
use testkit::{Echo, ModelGateway, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BODIES: u64 = 1000;

/// Posts a body in chunks of one byte each, and all of them at once or each by itself.
async fn post(port: u16, body: &[u8], apart: bool) -> (u16, serde_json::Value) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: bodies\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut text = head.as_bytes().to_vec();
    for byte in body {
        text.extend([b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
        if apart {
            socket.write_all(&text).await.unwrap();
            tokio::task::yield_now().await;
            text.clear();
        }
    }
    text.extend(b"0\r\n\r\n");
    socket.write_all(&text).await.unwrap();
    // Every answer is one object on a line of its own, whether it comes in chunks or not.
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = socket.read(&mut piece).await.unwrap();
        answer.extend(&piece[..read]);
        let text = String::from_utf8_lossy(&answer);
        let json = text.lines().find(|line| line.starts_with('{')).and_then(|line| serde_json::from_str(line).ok());
        if let Some(json) = json {
            return (text.get(9..12).unwrap().parse().unwrap(), json);
        }
        assert!(read > 0, "no answer: {text}");
    }
}

fn percent(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte == b'.') {
        return "%2E".repeat(text.len());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Every model is served, and the path says which one was read.
async fn azure() -> (ModelGateway, Echo) {
    let server = Echo::start("azure").await.unwrap();
    let port = free_port();
    let manifests = gateway(port)
        + &backend("azure", server.port, "{name: AzureOpenAI, version: v1}", "")
        + &route("  - backendRefs: [{name: azure}]\n");
    let gateway = ModelGateway::start(env!("CARGO_BIN_EXE_chancery"), port, &manifests).await.unwrap();
    gateway.ready("any").await;
    (gateway, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_pieces_are_read_as_a_whole() {
    let (gateway, _server) = azure().await;
    let (mut models, mut refused) = (0, 0);
    for seed in 0..BODIES {
        let body = body(&mut Random::new(seed));
        let text = String::from_utf8_lossy(&body).into_owned();
        let (Some(expected), true) = (verdict(&without_strings(&body)), body.len() < 2000) else { continue };
        let (status, seen) = post(gateway.port, &body, seed % 4 == 0).await;
        let model = match &expected {
            Verdict::Refused => {
                assert_eq!(
                    (status, seen["error"]["type"].as_str()),
                    (400, Some("invalid_request_error")),
                    "{seed}: {text}"
                );
                refused += 1;
                continue;
            }
            Verdict::Model(model) => model.as_str(),
            Verdict::Nameless => "",
        };
        models += u32::from(!model.is_empty());
        assert_eq!(status, 200, "{seed}: {text}: {seen}");
        let path = format!("/openai/deployments/{}/chat/completions?api-version=v1", percent(model));
        assert_eq!(seen["path"], path, "{seed}: {text}");
        assert_eq!(seen["body"], text, "{seed}");
    }
    assert!(models > 50 && refused > 50, "{models} {refused}");
}

/// A client's model is a name and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn no_model_leads_out_of_the_path() {
    let (gateway, _server) = azure().await;
    for model in ["..", ".", "../../files?x=", "a/../../../x", "a b", "x#y", "{rest}", "%2e%2e", "a|b", "a&b;c=d"] {
        let reply = gateway.chat(serde_json::json!({"model": model}).to_string()).await.unwrap();
        let path = format!("/openai/deployments/{}/chat/completions?api-version=v1", percent(model));
        assert_eq!(reply.json()["path"], path, "{}", reply.text());
    }
}

/// As large as the Gateway's author lets them be.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_in_the_form_of_the_api() {
    let server = Echo::start("one").await.unwrap();
    let port = free_port();
    let policy = "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: size, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ai}]
  connection: {bufferLimit: 64Ki}
";
    let manifests = gateway(port)
        + &backend("one", server.port, "{name: OpenAI}", "")
        + &route("  - backendRefs: [{name: one}]\n")
        + policy;
    let gateway = ModelGateway::start(env!("CARGO_BIN_EXE_chancery"), port, &manifests).await.unwrap();
    gateway.ready("any").await;
    for (size, status) in [(40 << 10, 200), (200 << 10, 413)] {
        let body = serde_json::json!({"model": "any", "prompt": "x".repeat(size)});
        let reply = gateway.client().post("/v1/completions", body.to_string()).await.unwrap();
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(status == 200 || reply.json()["error"]["message"].is_string(), "{}", reply.text());
    }
}
