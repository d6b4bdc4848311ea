//! What two guides promise of token budgets, with their manifests as they stand.

use inference_sim::{Options, Simulator};
use testkit::{Reply, free_port};

use crate::gateway::{Gateway, backend, endpoints, question};

pub(crate) const KSERVE: &str = include_str!("../../../testdata/ai/kserve-token-limit/input.yaml");
const AIBRIX: &str = include_str!("../../../testdata/ai/aibrix/input.yaml");

fn remaining(reply: &Reply) -> u64 {
    reply.header("x-ratelimit-remaining").unwrap().parse().unwrap()
}

async fn a_thousand_tokens_an_hour(protocol: &str) {
    let options = Options { completion_tokens: 100, ..Options::new("kserve", "llama3-1b") };
    let server = Simulator::start(options).await.unwrap();
    let port = free_port();
    let manifests = KSERVE.replace("      port: 80\n", &format!("      port: {port}\n"))
        + &endpoints("kserve-test", "llama3-1b-predictor", server.port());
    let gateway = Gateway::start("default/envoy-ai-gateway-basic", port, &manifests, &["--protocol", protocol]).await;
    let (whole, stream) = (question("llama3-1b", 100, false), question("llama3-1b", 100, true));
    gateway.ready(crate::gateway::CHAT, &whole).await;

    // Five times two hundred, in both forms of answer.
    for (asked, body) in [&whole, &stream, &whole, &stream, &whole].into_iter().enumerate() {
        let reply = gateway.ask("alice", body).await;
        assert_eq!(reply.status, 200, "{asked}: {}", reply.text());
        assert_eq!(reply.header("x-ratelimit-limit"), Some("1000, 1000;w=3600"));
        assert!(remaining(&reply) <= 1000 - 200 * asked as u64);
    }
    assert_eq!(gateway.spent("alice").await, [(0, 1000)]);
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_over_delta() {
    a_thousand_tokens_an_hour("delta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_over_sotw() {
    a_thousand_tokens_an_hour("sotw").await;
}

/// The guide limits a cost that its route does not list: it is counted as its name says, and a finding names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cost_that_is_not_listed_is_counted_by_its_name() {
    let options = Options { completion_tokens: 150, ..Options::new("vllm", "deepseek-r1-distill-llama-8b") };
    let server = Simulator::start(options).await.unwrap();
    let port = free_port();
    // Its limit and its route, without the callers' credentials that other tests are about.
    let documents: Vec<&str> = AIBRIX.split("\n---\n").collect();
    let of = |kind: &str| documents.iter().find(|text| text.contains(&format!("kind: {kind}\n"))).copied().unwrap();
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: aibrix-ai-gateway, namespace: envoy-gateway-system}}
spec:
  gatewayClassName: chancery
  listeners: [{{name: http, protocol: HTTP, port: {port}}}]
---
{}
---
{}
",
        of("AIGatewayRoute"),
        of("BackendTrafficPolicy")
    );
    let server_of = backend("deepseek-r1-distill-llama-8b", &server, "OpenAI")
        .replace("namespace: default", "namespace: envoy-gateway-system");
    let gateway = Gateway::start("envoy-gateway-system/aibrix-ai-gateway", port, &(gateway + &server_of), &[]).await;
    let body = question("deepseek-r1-distill-llama-8b", 100, false);
    gateway.ready(crate::gateway::CHAT, &body).await;
    // Five hundred tokens a minute of all users together: the minute may change on the way.
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(gateway.ask("anyone", &body).await.status.as_u16());
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    let findings = testkit::HttpClient::new(gateway.control.admin).get("/diagnostics").await.unwrap().text();
    assert!(findings.contains("does not list the cost `llm_total_token`"), "{findings}");
}
