//! Limits through a stock Envoy: who is let through, how far, and what it is charged.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use inference_sim::{Options, Simulator};
use serde_json::{Value, json};
use testkit::{Chancery, Envoy, HttpClient, Reply, eventually, free_port};

const KSERVE: &str = include_str!("../../testdata/ai/kserve-token-limit/input.yaml");

struct Gateway {
    port: u16,
    control: Chancery,
    _envoy: Envoy,
}

impl Gateway {
    async fn start(name: &str, port: u16, manifests: &str, protocol: &str) -> Self {
        let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", manifests)]).await.unwrap();
        let bootstrap = control.bootstrap(name, &["--protocol", protocol]).await.unwrap();
        Self { port, _envoy: Envoy::start(&bootstrap).await.unwrap(), control }
    }

    async fn ask(&self, user: &str, body: &Value) -> Reply {
        HttpClient::new(self.port).header("x-user-id", user).post_json("/v1/chat/completions", body).await.unwrap()
    }

    async fn ready(&self, body: &Value) {
        eventually("the model is served", Duration::from_secs(15), || async {
            let reply = HttpClient::new(self.port).post_json("/v1/chat/completions", body).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
    }
}

/// The endpoints that a manifest leaves to its cluster.
fn endpoints(namespace: &str, service: &str, port: u16) -> String {
    format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {service}
  namespace: {namespace}
  labels: {{kubernetes.io/service-name: {service}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
    )
}

/// A question that costs so many tokens, half of them those of the answer.
fn question(model: &str, tokens: usize, stream: bool) -> Value {
    let words = vec!["word"; tokens / 2].join(" ");
    json!({
        "model": model,
        "messages": [{"role": "user", "content": words}],
        "stream": stream,
    })
}

fn remaining(reply: &Reply) -> u64 {
    reply.header("x-ratelimit-remaining").unwrap().parse().unwrap()
}

/// What the guide about usage-based limits promises, with its manifest as it stands.
async fn a_thousand_tokens_an_hour(protocol: &str) {
    let options = Options { completion_tokens: 100, ..Options::new("kserve", "llama3-1b") };
    let server = Simulator::start(options).await.unwrap();
    let port = free_port();
    let manifests = KSERVE.replace("      port: 80\n", &format!("      port: {port}\n"))
        + &endpoints("kserve-test", "llama3-1b-predictor", server.port());
    let gateway = Gateway::start("default/envoy-ai-gateway-basic", port, &manifests, protocol).await;
    let (whole, stream) = (question("llama3-1b", 200, false), question("llama3-1b", 200, true));
    gateway.ready(&whole).await;

    // Five times two hundred, in both forms of answer.
    for (asked, body) in [&whole, &stream, &whole, &stream, &whole].into_iter().enumerate() {
        let reply = gateway.ask("alice", body).await;
        assert_eq!(reply.status, 200, "{asked}: {}", reply.text());
        assert_eq!(reply.header("x-ratelimit-limit"), Some("1000, 1000;w=3600"));
        assert!(remaining(&reply) <= 1000 - 200 * asked as u64);
    }
    let refused = gateway.ask("alice", &whole).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("x-envoy-ratelimited"), Some("true"));
    assert_eq!(refused.header("x-ratelimit-limit"), Some("1000, 1000;w=3600"));
    assert_eq!(remaining(&refused), 0);
    let reset: u64 = refused.header("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&reset), "{reset}");
    assert_eq!(refused.body.len(), 0);
    assert_eq!(gateway.ask("alice", &stream).await.status, 429);

    assert_eq!(gateway.ask("bob", &whole).await.status, 200, "another user has spent nothing");
    let seen = server.requests().len();
    assert_eq!(gateway.ask("alice", &whole).await.status, 429);
    assert_eq!(server.requests().len(), seen, "what is refused reaches no server");
    drop(gateway.control);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_over_delta() {
    a_thousand_tokens_an_hour("delta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_over_sotw() {
    a_thousand_tokens_an_hour("sotw").await;
}
