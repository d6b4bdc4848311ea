//! Quotas of backends, and limits as other kinds write them.

use inference_sim::{Options, Simulator};
use testkit::model_gateway::{route, rule};
use testkit::{Echo, HttpClient, free_port};

use crate::gateway::{CHAT, Gateway, app, backend, gateway, question};

fn server(name: &str) -> Options {
    Options { completion_tokens: 40, ..Options::new(name, "m") }
}

fn quota(backend: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: aigateway.envoyproxy.io/v1alpha1
kind: QuotaPolicy
metadata: {{name: {backend}, namespace: default}}
spec:
  targetRefs: [{{group: aigateway.envoyproxy.io, kind: AIServiceBackend, name: {backend}}}]
{spec}"
    )
}

/// How many of the questions, of fifty tokens each, were answered by whom; refused ones under `429`.
async fn answers(gateway: &Gateway, count: usize) -> std::collections::BTreeMap<String, usize> {
    let mut answers = std::collections::BTreeMap::new();
    // One question was asked until the model was served.
    let mut served = 1;
    gateway.settled(50 * served).await;
    for _ in 0..count {
        let reply = gateway.ask("anyone", &question("m", 10, false)).await;
        let who = match reply.status.as_u16() {
            200 => reply.header("x-sim-server").unwrap().to_owned(),
            other => other.to_string(),
        };
        *answers.entry(who).or_insert(0) += 1;
        served += u64::from(reply.status == 200);
        // Whoever is asked next sees what this one cost.
        gateway.settled(50 * served).await;
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_spent_by_tokens_and_by_nothing_else() {
    let one = Simulator::start(server("one")).await.unwrap();
    let port = free_port();
    let spec = "  perModelQuotas:
  - modelName: m
    quota: {defaultBucket: {limit: 200, duration: 1d}}
";
    let manifests =
        gateway(port) + &backend("one", &one, "OpenAI") + &route(&rule("m", "[{name: one}]")) + &quota("one", spec);
    let gateway = Gateway::start("default/ai", port, &manifests, &[]).await;
    gateway.ready(CHAT, &question("m", 10, false)).await;
    let answers = answers(&gateway, 5).await;
    assert_eq!(answers, [("one".to_owned(), 3), ("429".to_owned(), 2)].into());
    let page = gateway.control.page("/limits").await.unwrap();
    assert_eq!(page["counters"][0]["spent"], 200, "{page}");
    let refused = gateway.ask("anyone", &question("m", 10, false)).await;
    assert_eq!((refused.header("x-envoy-ratelimited"), refused.body.len()), (Some("true"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_whose_quota_is_spent_is_passed_over() {
    for (backends, of_whole) in
        [("[{name: one}, {name: two}]", false), ("[{name: one, priority: 0}, {name: two, priority: 1}]", true)]
    {
        let one = Simulator::start(server("one")).await.unwrap();
        let two = Simulator::start(server("two")).await.unwrap();
        let port = free_port();
        let spec = |limit: u32| {
            if of_whole {
                format!("  serviceQuota: {{costExpression: total_tokens, quota: {{limit: {limit}, duration: 1d}}}}\n")
            } else {
                format!(
                    "  perModelQuotas:\n  - {{modelName: m, quota: {{defaultBucket: {{limit: {limit}, duration: 1d}}}}}}\n"
                )
            }
        };
        let manifests = gateway(port)
            + &backend("one", &one, "OpenAI")
            + &backend("two", &two, "OpenAI")
            + &route(&rule("m", backends))
            + &quota("one", &spec(150))
            + &quota("two", &spec(300));
        let gateway = Gateway::start("default/ai", port, &manifests, &[]).await;
        gateway.ready(CHAT, &question("m", 10, false)).await;
        // Nine in all, the one before among them.
        let answers = answers(&gateway, 10).await;
        assert_eq!(answers.get("429"), Some(&2), "{backends}: {answers:?}");
        assert_eq!((one.requests().len(), two.requests().len()), (3, 6), "{backends}: {answers:?}");
    }
}

/// As a guide of KubeLB writes it: so many requests an hour on one route.
#[tokio::test(flavor = "multi_thread")]
async fn requests_by_kgateway() {
    let server = Echo::start("app").await.unwrap();
    let port = free_port();
    let manifests = gateway(port)
        + &app(&server)
        + "---
apiVersion: gateway.kgateway.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: requests, namespace: default}
spec:
  targetRef: {kind: HTTPRoute, name: app, namespace: default}
  limits: [{requests: 100, unit: day}]
";
    let _gateway = Gateway::start("default/ai", port, &manifests, &[]).await;
    let client = HttpClient::new(port);
    for asked in 0..100 {
        assert_eq!(client.get("/").await.unwrap().status, 200, "{asked}");
    }
    let refused = client.get("/").await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("x-ratelimit-limit")), (429, Some("100, 100;w=86400")));
}
